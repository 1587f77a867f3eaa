#!/usr/bin/env bash
# The paper's Tables 2 and 3 on Yeast and Scene: four losses, each by the default protocol with our recipe
# (folder <loss>), by the paper's protocol with our recipe (<loss>-paper-ours), and by the paper's protocol with
# the paper's settings (<loss>-paper). Finished runs are kept and interrupted ones go on, so the script can be
# started again at any time.
#
#   HMC_DATA=... packages/mulsupcon-ld/recipes/tables2-3.sh
#
# DATASETS, SEEDS, LOSSES, KINDS and RUNS, the folder of the runs, change what is done:
#   DATASETS=scene SEEDS=0 LOSSES="bce cld" KINDS="default ours paper" RUNS=runs/short ...
set -euo pipefail
: "${HMC_DATA:?set it to the folder that holds the sets}"
runs="${RUNS:-runs}"
for seed in ${SEEDS:-0 1 2}; do
  for dataset in ${DATASETS:-yeast scene}; do
    recipe=""
    case $dataset in
      yeast) recipe="--pretrain-epochs 60 --epochs 120 --restart 120 --queue-size 1024" ;;
      scene) recipe="--pretrain-epochs 100 --epochs 100 --restart 100 --dropout 0.3 --finetune-mask 0.5" ;;
    esac
    recipe+=" --batch-size 64 --pretrain-learning-rate 1e-3 --minimum-rate 0 --alpha 1 --beta 0.01"
    for loss in ${LOSSES:-bce mulsupcon rld cld}; do
      for kind in ${KINDS:-default ours paper}; do
        case $kind in
          default) name=$loss options="" ;;
          ours) name=$loss-paper-ours options="--protocol paper $recipe" ;;
          paper) name=$loss-paper options="--protocol paper" ;;
        esac
        folder="$runs/$dataset/$name/seed-$seed"
        mkdir -p "${folder%/*}"
        exec 9>"$folder.lock"
        flock -n 9 || continue # another copy of this script is at it
        [ -f "$folder/results.json" ] && continue
        # shellcheck disable=SC2086 # options are words
        mulsupcon-ld train --dataset "$dataset" --loss "$loss" --seed "$seed" --output-dir "$folder" --resume \
          $options >/dev/null
      done
    done
  done
done

#!/usr/bin/env bash
# The paper's Table 2 on one data set: HCAL without multi-task learning (MTL), feature aggregation (FA),
# prototype perturbation (PP) or adaptive weights (AWA), in the order of the paper's rows. Finished runs are
# kept and interrupted ones go on, so the script can be started again at any time. The last row is the run of
# HCAL in Table 1.
#
#   packages/hcal/recipes/table2.sh                     (digits, seed 0)
#
# DATASET, SEEDS, FLAGS and RUNS, the folder of the runs, change what is done:
#   DATASET=cifar100 HMC_DATA=... SEEDS="0 1 2" FLAGS="--epochs 30" RUNS=runs/short ...
set -euo pipefail
dataset="${DATASET:-digits}"
runs="${RUNS:-runs/${dataset//[:\/]/-}}"
folders=()
while read -r row options; do
  folders+=("$runs/$row")
  for seed in ${SEEDS:-0}; do
    folder="$runs/$row/seed-$seed"
    mkdir -p "${folder%/*}"
    exec 9>"$folder.lock"
    flock -n 9 || continue # another copy of this script is at it
    [ -f "$folder/results.json" ] && continue
    # shellcheck disable=SC2086 # options are words
    hcal train --dataset "$dataset" --seed "$seed" --output-dir "$folder" --resume $options ${FLAGS:-} \
      </dev/null >/dev/null
  done
done <<'ROWS'
hcal-single --task single --weighting fixed
hcal-fa     --epsilon 0 --weighting fixed
hcal-pp     --no-aggregation --weighting fixed
hcal-awa    --no-aggregation --epsilon 0
hcal-pp-awa --no-aggregation
hcal-fa-awa --epsilon 0
hcal-fa-pp  --weighting fixed
hcal
ROWS
hmc compare "${folders[@]}" --metrics accuracy_leaf 'accuracy_level_*' hvr

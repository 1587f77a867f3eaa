#!/usr/bin/env bash
# The paper's Table 1 on one data set: HCAL, also decoded by paths, beside the methods it is compared with,
# all with the same encoder and trainer. Finished runs are kept and interrupted ones go on, so the script
# can be started again at any time. Needs hcal[baselines].
#
#   packages/hcal/recipes/table1.sh                     (digits, seed 0)
#
# DATASET, SEEDS, METHODS, FLAGS and RUNS, the folder of the runs, change what is done:
#   DATASET=cifar100 HMC_DATA=... SEEDS="0 1 2" METHODS="hcal flat" FLAGS="--epochs 30" RUNS=runs/short ...
set -euo pipefail
dataset="${DATASET:-digits}"
runs="${RUNS:-runs/${dataset//[:\/]/-}}"
methods="${METHODS:-hcal hcal-path flat mmoe cagrad imtl-g nash-mtl}"
folders=()
for method in $methods; do
  case $method in
    hcal-path) options="--method hcal --decode path" ;;
    *) options="--method $method" ;;
  esac
  folders+=("$runs/$method")
  for seed in ${SEEDS:-0}; do
    folder="$runs/$method/seed-$seed"
    mkdir -p "${folder%/*}"
    exec 9>"$folder.lock"
    flock -n 9 || continue # another copy of this script is at it
    [ -f "$folder/results.json" ] && continue
    # shellcheck disable=SC2086 # options are words
    hcal train --dataset "$dataset" --seed "$seed" --output-dir "$folder" --resume $options ${FLAGS:-} >/dev/null
  done
done
hmc compare "${folders[@]}" --metrics accuracy_leaf 'accuracy_level_*' hvr

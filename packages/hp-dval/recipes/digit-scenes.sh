#!/usr/bin/env bash
# The losses of the paper's Table III and the components of its Table V on the embedded digit-scenes, three seeds
# each. MLS is left out: it is the same function as BCE. Finished runs are kept and interrupted ones go on, so the
# script can be started again at any time.
#
#   packages/hp-dval/recipes/digit-scenes.sh
#
# METHODS, LOSSES (of the whole method), SEEDS, DATASET and RUNS, the folder of the runs, change what is done;
# options are passed on:
#   DATASET=cifar-scenes METHODS="dval hp-dval" LOSSES= SEEDS=0 packages/hp-dval/recipes/digit-scenes.sh --workers 8
set -euo pipefail
dataset=${DATASET-digit-scenes}
train() { # label, options
  local folder="${RUNS:-runs}/$dataset/$1/seed-$seed"
  [ -f "$folder/results.json" ] && return
  hp-dval train --dataset "$dataset" --seed "$seed" --output-dir "$folder" --resume "${@:2}" >/dev/null
}
for seed in ${SEEDS-0 1 2}; do
  for method in ${METHODS-zero-shot coop dval no-sc hp-dval joint}; do
    train "$method" --method "$method" "$@"
  done
  for loss in ${LOSSES-bce cb-focal asl db}; do
    train "hp-dval-$loss" --loss "$loss" "$@"
  done
done

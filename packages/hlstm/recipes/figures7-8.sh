#!/usr/bin/env bash
# The paper's Figure 7, HLSTM by b_r, and Figure 8, by the initial local weights, with its batch size (4),
# learning rate (1e-4) and steps (one for each level); all else as in our recipes. The curves over epochs are in
# the metrics.jsonl of the runs. Finished runs are kept and interrupted ones go on; several copies share the work
# (recipes/each-gpu.sh).
#
#   HMC_DATA=... packages/hlstm/recipes/figures7-8.sh
#
# SEEDS, SETS (of Figure 7), FLAGS and RUNS, the folder of the runs, change what is done.
set -euo pipefail
: "${HMC_DATA:?set it to the folder that holds hmc/}"
train() { # data set, label, options
  local folder="${RUNS:-runs}/$1/$2/seed-$seed"
  mkdir -p "${folder%/*}"
  exec 9>"$folder.lock"
  flock -n 9 || return 0 # another copy of this script is at it
  [ -f "$folder/results.json" ] && return
  # shellcheck disable=SC2086 # options are words
  hlstm train --dataset "$1" --seed "$seed" --output-dir "$folder" --resume --batch-size 4 --learning-rate 1e-4 \
    --max-levels 99 "${@:3}" ${FLAGS:-}
}
for seed in ${SEEDS:-0}; do
  for set in ${SETS:-cellcycle_FUN cellcycle_GO ImCLEF07A}; do
    for weight in 0.1 0.3 0.5 0.7 0.9; do
      train "$set" "hlstm-b_r-$weight" --global-weight "$weight"
    done
  done
  for constant in 0.1 0.2 0.4 0.6 0.8; do
    train cellcycle_FUN "hlstm-constant-$constant" --global-weight 0.5 --local-constant "$constant"
  done
  for init in zeros ones normal xavier he; do
    train cellcycle_FUN "hlstm-$init" --global-weight 0.5 --local-init "$init"
  done
done

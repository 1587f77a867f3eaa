#!/usr/bin/env bash
# Our rows of the paper's Table II: every method on the sets named below that HMC_DATA has. Finished runs are
# kept and interrupted ones go on, so the script can be started again at any time.
#
#   HMC_DATA=... packages/hlstm/recipes/table2.sh [SEED ...]        (default: seed 0)
#
# SETS, METHODS and FLAGS change the work: SETS="Enron seq_GO" METHODS="hlstm chmcnn" FLAGS="--epochs 30".
set -euo pipefail
: "${HMC_DATA:?set it to the folder that holds hmc/}"
sets="${SETS:-cellcycle_FUN derisi_FUN eisen_FUN expr_FUN gasch1_FUN gasch2_FUN seq_FUN spo_FUN Diatoms Enron ImCLEF07A ImCLEF07D derisi_GO eisen_GO}"
methods="${METHODS:-hlstm chmcnn hmcn-f hmc-lmlp chmc-lstm hmcn-r hmcn-chmc}"
for seed in "${@:-0}"; do
  for set in $sets; do # the names of the folders below hmc/
    [ -d "$HMC_DATA/hmc/$set" ] || continue
    for method in $methods; do
      folder="runs/$set/$method/seed-$seed"
      mkdir -p "${folder%/*}"
      exec 9>"$folder.lock"
      flock -n 9 || continue # another copy of this script is at it
      [ -f "$folder/results.json" ] && continue
      hlstm train --dataset "$set" --method "$method" --seed "$seed" --output-dir "$folder" --resume ${FLAGS:-}
    done
  done
done

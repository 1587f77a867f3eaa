#!/usr/bin/env bash
# The check that the loss, the data and the metric are those of C-HMCNN: its settings and protocol (train and
# validation rows together, batch 4, fixed number of epochs), three seeds, on four sets.
#
#   HMC_DATA=... packages/hlstm/recipes/chmcnn_anchor.sh
set -euo pipefail
: "${HMC_DATA:?set it to the folder that holds hmc/}"
for seed in 0 1 2; do
  for set in cellcycle_FUN derisi_FUN spo_FUN Enron; do
    folder="runs/$set/chmcnn-paper/seed-$seed"
    mkdir -p "${folder%/*}"
    exec 9>"$folder.lock"
    flock -n 9 || continue # another copy of this script is at it
    [ -f "$folder/results.json" ] && continue
    hlstm train --dataset "$set" --method chmcnn --protocol paper --seed "$seed" --output-dir "$folder" --resume
  done
done
hmc compare runs/*/chmcnn-paper

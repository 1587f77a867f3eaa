#!/usr/bin/env bash
# The paper's Table 4: three losses on the image sets that are below HMC_DATA, by the paper's protocol and with its
# settings. Finished runs are kept and interrupted ones go on; several copies share the work
# (recipes/each-gpu.sh).
#
#   HMC_DATA=... packages/mulsupcon-ld/recipes/table4.sh [more options of mulsupcon-ld train]
#
# DATASETS, SEEDS, LOSSES and RUNS, the folder of the runs, change what is done.
set -euo pipefail
: "${HMC_DATA:?set it to the folder that holds the sets}"
for seed in ${SEEDS:-0 1 2}; do
  for dataset in ${DATASETS:-voc2007 coco2014 mirflickr nuswide}; do
    for loss in ${LOSSES:-mulsupcon rld cld}; do
      folder="${RUNS:-runs}/$dataset/$loss-paper/seed-$seed"
      mkdir -p "${folder%/*}"
      exec 9>"$folder.lock"
      flock -n 9 || continue # another copy of this script is at it
      [ -f "$folder/results.json" ] && continue
      mulsupcon-ld train --dataset "$dataset" --loss "$loss" --seed "$seed" --output-dir "$folder" --resume \
        --protocol paper "$@"
    done
  done
done

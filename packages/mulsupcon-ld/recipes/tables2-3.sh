#!/bin/bash
# Tables 2 and 3 on Yeast and Scene: four losses, two protocols, and under the paper's the settings of the paper
# and our own. HMC_DATA is the folder of the data sets. Goes on where it was stopped; SEEDS and DATASETS choose.
#
#     HMC_DATA=data bash packages/mulsupcon-ld/recipes/tables2-3.sh
#     hmc compare runs/scene/* --metrics hamming_accuracy f1_example f1_micro f1_macro precision_at_1 map
set -eu
declare -A ours=(
  [yeast]="--batch-size 64 --queue-size 1024 --pretrain-epochs 60 --epochs 120 --restart 120"
  [scene]="--batch-size 64 --dropout 0.3 --finetune-mask 0.5 --pretrain-epochs 100 --epochs 100 --restart 100"
)
common="--pretrain-learning-rate 1e-3 --minimum-rate 0 --alpha 1 --beta 0.01"

run() { # folder, then the options
  folder=$1; shift
  [ -f "$folder/results.json" ] && return
  resume=""; [ -d "$folder" ] && resume=--resume
  mulsupcon-ld train --output-dir "$folder" $resume "$@"
}

for seed in ${SEEDS:-0 1 2}; do
  for dataset in ${DATASETS:-yeast scene}; do
    for loss in bce mulsupcon rld cld; do
      options="--dataset $dataset --loss $loss --seed $seed"
      run "runs/$dataset/$loss/seed-$seed" $options
      run "runs/$dataset/$loss-paper-ours/seed-$seed" $options --protocol paper $common ${ours[$dataset]}
      run "runs/$dataset/$loss-paper/seed-$seed" $options --protocol paper
    done
  done
done

#!/usr/bin/env bash
# The paper's tables and figures of the long-tailed setting, on the embedded digit-scenes or another set. MLS is
# left out of the losses: it is the same function as BCE. Finished runs are kept and interrupted ones go on;
# several copies share the work (recipes/each-gpu.sh).
#
#   packages/hp-dval/recipes/tables.sh                       (Tables I, III, V and CoOp of IV on digit-scenes)
#   DATASET=voc-lt HMC_DATA=... PARTS="losses components prompts alpha k length" packages/hp-dval/recipes/tables.sh \
#     --protocol paper
#
# PARTS: components (Tables I and V, with zero-shot CLIP and CoOp), losses (Table III, and CoOp with BCE of
# Table IV), prompts (Table VI), alpha and k (Figure 4), length (Figure 5). SEEDS, KS, LENGTHS and RUNS, the folder
# of the runs, change what is done; options are passed on.
set -euo pipefail
dataset=${DATASET:-digit-scenes}
ks="1 2 4 8 16 32 64 128" lengths="2 4 8 16 32 64"
case $dataset in # the tiny CLIP has 16 patches and room for 48 tokens
  digits | digit-scenes) ks="1 2 4 8 16" lengths="2 4 8 16 32" ;;
esac
train() { # label, options
  local folder="${RUNS:-runs}/$dataset/$1/seed-$seed"
  mkdir -p "${folder%/*}"
  exec 9>"$folder.lock"
  flock -n 9 || return 0 # another copy of this script is at it
  [ -f "$folder/results.json" ] && return
  hp-dval train --dataset "$dataset" --seed "$seed" --output-dir "$folder" --resume "${@:2}"
}
for seed in ${SEEDS:-0 1 2}; do
  for part in ${PARTS:-components losses}; do
    case $part in
      components) for method in zero-shot coop dval no-sc hp-dval joint; do train "$method" --method "$method" "$@"; done ;;
      losses)
        for loss in bce cb-focal asl db; do train "hp-dval-$loss" --loss "$loss" "$@"; done
        train coop-bce --method coop --loss bce "$@"
        ;;
      prompts) for views in global local; do train "hp-dval-$views" --prompts "$views" "$@"; done ;;
      alpha) for alpha in 0 0.2 0.4 0.6 0.8 1; do train "hp-dval-alpha-$alpha" --alpha "$alpha" "$@"; done ;;
      k) for k in ${KS:-$ks}; do train "hp-dval-k-$k" --k "$k" "$@"; done ;;
      length) for length in ${LENGTHS:-$lengths}; do train "hp-dval-length-$length" --prompt-length "$length" "$@"; done ;;
      *) echo "no such part: $part" >&2 && exit 2 ;;
    esac
  done
done

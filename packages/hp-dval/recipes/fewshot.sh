#!/usr/bin/env bash
# The paper's Table II: aligned on the base classes of VOC 2007 or COCO 2014, then the prompts tuned on each of the
# ten episodes with K images of every novel class. Finished runs are kept and interrupted ones go on; several
# copies share the episodes (recipes/each-gpu.sh) once the alignment is there.
#
#   HMC_DATA=... packages/hp-dval/recipes/fewshot.sh [more options of hp-dval train]
#
# SETS, SHOTS, SEED and RUNS, the folder of the runs, change what is done. There is nothing to choose epochs by in
# an episode: the paper's protocol keeps the last one.
set -euo pipefail
: "${HMC_DATA:?set it to the folder that holds the sets}"
runs=${RUNS:-runs}
train() { # folder, options; waits for another copy of this script if told so
  mkdir -p "${1%/*}"
  exec 9>"$1.lock"
  flock ${wait:---nonblock} 9 || return 0
  [ -f "$1/results.json" ] && return
  hp-dval train --output-dir "$1" --seed "${SEED:-0}" --resume --protocol paper "${@:2}"
}
for set in ${SETS:-voc2007 coco2014}; do
  config=$([ "$set" = voc2007 ] && echo voc-lt || echo coco-lt)
  base="$runs/$set-base/dval/seed-${SEED:-0}"
  wait=--exclusive train "$base" --config "$config" --dataset "$set-base" --method dval "$@"
  for shots in ${SHOTS:-1 5}; do
    for episode in 1 2 3 4 5 6 7 8 9 10; do
      name="$set-${shots}shot-$episode"
      train "$runs/$name/hp-dval/seed-${SEED:-0}" --config "$config" --dataset "$name" --aligned "$base/model" "$@"
    done
  done
done

#!/usr/bin/env bash
# Start a recipe once on every GPU of this machine, and wait for all. The copies share the work: each takes runs
# that no other copy is at, and leaves finished ones alone. Without a GPU it starts COPIES copies (default: 1).
#
#   recipes/each-gpu.sh packages/hp-dval/recipes/tables.sh [options of the recipe]
set -euo pipefail
: "${1:?name a recipe}"
gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true)
trap 'kill $(jobs -p) 2>/dev/null || true' INT TERM
if [ -n "$gpus" ]; then
  for gpu in $gpus; do CUDA_VISIBLE_DEVICES=$gpu "$@" & done
else
  for _ in $(seq "${COPIES:-1}"); do "$@" & done
fi
failed=0
for job in $(jobs -p); do wait "$job" || failed=1; done
exit "$failed"

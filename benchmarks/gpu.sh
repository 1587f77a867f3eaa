#!/usr/bin/env bash
# Every number that the documentation wants from a GPU, in one start of less than eight minutes:
#
#     benchmarks/gpu.sh [FOLDER]                   # default: benchmarks-gpu
#     DEVICE=cpu TINY=1 benchmarks/gpu.sh          # every step at tiny sizes, to see that it works
#
# A step's tables go to FOLDER/STEP.md and its messages to FOLDER/STEP.log. A second start goes on with the steps
# that have no .md yet. Exit code 1 if a step failed, ran out of time or was not reached; the last table says which.
#
# Nothing is downloaded. Data sets below HMC_DATA are used (cellcycle, derisi, delicious, cifar100); without them
# data of the same shape are made. The five packages should be installed, with pytest and hypothesis. Those that
# are not are taken from this tree; then what they need should be there: torch torchvision numpy pillow accelerate
# timm open_clip_torch scikit-learn scipy datasets networkx matplotlib huggingface_hub safetensors tyro pyyaml
# filelock jsonschema tqdm.
#
# TIME is the seconds for all steps, LIMIT_FACTOR multiplies the limit of each, PYTHON is the interpreter.
set -uo pipefail
device=${DEVICE:-cuda} tiny=${TINY:-}
out=$(realpath -m "${1:-benchmarks-gpu}")
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-python}
slow=1
[[ $device == cuda ]] || slow=6
factor=${LIMIT_FACTOR:-$slow}
end=$((SECONDS + ${TIME:-470 * slow}))
settings="$device${tiny:+ tiny}"
export PYTHONUNBUFFERED=1 HMC_TEST_DEVICE=$device
[[ $device == cuda ]] || export ACCELERATE_USE_CPU=true OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

if [[ $device == cuda ]] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "PyTorch sees no GPU. DEVICE=cpu TINY=1 $0 tries every step without one." >&2
    exit 2
fi
mkdir -p "$out" || exit 2
if [[ $(cat "$out/settings" 2>/dev/null || echo "$settings") != "$settings" ]]; then
    echo "$out holds results of: $(cat "$out/settings"). Name another folder." >&2
    exit 2
fi
echo "$settings" >"$out/settings"

# Folders of the packages that are not installed, whose entry points are written to FOLDER/site.
sources=$("$python" - "$out/site" <<'END'
import sys, tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

for file in [Path("shared/pyproject.toml"), *sorted(Path("packages").glob("*/pyproject.toml"))]:
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    name, version, points = project["name"], project["version"], project.get("entry-points", {})
    try:
        distribution(name)
    except PackageNotFoundError:
        info = Path(sys.argv[1]) / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        groups = [[f"[{group}]", *map(" = ".join, of.items())] for group, of in points.items()]
        (info / "entry_points.txt").write_text("\n".join(line for group in groups for line in group) + "\n")
        print(file.resolve().parent / "src", end=":")
END
) || exit 2
[[ -z $sources ]] || export PYTHONPATH="$sources$out/site${PYTHONPATH:+:$PYTHONPATH}"

table=() failed=0

# step NAME LIMIT COMMAND...: run it for LIMIT seconds at most, unless its result is there.
step() {
    local name=$1 limit=$(($2 * factor)) started=$SECONDS state code
    shift 2
    if [[ -f $out/$name.md ]]; then
        printf '\n## %s\n\n' "$name"
        cat "$out/$name.md"
        table+=("| $name | $(cat "$out/$name.seconds" 2>/dev/null) | done before |")
        return
    fi
    ((limit <= end - SECONDS)) || limit=$((end - SECONDS))
    if ((limit <= 5)); then
        failed=1
        table+=("| $name | | not reached: start again |")
        return
    fi
    printf '\n## %s\n\n' "$name"
    timeout --kill-after=10 "$limit" "$python" "$@" >"$out/$name.part" 2>"$out/$name.log"
    code=$?
    cat "$out/$name.part"
    if ((code == 0)); then
        state="done"
        echo $((SECONDS - started)) >"$out/$name.seconds"
        mv "$out/$name.part" "$out/$name.md"
    else
        failed=1
        state="failed ($code)"
        ((code != 124 && code != 137)) || state="out of time ($limit s)"
        state+=": $(cat "$out/$name.log" "$out/$name.part" | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-200)"
    fi
    table+=("| $name | $((SECONDS - started)) | $state |")
}

on=(--device "$device")
if [[ -n $tiny ]]; then
    made=(--classes 160)
    metrics=(--samples 40 --classes 30 --repeats 1)
    losses=(--queue 64 --rounds 1)
    training=("${made[@]}" --steps 2 --dense-steps 1 --rounds 1 --sets cellcycle_FUN)
    images=(--images 128 --batch 8 --steps 1 --rounds 1)
    mulsupcon=(--steps 1 --rounds 1)
    clip=(--clip tiny --student small --size 32 --rounds 1)
    cifar=(--encoder resnet8 --images 256 --seconds 1)
    compiled=() training_compiled=() images_compiled=()
else
    made=()
    metrics=()
    losses=()
    training=(--steps 200 --dense-steps 20 --sets cellcycle_GO cellcycle_FUN)
    images=(--batch 32 512)
    mulsupcon=()
    clip=(--rounds 20)
    cifar=(--seconds 100)
    compiled=(--compile) training_compiled=(--sets cellcycle_GO) images_compiled=(--images 5000 --batch 512)
fi
bf16=(--mixed-precision bf16)
tests=(-q -m cuda -W default -p no:cacheprovider shared/tests packages)

step tests 120 -m pytest "${tests[@]}"
step constraint 40 benchmarks/constraints.py "${on[@]}" "${made[@]}"
step metrics 40 benchmarks/metrics.py "${on[@]}" "${metrics[@]}"
step losses 40 benchmarks/mulsupcon_loss.py "${on[@]}" "${losses[@]}"
step hlstm 60 benchmarks/training.py "${on[@]}" "${training[@]}"
step hcal 60 benchmarks/hcal.py "${on[@]}" "${images[@]}"
step mulsupcon-ld 40 benchmarks/mulsupcon.py "${on[@]}" "${mulsupcon[@]}"
step hp-dval 60 benchmarks/hp_dval.py "${on[@]}" --alignment "${clip[@]}"
step hp-dval-bf16 60 benchmarks/hp_dval.py "${on[@]}" "${bf16[@]}" --alignment "${clip[@]}"
step cifar100 130 benchmarks/cifar.py "${bf16[@]}" "${cifar[@]}"
step hlstm-bf16 90 benchmarks/training.py "${on[@]}" "${bf16[@]}" "${compiled[@]}" "${training[@]}" "${training_compiled[@]}"
step mulsupcon-ld-bf16 90 benchmarks/mulsupcon.py "${on[@]}" "${bf16[@]}" "${compiled[@]}" "${mulsupcon[@]}"
step hcal-bf16 150 benchmarks/hcal.py "${on[@]}" "${bf16[@]}" "${compiled[@]}" "${images[@]}" "${images_compiled[@]}"

printf '\n## Steps (%s)\n\n| step | seconds | state |\n|---|---|---|\n' "$settings"
printf '%s\n' "${table[@]}"
exit $failed

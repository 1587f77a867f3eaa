"""Digests of small trainings of every method: proof that a change of structure changes no number.

    python benchmarks/digests.py write before.json     # on the old code
    python benchmarks/digests.py check before.json     # on the new code: names what differs, exit code 1

Each run takes a few epochs on embedded data, in one or two processes. The parameters of the saved model and
the scores, targets and ids of the test split are hashed apart, so that one may change without the other. The
same bits can be expected on one machine with the same versions only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors import safe_open

SCENES = ["--dataset", "digit-scenes"]
PAPER = ["--protocol", "paper"]
SMALL = ["--epochs", "2", "--workers", "0"]
RESNET = ["--encoder", "resnet8", "--width", "8"]
CONTRASTIVE = [*SMALL, "--pretrain-epochs", "2"]
ALIGN = [*SMALL, "--prompt-epochs", "2", *SCENES]

RUNS = {
    "hlstm": ("hlstm.train", ["--epochs", "3"]),
    "hlstm-scenes": ("hlstm.train", ["--epochs", "3", *SCENES]),
    "hlstm-paper": ("hlstm.train", ["--epochs", "2", *PAPER]),
    "chmcnn": ("hlstm.train", ["--epochs", "3", "--method", "chmcnn", "--weight-average", "0.9"]),
    "hmcn-f-scenes": ("hlstm.train", ["--epochs", "3", "--method", "hmcn-f", *SCENES]),
    "hcal": ("hcal.train", [*SMALL, *RESNET]),
    "hcal-path": ("hcal.train", [*SMALL, *RESNET, "--decode", "path"]),
    "hcal-paper": ("hcal.train", [*SMALL, *RESNET, *PAPER]),
    "hcal-mlp": ("hcal.train", [*SMALL, "--encoder", "mlp", "--config", "digits"]),
    "flat": ("hcal.train", [*SMALL, *RESNET, "--method", "flat"]),
    "mmoe": ("hcal.train", [*SMALL, *RESNET, "--method", "mmoe"]),
    "cld": ("mulsupcon_ld.train", CONTRASTIVE),
    "cld-paper": ("mulsupcon_ld.train", [*CONTRASTIVE, *PAPER]),
    "rld-scenes": ("mulsupcon_ld.train", [*CONTRASTIVE, *SCENES, *RESNET, "--loss", "rld"]),
    "bce-scenes": ("mulsupcon_ld.train", [*CONTRASTIVE, *SCENES, *RESNET, "--loss", "bce", "--no-coherent"]),
    "hp-dval": ("hp_dval.train", ALIGN),
    "hp-dval-paper": ("hp_dval.train", [*ALIGN, *PAPER]),
    "dval-asl": ("hp_dval.train", [*ALIGN, "--method", "dval", "--loss", "asl"]),
    "coop": ("hp_dval.train", [*ALIGN, "--method", "coop"]),
}
TWO_PROCESSES = ("hlstm", "hmcn-f-scenes", "hcal", "flat", "cld", "bce-scenes", "hp-dval", "coop")


def train(name: str, processes: int, folder: Path) -> dict[str, str]:
    """Train one run; its digests, or the last line of what it printed."""
    module, options = RUNS[name]
    output = folder / f"{name}-{processes}"
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [*start, module, *options, "--output-dir", str(output)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    return {"parameters": digest_of_parameters(output / "model"), **digest_of_predictions(output)}


def digest_of_parameters(model: Path) -> str:
    """Of all floating-point tensors but the statistics of the inputs and the calibration."""
    sha = sha256()
    with safe_open(model / "model.safetensors", "numpy") as file:
        for name in sorted(file.keys()):
            if not any(
                word in name for word in ("mean", "scale", "temperature", "calibration", "num_batches")
            ):
                sha.update(name.encode() + file.get_tensor(name).tobytes())
    return sha.hexdigest()[:16]


def digest_of_predictions(run: Path) -> dict[str, str]:
    with np.load(run / "predictions.npz", allow_pickle=False) as arrays:
        return {
            name: sha256(arrays[name].tobytes()).hexdigest()[:16] for name in ("scores", "targets", "ids")
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("write", "check"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=list(RUNS), help="runs; default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    jobs = [(name, 1) for name in arguments.only]
    jobs += [(name, 2) for name in TWO_PROCESSES if name in arguments.only]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(lambda job: train(*job, Path(folder)), jobs))
    after = {
        f"{name}, {processes} processes": result
        for (name, processes), result in zip(jobs, results, strict=True)
    }
    if arguments.task == "write":
        arguments.file.write_text(json.dumps(after, indent=2) + "\n", encoding="utf-8")
        return
    before = json.loads(arguments.file.read_text(encoding="utf-8"))
    differences = 0
    for run, digests in after.items():
        wrong = [what for what, value in digests.items() if before.get(run, {}).get(what) != value]
        differences += bool(wrong)
        shown = digests.get("failed") or (f"differs in {', '.join(wrong)}" if wrong else "the same")
        print(f"{run:32} {shown}")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()

"""How many files a batch crosses, from parsed options to `results.json`, in each method.

    python benchmarks/walk.py

Trains a little on `digits` and counts the source files of hmc_shared and of the method's package in which a
function is entered. What runs while a module is imported does not count.
"""

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import FrameType

# This folder last: there, files hide the packages of the same names.
sys.path.sort(key=lambda folder: Path(folder) == Path(__file__).parent)

RUNS: dict[str, dict[str, object]] = {
    "hlstm": {"epochs": 1, "hidden_size": 16},
    "hcal": {"epochs": 1, "encoder": "resnet8", "width": 4},
    "mulsupcon_ld": {"pretrain_epochs": 1, "epochs": 1, "encoder": "resnet8", "width": 4},
    "hp_dval": {"epochs": 1, "prompt_epochs": 1, "dataset": "digits", "student": "small", "k": 2},
}


def files_of(package: str, options: dict[str, object]) -> set[str]:
    """The files crossed by one training, below the folder of their package."""
    crossed: set[str] = set()

    def enter(frame: FrameType, event: str, argument: object) -> None:
        name = frame.f_code.co_filename
        for part in (f"/{package}/", "/hmc_shared/"):
            if event == "call" and part in name and not is_import(frame):
                crossed.add(part.strip("/") + "/" + name.rpartition(part)[2])

    config_type = import_module(f"{package}.config").Config
    train = import_module(f"{package}.train").train
    with tempfile.TemporaryDirectory() as folder:
        config = config_type(output_dir=f"{folder}/run", **options)
        sys.setprofile(enter)
        try:
            train(config)
        finally:
            sys.setprofile(None)
    return crossed


def is_import(frame: FrameType | None) -> bool:
    """Whether Python's import is among the callers."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    for package, options in RUNS.items():
        crossed = sorted(files_of(package, options))
        print(f"{package}: {len(crossed)} files\n  " + "\n  ".join(crossed))

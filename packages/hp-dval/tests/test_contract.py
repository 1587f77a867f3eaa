"""What every method keeps: run folder, resuming, model, export, commands."""

from pathlib import Path

from hmc_shared.testing import MethodContract
from hp_dval.config import Config


class TestContract(MethodContract):
    package = "hp_dval"
    view = "image"

    @classmethod
    def config(cls, folder: Path, **options: object) -> Config:
        small = {
            "dataset": "digits",
            "student": "small",
            "width": 16,
            "layers": 1,
            "heads": 2,
            "k": 2,
            "checkpoint_every": 1,
            "accumulate": 2,
            "freeze": "stages:1",
            "layer_decay": 0.7,
        }
        return Config(output_dir=str(folder), **{"epochs": 2, "prompt_epochs": 1, **small, **options})

"""What every method keeps: run folder, resuming, model, export, commands."""

from pathlib import Path

from hcal.config import Config
from hmc_shared.testing import MethodContract


class TestContract(MethodContract):
    package = "hcal"
    view = "image"

    @classmethod
    def config(cls, folder: Path, **options: object) -> Config:
        small = {"epochs": 3, "encoder": "resnet8", "width": 4, "dim": 16, "checkpoint_every": 1}
        tuning = {"freeze": "stages:1", "layer_decay": 0.7, "accumulate": 2, "sampling": "class-aware"}
        return Config(output_dir=str(folder), **small | tuning | options)

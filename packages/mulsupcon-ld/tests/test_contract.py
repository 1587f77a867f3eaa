"""What every method keeps: run folder, resuming, model, export, commands."""

from pathlib import Path

from hmc_shared.testing import MethodContract
from mulsupcon_ld.config import Config


class TestContract(MethodContract):
    package = "mulsupcon_ld"

    @classmethod
    def config(cls, folder: Path, **options: object) -> Config:
        small = {"pretrain_epochs": 2, "epochs": 2, "width": 16, "dim": 8, "checkpoint_every": 1}
        tuning = {"freeze": "all", "accumulate": 2, "warmup_epochs": 1.0, "sampling": "class-aware"}
        return Config(output_dir=str(folder), **small | tuning | options)

"""What every method keeps: run folder, resuming, model, export, commands."""

from pathlib import Path

from hlstm.config import Config
from hmc_shared.testing import MethodContract


class TestContract(MethodContract):
    package = "hlstm"

    @classmethod
    def config(cls, folder: Path, **options: object) -> Config:
        small = {"epochs": 3, "hidden_size": 16, "num_layers": 1, "checkpoint_every": 1}
        return Config(output_dir=str(folder), **small | options)


class TestContractOfMembers(MethodContract):
    package = "hlstm"

    @classmethod
    def config(cls, folder: Path, **options: object) -> Config:
        small = {"epochs": 3, "hidden_size": 8, "members": 2, "method": "hmcn-f", "checkpoint_every": 1}
        return Config(output_dir=str(folder), **small | options)

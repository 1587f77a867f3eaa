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


class OfBaseline(MethodContract):
    """What a network of its own must keep; what is of the package is asked above."""

    package = "mulsupcon_ld"
    loss: str
    test_help_and_version_import_no_torch = None  # type: ignore[assignment]
    test_shipped_plans_are_what_the_commands_take = None  # type: ignore[assignment]
    test_the_spaces_of_a_search_fit_every_configuration = None  # type: ignore[assignment]

    @classmethod
    def config(cls, folder: Path, **options: object) -> Config:
        small = {"epochs": 3, "width": 16, "dim": 8, "latent": 4, "samples": 5, "checkpoint_every": 1}
        return Config(output_dir=str(folder), loss=cls.loss, **small | options)


class TestContractOfLaMP(OfBaseline):
    loss = "lamp"


class TestContractOfMPVAE(OfBaseline):
    loss = "mpvae"


class TestContractOfCGMVAE(OfBaseline):
    loss = "c-gmvae"

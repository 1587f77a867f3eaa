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


class TestContractOfPrototypes(TestContract):
    """A method without an epoch: what is about steps and checkpoints has nothing to look at."""

    test_a_trial_leaves_the_test_split_alone_and_may_become_a_run = None
    test_a_killed_run_comes_back_with_the_same_bits_on_a_gpu_almost = None
    test_a_run_stopped_within_an_epoch_comes_back_with_the_same_bits = None
    test_a_damaged_checkpoint_is_refused_by_the_name_of_its_file = None
    test_the_same_seed_gives_the_same_bits_and_another_others = None  # nothing is random

    @classmethod
    def config(cls, folder: Path, **options: object) -> Config:
        return Config(output_dir=str(folder), dataset="digits", **{"method": "prototypes", **options})

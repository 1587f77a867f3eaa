"""The options that all trainers share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import pytest

from hmc_shared.cli.parse import GROUPS
from hmc_shared.cli.train_options import (
    DataOptions,
    EncoderOptions,
    FeatureOptions,
    ImageOptions,
    OptimisationOptions,
    RunOptions,
    TrainOptions,
)


@dataclass(frozen=True)
class Toy(EncoderOptions, ImageOptions, FeatureOptions, TrainOptions):
    package: ClassVar[str] = "toy"

    @property
    def label(self) -> str:
        return "toy"


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ({}, "runs/digits/toy/seed-0"),
        ({"protocol": "paper", "seed": 3, "dataset": "yeast"}, "runs/yeast/toy-paper/seed-3"),
        ({"dataset": "folder:pictures"}, "runs/folder-pictures/toy/seed-0"),
        ({"dataset": "folder:../v1.5/"}, "runs/folder-v1.5/toy/seed-0"),
        ({"dataset": "table:../../plants.csv"}, "runs/table-plants/toy/seed-0"),
        ({"dataset": "Table:/data/plants.v2.parquet"}, "runs/table-plants.v2/toy/seed-0"),
        ({"dataset": "hf:owner/name"}, "runs/hf-name/toy/seed-0"),
        ({"output_dir": "elsewhere", "seed": 3}, "elsewhere"),
    ],
)
def test_the_run_folder_says_what_is_in_it(options, folder):
    assert Toy(**options).run_folder == Path(folder)


def test_an_mlp_takes_what_a_data_set_is_by_itself():
    assert Toy(encoder="resnet8").view == "image"
    assert Toy(encoder="mlp").view is None


def test_a_trainer_has_a_name():
    with pytest.raises(NotImplementedError):
        _ = TrainOptions().label


def test_every_group_has_a_title_and_no_option_is_in_two():
    groups = (DataOptions, ImageOptions, EncoderOptions, OptimisationOptions, RunOptions)
    assert {group.title for group in groups} <= set(GROUPS)
    names = [field.name for group in groups for field in fields(group)]
    assert len(set(names)) == len(names)
    of_columns = {"features", "drop", "categorical", "evidence"}
    assert {field.name for field in fields(Toy)} == {*names} | of_columns
    columns = {"levels": None, "features": [], "drop": ["x"], "categorical": [], "evidence": []}
    columns |= {"uncertain": "refuse", "blank": "refuse", "window": None}
    assert Toy(drop=["x"]).reading == columns | {"on_error": "refuse", "workers": 2, "set_aside": 0.0}
    assert DataOptions(levels="a").reading == {"levels": "a"}

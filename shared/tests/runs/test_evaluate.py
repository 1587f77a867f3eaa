"""The data set of a run, and the metrics of a split."""

import json
import math

import pytest
import torch

from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.metrics import f1_micro
from hmc_shared.runs.evaluate import dataset_of_run, split_metrics
from hmc_shared.runs.folder import RunFolder


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_the_metrics_are_those_that_a_run_stores(digits, tmp_path):
    scores = torch.randn(len(digits.test), len(digits.hierarchy), generator=torch.Generator().manual_seed(0))
    how = {"method": "m", "protocol": "default", "seed": 0, "config": {}, "parameters": 1, "seconds": {}}
    stored = RunFolder(tmp_path / "run").finish(
        digits, scores, threshold=0.3, device=torch.device("cpu"), **how
    )
    found = split_metrics(digits, "test", scores, 0.3)
    assert found == stored["metrics"]
    assert found["test/f1_micro"] == f1_micro(scores >= 0.3, digits.test.targets)


def test_undefined_metrics_are_null(digits):
    nothing = torch.zeros(len(digits.validation), len(digits.hierarchy))
    found = split_metrics(digits, "validation", nothing, threshold=1.0)
    assert found["validation/hierarchical_precision"] is None
    assert not any(value is not None and math.isnan(value) for value in found.values())
    json.dumps(found, allow_nan=False)


def test_the_data_set_of_a_run_or_another(digits):
    options = {"dataset": "digits", "data_dir": None}
    same = dataset_of_run("run", options, digits.hierarchy, (64,), view="vector")
    assert same.checksum == digits.checksum
    image = dataset_of_run("run", options, digits.hierarchy, (1, 8, 8), view="image")
    assert image.kind == "image"
    named = dataset_of_run("run", {}, digits.hierarchy, (64,), name="digits")
    assert named.checksum == digits.checksum


def test_what_does_not_fit_a_run_is_refused(digits):
    with pytest.raises(ValueError, match=r"^run is not a run folder, so `--dataset` is needed"):
        dataset_of_run("run", {}, digits.hierarchy, (64,))
    options = {"dataset": "digits"}
    with pytest.raises(ValueError, match=r"^run was trained on another hierarchy than that of 'digits'"):
        dataset_of_run("run", options, Hierarchy.from_paths(["a/b"]), (64,))
    with pytest.raises(ValueError, match=r"takes inputs of shape \(8,\). Found \(64,\) in 'digits'"):
        dataset_of_run("run", options, digits.hierarchy, (8,))

"""The acceptance tests of a method, run on one that lives outside the repository; and the ways into `hmc`."""

import json
import subprocess
import sys
from pathlib import Path

from toy_method.config import Config

from hmc_shared import load_model
from hmc_shared.compare.comparison import compare
from hmc_shared.data import load_dataset
from hmc_shared.data.presence import available
from hmc_shared.study.plan import read_plan
from hmc_shared.testing import MethodContract


class TestContract(MethodContract):
    package = "toy_method"

    @classmethod
    def config(cls, folder: Path, **options: object) -> Config:
        return Config(output_dir=str(folder), **{"epochs": 3, "checkpoint_every": 1, **options})


def test_a_data_set_is_found_by_its_entry_point():
    assert load_dataset("Toy-Stripes").num_features == 8
    assert ("toy-stripes", "added", "built in") in available()


def test_trains_compares_and_predicts_by_its_commands(tmp_path):
    command = [sys.executable, "-m", "toy_method"]
    words = ["train", "--dataset", "toy-stripes", "--output-dir", str(tmp_path / "run")]
    subprocess.run([*command, *words], check=True, cwd=tmp_path)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["config"]["epochs"] == 20  # of the shipped configuration
    assert results["command"].startswith("python -m toy_method train")
    (table,) = compare([tmp_path]).tables
    assert [row.label for row in table.rows] == ["toy-linear"]
    assert table.rows[0].metric("au_prc").mean > 0.9
    assert type(load_model(tmp_path / "run")).__name__ == "Linear"


def test_the_demo_trains_it_too(monkeypatch):
    monkeypatch.setenv("PATH", "")  # programs of other environments
    plan = read_plan("demo")
    assert "toy-linear" in {run.label for run in plan.runs}
    assert "hlstm" in plan.missing

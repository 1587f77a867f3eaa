"""Studies of this package: two processes, and the plan `best` on data of one's own folder."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hmc_shared.runs.read import load_run
from hmc_shared.study.plan import Overrides, read_plan


@pytest.mark.distributed
def test_a_run_of_two_processes_is_a_run_of_a_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    (tmp_path / "plan.yaml").write_text(
        "datasets: [digits]\noptions: {epochs: 2, hidden_size: 8, batch_size: 256}\n"
        "methods: {two: {command: hlstm train --method chmcnn, processes: 2}}\n"
    )
    words = [sys.executable, "-m", "hmc_shared", "study", "run", "plan.yaml", "--jobs", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[1/1] digits/two/seed-0: done in" in done.stderr
    run = load_run(tmp_path / "runs/plan/digits/two/seed-0")
    assert run.results["processes"] == 2
    assert run.results["launcher"] == "torchrun --standalone --nproc_per_node=2"
    assert len((run.path / "metrics.jsonl").read_text().splitlines()) == 2
    assert not (run.path / "checkpoints" / "partial").exists()


def test_the_plan_best_takes_a_folder_of_data(tmp_path):
    """`hmc study run best --dataset X --data-dir D`: every training gets the folder, the mix has none."""
    options = {"data_dir": str(tmp_path), "epochs": 3}
    *trained, mix = read_plan("best", Overrides(("yeast_FUN",), options=options)).runs
    assert all({"--data-dir", str(tmp_path), "--epochs"} < set(run.words) for run in trained)
    assert len(trained) == 5
    assert mix.words[:2] == ("hmc", "blend")
    assert not {"--data-dir", "--epochs"} & set(mix.words)
    with pytest.raises(ValueError, match="`--set depth`: `hlstm train` has no option 'depth'"):
        read_plan("best", Overrides(("yeast_FUN",), options={"depth": 3}))

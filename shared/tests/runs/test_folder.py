"""The run folder: who may write where, what a resumed run may change, and what a finished one leaves."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.metadata import version

import numpy as np
import pytest
import torch

from hmc_shared.constraints import max_over_descendants
from hmc_shared.data import load_dataset
from hmc_shared.metrics import f1_micro
from hmc_shared.metrics.calibration import expected_calibration_error
from hmc_shared.predict.decision import Decision
from hmc_shared.runs.folder import Results, RunFolder, peak_memory_mib, processor
from hmc_shared.runs.read import SCHEMA, load_run
from hmc_shared.runs.samples import Samples

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def scores(digits):
    """Coherent scores of the test split, of which there are too many above 0."""
    noise = torch.randn(len(digits.test), len(digits.hierarchy), generator=torch.Generator().manual_seed(0))
    return max_over_descendants(3 * digits.test.targets.float() + noise, digits.hierarchy)


class TestOpen:
    def test_an_occupied_folder_is_kept_unless_it_is_a_run(self, tmp_path):
        (tmp_path / "mine.txt").write_text("precious")
        with pytest.raises(ValueError, match="is not empty: pass --resume to go on there, or --overwrite"):
            RunFolder(tmp_path)
        with pytest.raises(ValueError, match="holds no run"):
            RunFolder(tmp_path, overwrite=True)
        assert (tmp_path / "mine.txt").read_text() == "precious"
        (tmp_path / "config.yaml").touch()
        RunFolder(tmp_path, resume=True)
        assert (tmp_path / "mine.txt").exists()
        folder = RunFolder(tmp_path, overwrite=True)
        assert (tmp_path / "mine.txt").exists()  # until data and options are right
        folder.write_config("seed: 0\n")
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.yaml"}
        folder.write("results.json", b"{}")
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match=r"`--output-dir` should be a folder\. Found the file"):
            RunFolder(tmp_path / "file")

    def test_the_first_process_makes_the_folder_and_the_others_find_it(
        self, toy_options, one_process, tmp_path
    ):
        config = toy_options(output_dir=str(tmp_path / "run"))
        first, second = one_process(), one_process(rank=1)
        RunFolder.open(config, first).write_config("seed: 0\n")
        assert RunFolder.open(config, second).path == tmp_path / "run"
        assert first.entered == second.entered == 1
        with pytest.raises(ValueError, match="is not empty"):
            RunFolder.open(config, one_process())
        RunFolder.open(replace(config, overwrite=True), second)  # what is there is of the first process
        assert (tmp_path / "run" / "config.yaml").exists()

    def test_a_resumed_run_keeps_its_options_but_the_free_ones(self, toy_options, one_process, tmp_path):
        config = toy_options(output_dir=str(tmp_path), rate=0.5)
        folder = RunFolder(tmp_path)
        folder.write_config("rate: 0.5\nthreads: 1\nold_option: 3\nworkers: 9\n")
        RunFolder.open(replace(config, resume=True, threads=7, data_dir="/elsewhere"), one_process())
        with pytest.raises(ValueError, match=r"`rate` is 0\.5 there\. Found 0\.25\."):
            RunFolder.open(replace(config, resume=True, rate=0.25), one_process())

    def test_nothing_to_resume_is_fine_but_not_something_else(self, toy_options, one_process, tmp_path):
        config = toy_options(output_dir=str(tmp_path / "new"), resume=True)
        assert RunFolder.open(config, one_process()).path.is_dir()
        (tmp_path / "new" / "mine.txt").touch()
        with pytest.raises(ValueError, match="`--resume` will not write there"):
            RunFolder.open(config, one_process())


def test_the_log_has_null_where_a_number_is_undefined(tmp_path):
    folder = RunFolder(tmp_path)
    folder.log_epoch({"epoch": 0, "loss": 0.5, "map": math.nan})
    folder.log_epoch({"epoch": 1, "loss": 0.25})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"epoch": 0, "loss": 0.5, "map": None}
    folder.forget_epochs_from(1)
    assert (tmp_path / "metrics.jsonl").read_text() == lines[0] + "\n"


class TestFinish:
    @pytest.fixture
    def finish(self, digits, scores, toy_options, tmp_path):
        """Finish a run of the toy; ``threshold`` is that of its saved model."""

        def finish(threshold: float | None = None, **more):
            folder = RunFolder(tmp_path / "run")
            folder.model.mkdir()
            Decision(threshold, digits.is_single_path).save(folder.model)
            how = {"config": toy_options(seed=3), "parameters": 12, "seconds": {"train": 1.5}, "device": CPU}
            return folder, folder.finish(digits, scores, **(how | more))

        return finish

    def test_results_say_what_was_done_with_what(self, finish, digits, toy_options):
        folder, results = finish(0.25, processes=2, extra={"epochs": 7})
        assert json.loads((folder.path / "results.json").read_text()) == results
        assert results.keys() == {*Results.__annotations__, "epochs"}
        assert (results["schema"], results["method"], results["protocol"]) == (SCHEMA, "toy", "default")
        assert (results["seed"], results["parameters"], results["processes"]) == (3, 12, 2)
        assert (results["epochs"], results["decision"]) == (7, "model/decision.json")
        assert results["package"] == "pytest"
        assert results["versions"]["pytest"] == version("pytest")
        assert {"python", "hmc-shared", "torch", "numpy"} <= results["versions"].keys()
        assert results["dataset"] == {
            "name": "digits",
            "checksum": digits.checksum,
            "sizes": {name: len(split) for name, split in digits.splits.items()},
        }
        assert results["config"] == asdict(toy_options(seed=3))
        assert results["command"] is None  # this process is pytest's
        assert results["launcher"] is None
        assert results["device"] == processor()

    def test_the_threshold_is_that_of_the_saved_model(self, finish, digits, scores):
        folder, results = finish(0.25)
        assert results["metrics"] == Samples.of_split(digits, "test").metrics(scores, 0.25)
        assert results["metrics"]["test/f1_micro"] == f1_micro(scores >= 0.25, digits.test.targets)
        assert load_run(folder.path).threshold == 0.25

    def test_without_one_it_is_0(self, finish, digits, scores):
        folder, results = finish()
        assert results["decision"] is None
        assert results["metrics"] == Samples.of_split(digits, "test").metrics(scores)
        (folder.model / "decision.json").unlink()  # it is not needed
        assert load_run(folder.path).threshold == 0

    def test_predictions_come_back_bit_for_bit(self, finish, digits, scores):
        probabilities = (scores / 3 - 1).sigmoid()
        folder, results = finish(probabilities=probabilities)
        run = load_run(folder.path)
        with np.load(folder.path / "predictions.npz") as archive:
            assert set(archive.files) == {
                *("scores", "probabilities", "targets", "ids", "evaluated", "train_counts"),
                "information",
            }
        np.testing.assert_array_equal(run.scores, scores)
        np.testing.assert_array_equal(run.probabilities, probabilities)
        np.testing.assert_array_equal(run.uncalibrated, scores.sigmoid())
        np.testing.assert_array_equal(run.targets, digits.test.targets)
        np.testing.assert_array_equal(run.train_counts, digits.train_counts)
        np.testing.assert_array_equal(run.information, digits.information)
        assert tuple(run.ids.tolist()) == digits.test.ids
        assert run.hierarchy == digits.hierarchy
        targets = digits.test.targets.numpy()
        expected = expected_calibration_error(probabilities.numpy(), targets, digits.hierarchy)
        assert results["calibration_error"] == pytest.approx(expected)

    def test_probabilities_are_by_default_the_sigmoid(self, finish, digits, scores):
        folder, results = finish()
        np.testing.assert_array_equal(load_run(folder.path).probabilities, scores.sigmoid())
        targets = digits.test.targets.numpy()
        expected = expected_calibration_error(scores.sigmoid().numpy(), targets, digits.hierarchy)
        assert results["calibration_error"] == pytest.approx(expected)

    def test_results_are_written_last_and_all_files_are_whole(self, finish):
        folder, _ = finish()
        times = {path.name: path.stat().st_mtime_ns for path in folder.path.iterdir() if path.is_file()}
        assert times.keys() == {".lock", "predictions.npz", "hierarchy.json", "results.json"}
        assert max(times, key=times.__getitem__) == "results.json"

    def test_without_labels_the_error_is_null(self, digits, scores, toy_options, tmp_path):
        unlabelled = replace(digits.test, targets=torch.zeros_like(digits.test.targets))
        nothing = replace(digits, test=unlabelled, evaluated=torch.zeros_like(digits.evaluated))
        folder = RunFolder(tmp_path)
        results = folder.finish(nothing, scores, config=toy_options(), parameters=1, seconds={}, device=CPU)
        assert results["calibration_error"] is None
        assert "NaN" not in (tmp_path / "results.json").read_text()


def test_undefined_metrics_are_null(digits):
    nothing = torch.zeros(len(digits.validation), len(digits.hierarchy))
    metrics = Samples.of_split(digits, "validation").metrics(nothing, 1.0, "validation")
    assert metrics["validation/hierarchical_precision"] is None
    assert not any(value is not None and math.isnan(value) for value in metrics.values())
    json.dumps(metrics, allow_nan=False)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell")
def test_the_peak_of_memory_is_that_of_the_process():
    before = peak_memory_mib(CPU)
    block = torch.ones(30 * 2**20 // 4)  # 30 MiB
    assert before is not None
    assert before > 50
    assert peak_memory_mib(CPU) >= before
    del block


HOLDER = """
import sys
from hmc_shared.runs.folder import RunFolder
folder = RunFolder(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_folder_that_another_process_writes_is_refused(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    for options in ({}, {"resume": True}, {"overwrite": True}):
        if options:
            (tmp_path / "run" / "config.yaml").touch()
        with pytest.raises(ValueError, match="run is in use: another process is writing a run there"):
            RunFolder(tmp_path / "run", **options)
    holder.kill()  # the lock goes with the process, however it ends
    holder.communicate()
    RunFolder(tmp_path / "run", resume=True)


def test_what_a_run_leaves_that_was_killed_before_it_began_is_in_nobodys_way(tmp_path):
    for name in (".lock", "config.yaml.partial"):
        (tmp_path / name).write_text("half")
    (tmp_path / "checkpoints" / "partial").mkdir(parents=True)
    RunFolder(tmp_path).write_config("seed: 0\n")
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.yaml"}

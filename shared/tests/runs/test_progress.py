"""Which epoch is kept, where a run goes on, and what the training loops do alike."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
import yaml

from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.progress import (
    Progress,
    agreed,
    check_finite,
    epoch_bar,
    last_checkpoint,
    resume,
    save_checkpoint,
    show,
)


class TestBestEpoch:
    def test_the_last_of_the_best_is_kept_and_the_first_counts_for_patience(self):
        progress, model = Progress(), torch.nn.Linear(1, 1)
        for epoch, score in enumerate([0.5, 0.7, 0.7, 0.6], start=1):
            progress.epoch = epoch
            torch.nn.init.constant_(model.weight, epoch)
            progress.keep_if_best(score, model)
        assert (progress.best_score, progress.best_epoch, progress.improved_epoch) == (0.7, 3, 2)
        assert progress.is_stale(2)
        assert not progress.is_stale(3)
        assert progress.summary() == {"epochs": 4, "best_epoch": 3, "validation": 0.7}
        progress.restore_best(model)
        assert model.weight.item() == 3

    def test_a_score_that_is_no_number_changes_nothing(self):
        progress, model = Progress(), torch.nn.Linear(1, 1)
        for epoch in (1, 2, 3):
            progress.epoch = epoch
            torch.nn.init.constant_(model.weight, epoch)
            progress.keep_if_best(float("nan"), model)
        assert progress.summary() == {"epochs": 3, "best_epoch": None, "validation": None}
        assert not progress.is_stale(1)
        progress.restore_best(model)
        assert model.weight.item() == 3

    def test_its_state_is_all_of_it(self):
        progress, again, model = Progress(), Progress(), torch.nn.Linear(1, 1)
        progress.epoch, progress.train_seconds = 4, 2.5
        progress.keep_if_best(0.5, model)
        again.load_state_dict(progress.state_dict())
        assert vars(again) == vars(progress)


class TestCheckpoints:
    def test_the_last_one_is_whole_and_the_only_one(self, one_process, tmp_path):
        process = one_process()
        assert last_checkpoint(tmp_path / "none") is None
        for epoch in (5, 9, 10, 100):
            process.progress.epoch = epoch
            save_checkpoint(process, tmp_path, epoch)
            assert [path.name for path in tmp_path.iterdir()] == [f"epoch-{epoch:05d}"]
        written = (last_checkpoint(tmp_path) / "state").stat().st_mtime_ns
        save_checkpoint(process, tmp_path, 100)
        assert (last_checkpoint(tmp_path) / "state").stat().st_mtime_ns == written

    def test_what_was_being_written_is_no_checkpoint(self, one_process, tmp_path):
        save_checkpoint(one_process(), tmp_path, 5)
        (tmp_path / "partial").mkdir()
        assert last_checkpoint(tmp_path) == tmp_path / "epoch-00005"

    @pytest.fixture
    def killed(self, toy_options, one_process, tmp_path):
        """A run whose last checkpoint is of epoch 2, and whose log has an epoch and a half more."""
        folder = RunFolder(tmp_path / "run")
        process = one_process()
        resume(process, folder, toy_options(output_dir=str(tmp_path / "run")), process.progress)
        for epoch in range(3):
            folder.log_epoch({"epoch": epoch, "loss": 1 / (epoch + 1)})
        with (folder.path / "metrics.jsonl").open("a") as log:
            log.write('{"epoch": 3, "lo')
        process.progress.epoch, process.progress.train_seconds = 2, 1.5
        save_checkpoint(process, folder.checkpoints, 2)
        (folder.path / "results.json").write_text("{}")
        return folder

    @staticmethod
    def epochs(folder: RunFolder) -> list[int]:
        return [
            json.loads(line)["epoch"] for line in (folder.path / "metrics.jsonl").read_text().splitlines()
        ]

    def test_a_run_goes_on_from_its_last_checkpoint(self, killed, toy_options, one_process):
        process = one_process()
        config = toy_options(output_dir=str(killed.path), resume=True, threads=3)
        resume(process, killed, config, process.progress)
        assert (process.progress.epoch, process.progress.train_seconds) == (2, 1.5)
        assert self.epochs(killed) == [0, 1]
        assert yaml.safe_load((killed.path / "config.yaml").read_text())["threads"] == 3
        assert not (killed.path / "results.json").exists()

    def test_without_resume_it_begins(self, killed, toy_options, one_process):
        process = one_process()
        resume(process, killed, toy_options(output_dir=str(killed.path)), process.progress)
        assert process.progress.epoch == 0
        assert self.epochs(killed) == []

    def test_the_other_processes_only_read(self, killed, toy_options, one_process):
        before = {path: path.stat().st_mtime_ns for path in killed.path.iterdir()}
        process = one_process(rank=1)
        config = toy_options(output_dir=str(killed.path), resume=True, threads=3)
        resume(process, killed, config, process.progress)
        assert process.progress.epoch == 2
        assert {path: path.stat().st_mtime_ns for path in killed.path.iterdir()} == before

    def test_resume_without_a_checkpoint_begins(self, toy_options, one_process, tmp_path):
        process = one_process()
        folder = RunFolder(tmp_path)
        resume(process, folder, toy_options(resume=True), process.progress)
        assert process.progress.epoch == 0
        assert (tmp_path / "config.yaml").is_file()


class TestLosses:
    def test_finite_ones_pass(self, tmp_path):
        check_finite(torch.tensor([0.0, -1.0, 1e30]), Progress(), RunFolder(tmp_path))
        check_finite(torch.zeros(0), Progress(), RunFolder(tmp_path))

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
    def test_the_first_that_is_not_finite_is_named_with_the_last_checkpoint(
        self, one_process, tmp_path, value
    ):
        progress, folder = Progress(), RunFolder(tmp_path)
        progress.epoch = 6
        losses = torch.tensor([1.0, 2.0, float(value), float("nan")])
        message = rf"loss is {value} in epoch 7, step 3; the last checkpoint is "
        with pytest.raises(FloatingPointError, match=message + r"none\.$"):
            check_finite(losses, progress, folder)
        save_checkpoint(one_process(), folder.checkpoints, 5)
        with pytest.raises(FloatingPointError, match=message + r".*checkpoints.epoch-00005\.$"):
            check_finite(losses, progress, folder)


@pytest.mark.parametrize("value", [0.1 + 1e-16, torch.tensor(0.25), torch.tensor([[0.5]])])
def test_all_processes_take_the_figure_of_the_first(one_process, value):
    figure = agreed(value, one_process(rank=1))
    assert type(figure) is float
    assert figure == 0.1  # not of float32


def test_a_bar_moves_by_epochs_and_shows_what_a_record_has(one_process, capsys):
    progress = Progress()
    progress.epoch = 3
    with epoch_bar(one_process(), 10, progress, "toy") as bar:
        assert (bar.n, bar.total, bar.disable) == (3, 10, False)
        show(bar, {"epoch": 3, "loss": 0.123456, "rate": 1.0}, "loss", "validation")
        assert (bar.n, bar.postfix) == (4, "loss=0.1235")
    out, err = capsys.readouterr()
    assert out == ""
    assert "toy" in err


def test_other_processes_show_no_bar(one_process, capsys):
    with epoch_bar(one_process(rank=1), 10, Progress(), "toy") as bar:
        show(bar, {"loss": 1.0}, "loss")
    assert capsys.readouterr() == ("", "")


def test_a_real_accelerator_does_all_of_it(toy_options, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    config = SimpleNamespace(accelerator=accelerate.Accelerator(cpu=True), progress=Progress())
    config.accelerator.register_for_checkpointing(config.progress)
    folder = RunFolder.open(toy_options(output_dir=str(tmp_path / "run")), config.accelerator)
    config.progress.epoch = 4
    assert agreed(0.1, config.accelerator) == 0.1
    folder.write_config("seed: 0\n")
    save_checkpoint(config.accelerator, folder.checkpoints, 4)
    config.progress.epoch = 0
    again = toy_options(output_dir=str(tmp_path / "run"), resume=True)
    resume(config.accelerator, RunFolder.open(again, config.accelerator), again, config.progress)
    assert config.progress.epoch == 4

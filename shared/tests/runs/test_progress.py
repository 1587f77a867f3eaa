"""Which epoch is kept, and what the training loops do alike."""

from __future__ import annotations

import re
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.progress import (
    Progress,
    Rehearsed,
    agreed,
    check_finite,
    epoch_bar,
    mean_loss,
    show,
    take_step,
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
        assert again.state_dict() == progress.state_dict()

    def test_names_of_places_are_in_the_order_of_time(self):
        progress, places = Progress(), []
        for progress.epoch in (0, 1, 2, 99):
            for progress.step_losses in ([], [0], [0] * 2, [0] * 11):
                places.append(progress.place)
        assert places == sorted(places)

    def test_time_is_counted_within_an_epoch(self, monkeypatch):
        clock = iter([10.0, 13.0, 14.0, 100.0, 101.5])
        monkeypatch.setattr("hmc_shared.runs.progress.time.perf_counter", lambda: next(clock))
        progress = Progress()
        progress.count_time()  # no epoch has begun
        progress.begin_epoch()
        progress.count_time()
        assert progress.train_seconds == 3
        progress.end_epoch()
        progress.begin_epoch()
        progress.end_epoch()
        assert (progress.epoch, progress.train_seconds) == (2, 5.5)


class TestSteps:
    @pytest.fixture
    def network(self) -> torch.nn.Linear:
        network = torch.nn.Linear(2, 1, bias=False)
        torch.nn.init.zeros_(network.weight)
        return network

    @staticmethod
    def step(network, gradient, config, process, progress=None):
        network.weight.grad = torch.tensor([gradient])
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        return take_step(process, network, optimizer, config, progress or Progress())

    def test_gradients_are_clipped_by_their_norm(self, network, toy_options, one_process):
        assert self.step(network, [3.0, 4.0], toy_options(clip_norm=1.0), one_process())
        torch.testing.assert_close(network.weight.detach(), torch.tensor([[-0.6, -0.8]]))

    def test_without_a_norm_they_are_as_they_are(self, network, toy_options, one_process):
        assert self.step(network, [3.0, 4.0], toy_options(), one_process())
        assert network.weight.tolist() == [[-3.0, -4.0]]

    @pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
    def test_as_many_bad_steps_as_allowed_are_left_out(self, network, toy_options, one_process, wrong):
        progress, config = Progress(), toy_options(skip_bad_steps=2, clip_norm=1.0)
        for _ in range(2):
            assert not self.step(network, [wrong, 1.0], config, one_process(), progress)
            assert self.step(network, [0.0, 0.0], config, one_process(), progress)
        assert network.weight.tolist() == [[0.0, 0.0]]
        with pytest.raises(
            FloatingPointError, match=r"epoch 1, step 1; `--skip-bad-steps` lets 2 such steps"
        ):
            self.step(network, [wrong, 1.0], config, one_process(), progress)

    def test_losses_of_steps_left_out_do_not_count(self, tmp_path):
        progress, losses = Progress(), torch.tensor([1.0, float("nan"), 2.0])
        progress.skipped = 1
        check_finite(losses, progress, RunFolder(tmp_path))
        assert mean_loss(losses) == 1.5


class TestLosses:
    def test_finite_ones_pass(self, tmp_path):
        check_finite(torch.tensor([0.0, -1.0, 1e30]), Progress(), RunFolder(tmp_path))
        check_finite(torch.zeros(0), Progress(), RunFolder(tmp_path))

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
    def test_the_first_that_is_not_finite_is_named_with_the_last_checkpoint(self, tmp_path, value):
        progress, folder = Progress(), RunFolder(tmp_path)
        progress.epoch = 6
        losses = torch.tensor([1.0, 2.0, float(value), float("nan")])
        message = (
            rf"loss is {value} in epoch 7, step 3\. Try a lower --learning-rate.*; the last checkpoint is "
        )
        with pytest.raises(FloatingPointError, match=message + r"none\.$"):
            check_finite(losses, progress, folder)
        (folder.checkpoints / "epoch-00005").mkdir(parents=True)
        with pytest.raises(FloatingPointError, match=message + r".*checkpoints.epoch-00005\.$"):
            check_finite(losses, progress, folder)

    def test_a_weight_that_is_not_finite_is_refused(self, tmp_path):
        weights = [torch.ones(3), torch.tensor([1.0, float("inf")])]
        with pytest.raises(FloatingPointError, match="A weight of the network is not finite"):
            check_finite(torch.zeros(2), Progress(), RunFolder(tmp_path), *weights)


@pytest.mark.parametrize("value", [0.1 + 1e-16, torch.tensor(0.25), torch.tensor([[0.5]])])
def test_all_processes_take_the_figure_of_the_first(one_process, value):
    figure = agreed(value, one_process(rank=1))
    assert type(figure) is float
    assert figure == 0.1  # not of float32


SET: Any = SimpleNamespace(name="set", notes=("a note",))


def test_without_a_terminal_each_epoch_is_a_line(one_process, toy_options, capsys):
    progress = Progress()
    progress.epoch = 3
    bar = epoch_bar(one_process(), toy_options(batch_size=4), 10, progress, SET, 9, ["another"])
    progress.epoch = 4
    show(bar, {"epoch": 3, "loss": 0.123456, "rate": 1.0}, "loss", "validation")
    bar.close()
    out, err = capsys.readouterr()
    first, second, line = err.splitlines()
    assert (out, first, second) == ("", "note: a note", "note: another")
    assert re.fullmatch(r"\S+ on set: epoch 4 of 10, loss 0\.1235 \(00:00, \d\d:\d\d left\)", line)


def test_on_a_terminal_a_bar_moves_by_steps(one_process, toy_options, monkeypatch):
    terminal = StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", terminal)
    progress, network = Progress(), torch.nn.Linear(1, 1)
    bar = epoch_bar(one_process(), toy_options(batch_size=4), 10, progress, SET, 9)
    assert (bar.bar.n, bar.bar.total) == (0, 30)
    for batches in (2, 2):  # --accumulate 2: of three batches
        bar.step(network, batches)
    assert bar.bar.n == 3
    progress.epoch = 1
    show(bar, {"loss": 1.0}, "loss")
    assert bar.bar.n == 3
    assert "epoch 2 of 10" in terminal.getvalue()
    bar.close()


def test_a_rehearsal_ends_after_three_steps(one_process, toy_options, monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 14.0])
    monkeypatch.setattr("hmc_shared.runs.progress.time.perf_counter", lambda: next(clock))
    progress, network = Progress(), torch.nn.Linear(1, 1)
    bar = epoch_bar(one_process(), toy_options(dry_run=True), 10, progress, SET, 90)
    for _ in range(2):
        bar.step(network, 1)
    with pytest.raises(Rehearsed) as rehearsed:
        bar.step(network, 1)
    assert rehearsed.value.seconds == 2.5  # of two steps; the first is not counted


def test_other_processes_show_no_bar(one_process, toy_options, capsys):
    bar = epoch_bar(one_process(rank=1), toy_options(), 10, Progress(), SET, 9)
    show(bar, {"loss": 1.0}, "loss")
    bar.close()
    assert capsys.readouterr() == ("", "")

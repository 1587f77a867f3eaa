"""Where a run goes on: whole checkpoints, refused when they are not as they were written."""

from __future__ import annotations

import copy
import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from hmc_shared.cli.stopping import STOP, Stopped
from hmc_shared.data.storage.sources import sha256
from hmc_shared.runs.checkpoints import AGREE_EVERY, Checkpoints, load_state
from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.progress import Progress, last_checkpoint


@pytest.fixture
def begin(toy_options, one_process, tmp_path):
    """A function that starts or resumes the toy run: its checkpoints, whose progress and network change."""

    def run(process=None, **options) -> Checkpoints:
        process = process or one_process()
        config = toy_options(output_dir=str(tmp_path / "run"), **{"checkpoint_every": 1, **options})
        folder = RunFolder.open(config, process)
        network = torch.nn.Linear(2, 1)
        checkpoints = Checkpoints(process, folder, config, Progress(), network=network)
        checkpoints.resume()
        STOP.is_awaited = False
        return checkpoints

    return run


def epochs(run: Checkpoints) -> list[int]:
    log = run.folder.path / "metrics.jsonl"
    return [json.loads(line)["epoch"] for line in log.read_text().splitlines()]


def names(run: Checkpoints) -> list[str]:
    return [path.name for path in run.folder.checkpoints.iterdir()]


class TestWriting:
    def test_the_last_one_is_whole_and_the_only_one(self, begin):
        run = begin()
        assert last_checkpoint(run.folder.checkpoints) is None
        for run.progress.epoch in (5, 9, 10, 100):
            run.after_epoch()
            assert names(run) == [f"epoch-{run.progress.epoch:05d}"]
        written = run.folder.checkpoints / names(run)[0] / "checkpoint.json"
        before = written.stat().st_mtime_ns
        run.save()
        assert written.stat().st_mtime_ns == before

    def test_every_so_many_epochs_and_at_the_end(self, begin):
        run = begin(checkpoint_every=3)
        seen = []
        for run.progress.epoch in range(1, 9):
            run.after_epoch()
            seen.append(names(run) if run.folder.checkpoints.exists() else [])
        assert seen == [[], [], *[["epoch-00003"]] * 3, *[["epoch-00006"]] * 3]
        run.after_training()
        assert names(run) == ["epoch-00008"]

    def test_after_so_many_minutes_within_an_epoch(self, begin, monkeypatch):
        now = [0.0]
        monkeypatch.setattr("hmc_shared.runs.checkpoints.time.monotonic", lambda: now[0])
        run = begin(checkpoint_every=100, checkpoint_minutes=2.0)
        places = set()
        for seconds in range(0, 600, 50):
            now[0] = float(seconds)
            run.progress.step_losses.append(torch.zeros(()))
            run.after_step()
            places |= set(names(run)) if run.folder.checkpoints.exists() else set()
        assert sorted(places) == [f"epoch-00000-step-{step:07d}" for step in (4, 7, 10)]

    def test_a_disk_that_is_full_keeps_the_checkpoint_before(self, begin, monkeypatch):
        run = begin()
        run.progress.epoch = 1
        run.save()

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("hmc_shared.runs.checkpoints.torch.save", full)
        run.progress.epoch = 2
        with pytest.raises(OSError, match="No space left"):
            run.save()
        assert names(run) == ["epoch-00001"]

    def test_weights_that_are_not_finite_are_not_kept(self, begin):
        run = begin()
        torch.nn.init.constant_(run.parts["network"].weight, torch.nan)
        run.progress.epoch = 1
        with pytest.raises(FloatingPointError, match="weight of the network is not finite after epoch 1"):
            run.save()
        assert not run.folder.checkpoints.exists()


class TestGoingOn:
    @pytest.fixture
    def killed(self, begin) -> Checkpoints:
        """A run whose last checkpoint is of epoch 2, and whose log has an epoch and a half more."""
        run = begin()
        for epoch in range(3):
            run.folder.log_epoch({"epoch": epoch, "loss": 1 / (epoch + 1)})
        with (run.folder.path / "metrics.jsonl").open("a") as log:
            log.write('{"epoch": 3, "lo')
        run.progress.epoch, run.progress.train_seconds = 2, 1.5
        run.save()
        (run.folder.checkpoints / "partial").mkdir()
        (run.folder.path / "results.json").write_text("{}")
        return run

    def test_a_run_goes_on_from_its_last_checkpoint(self, killed, begin):
        run = begin(resume=True, threads=3)
        assert (run.progress.epoch, run.progress.train_seconds) == (2, 1.5)
        assert torch.equal(run.parts["network"].weight, killed.parts["network"].weight)
        assert epochs(run) == [0, 1]
        assert yaml.safe_load((run.folder.path / "config.yaml").read_text())["threads"] == 3
        assert not (run.folder.path / "results.json").exists()
        assert names(run) == ["epoch-00002"]

    def test_with_overwrite_it_begins(self, killed, begin):
        run = begin(overwrite=True)
        assert run.progress.epoch == 0
        assert epochs(run) == []

    def test_without_a_checkpoint_it_begins(self, begin):
        run = begin(resume=True)
        assert run.progress.epoch == 0
        assert (run.folder.path / "config.yaml").is_file()

    def test_within_an_epoch_it_goes_on_after_the_last_step(self, begin):
        run = begin()
        run.progress.epoch, run.progress.step_losses[:] = 4, [torch.tensor(0.1), torch.tensor(0.2)]
        run.save()
        again = begin(resume=True).progress
        assert (again.epoch, again.step) == (4, 2)
        assert torch.equal(torch.stack(again.step_losses), torch.tensor([0.1, 0.2]))

    def test_random_numbers_go_on(self, begin):
        def numbers() -> list[float]:
            return [random.random(), np.random.rand(), torch.rand(()).item()]

        run = begin()
        numbers()
        run.progress.epoch = 1
        run.save()
        expected = numbers()
        begin(resume=True)
        assert numbers() == expected

    def test_another_number_of_processes_is_refused(self, killed, begin, one_process):
        with pytest.raises(ValueError, match=r"as many processes as before: .*epoch-00002 is of 1\. Found 2"):
            begin(one_process(num_processes=2), resume=True)

    def test_a_damaged_log_is_refused_by_its_line(self, killed, begin):
        (killed.folder.path / "metrics.jsonl").write_text('{"epoch": 0}\n[1, 2]\n')
        with pytest.raises(ValueError, match=r"metrics\.jsonl:2 should hold a mapping"):
            begin(resume=True)

    def test_parts_of_another_network_are_refused_by_their_file(self, killed, begin):
        path = last_checkpoint(killed.folder.checkpoints)
        content = json.loads((path / "checkpoint.json").read_text())
        (path / "network.pt").write_bytes((path / "progress.pt").read_bytes())
        content["files"]["network.pt"] = content["files"]["progress.pt"]
        (path / "checkpoint.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"network\.pt does not fit this run"):
            begin(resume=True)

    @pytest.mark.parametrize(
        ("part", "changes", "message"),
        [
            ("progress", {"epoch": "2"}, "does not fit this run: `epoch` is of the type str"),
            ("progress", {"best_weights": None}, "`best_weights` is of the type NoneType"),
            ("progress", {"epoch": 3}, "is of another point of a run: epoch-00003"),
            ("process-0", {"step_losses": [torch.tensor(0.5)]}, "another point of a run: epoch-00002-step-"),
            ("process-0", {"step_losses": [0.5]}, "does not fit this run"),
            ("process-0", {"random": {}}, "does not fit this run: 'numpy'"),
        ],
    )
    def test_a_part_that_lies_is_refused_at_once(self, killed, begin, part, changes, message):
        path = last_checkpoint(killed.folder.checkpoints)
        content = json.loads((path / "checkpoint.json").read_text())
        state = torch.load(path / f"{part}.pt", weights_only=True)
        torch.save(state | changes, path / f"{part}.pt")
        content["files"][f"{part}.pt"] = sha256(path / f"{part}.pt")
        (path / "checkpoint.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=rf"epoch-00002.*{message}"):
            begin(resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state["state"][0].update(exp_avg=torch.ones(1)), r"`exp_avg` is of shape \(1,\), not"),
        (lambda state: state["param_groups"][0].update(lr="0.1"), "other options"),
        (lambda state: state["param_groups"][0].pop("weight_decay"), "other options"),
        (lambda state: state["param_groups"][0]["params"].pop(), "doesn't match the size"),
    ],
)
def test_an_optimiser_is_checked_before_its_next_step(change, message):
    network = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    load_state(torch.optim.Adam(network.parameters(), lr=1), copy.deepcopy(state))  # an integer is a number
    change(state)
    with pytest.raises(ValueError, match=message):
        load_state(torch.optim.Adam(network.parameters(), lr=0.1), state)


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_a_step_with_a_checkpoint(self, begin, number):
        run = begin()
        run.progress.epoch = 3
        run.progress.step_losses.append(torch.zeros(()))
        STOP.number = number
        with pytest.raises(Stopped, match=f"{number.name} after step 1 of epoch 4.*") as error:
            run.after_step()
        assert error.value.number == number
        assert str(run.folder.path) in str(error.value)
        assert names(run) == ["epoch-00003-step-0000001"]
        assert STOP.number is None

    def test_after_the_last_epoch_too(self, begin):
        run = begin()
        run.progress.epoch = 3
        STOP.number = signal.SIGTERM
        with pytest.raises(Stopped):
            run.after_training()
        assert names(run) == ["epoch-00003"]


def test_processes_stop_at_the_same_step_whichever_got_the_signal(begin, one_process, monkeypatch):
    process = one_process(num_processes=2)
    monkeypatch.setattr(process, "gather", lambda own: torch.cat([own, torch.tensor([[signal.SIGTERM, 0]])]))
    run = begin(process, checkpoint_every=100)
    (run.folder.checkpoints / "partial").mkdir(parents=True)
    for _ in range(AGREE_EVERY - 1):
        run.progress.step_losses.append(torch.zeros(()))
        run.after_step()
    run.progress.step_losses.append(torch.zeros(()))
    with pytest.raises(Stopped, match=f"SIGTERM after step {AGREE_EVERY} of epoch 1"):
        run.after_step()


def test_a_real_accelerator_does_all_of_it(begin, tmp_path: Path):
    accelerate = pytest.importorskip("accelerate")
    run = begin(accelerate.Accelerator(cpu=True))
    run.progress.epoch = 4
    run.save()
    assert begin(accelerate.Accelerator(cpu=True), resume=True).progress.epoch == 4

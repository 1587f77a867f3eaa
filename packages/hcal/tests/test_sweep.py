"""hcal sweep: the runs, what is kept of them, and the table and plot of their numbers."""

import csv
import json
import shutil
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace

import numpy as np
import pytest

from hcal.__main__ import main
from hcal.config import Config
from hcal.drawing import draw_sweep
from hcal.sweep import sweep, to_text
from hcal.sweep_config import VALUES, SweepConfig
from hcal.train import train
from hmc_shared.cli.parse import parse as parse_options
from hmc_shared.compare.comparison import Statistic, compare
from hmc_shared.runs.read import SCHEMA

SMALL = {"encoder": "mlp", "width": 16, "dim": 8, "epochs": 2, "warmup_epochs": 0.0}
NAMES = ("accuracy_level_0", "accuracy_level_1", "accuracy_level_2", "accuracy_leaf", "hvr")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A sweep of two values and two seeds, and what it returned."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    config = SweepConfig(
        output_dir=str(folder), parameter="epsilon", values=(0.05, 1.0), seeds=(0, 4), **SMALL
    )
    return config, sweep(config)


@pytest.fixture
def copied(finished, tmp_path):
    """The same sweep in a folder of its own."""
    config = replace(finished[0], output_dir=str(tmp_path / "sweep"))
    shutil.copytree(finished[0].folder, config.folder)
    return config


@pytest.fixture
def trained(monkeypatch) -> list:
    """The folders of the runs that a sweep trains."""
    found = []

    def spy(config, dataset=None):
        found.append(config.run_folder)
        return train(config, dataset)

    monkeypatch.setattr("hcal.sweep.train", spy)
    return found


def written(config):
    """Time stamps of the results."""
    return {path: path.stat().st_mtime_ns for path in config.folder.rglob("results.json")}


def read(path):
    return json.loads(path.read_text())


def test_each_value_and_seed_is_a_run_with_the_given_options(finished):
    config, _ = finished
    for value, name in ((0.05, "epsilon-0.05"), (1.0, "epsilon-1")):
        for seed in (0, 4):
            folder = config.folder / name / f"seed-{seed}"
            found = read(folder / "results.json")["config"]
            same = {"epsilon": value, "seed": seed, "output_dir": str(folder), "resume": True}
            assert found == asdict(Config(**SMALL)) | same
    assert len(written(config)) == 4


def test_a_run_of_a_sweep_is_that_run_alone(finished, tmp_path):
    _, rows = finished
    alone = train(Config(**SMALL, seed=4, epsilon=1.0, output_dir=str(tmp_path / "run")))
    for name in NAMES:
        assert rows[1.0][f"test/{name}"].values[1] == alone["metrics"][f"test/{name}"]
    assert rows[1.0]["validation/accuracy_leaf"].values[1] == pytest.approx(alone["validation"], abs=1e-3)


def test_the_rows_are_the_results_over_seeds(finished):
    config, rows = finished
    assert list(rows) == [0.05, 1.0]
    assert list(rows[1.0]) == [f"{split}/{name}" for split in ("validation", "test") for name in NAMES]
    for value, folder in ((0.05, "epsilon-0.05"), (1.0, "epsilon-1")):
        for name in NAMES:
            found = [
                read(config.folder / folder / f"seed-{seed}" / "results.json")["metrics"][f"test/{name}"]
                for seed in (0, 4)
            ]
            assert rows[value][f"test/{name}"].values == tuple(found)
            assert rows[value][f"test/{name}"].mean == pytest.approx(statistics.mean(found))
            assert rows[value][f"test/{name}"].sd == pytest.approx(statistics.stdev(found))
            kept = []
            for seed in (0, 4):
                run = config.folder / folder / f"seed-{seed}"
                log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
                kept.append(log[read(run / "results.json")["best_epoch"] - 1][f"validation/{name}"])
            assert rows[value][f"validation/{name}"].values == tuple(kept)


def test_the_rows_agree_with_the_recomputed_comparison(finished):
    config, rows = finished
    table = compare([config.folder]).tables[0]
    assert {row.label for row in table.rows} == {"hcal (epsilon=0.05)", "hcal (epsilon=1.0)"}
    for row in table.rows:
        value = 1.0 if "1.0" in row.label else 0.05
        for name in NAMES:
            assert rows[value][f"test/{name}"].mean == pytest.approx(row.metric(name).mean, abs=1e-12)
            assert rows[value][f"test/{name}"].sd == pytest.approx(row.metric(name).sd, abs=1e-12)


def test_the_table_as_csv_has_full_precision(finished):
    config, rows = finished
    with (config.folder / "epsilon.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["epsilon"]) for line in lines] == [0.05, 1.0]
    for line in lines:
        row = rows[float(line["epsilon"])]
        assert line["seeds"] == "2"
        for name, statistic in row.items():
            assert (float(line[name]), float(line[f"{name}_sd"])) == (statistic.mean, statistic.sd)
        assert len(line) == 2 + 2 * len(row)


def test_the_table_in_the_terminal(finished):
    _, rows = finished
    validation, test, best = to_text("epsilon", rows).split("\n\n")
    for split, text in (("validation", validation), ("test", test)):
        title, header, *lines = text.splitlines()
        assert title == split
        assert header.split() == ["epsilon", *NAMES]
        for (value, row), line in zip(rows.items(), lines, strict=True):
            found = [f"{row[f'{split}/{name}'].mean:.4f} ± {row[f'{split}/{name}'].sd:.4f}" for name in NAMES]
            assert line.split() == [f"{value:g}", *" ".join(found).split()]
    mean = {value: row["validation/accuracy_leaf"].mean for value, row in rows.items()}
    assert best == f"best leaf accuracy on validation: epsilon {max(mean, key=mean.get):g}"


def test_the_best_value_is_that_of_validation_not_of_test():
    def row(validation, test):
        return {
            "validation/accuracy_leaf": Statistic((validation,)),
            "test/accuracy_leaf": Statistic((test,)),
        }

    text = to_text("gamma", {0.1: row(0.5, 0.9), 0.5: row(0.6, 0.2), 2.0: row(0.4, 0.4)})
    assert text.endswith("validation: gamma 0.5")
    assert "±" not in text  # no deviation of one seed


def test_the_plot_shows_means_and_deviations(finished):
    config, rows = finished
    ElementTree.fromstring((config.folder / "epsilon.svg").read_bytes())
    assert (config.folder / "epsilon.png").read_bytes().startswith(b"\x89PNG")
    figure = draw_sweep("epsilon", rows, ("validation", "test"))
    left, right = figure.axes[:2], figure.axes[2:]
    for split, accuracies, hvr in zip(("validation", "test"), left, right, strict=True):
        # All digits are leaves: the accuracy of the leaves is that of the last level.
        names = [f"{split}/{name}" for name in (*NAMES[:3], NAMES[4])]
        containers = [*accuracies.containers, *hvr.containers]
        assert (len(accuracies.containers), len(hvr.containers)) == (3, 1)
        for name, container in zip(names, containers, strict=True):
            line, (low, high), _ = container.lines
            np.testing.assert_allclose(line.get_ydata(), [row[name].mean for row in rows.values()])
            spread = (high.get_ydata() - low.get_ydata()) / 2
            np.testing.assert_allclose(spread, [row[name].sd for row in rows.values()], atol=1e-12)
        assert [text.get_text() for text in accuracies.get_xticklabels()] == ["0.05", "1"]
    assert left[0].get_ylim() == left[1].get_ylim()
    assert right[0].get_ylim() == right[1].get_ylim()


def test_leaf_accuracy_is_drawn_where_it_is_not_that_of_the_last_level():
    names = ("accuracy_level_0", "accuracy_level_1", "accuracy_leaf", "hvr")
    row = {f"test/{name}": Statistic((number / 10,)) for number, name in enumerate(names)}
    figure = draw_sweep("gamma", {0.1: row}, ("test",))
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["accuracy level 0", "accuracy level 1", "accuracy leaf", "HVR (right)"]


def test_finished_runs_stay_and_missing_ones_are_trained(copied, finished, trained):
    before = written(copied)
    assert sweep(copied) == finished[1]
    assert written(copied) == before
    assert not trained
    # One was killed before its results, one is new.
    killed = copied.folder / "epsilon-1" / "seed-4"
    (killed / "results.json").unlink()
    rows = sweep(replace(copied, seeds=(0, 4, 5)))
    assert trained == [
        copied.folder / "epsilon-0.05" / "seed-5",
        killed,
        copied.folder / "epsilon-1" / "seed-5",
    ]
    after = written(copied)
    assert {path for path in before if after[path] != before[path]} == {killed / "results.json"}
    assert {row["test/hvr"].values[:2] for row in rows.values()} == {
        row["test/hvr"].values for row in finished[1].values()
    }


def test_overwrite_trains_anew(copied, finished, trained):
    before = written(copied)
    assert sweep(replace(copied, overwrite=True)) == finished[1]
    assert len(trained) == 4
    after = written(copied)
    assert all(after[path] != before[path] for path in before)


def test_a_finished_run_with_other_options_is_refused(copied, trained):
    with pytest.raises(ValueError, match="`dim` is 8 there"):
        sweep(replace(copied, dim=9))
    assert not trained


def test_the_papers_protocol_has_no_validation(tmp_path, capsys):
    flags = ["--encoder", "mlp", "--width", "8", "--dim", "4", "--epochs", "1", "--protocol", "paper"]
    folder = tmp_path / "sweep"
    main(["sweep", "--values", "0.5", "--seeds", "0", "--output-dir", str(folder), *flags])
    shown = capsys.readouterr().out
    results = read(folder / "gamma-0.5" / "seed-0" / "results.json")
    assert f"{results['metrics']['test/accuracy_leaf']:.4f}" in shown
    assert "validation" not in shown
    assert (folder / "gamma.csv").read_text().startswith("gamma,seeds,test/")


def test_options_are_those_of_training_and_its_files(finished):
    config, _ = finished

    def parse(*argv):
        return parse_options(SweepConfig, argv, prog="hcal sweep", package="hcal")

    plain, of_train = parse(), parse_options(Config, [], prog="hcal train", package="hcal")
    assert asdict(plain.run(of_train.gamma, 0)) == asdict(of_train) | {
        "output_dir": f"sweeps/digits/hcal/gamma-{of_train.gamma:g}/seed-0",
        "resume": True,
    }
    assert plain.folder.parts[0] == "sweeps"
    assert parse("--protocol", "paper").folder.name == "hcal-paper"
    around = parse("--config", str(config.folder / "epsilon-1" / "seed-4" / "config.yaml"))
    assert (around.seed, around.epsilon, around.dim) == (4, 1.0, 8)
    assert VALUES["epsilon"] == (0.001, 0.01, 0.05, 0.1, 0.2)  # Section 4.4
    assert 0.5 in VALUES["gamma"]


def test_default_values_and_seeds(monkeypatch, tmp_path):
    asked = []

    def stop(config, dataset=None):
        asked.append((config.gamma, config.seed))
        config.run_folder.mkdir(parents=True)
        content = {
            **{"schema": SCHEMA, "method": "hcal", "protocol": "default", "seed": config.seed},
            **{"dataset": {"name": "digits", "checksum": ""}, "best_epoch": None},
            "metrics": {"test/accuracy_level_0": 1.0, "test/hvr": 0.0},
        }
        (config.run_folder / "results.json").write_text(json.dumps(content))

    monkeypatch.setattr("hcal.sweep.train", stop)
    monkeypatch.setattr("hcal.sweep.draw_sweep", lambda *arguments: None)
    monkeypatch.setattr("hcal.sweep.save", lambda *arguments: None)
    sweep(SweepConfig(seed=7, output_dir=str(tmp_path / "sweep")))
    assert asked == [(value, seed) for value in VALUES["gamma"] for seed in (7, 8, 9)]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"method": "flat"}, "`--method` should be hcal in a sweep. Found 'flat'"),
        ({"values": (0.5, 0.5)}, r"`--values` should differ from each other. Found \(0.5, 0.5\)"),
        ({"seeds": (1, 1)}, "`--seeds` should differ from each other"),
        ({"weighting": "fixed"}, "`--weighting` should be adaptive where gamma varies. Found 'fixed'"),
        ({"task": "single"}, "`--task` should be multi where gamma varies. Found 'single'"),
        ({"epochs": 0}, "`--epochs` should be at least 1"),
    ],
)
def test_wrong_options_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        SweepConfig(**chosen)


def test_wrong_values_are_refused_before_any_training(tmp_path, trained, monkeypatch):
    config = SweepConfig(values=(0.5, 0.0), output_dir=str(tmp_path / "sweep"))
    with pytest.raises(ValueError, match="`--gamma` should be finite and above 0"):
        sweep(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="A sweep should run in one process"):
        sweep(replace(config, values=(0.5,)))
    assert not trained
    assert not config.folder.exists()


def test_help_imports_no_torch():
    for name in ("plot", "sweep"):
        code = (
            "import runpy, sys\n"
            f"sys.argv = ['hcal', {name!r}, '--help']\n"
            "try:\n    runpy.run_module('hcal', run_name='__main__')\n"
            "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
            "assert not {'torch', 'accelerate', 'matplotlib', 'sklearn'} & sys.modules.keys()\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"usage: hcal {name}" in done.stdout

"""mulsupcon-ld sweep: the runs, what is kept of them, the table and the heat map of their numbers."""

import json
import shutil
import statistics
from dataclasses import asdict, replace

import numpy as np
import pytest

from hmc_shared.cli.parse import parse
from hmc_shared.data import load_dataset
from hmc_shared.runs.read import SCHEMA, load_run
from mulsupcon_ld.__main__ import main
from mulsupcon_ld.config import Config, SweepConfig
from mulsupcon_ld.drawing import draw_ablation, draw_grid
from mulsupcon_ld.sweep import METRICS, draw, sweep
from mulsupcon_ld.train import train

SMALL = {"width": 16, "dim": 8, "pretrain_epochs": 1, "epochs": 2, "queue_size": 100, "learning_rate": 5e-3}
GRID = {"kind": "grid", "alphas": (0.01, 2.0), "betas": (0.0, 0.1, 1.0)}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits):
    """A grid, and what it returned."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    config = SweepConfig(output_dir=str(folder), seeds=(0, 4), **GRID, **SMALL)
    return config, sweep(config, digits)


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

    monkeypatch.setattr("mulsupcon_ld.sweep.train", spy)
    return found


def table_of(path):
    """The cells of a Markdown table."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_setting_and_seed_is_a_run_with_the_given_options(finished):
    config, rows = finished
    assert len(rows) == 6
    for alpha in config.alphas:
        for beta in config.betas:
            for seed in (0, 4):
                folder = config.folder / f"alpha-{alpha:g}-beta-{beta:g}" / f"seed-{seed}"
                found = json.loads((folder / "results.json").read_text())["config"]
                own = {"alpha": alpha, "beta": beta, "seed": seed, "output_dir": str(folder), "resume": True}
                assert found == asdict(Config(**SMALL)) | own


def test_a_run_of_a_sweep_is_that_run_alone(finished, digits, tmp_path):
    config, _ = finished
    alone = tmp_path / "run"
    train(Config(**SMALL, seed=4, alpha=2.0, beta=0.1, output_dir=str(alone)), digits)
    of_sweep = load_run(config.folder / "alpha-2-beta-0.1" / "seed-4")
    assert np.array_equal(load_run(alone).scores, of_sweep.scores)


def test_the_rows_are_the_results_over_seeds(finished):
    config, rows = finished
    runs = [config.folder / "alpha-0.01-beta-1" / f"seed-{seed}" / "results.json" for seed in (0, 4)]
    results = [json.loads(path.read_text()) for path in runs]
    row = rows["alpha 0.01, beta 1"]
    assert list(row) == ["HA", "ebF1", "miF1", "maF1", "p@1", "mAP", "validation"]
    for short, name in METRICS.items():
        found = [one["metrics"][f"test/{name}"] for one in results]
        assert row[short].mean == pytest.approx(statistics.mean(found))
        assert row[short].sd == pytest.approx(statistics.stdev(found))
    assert row["validation"].values == tuple(one["validation"] for one in results)


def test_the_table_and_the_heat_map_hold_the_rows(finished):
    config, rows = finished
    header, _, *lines = table_of(config.folder / "grid.md")
    assert header == ["setting", "alpha", "beta", *METRICS, "validation"]
    pairs = [(alpha, beta) for alpha in config.alphas for beta in config.betas]
    assert [(float(line[1]), float(line[2])) for line in lines] == pairs
    for line, row in zip(lines, rows.values(), strict=True):
        assert line[3:] == [f"{found.mean:.4f} ± {found.sd:.4f}" for found in row.values()]
    best = max(rows, key=lambda name: rows[name]["validation"].mean)
    assert (config.folder / "grid.md").read_text().endswith(f"Best on validation: {best}.\n")
    assert (config.folder / "grid.png").read_bytes().startswith(b"\x89PNG")
    panels = draw(config, rows).axes
    assert [axes.get_title(loc="left") for axes in panels] == list(METRICS)
    for axes in panels:
        cells = axes.get_images()[0].get_array()
        assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.1", "1"]
        assert [text.get_text() for text in axes.get_yticklabels()] == ["0.01", "2"]
        for (row, column), value in np.ndenumerate(cells):
            name = f"alpha {config.alphas[row]:g}, beta {config.betas[column]:g}"
            assert value == rows[name][axes.get_title(loc="left")].mean


def test_the_ablation_is_four_settings_and_shares_runs_with_the_grid(copied, digits, trained):
    config = replace(copied, kind="ablation", seeds=(4,), alpha=2.0, beta=0.1)
    rows = sweep(config, digits)
    assert list(rows) == ["full", "without alpha", "without beta", "without both"]
    assert trained == [config.folder / f"alpha-0-beta-{beta}" / "seed-4" for beta in ("0.1", "0")]
    header, _, *lines = table_of(config.folder / "ablation.md")
    assert header[:3] == ["setting", "alpha", "beta"]
    assert [line[:3] for line in lines] == [
        ["full", "2", "0.1"],
        ["without alpha", "0", "0.1"],
        ["without beta", "2", "0"],
        ["without both", "0", "0"],
    ]
    assert "±" not in (config.folder / "ablation.md").read_text()  # no deviation of one seed
    axes = draw(config, rows).axes[0]
    cells = np.array([float(text.get_text()) for text in axes.texts]).reshape(4, 6)
    means = np.array([[row[name].mean for name in METRICS] for row in rows.values()])
    np.testing.assert_allclose(cells, means, atol=5.1e-4)
    np.testing.assert_allclose(axes.get_images()[0].get_array(), means - means[0])


def test_equal_and_missing_values_can_be_drawn():
    same = np.full((2, 2), 0.5)
    assert len(draw_grid({"mAP": same}, (0.1, 1), (0.1, 1)).axes) == 3
    texts = [text.get_text() for text in draw_ablation(same, ["full", "none"], ["a", "b"]).axes[0].texts]
    assert texts == ["0.500"] * 4
    missing = np.array([[0.5, np.nan], [0.4, np.nan]])
    draw_grid({"mAP": missing}, (0.1, 1), (0.1, 1))
    draw_ablation(missing, ["full", "none"], ["a", "b"])


def test_finished_runs_stay_and_missing_ones_are_trained(copied, finished, digits, trained):
    assert sweep(copied, digits) == finished[1]
    assert not trained
    killed = copied.folder / "alpha-2-beta-0" / "seed-4"
    (killed / "results.json").unlink()  # killed before its results
    rows = sweep(replace(copied, seeds=(4,)), digits)
    assert trained == [killed]
    for name, row in finished[1].items():
        assert {metric: found.values[1] for metric, found in row.items()} == {
            metric: found.values[0] for metric, found in rows[name].items()
        }


def test_overwrite_trains_anew(copied, digits, trained):
    small = replace(copied, overwrite=True, alphas=(2.0,), betas=(0.1,), seeds=(0,))
    sweep(small, digits)
    assert trained == [copied.folder / "alpha-2-beta-0.1" / "seed-0"]


def test_a_finished_run_with_other_options_is_refused(copied, trained):
    with pytest.raises(ValueError, match="`dim` is 8 there"):
        sweep(replace(copied, dim=9))
    assert not trained


def test_the_papers_protocol_takes_the_published_metrics(tmp_path, capsys):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    folder = tmp_path / "sweep"
    main(
        [
            "sweep",
            "grid",
            "--alphas",
            "0.5",
            "--betas",
            "0.1",
            "--seeds",
            "0",
            f"--output-dir={folder}",
            *flags,
            "--protocol=paper",
        ]
    )
    shown = capsys.readouterr().out
    results = json.loads((folder / "alpha-0.5-beta-0.1" / "seed-0" / "results.json").read_text())
    published = results["published_metrics"]
    assert table_of(folder / "grid.md")[2][3:] == [f"{published[name]:.4f}" for name in METRICS.values()]
    assert "thresholds chosen there" in shown
    assert "Best on validation" not in shown


def test_options_are_those_of_training_and_its_files():
    def parse_sweep(*argv):
        return parse(SweepConfig, argv, prog="mulsupcon-ld sweep", package="mulsupcon_ld")

    plain = parse_sweep("grid", "--dataset", "scene")
    of_train = parse(Config, ["--dataset", "scene"], prog="mulsupcon-ld train", package="mulsupcon_ld")
    assert asdict(plain.run(of_train.alpha, of_train.beta, 0)) == asdict(of_train) | {
        "output_dir": f"sweeps/scene/cld/alpha-{of_train.alpha:g}-beta-{of_train.beta:g}/seed-0",
        "resume": True,
    }
    assert len(plain.settings) == 16
    assert len(parse_sweep("ablation").settings) == 4
    assert parse_sweep("--loss", "rld", "--protocol", "paper").folder.parts[-2:] == ("digits", "rld-paper")


def test_default_seeds_are_three(tmp_path, monkeypatch, digits):
    asked = []

    def stop(config, dataset=None):
        asked.append((config.alpha, config.beta, config.seed))
        config.run_folder.mkdir(parents=True)
        metrics = dict.fromkeys((f"test/{name}" for name in METRICS.values()), 0.5)
        content = {
            **{"schema": SCHEMA, "method": "mulsupcon-ld", "protocol": "default", "seed": config.seed},
            **{"dataset": {"name": "digits", "checksum": ""}, "published_metrics": {}, "validation": 0.5},
            "metrics": metrics,
        }
        (config.run_folder / "results.json").write_text(json.dumps(content))

    monkeypatch.setattr("mulsupcon_ld.sweep.train", stop)
    sweep(SweepConfig(seed=7, alpha=0.1, beta=1.0, output_dir=str(tmp_path / "sweep")))
    pairs = [(0.1, 1.0), (0.0, 1.0), (0.1, 0.0), (0.0, 0.0)]
    assert asked == [(*pair, seed) for pair in pairs for seed in (7, 8, 9)]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"loss": "mulsupcon"}, r"`--loss` should be cld or rld in a sweep\. Found 'mulsupcon'"),
        ({"alpha": 0.0}, r"`--alpha` should be above 0 in an ablation\. Found 0\.0"),
        ({"alphas": (0.5, 0.5)}, r"`--alphas` should differ from each other\. Found \(0\.5, 0\.5\)"),
        ({"betas": ()}, r"`--betas` should be at least one\. Found \(\)"),
        ({"seeds": (1, 1)}, r"`--seeds` should differ from each other"),
        ({"epochs": 0}, r"`--epochs` should be at least 1"),
    ],
)
def test_wrong_options_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        SweepConfig(**chosen)


def test_wrong_values_are_refused_before_any_training(tmp_path, trained, monkeypatch):
    config = SweepConfig(kind="grid", alphas=(0.5, -1.0), output_dir=str(tmp_path / "sweep"))
    with pytest.raises(ValueError, match="`--alpha` should be finite and not negative"):
        sweep(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="A sweep should run in one process"):
        sweep(replace(config, alphas=(0.5,)))
    assert not trained
    assert not config.folder.exists()

"""Plots: they show what was measured, and nothing of matplotlib's global state is touched."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from sklearn.metrics import precision_recall_curve

from hmc_shared.compare import plots
from hmc_shared.compare.comparison import ComparisonTable, compare


@pytest.fixture
def table(make_run) -> ComparisonTable:
    for method, noise in {"hlstm": 0.8, "chmcnn": 1.5}.items():
        for seed in range(3):
            root = make_run(method, seed, noise=noise).parents[1]
    make_run("once", noise=2.0)
    return compare([root]).tables[0]


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that the functions under test save."""
    figures = []
    save = plots.Figure.savefig
    monkeypatch.setattr(plots.Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k))[1])
    return figures


def test_the_curve_is_the_whole_one_at_each_recall(table):
    for row in table.rows:
        for run in row.runs:
            with np.load(run.path / "predictions.npz") as arrays:
                targets, scores = arrays["targets"].ravel(), arrays["scores"].ravel()
            precision, recall, _ = precision_recall_curve(targets, scores)
            points = precision[:-1], recall[:-1]  # without the one that sklearn adds
            reached = [points[0][points[1] >= max(r, 1e-3) - 1e-12][-1] for r in plots.RECALL]
            np.testing.assert_allclose(run.curve, reached)


def test_precision_recall_draws_each_seed_and_the_mean(table, figures, tmp_path):
    plots.precision_recall(table, tmp_path / "curves.svg")
    axes = figures[0].axes[0]
    assert len(axes.lines) == 3 + 1 + 3 + 1 + 1  # a single run needs no thin line
    for row, bold in zip(table.rows, (axes.lines[3], axes.lines[7], axes.lines[8]), strict=True):
        mean = np.mean([run.curve for run in row.runs], axis=0)
        np.testing.assert_array_equal(bold.get_ydata(), mean)
        value = row.metric("au_prc").mean
        assert bold.get_label().startswith(f"{row.label}  {value:.3f}")


def test_levels_draw_accuracy_for_single_paths(table, figures, tmp_path):
    plots.metric_by_level(table, tmp_path / "levels.png")
    axes = figures[0].axes[0]
    assert axes.get_ylabel() == "accuracy"
    for row, container in zip(table.rows, axes.containers, strict=True):
        expected = [row.metric(f"accuracy_level_{depth}").mean for depth in range(3)]
        np.testing.assert_allclose(container.lines[0].get_ydata(), expected)
        if len(row.runs) > 1:
            low, high = (cap.get_ydata() for cap in container.lines[1])
            sd = [row.metric(f"accuracy_level_{depth}").sd for depth in range(3)]
            np.testing.assert_allclose((high - low) / 2, sd, atol=1e-12)


def test_levels_draw_area_where_paths_are_several(make_run, figures, tmp_path):
    table = compare([make_run(several=True, arrays={"evaluated": np.arange(6) > 1})]).tables[0]
    plots.metric_by_level(table, tmp_path / "levels.svg")
    axes = figures[0].axes[0]
    assert axes.get_ylabel() == "AU(PRC)"
    expected = [level.au_prc for level in table.rows[0].runs[0].evaluation.levels]
    np.testing.assert_allclose(axes.containers[0].lines[0].get_ydata(), expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1\n(3)", "2\n(1)"]


@pytest.mark.parametrize("plot", [plots.precision_recall, plots.metric_by_level])
def test_equal_data_give_equal_bytes(table, tmp_path, plot):
    plot(table, tmp_path / "a.svg")
    plot(table, tmp_path / "b.svg")
    content = (tmp_path / "a.svg").read_bytes()
    assert content == (tmp_path / "b.svg").read_bytes()
    assert ElementTree.fromstring(content).tag.endswith("svg")


def test_many_methods_stay_apart(make_run, figures, tmp_path):
    for number in range(12):
        root = make_run(f"method-{number}").parents[1]
    plots.precision_recall(compare([root]).tables[0], tmp_path / "many.svg")
    styles = {(line.get_color(), line.get_linestyle()) for line in figures[0].axes[0].lines}
    assert len(styles) == 12


def test_only_the_best_rows_and_a_few_seeds_are_drawn(make_run, figures, tmp_path):
    for number in range(14):
        for seed in range(6):
            root = make_run(f"method-{number:02d}", seed, noise=0.5 + number / 10).parents[1]
    table = compare([root]).tables[0]
    plots.precision_recall(table, tmp_path / "curves.svg")
    plots.metric_by_level(table, tmp_path / "levels.svg")
    curves = figures[0].axes[0]
    assert len(curves.lines) == 12 * (5 + 1)  # a bold mean each
    for figure in figures:
        (legend,) = figure.legends
        assert legend.get_title().get_text().endswith("(12 best of 14)")
        assert [text.get_text().split()[0] for text in legend.get_texts()] == [
            row.label for row in table.rows[:12]
        ]


def test_the_axes_begin_where_curves_bend(table, figures, tmp_path):
    plots.precision_recall(table, tmp_path / "curves.svg")
    (low, high), (bottom, _) = figures[0].axes[0].get_xlim(), figures[0].axes[0].get_ylim()
    assert high == 1
    lowest = min(np.mean([run.curve for run in row.runs], axis=0).min() for row in table.rows)
    assert low == bottom or low < bottom <= lowest  # nothing is cut that need not be
    for row in table.rows:
        mean = np.mean([run.curve for run in row.runs], axis=0)
        meets = plots.RECALL[mean >= plots.RECALL].max()  # where precision equals recall
        assert low == 0 or low + (1 - low) / 2 < meets < 1


@pytest.mark.parametrize(("meets", "low"), [(0.98, 0.9), (0.9, 0.65), (0.76, 0.25), (0.3, 0.0)])
def test_better_curves_are_drawn_larger(meets, low):
    falling = np.where(meets > plots.RECALL, 1.0, 0.0)
    assert plots.corner([falling, np.ones_like(falling)]) == pytest.approx(low)
    assert plots.corner([np.full_like(falling, np.nan)]) == 0


def test_the_legend_hides_no_curve_and_breaks_long_names(figures, tmp_path):
    figure, axes = plots.new_figure("a title " * 10)
    axes.plot([0, 1], [0, 1], label="a long name " * 20)
    axes.plot([0, 1], [1, 0], label="short")
    plots.legend_below(figure, axes, "method")
    plots.save(figure, tmp_path / "a.svg")
    figure.draw_without_rendering()
    legend, box = figure.legends[0].get_window_extent(), axes.get_tightbbox()
    assert legend.y1 <= box.y0 + 1
    for part in (legend, axes.title.get_window_extent()):
        assert part.x0 >= 0
        assert part.x1 <= figure.bbox.x1
    assert axes.get_window_extent().height > 1.5 * figure.dpi


def test_a_method_keeps_its_colour_when_the_ranks_change(make_run, figures, tmp_path):
    for dataset, noises in {"one": (0.5, 3.0), "two": (3.0, 0.5)}.items():
        for method, noise in zip(("hlstm", "chmcnn"), noises, strict=True):
            root = make_run(method, noise=noise, dataset=dataset).parents[3]
    for table in compare([root]).tables:
        plots.precision_recall(table, tmp_path / "curves.svg")
    first, second = (
        {line.get_label().split()[0]: line.get_color() for line in figure.axes[0].lines} for figure in figures
    )
    assert list(first) == list(second)[::-1]
    assert first == second


def test_pyplot_is_not_imported():
    code = "import sys, hmc_shared.compare.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    source = Path(plots.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(source)}, timeout=60)
    assert done.returncode == 0


def test_names_with_dollars_are_drawn_as_they_are(tmp_path):
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([1, 100], [1, 2], label="x$_$y")
    axes.set(title="x$_$y", xscale="log")
    axes.legend()
    plots.save(figure, tmp_path / "names.svg")
    texts = {text.get_text(): text.get_parse_math() for text in figure.findobj(Text)}
    assert not texts["x$_$y"]
    assert texts["$\\mathdefault{10^{1}}$"]

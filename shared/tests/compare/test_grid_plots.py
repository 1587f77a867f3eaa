"""Plots over the values of options: every number drawn is that of the table."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from hmc_shared.compare import grid_plots, plots
from hmc_shared.compare.comparison import ComparisonTable, Grid, compare


@pytest.fixture
def table(make_run) -> ComparisonTable:
    """Rows a-1, a-2, a-3 and b-1, b-2, b-3, of two seeds each, less those of b-3."""
    for method in ("a", "b"):
        for value in (1, 2, 3):
            for seed in range(1 if (method, value) == ("b", 3) else 2):
                root = make_run(f"{method}-{value}", seed, noise=0.5 * value).parents[1]
    return compare([root], ["au_prc", "map", "map_classes", "hvr"]).tables[0]


@pytest.fixture
def drawn(monkeypatch) -> list:
    figures = []
    save = plots.Figure.savefig
    monkeypatch.setattr(plots.Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k))[1])
    return figures


def rows_of(table):
    return {tuple(row.label.split("-")): row for row in table.rows}


def test_lines_are_the_means_and_bars_the_deviations(table, drawn, tmp_path):
    rows = rows_of(table)
    cells = {(method, (float(value),)): rows[method, value] for value in "123" for method in "ab"}
    grid_plots.metrics_over_values(table, Grid(("some_option",), cells), tmp_path / "a.svg")
    (figure,) = drawn
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.axison}
    assert list(panels) == ["au_prc", "map", "hvr"]  # what only counts is not drawn
    for name, axes in panels.items():
        assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "3"]
        assert axes.get_xlabel() == "some option"
        for method, container in zip("ab", axes.containers, strict=True):
            found = [rows[method, value].metric(name) for value in "123"]
            line, (low, high), _ = container.lines
            np.testing.assert_allclose(line.get_ydata(), [statistic.mean for statistic in found])
            spread = (high.get_ydata() - low.get_ydata()) / 2
            expected = [0 if math.isnan(statistic.sd) else statistic.sd for statistic in found]
            np.testing.assert_allclose(spread, expected, atol=1e-12)
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["a", "b"]


def test_two_options_are_a_map_for_each_metric_and_method(table, drawn, tmp_path):
    rows = rows_of(table)
    cells = {("cld", (method, int(value))): rows[method, value] for method in "ab" for value in "123"}
    del cells["cld", ("a", 2)]  # a run that failed
    grid_plots.metrics_over_values(table, Grid(("first", "second"), cells), tmp_path / "a.svg")
    panels = [axes for axes in drawn[0].axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == ["au_prc", "map", "hvr"]
    for axes in panels:
        name = axes.get_title(loc="left")
        values = axes.get_images()[0].get_array()
        expected = [[rows[m, v].metric(name).mean for v in "132"] for m in "ab"]  # 2 is new in the second row
        expected[0][2] = math.nan
        np.testing.assert_array_equal(np.ma.filled(values, np.nan), expected)
        numbers = [f"{mean:.3f}" for mean in np.ravel(expected) if not math.isnan(mean)]
        assert [text.get_text() for text in axes.texts] == numbers
        assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
        assert (axes.get_ylabel(), axes.get_xlabel()) == ("first", "second")


def test_several_methods_have_maps_of_their_own(table, drawn, tmp_path):
    rows = rows_of(table)
    cells = {(method, ("x", int(value))): rows[method, value] for method in "ab" for value in "123"}
    grid_plots.metrics_over_values(table, Grid(("first", "second"), cells), tmp_path / "a.svg")
    titles = [axes.get_title(loc="left") for axes in drawn[0].axes if axes.axison]
    assert titles == [f"{name}, {method}" for name in ("au_prc", "map", "hvr") for method in "ab"]


def test_equal_values_can_be_read_and_unknown_metrics_are_left_out(make_run, drawn, tmp_path):
    row = compare([make_run("a", several=True)]).tables[0]
    table = ComparisonTable(row.dataset, row.protocol, ("map", "accuracy_leaf"), row.rows)
    cells = {("a", (value, 1)): row.rows[0] for value in (0.1, 1.0)}
    grid_plots.metrics_over_values(table, Grid(("alpha", "beta"), cells), tmp_path / "a.svg")
    (axes,) = [axes for axes in drawn[0].axes if axes.axison]
    assert axes.get_title(loc="left") == "map"
    assert {text.get_color() for text in axes.texts} == {"white"}  # one value is the dark end of the colours


def test_equal_data_give_equal_bytes(table, tmp_path):
    cells = {("a", (row.label,)): row for row in table.rows}
    for name in ("a.svg", "b.svg"):
        grid_plots.metrics_over_values(table, Grid(("option",), cells), tmp_path / name)
    content = (tmp_path / "a.svg").read_bytes()
    assert content == (tmp_path / "b.svg").read_bytes()
    assert ElementTree.fromstring(content).tag.endswith("svg")

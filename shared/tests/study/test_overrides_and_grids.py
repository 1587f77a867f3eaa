"""What a plan's grid becomes in the report, and which data sets of a plan the command line takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmc_shared.compare.output import write_reports
from hmc_shared.study.options import StudyStatus
from hmc_shared.study.plan import Overrides, read_plan
from hmc_shared.study.queue import Queue
from hmc_shared.study.report import compare_study

PLAN = """
metrics: [map, au_prc]
datasets: [toy]
methods: {m: prog train, n: prog train --other}
parts:
- grid: {some_gamma: [0.1, 2]}
- grid: {some_gamma: [1, 5], name: [a, b]}
- {methods: {plain: prog train}}
- grid: {x: [1], y: [1], z: [1]}
"""


@pytest.fixture
def study(make_run, tmp_path):
    """A study all of whose runs are finished but that of m with gamma 2."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    plan = read_plan(str(tmp_path / "plan.yaml"))
    for run in plan.runs:
        if run.label != "m-some-gamma-2":
            make_run(run.label, folder=tmp_path / "study" / run.place)
    return Queue(plan, tmp_path / "study")


def test_rows_that_differ_in_one_or_two_options_are_a_grid(study):
    (table,) = compare_study(study).tables
    assert len(table.rows) == 3 + 8 + 1 + 2
    one, two = table.grids  # three options cannot be drawn
    assert (one.options, two.options) == (("some_gamma",), ("some_gamma", "name"))
    labels = {key: row.label for key, row in one.cells.items()}
    assert labels == {
        ("m", (0.1,)): "m-some-gamma-0.1",
        ("n", (0.1,)): "n-some-gamma-0.1",
        ("n", (2,)): "n-some-gamma-2",
    }
    assert {key: row.label for key, row in two.cells.items()} == {
        (method, (gamma, name)): f"{method}-some-gamma-{gamma}-name-{name}"
        for method in "mn"
        for gamma in (1, 5)
        for name in "ab"
    }
    assert (two.methods, two.values(0), two.values(1)) == (["m", "n"], [1, 5], ["a", "b"])


def test_the_report_has_their_plots(study, tmp_path):
    write_reports(compare_study(study), tmp_path / "report")
    names = ["toy-default-grid-some-gamma.svg", "toy-default-grid-some-gamma-name.svg"]
    assert sorted(path.name for path in (tmp_path / "report").glob("*grid*")) == sorted(names)
    markdown = (tmp_path / "report" / "compare.md").read_text()
    assert all(f"]({name})" in markdown for name in names)
    html = (tmp_path / "report" / "report.html").read_text()
    assert "Test metrics over some gamma and name, means over seeds." in html


def places(path: Path, *datasets: str) -> list[str]:
    return [run.place for run in read_plan(str(path), Overrides(datasets)).runs]


def test_data_sets_of_the_plan_stay_in_their_part_and_a_new_one_takes_the_place_of_all(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("""
    parts:
    - {datasets: [base], methods: {first: prog train}}
    - {datasets: {one: {epochs: 2}, two: {}}, methods: {second: prog train}}
    """)
    assert places(path, "two", "base") == ["base/first/seed-0", "two/second/seed-0"]
    assert places(path, "new", "one") == ["new/first/seed-0", "new/second/seed-0", "one/second/seed-0"]
    assert read_plan(str(path), Overrides(("one",))).runs[0].words[-2:] == ("--epochs", "2")


def test_a_run_that_two_parts_share_is_one_run(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("""
    methods: {m: prog train}
    parts:
    - {datasets: [small], grid: {k: [1, 2]}}
    - {datasets: [large], grid: {k: [1, 2, 4]}}
    """)
    assert places(path, "new") == [f"new/m-k-{k}/seed-0" for k in (1, 2, 4)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("2e-3", 0.002),
        (".5", 0.5),
        ("-1e4", -1e4),
        ("true", True),
        ("null", None),
        ("2x", "2x"),
        ("[1, a]", [1, "a"]),
        ("both", "both"),
        ("a photo of {}.", "a photo of {}."),
        ("[", "["),
        ("", None),
    ],
)
def test_values_of_the_command_line_are_read_as_in_a_plan(text, value):
    assert StudyStatus("plan", set=(f"an-option={text}",)).options == {"an_option": value}


@pytest.mark.parametrize("text", ["epochs", "=3", "epochs={a: 1}"])
def test_what_is_no_value_is_refused(text):
    with pytest.raises(ValueError, match=r"`--set` should be NAME=VALUE, such as epochs=1. Found '.*'\."):
        StudyStatus("plan", set=(text,)).options  # noqa: B018

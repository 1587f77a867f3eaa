"""Where runs lie, and how a plan names one in the options of another."""

from __future__ import annotations

import pytest

from hmc_shared.study.plan import Overrides, read_plan


def places(plan):
    return [run.place for run in plan.runs]


def test_a_point_stands_for_the_data_set_of_the_run(write_plan):
    path = write_plan("datasets: [d, e]\nmethods: {a: prog train, b: 'prog train {./a}'}\nseeds: [0, 1]")
    runs = {run.place: run for run in read_plan(str(path)).runs}
    assert runs["e/b/seed-1"].needs == ["e/a/seed-1"]
    assert runs["e/b/seed-1"].words_in("out")[2] == "out/e/a/seed-1"
    asked = read_plan(str(path), Overrides(datasets=("f",)))
    assert [run.needs for run in asked.runs if run.label == "b"] == [["f/a/seed-0"], ["f/a/seed-1"]]
    with pytest.raises(ValueError, match="d/b/seed-0 needs the run d/c/seed-0, which the plan has not"):
        read_plan(str(write_plan("datasets: [d]\nmethods: {b: 'prog train {./c}'}")))


def test_the_one_run_of_a_method_may_have_a_folder_of_its_own(write_plan):
    text = "datasets: [d]\nmethods: {a: prog train, b: {command: 'prog train {./a}', folder: mix}}"
    assert places(read_plan(str(write_plan(text)))) == ["d/a/seed-0", "mix"]
    several = read_plan(str(write_plan(text)), Overrides(seeds=(0, 1)))
    assert places(several) == ["d/a/seed-0", "d/b/seed-0", "d/a/seed-1", "d/b/seed-1"]
    assert "e/b/seed-0" in places(read_plan(str(write_plan(text)), Overrides(datasets=("d", "e"))))
    with pytest.raises(ValueError, match="'d' is the folder of a data set"):
        read_plan(str(write_plan(text.replace("mix", "d"))))
    with pytest.raises(ValueError, match="cannot be a data set: the study has a logs of its own"):
        read_plan(str(write_plan(text.replace("mix", "logs"))))

"""Plans are read: what runs they name, and the line of every fault."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hmc_shared.study.plan import Overrides, Search, read_plan
from hmc_shared.study.plan_file import PlanFile
from hmc_shared.study.shipped import shipped_plans

PLAN = """\
about: a plan
datasets:
  one: {batch-size: 4}
  two:
methods:
  first: prog train --flag
  second: {command: other train, options: {rate: 1e-3}, processes: 2}
options: {epochs: 3, batch_size: 8, mirror: false}
seeds: [0, 7]
"""


def places(plan):
    return [run.place for run in plan.runs]


def test_data_sets_times_methods_times_seeds(write_plan):
    plan = read_plan(str(write_plan(PLAN)))
    assert places(plan) == [
        f"{dataset}/{label}/seed-{seed}"
        for seed in (0, 7)
        for label in ("first", "second")
        for dataset in ("one", "two")
    ]
    first, _, third, fourth = plan.runs[:4]
    start = ("prog", "train", "--flag", "--dataset", "one", "--epochs", "3")
    assert first.words == (*start, "--batch-size", "4", "--no-mirror")  # the data set's option wins
    assert fourth.words[-2:] == ("--rate", "0.001")
    assert (first.processes, third.processes) == (1, 2)
    assert plan.missing == {"first": "there is no program prog", "second": "there is no program other"}


def test_the_command_line_wins(write_plan):
    overrides = Overrides(("three", "one"), ("second",), (5,), {"epochs": 1, "new": [1, "a"]})
    plan = read_plan(str(write_plan(PLAN)), overrides)
    assert places(plan) == ["three/second/seed-5", "one/second/seed-5"]
    assert plan.runs[1].words[2:] == (
        *("--dataset", "one", "--epochs", "1", "--batch-size", "4", "--no-mirror"),
        *("--rate", "0.001", "--new", "1", "a"),
    )


def test_a_grid_is_every_combination_with_labels_of_its_own(write_plan):
    text = "datasets: [d]\nmethods: {m: prog train}\ngrid: {gamma: [0.1, 2], with-x: [true, false]}"
    plan = read_plan(str(write_plan(text)))
    assert [run.label for run in plan.runs] == [
        f"m-gamma-{gamma}-with-x-{x}" for gamma in (0.1, 2) for x in (True, False)
    ]
    assert plan.runs[1].words == ("prog", "train", "--dataset", "d", "--gamma", "0.1", "--no-with-x")


def test_parts_take_what_stands_around_them(write_plan):
    text = """
    seeds: [1]
    options: {epochs: 3}
    parts:
    - {datasets: [a], methods: {base: prog train}}
    - datasets: {b: {dataset: "folder:x/y"}}
      methods: {tuned: "prog train --from {a/base}/model"}
      seeds: [1, 2]
    - {datasets: [a], methods: {base: prog train}, seeds: [2], search: {seconds: 5, prune: false}}
    """
    plan = read_plan(str(write_plan(text)))
    assert places(plan) == ["a/base/seed-1", "b/tuned/seed-1", "a/base/seed-2", "b/tuned/seed-2"]
    assert plan.runs[2].search == Search(seconds=5, prune=False)
    tuned = plan.runs[3]
    assert tuned.needs == ["a/base/seed-2"]
    assert tuned.words_in("runs/s")[2:6] == [
        "--from",
        "runs/s/a/base/seed-2/model",
        "--dataset",
        "folder:x/y",
    ]


def test_a_path_as_data_set_has_a_plain_folder(write_plan):
    plan = read_plan(str(write_plan('datasets: ["folder:a b/ç"]\nmethods: {m: prog train}')))
    assert places(plan) == ["folder-a-b-ç/m/seed-0"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "datasets: [d]\nmethods: {m: x}\nseed: [0]",
            3,
            "has no key 'seed'; it may have about, metrics, parts",
        ),
        ("datasets: [d]\nmethods:\n  m:\n    comand: x", 4, "`methods.m` has no key 'comand'"),
        ("datasets: [d]\nmethods: {m: x}\nseeds: [0,\n  a]", 4, "`seeds.1` should be an integer. Found 'a'."),
        ("datasets: [d]\nmethods: {m: x}\nseeds: []", 3, "`seeds` should not be empty. Found []."),
        ("datasets: [d]\nmethods: {m: x}\nseeds: [1, 1]", 3, "`seeds` should name each once."),
        ("datasets: []\nmethods: {m: x}", 1, "`datasets` should not be empty"),
        ("datasets: 3\nmethods: {m: x}", 1, "`datasets` should be a list or a mapping. Found 3."),
        ("datasets: [d]", 1, "`methods` is missing."),
        ("- a\n- b", 1, "`the plan` should be a mapping."),
        ("", 1, "`the plan` should be a mapping. Found None."),
        ("datasets: [d]\nmethods: {m: x}\ndatasets: [e]", 3, "'datasets' stands here twice."),
        ("datasets: [d]\nmethods: {m: [}", 2, "this is not readable as YAML"),
        ("datasets: &a [d]\nmethods: *a", 2, "aliases (*name) are not allowed"),
        ("datasets: [d]\nmethods: {m: 'a \"b'}", 2, "the command of 'm' is not readable"),
        ("datasets: [d]\nmethods:\n- unheard", 3, "give 'unheard' a `command`"),
        (
            "datasets: [d]\nmethods: {m: x}\nsearch: {trials: 3, seconds: 4}",
            3,
            "either `trials` or `seconds`",
        ),
        ("datasets: [d]\nmethods: {m: x}\nsearch: {trials: 0}", 3, "should be at least 1. Found 0."),
        (
            "datasets: [d]\nmethods: {m: x}\nparts:\n- {seeds: [0]}\n- sees: 1",
            5,
            "`parts.1` has no key 'sees'",
        ),
        (
            "parts:\n- {datasets: [d], methods: {m: x}}\n- {datasets: [d],\n   methods: {m: y}}",
            4,
            "stands in the plan twice",
        ),
        (
            "datasets: [d]\nmethods: {m: 'x {e/m}'}",
            None,
            "d/m/seed-0 needs the run e/m/seed-0, which the plan has not.",
        ),
        ("a: " + "[" * 3000, None, ""),
    ],
)
def test_a_fault_is_told_with_its_line(write_plan, text, line, said):
    path = write_plan(text)
    message = refusal(lambda: read_plan(str(path)))
    assert message.startswith(f"{path}:{line}: " if line else str(path))
    assert said in message
    assert len(message) < 500


def refusal(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def test_options_of_an_installed_method_are_checked(write_plan, monkeypatch):
    """As soon as the plan is read: a name that `train` does not have, and a value out of its bounds."""
    from hmc_shared.study import programs

    entry = EntryPoint("prog", f"{__name__}:main", "console_scripts")
    monkeypatch.setattr(programs, "find_entry", lambda name: entry)
    programs._commands.cache_clear()
    for option, said in {
        "epoch: 3": "has no option 'epoch'",
        "epochs: 0": "`--epochs` should be at least 1",
    }.items():
        path = write_plan(
            f"datasets: [d]\nmethods:\n  m:\n    command: prog train\n    options:\n      {option}"
        )
        with pytest.raises(ValueError, match=f"{path}:6: .*{said}"):
            read_plan(str(path))
    path = write_plan("datasets: [d]\nmethods: {m: prog train}")
    assert read_plan(str(path), Overrides(options={"epochs": 3})).runs[0].words[-2:] == ("--epochs", "3")
    with pytest.raises(ValueError, match=r"`--set epochs`: `--epochs` should be at least 1. Found 0\."):
        read_plan(str(path), Overrides(options={"epochs": 0}))
    programs._commands.cache_clear()


def test_shipped_plans_are_found_by_name():
    assert "demo" in shipped_plans()
    with pytest.raises(ValueError, match=r"a YAML file or one of the shipped plans \(.*demo.*Found 'dmo'"):
        read_plan("dmo")


def test_the_schema_is_one():
    Draft202012Validator.check_schema(
        json.loads(files("hmc_shared.study").joinpath("plan.schema.json").read_text())
    )


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_a_plan_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("plans") / "plan.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refusal(lambda: PlanFile(path))
    assert message.startswith(str(path) if message else "")
    assert "\n" not in message


# What the entry point of a program names: see test_options_of_an_installed_method_are_checked.
from hmc_shared.cli.commands import Command  # noqa: E402
from hmc_shared.cli.train_options import TrainOptions  # noqa: E402

COMMANDS = {"train": Command("train", TrainOptions, "none:none")}

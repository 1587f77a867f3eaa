"""Plans are read: what runs they name, and the line of every fault."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hmc_shared.hierarchy import Hierarchy
from hmc_shared.metrics import summarize
from hmc_shared.study.places import check_label, check_metric, folder_of, suffix_of
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
            2,
            "d/m/seed-0 needs the run e/m/seed-0, which the plan has not.",
        ),
        ("? [a]\n: 1", 1, "a key should be text."),
        ("datasets:\n- d\n- ''\nmethods: {m: x}", 3, "the name of a data set should be a plain name"),
        ("datasets:\n- d\n- ..\nmethods: {m: x}", 3, "should be a plain name"),
        ("datasets:\n  Logs:\nmethods: {m: x}", 2, "the study has a Logs of its own."),
        ("datasets: [search]\nmethods: {m: x}", 1, "the study has a search of its own."),
        ("datasets:\n- a b\n- a-b\nmethods: {m: x}", 3, "'a b' and 'a-b' have one folder, a-b."),
        ("datasets:\n- D\n- d\nmethods: {m: x}", 3, "'D' and 'd' have one folder on some disks, d."),
        (
            "datasets: [d]\nmethods:\n  Flat: x\n  flat: x",
            4,
            "d/Flat/seed-0 and d/flat/seed-0 are one folder",
        ),
        (
            "parts:\n- {datasets: [d], methods: {m: x}}\n- {datasets: [d],\n   methods: {M: y}}",
            4,
            "d/m/seed-0 and d/M/seed-0 are one folder on some disks",
        ),
        ("datasets: [d]\nmethods:\n  é: x\n  e\u0301: x", 4, "are one folder on some disks"),
        ("datasets: [d]\nmethods:\n  m: x\ngrid: {g: [a, A]}", 3, "and d/m-g-A/seed-0 are one folder"),
        ("datasets: [d]\nmethods:\n  ./a: x", 3, "a label should be a plain name"),
        ('datasets: [d]\nmethods:\n  "a\\nb": x', 3, "a label should be a plain name"),
        ('datasets: [d]\nmethods:\n  "a\\0": x', 3, "a label should be a plain name"),
        ("datasets: [d]\nmethods:\n  " + 300 * "a" + ": x", 3, "a label should have 200 bytes at most"),
        ("datasets: [d]\nmethods: other", 2, "should be a list, a mapping, or demo. Found 'other'."),
        ("datasets: [d]\nmethods: {m: x}\ngrid: {g: [0.1,\n'0.1']}", 4, "two values of 'g' have one label"),
        ("datasets: [d]\nmethods: {m: x}\ngrid: {g: [a/b,\n a b]}", 4, "two values of 'g' have one label"),
        ("datasets: [d]\nmethods: {m: x}\ngrid: {a-b: [1],\n a_b: [2]}", 4, "'a_b' stands here twice."),
        (
            "datasets: [d]\nmethods: {m: x}\ngrid: " + str({key: list(range(10)) for key in "abcdefg"}),
            3,
            "a plan should have 10000 runs at most. Found 10000000.",
        ),
        ("datasets: [d]\nmethods: {m: x}\noptions:\n  seed: 3", 4, "'seed' is set by the study itself."),
        ("datasets: [d]\nmethods: {m: x}\ngrid:\n  dataset: [e]", 4, "'dataset' is set by the study"),
        ("datasets:\n  d:\n    no-test: true\nmethods: {m: x}", 3, "'no-test' is set by the study"),
        ("datasets: [d]\nmethods:\n  m: x train --output-dir y", 3, "'output_dir' is set by the study"),
        ('datasets: [d]\nmethods: {m: x}\noptions:\n  "x --test": 1', 4, "is no name of an option."),
        ("datasets: [d]\nmethods: {m: x}\noptions:\n  '': 1", 4, "'' is no name of an option."),
        ("datasets: [d]\nmethods: {m: x}\noptions:\n  a: --test", 4, "should not begin with '-'."),
        ("datasets: [d]\nmethods: {m: x}\ngrid:\n  a: [1, -x]", 4, "should not begin with '-'."),
        (
            "datasets: [d]\nmethods:\n  a: x {d/b}\n  b: x {d/a}",
            3,
            "wait for each other: d/a/seed-0 needs d/b",
        ),
        ("datasets: [d]\nmethods:\n  a: x {d/a}", 3, "wait for each other: d/a/seed-0 needs d/a/seed-0."),
        ("datasets: [d]\nmethods: {m: x}\nmetrics: [map,\n  nope]", 4, "`metrics` should be among"),
        ("datasets: [d]\nmethods: {m: x}\nsearch: {seconds: .inf}", 3, "should be finite. Found '.inf'."),
        ("datasets: [d]\nmethods: {m: x}\noptions:\n  rate: 1e999", 4, "should be finite."),
        ("datasets: [d]\nmethods: {m: x}\nseeds: [1.0]", 3, "should be an integer. Found 1.0."),
        ("datasets: [d]\nmethods: {m: {command: x,\n processes: 2.0}}", 3, "should be an integer."),
        ("datasets: [d]\nmethods: {m: x}\nseeds: [4294967296]", 3, "should be at most 4294967295"),
        (
            "parts:\n- {datasets: [d], methods: {m: x}}\n- {datasets: [d],\n"
            "   methods: {m: x}, search: {trials: 3}}",
            4,
            "stands in the plan twice, with other options or another search.",
        ),
        ("a: " + "[" * 3000, None, ""),
    ],
)
def test_a_fault_is_told_with_its_line(write_plan, text, line, said):
    path = write_plan(text)
    message = refusal(lambda: read_plan(str(path)))
    assert message.startswith(f"{path}:{line}: " if line else str(path))
    assert said in message
    assert len(message) < 700
    assert "\n" not in message


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
        "epochs: true": "`--epochs` should not be true or false",
        "epochs: null": "`--epochs` should have a value",
        "epochs: [1, 2]": "`--epochs` should have one value",
        "compile: 1": "`--compile` should be true or false",
        "config: nofile.yaml": "`--config` should be a YAML file or one of",
    }.items():
        path = write_plan(
            f"datasets: [d]\nmethods:\n  m:\n    command: prog train\n    options:\n      {option}"
        )
        with pytest.raises(ValueError, match=f"{path}:6: .*{said}"):
            read_plan(str(path))
    for words, said in {
        "train --nosuch 1": "has no option 'nosuch'",
        "train --epochs 0": "`--epochs` should be at least 1",
        "train --batch-size=x": "`--batch-size` should be an integer. Found 'x'",
        "train --protocol none": "`--protocol` should be one of default, paper",
        "trian": "the command should be `prog train`. Found 'prog trian'",
    }.items():
        path = write_plan(f"datasets: [d]\nmethods:\n  m: prog {words}")
        with pytest.raises(ValueError, match=f"{path}:3: .*{said}"):
            read_plan(str(path))
    fine = "--epochs 3 --no-compile --learning-rate=1e-3 --clip-norm 2"
    assert read_plan(str(write_plan(f"datasets: [d]\nmethods: {{m: prog train {fine}}}"))).runs
    path = write_plan("datasets: [d]\nmethods: {m: prog train}")
    assert read_plan(str(path), Overrides(options={"epochs": 3})).runs[0].words[-2:] == ("--epochs", "3")
    with pytest.raises(ValueError, match=r"`--set epochs`: `--epochs` should be at least 1. Found 0\."):
        read_plan(str(path), Overrides(options={"epochs": 0}))
    programs._commands.cache_clear()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (Overrides(datasets=("..",)), "`--dataset`: the name of a data set should be a plain name"),
        (Overrides(seeds=(-1,)), "`--seeds` should be from 0 to 4294967295. Found -1."),
        (Overrides(options={"output_dir": "x"}), "`--set output_dir`: 'output_dir' is set by the study"),
        (Overrides(options={"a": ["b", "--c"]}), "`--set a`: a value of 'a' should not begin with '-'"),
    ],
)
def test_a_fault_of_the_command_line_names_the_option(write_plan, overrides, said):
    assert refusal(lambda: read_plan(str(write_plan(PLAN)), overrides)).startswith(said)


@given(st.text(max_size=80) | st.text("./\\-a\0\n ", max_size=8), st.text("./ -a", max_size=6))
def test_what_is_not_refused_is_a_folder_of_its_own_in_the_study(name, value):
    study = Path("/study")
    for make in (folder_of, lambda text: check_label(text) or text, lambda text: f"m{suffix_of('g', value)}"):
        folders: list[str] = []
        refusal(lambda make=make, folders=folders: folders.append(make(name)))
        for folder in folders:
            assert (study / folder).resolve().parent == study
            assert len(Path(folder).parts) == 1


def test_a_data_set_may_be_loaded_by_another_name(write_plan):
    plan = read_plan(str(write_plan("datasets: {d: {dataset: e}}\nmethods: {m: prog train}")))
    assert plan.runs[0].words == ("prog", "train", "--dataset", "e")


def test_a_reference_is_by_the_names_of_the_plan_and_other_braces_are_text(write_plan):
    text = """
    datasets: ["table:a/b.csv"]
    methods:
      x: prog train
      y: prog train --from {table:a/b.csv/x}/m --map '{"a/b":1}'
    """
    run = read_plan(str(write_plan(text))).runs[1]
    assert run.needs == ["table-a-b.csv/x/seed-0"]
    assert run.words_in("S")[3:6] == ["S/table-a-b.csv/x/seed-0/m", "--map", '{"a/b":1}']


def test_what_needs_a_method_that_is_not_installed_is_missing_too(write_plan):
    text = "datasets: [d]\nmethods: {a: absent train, b: 'sh {d/a}', c: 'sh {d/b}', e: sh}"
    assert read_plan(str(write_plan(text))).missing == {
        "a": "there is no program absent",
        "b": "needs d/a/seed-0, which is not installed",
        "c": "needs d/b/seed-0, which is not installed",
    }
    grid = read_plan(str(write_plan("datasets: [d]\nmethods: {a: absent train}\ngrid: {g: [1]}")))
    assert grid.missing == {"a-g-1": "there is no program absent"}


def test_a_published_method_that_is_not_installed_is_a_row_and_a_typo_an_error(write_plan, monkeypatch):
    monkeypatch.setattr("hmc_shared.study.programs.find_program", lambda name: None)
    monkeypatch.setattr("hmc_shared.study.plan.installed_methods", list)
    for methods in ("[hlstm, hcal]", "{hlstm: , hcal: {options: {epochs: 3}}}"):
        plan = read_plan(str(write_plan(f"datasets: [d]\nmethods: {methods}")))
        assert plan.missing == {name: f"not installed: pip install {name}" for name in ("hlstm", "hcal")}
    with pytest.raises(ValueError, match=r"give 'hlsmt' a `command`: it is no method that is installed"):
        read_plan(str(write_plan("datasets: [d]\nmethods: [hlsmt]")))


def test_what_is_needed_may_be_left_out_once_it_is_finished(write_plan, tmp_path):
    path = write_plan("datasets: [d, e]\nmethods: {base: prog train, tuned: 'prog train {d/base}'}")
    for overrides in (Overrides(methods=("tuned",)), Overrides(datasets=("e",))):
        with pytest.raises(ValueError, match="d/base/seed-0, which is not finished, and `--methods` or"):
            read_plan(str(path), overrides, tmp_path)
    (tmp_path / "d/base/seed-0").mkdir(parents=True)
    (tmp_path / "d/base/seed-0/results.json").touch()
    plan = read_plan(str(path), Overrides(methods=("tuned",)), tmp_path)
    assert places(plan) == ["d/tuned/seed-0", "e/tuned/seed-0"]
    with pytest.raises(ValueError, match="which the plan has not"):
        read_plan(str(write_plan(path.read_text().replace("{d/base}", "{f/base}"))), Overrides(), tmp_path)


def test_a_plan_may_ask_for_every_metric_there_is():
    tree = Hierarchy.from_paths(["a/b", "a/c"])
    targets = np.array([[1, 1, 0], [1, 0, 1]])
    found = summarize(
        np.array([[2.0, 1, -1], [2, -1, 1]]),
        targets,
        tree,
        evaluated=np.array([False, True, True]),
        train_counts=np.array([300, 30, 3]),
    )
    for name in (*found, *(f"test/{name}" for name in found), "accuracy_level_*", "map*"):
        check_metric(name)


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

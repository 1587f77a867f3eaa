"""What the programs of all methods share: dispatch, exit codes, and the command line that a run keeps."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import tyro

import hmc_shared
from hmc_shared.cli import commands
from hmc_shared.cli.commands import (
    Command,
    EvaluateOptions,
    PredictOptions,
    command_line,
    dispatch,
    exit_codes,
    format_metrics,
    launcher,
    run_program,
)
from hmc_shared.cli.lazy import lazy_attribute
from hmc_shared.cli.version import distribution_version

SOURCE = Path(hmc_shared.__file__).parents[1]


@dataclass(frozen=True)
class Options:
    """Say something."""

    what: Annotated[str, tyro.conf.Positional]
    """The word."""
    times: int = 1
    """How often."""


@pytest.fixture
def program(monkeypatch):
    """``program(*words)`` runs a program with the command "say", whose module is imported by its name."""
    module = ModuleType("toy_say")
    module.say = lambda options: print(*[options.what] * options.times)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_say", module)
    listed = {
        "say": Command("say a word", Options, "toy_say:say"),
        "evaluate": Command("score a split", EvaluateOptions, "nowhere_at_all:command"),
    }

    def run(*words: str) -> None:
        run_program("hmc-shared", "hmc_shared.cli", listed, words)

    return run


class TestDispatch:
    def test_the_first_word_is_the_command(self, program, capsys):
        program("say", "yes", "--times", "3")
        assert capsys.readouterr().out == "yes yes yes\n"

    def test_the_words_of_the_process_are_the_default(self, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["hmc-shared", "--version"])
        run_program("hmc-shared", "hmc_shared.cli", {})
        assert capsys.readouterr().out == f"hmc-shared {version('hmc-shared')}\n"

    @pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
    def test_help_lists_the_commands(self, program, capsys, words):
        program(*words)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "usage: hmc-shared COMMAND [--help] [options]"
        assert lines[-2:] == ["  say       say a word", "  evaluate  score a split"]

    def test_an_unknown_command_is_one_line_with_the_known_ones(self, program, capsys):
        with pytest.raises(SystemExit, match="2"):
            program("sya", "yes")
        assert capsys.readouterr().err == (
            "hmc-shared: error: the command should be one of say, evaluate. Found 'sya'.\n"
        )

    def test_the_module_is_imported_after_the_options_are_read(self, program, capsys):
        with pytest.raises(SystemExit, match="2"):
            program("evaluate", "run", "--split", "none")
        assert "hmc-shared evaluate" in capsys.readouterr().err
        with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
            dispatch(["evaluate", "run"], "p", "hmc_shared.cli", {"evaluate": _command("nowhere_at_all:f")})

    @pytest.mark.parametrize("words", [["--help"], ["--version"], ["evaluate", "--help"], ["predict", "-h"]])
    def test_help_imports_nothing_slow(self, words):
        code = (
            "import sys\n"
            "from hmc_shared.cli.commands import Command, EvaluateOptions, PredictOptions, run_program\n"
            "commands = {'evaluate': Command('', EvaluateOptions, 'hmc_shared.runs.evaluate:command'),\n"
            "    'predict': Command('', PredictOptions, 'hmc_shared.predict.inputs:command')}\n"
            f"try: run_program('hmc-shared', 'hmc_shared.cli', commands, {words})\n"
            "except SystemExit as stop: assert not stop.code\n"
            "slow = {'torch', 'numpy', 'matplotlib', 'datasets', 'sklearn'} & set(sys.modules)\n"
            "sys.exit(f'imported {slow}' if slow else 0)"
        )
        done = _in_a_process(["-c", code])
        assert done.returncode == 0, done.stderr
        assert "hmc-shared" in done.stdout


def _command(run: str) -> Command:
    return Command("", EvaluateOptions, run)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("`a` is wrong."), 2, r"test: error: `a` is wrong\.\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x/y"),
            1,
            r"test: error: \[Errno 2\] No such .*'x/y'\n",
        ),
        (KeyboardInterrupt(), 130, r"test: interrupted\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(monkeypatch, capsys, error, code, line):
    def fail():
        raise error

    monkeypatch.delenv("HMC_DEBUG", raising=False)
    with pytest.raises(SystemExit) as exit_:
        exit_codes(fail, "test")
    assert exit_.value.code == code
    assert re.fullmatch(line, capsys.readouterr().err)
    if isinstance(error, Exception):
        monkeypatch.setenv("HMC_DEBUG", "1")
        with pytest.raises(type(error)):
            exit_codes(fail, "test")


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_codes(lambda: print(1 / 0), "test")


def test_without_calibration_a_model_is_set_back():
    class Model:
        class calibration:  # noqa: N801 - stands for an attribute
            is_reset = False

            @classmethod
            def reset(cls):
                cls.is_reset = True

    PredictOptions("run", ["x.csv"]).apply_to(Model)
    assert not Model.calibration.is_reset
    PredictOptions("run", ["x.csv"], calibrate=False).apply_to(Model)
    assert Model.calibration.is_reset
    assert EvaluateOptions("run").preprocessing("paper") == "default"


def test_options_of_evaluate_have_bounds():
    with pytest.raises(ValueError, match=r"`--workers` should be finite and not negative\. Found -1\."):
        EvaluateOptions("run", workers=-1)
    with pytest.raises(ValueError, match=r"`--split` should be one of train, validation, test\. Found 'tst'"):
        EvaluateOptions("run", split="tst")  # type: ignore[arg-type]


def test_metrics_are_a_line_each():
    lines = format_metrics(
        {"test/au_prc": 0.12345, "test/map_classes": 16.0, "test/hvr": None, "test/map_absent": 0.0}
    ).splitlines()
    assert [line.split() for line in lines] == [
        ["test/au_prc", "0.1235"],
        ["test/map_classes", "16"],
        ["test/hvr", "-"],
        ["test/map_absent", "0"],
    ]
    assert len({line.rindex(" ") for line in lines}) == 1  # one column


def test_lazy_attributes_are_imported_when_they_are_asked_for():
    assert lazy_attribute("hmc_shared.cli", "Bounds", {"Bounds": "bounds"}).__name__ == "Bounds"
    with pytest.raises(AttributeError, match=r"module 'hmc_shared' has no attribute 'Hierarhcy'"):
        _ = hmc_shared.Hierarhcy
    assert {name: getattr(hmc_shared, name) for name in hmc_shared.__all__}["__version__"] == (
        hmc_shared.__version__
    )


def test_a_tree_that_is_not_installed_has_no_version():
    assert distribution_version("pytest") == pytest.__version__
    assert distribution_version("no-such-distribution") == "0+unknown"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/env/bin/hlstm", "train"], "hlstm train"),
        (["C:/env/hlstm.exe", "train", "--seed", "1"], "hlstm train --seed 1"),
        (
            ["hcal", "train", "--output-dir", "a b", "--dataset", "folder:a b"],
            "hcal train --dataset 'folder:a b'",
        ),
        (
            ["hcal", "train", "--output_dir=x", "--resume", "--seed=2", "--no-overwrite"],
            "hcal train --seed=2",
        ),
        (["hcal", "train", "--seed", "3", "--overwrite", "--output-dir"], "hcal train --seed 3"),
        (["hcal", "plot", "--samples", "1"], None),
        (["/env/bin/pytest"], None),
    ],
)
def test_a_command_is_kept_without_where_it_writes(monkeypatch, argv, expected):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert command_line() == expected


@pytest.mark.parametrize(("module", "words"), [("method.train", []), ("method", ["train"])])
def test_a_module_is_started_as_it_was(tmp_path, module, words):
    package = tmp_path / "method"
    package.mkdir()
    code = "from hmc_shared.cli.commands import command_line\nprint(command_line())\n"
    for name in ("__init__", "__main__", "train"):
        (package / f"{name}.py").write_text("" if name == "__init__" else code)
    arguments = [*words, "--seed", "4", "--resume"]
    done = _in_a_process(["-m", module, *arguments], tmp_path)
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout) == ["python", "-m", module, *arguments[:-1]]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the system does not tell")
@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        (
            "torchrun",
            ["--nproc_per_node", "2", "-m", "toy.train", "--seed", "1"],
            "torchrun --nproc_per_node 2",
        ),
        ("accelerate", ["launch", "--mixed precision", "-m", "toy"], "accelerate launch '--mixed precision'"),
        ("accelerate-launch", ["--num_processes", "2"], "accelerate-launch --num_processes 2"),
        ("of-python", ["-m", "torch.distributed.run", "--standalone", "-m", "toy"], "torchrun --standalone"),
        ("python-of-somebody", ["-m", "toy.train"], None),
    ],
)
def test_the_launcher_is_the_parent_process(tmp_path, name, words, expected):
    started = (
        "import subprocess, sys\n"
        "child = 'from hmc_shared.cli.commands import launcher; print(launcher())'\n"
        "sys.exit(subprocess.run([sys.executable, '-c', child]).returncode)\n"
    )
    (tmp_path / name).write_text(started)
    done = _in_a_process([str(tmp_path / name), *words])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(expected)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the system does not tell")
def test_the_command_of_several_processes_is_the_launchers(tmp_path):
    package = tmp_path / "method"
    package.mkdir()
    (package / "__init__.py").touch()
    code = "from hmc_shared.cli.commands import command_line\nprint(command_line())\n"
    (package / "train.py").write_text(code)
    launcher = tmp_path / "torchrun"
    launcher.write_text(
        "import subprocess, sys\n"
        "sys.exit(subprocess.run([sys.executable, *sys.argv[sys.argv.index('-m'):]]).returncode)\n"
    )
    words = ["--nproc_per_node", "2", "-m", "method.train", "--seed", "1"]
    done = _in_a_process([str(launcher), *words, "--output-dir", "x"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout) == ["torchrun", *words]


def test_a_parent_that_cannot_be_read_is_no_launcher(monkeypatch):
    monkeypatch.setattr(commands.os, "getppid", lambda: 2**30)
    assert launcher() is None


def _in_a_process(words: list[str], *paths: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*paths, SOURCE]))}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=120
    )

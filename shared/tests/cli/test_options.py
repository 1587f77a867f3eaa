"""Options from a dataclass, a YAML file and the command line; errors as one line and an exit code."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from hmc_shared.cli import options


@dataclass(frozen=True)
class Config:
    config: str | None = None
    method: Literal["plain", "fancy"] = "plain"
    protocol: Literal["default", "paper"] = "default"
    rate: float = 1.0
    names: tuple[str, ...] = ()
    fast: bool = False


@pytest.fixture
def parse(tmp_path):
    """``parse(text, *argv)``: the options under a YAML file of that text."""

    def parse(text, *argv):
        file = tmp_path / "options file.yaml"
        file.write_text(text)
        return options.parse(Config, ["--config", str(file), *argv], prog="test")

    return parse


@pytest.mark.parametrize(
    ("argv", "rate"),
    [
        ((), 2.0),
        (("--method", "fancy"), 3.0),
        (("--method", "fancy", "--protocol", "paper"), 4.0),
        (("--protocol", "paper"), 2.0),
        (("--method", "fancy", "--rate", "5"), 5.0),
    ],
)
def test_a_section_counts_for_its_choice_and_the_command_line_for_more(parse, argv, rate):
    text = "fancy:\n  rate: 3\n  paper:\n    rate: 4\nrate: 2\n"
    assert parse(text, *argv).rate == rate


def test_a_section_counts_for_a_choice_that_the_file_makes(parse):
    text = "fancy:\n  rate: 3\nmethod: fancy\n"
    assert parse(text) == Config(parse(text).config, method="fancy", rate=3.0)
    assert parse(text, "--method", "plain").rate == 1.0


def test_the_resolved_options_read_back(parse):
    config = parse("names: [a, b]\nfast: true\nrate: 1e-3\n")
    assert (config.names, config.fast, config.rate) == (("a", "b"), True, 1e-3)
    assert parse(options.to_yaml(config)) == config
    assert parse("names: []\nfast: false\n") == Config(config.config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "should hold a mapping of options. Found list"),
        ("a: b: c\n", "is not YAML"),
        ("poper:\n  rate: 1\n", "unknown section 'poper'; sections are .*'paper'"),
    ],
)
def test_a_wrong_file_is_named(parse, text, message):
    with pytest.raises(ValueError, match=rf"options file\.yaml.*{message}"):
        parse(text)


def test_an_unknown_option_ends_the_program(parse, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse("rat: 1\n")
    assert "--rat" in capsys.readouterr().err


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
    def fail(argv):
        raise error

    monkeypatch.setattr(sys, "argv", ["test"])
    monkeypatch.delenv("HMC_DEBUG", raising=False)
    with pytest.raises(SystemExit) as exit_:
        options.main(fail, "test")
    assert exit_.value.code == code
    assert re.fullmatch(line, capsys.readouterr().err)
    if isinstance(error, Exception):
        monkeypatch.setenv("HMC_DEBUG", "1")
        with pytest.raises(type(error)):
            options.main(fail, "test")

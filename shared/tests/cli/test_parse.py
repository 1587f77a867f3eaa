"""Options from a dataclass, a YAML file and the command line, and their groups in the help."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
import yaml

from hmc_shared.cli import parse as parsing
from hmc_shared.cli.bounds import Count, NonNegative
from hmc_shared.cli.parse import GROUPS, parse_arguments, to_yaml
from hmc_shared.cli.train_options import ImageOptions, OptimisationOptions, TrainOptions


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
        return parsing.parse(Config, ["--config", str(file), *argv], prog="test")

    return parse


class TestFile:
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
    def test_a_section_counts_for_its_choice_and_the_command_line_for_more(self, parse, argv, rate):
        text = "fancy:\n  rate: 3\n  paper:\n    rate: 4\nrate: 2\n"
        assert parse(text, *argv).rate == rate

    def test_a_section_counts_for_a_choice_that_the_file_makes(self, parse):
        text = "fancy:\n  rate: 3\nmethod: fancy\n"
        assert parse(text) == Config(parse(text).config, method="fancy", rate=3.0)
        assert parse(text, "--method", "plain").rate == 1.0

    def test_the_resolved_options_read_back(self, parse):
        config = parse("names: [a, b]\nfast: true\nrate: 1e-3\n")
        assert (config.names, config.fast, config.rate) == (("a", "b"), True, 1e-3)
        assert parse(to_yaml(config)) == config
        assert parse("names: []\nfast: false\n") == Config(config.config)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("- a\n", "should hold a mapping of names to values. Found list"),
            ("a: b: c\n", "is not readable as YAML: mapping values are not allowed here line 1"),
            ("poper:\n  rate: 1\n", "unknown section 'poper'; sections are .*'paper'"),
        ],
    )
    def test_a_wrong_file_is_named(self, parse, text, message):
        with pytest.raises(ValueError, match=rf"options file\.yaml.*{message}"):
            parse(text)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("rate: 1\nrat: 1\n", ":2: 'rat' is no option: is it 'rate'?"),
            *(
                (f"{key}: 1\n", f":1: '{key}' is no option")
                for key in ("help", "h", "version", "--help", "-h", "rate=1", "ra te", "é", "no_fast")
            ),
            ("rate: 1\nhelp: true\n", ":2: 'help' is no option"),
            ("rate: 1\nfancy:\n  rate: 2\n  helpp: 1\n", ":4: 'helpp' is no option"),
            ("fancy: {1: 2}\n", ":1: 1 is no option"),
            ("names: [a, --help]\n", ":1: a value of 'names' should not begin with '-'. Found '--help'"),
            ("rate: 1\nmethod: -h\n", ":2: a value of 'method' should not begin with '-'. Found '-h'"),
        ],
    )
    def test_an_unknown_key_is_one_line(self, parse, text, message, capsys):
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            parse(text)
        assert "options file.yaml:" in str(error.value)
        assert "\n" not in str(error.value)
        assert capsys.readouterr().out == ""

    def test_negative_numbers_are_values(self, parse):
        assert parse("rate: -1e-3\n").rate == -1e-3
        assert parse("rate: -.5\n").rate == -0.5

    def test_shipped_files_are_taken_by_their_names(self, tmp_path, monkeypatch):
        package = tmp_path / "toy_with_configs"
        (package / "configs").mkdir(parents=True)
        (package / "__init__.py").touch()
        for name, rate in (("digits", 2), ("other", 3)):
            (package / "configs" / f"{name}.yaml").write_text(f"learning_rate: {rate}\n")
        monkeypatch.syspath_prepend(tmp_path)

        def rate(*argv):
            return parsing.parse(Trainer, argv, prog="toy train", package=package.name).learning_rate

        assert rate() == 2  # --dataset is digits
        assert rate("--dataset", "other") == 3
        assert rate("--dataset", "unknown") == 0.5
        assert rate("--config", "other") == 3
        assert rate("--config", "other", "--learning-rate", "4") == 4
        with pytest.raises(ValueError, match=r"one of digits, other\. Found 'third'"):
            rate("--config", "third")
        with pytest.raises(ValueError, match=r"one of none shipped\. Found 'third'"):
            parsing.parse(Trainer, ["--config", "third"], prog="toy train")

    def test_a_file_that_goes_over_a_bound_is_refused(self, tmp_path):
        (tmp_path / "c.yaml").write_text("units: 0\n")
        with pytest.raises(ValueError, match=r"`--units` should be at least 1\. Found 0\."):
            parsing.parse(Trainer, ["--config", str(tmp_path / "c.yaml")], prog="toy train")


@dataclass(frozen=True)
class NetworkOptions:
    title: ClassVar[str] = "network"

    units: Count = 4
    """Units of the only layer,
    which are few."""


@dataclass(frozen=True)
class StepOptions(OptimisationOptions):
    epochs: Count = 7
    """Passes, of which there are few."""
    learning_rate: NonNegative = 0.5
    momentum: float = 0.9
    """Share of the step before."""


@dataclass(frozen=True)
class Trainer(NetworkOptions, StepOptions, ImageOptions, TrainOptions):
    """Train a toy."""

    package: ClassVar[str] = "toy"

    method: Literal["plain", "fancy"] = "plain"
    """Which toy."""
    protocol: Literal["default", "paper"] = "default"
    """paper: as it is printed."""
    sizes: Annotated[tuple[int, ...], "metadata of others"] = (1, 2)
    """Some sizes."""

    @property
    def label(self) -> str:
        return self.method


def help_of(config_type: type, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        parse_arguments(config_type, ["--help"], "toy train")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    return " ".join(re.sub(r"[^\x00-\x7f]", " ", plain).split())


class TestGroups:
    def test_titles_stand_in_their_order(self, capsys):
        text = help_of(Trainer, capsys)
        places = [text.find(f" {title} options ") for title in GROUPS if title not in ("forest", "loss")]
        assert -1 not in places
        assert places == sorted(places)
        assert " loss options " not in text
        assert "Train a toy." in text

    def test_an_option_is_in_the_group_of_the_class_that_defines_it_first(self, capsys):
        text = help_of(Trainer, capsys)
        for option, title, following in (
            ("method", "method", "data"),
            ("sizes", "method", "data"),
            ("flip", "images", "network"),
            ("units", "network", "optimisation"),
            ("momentum", "optimisation", "run"),
            ("learning-rate", "optimisation", "run"),
        ):
            place = re.search(rf" --{option}\b", text).start()
            assert text.find(f" {title} options ") < place < text.find(f" {following} options "), option
        assert text.find(" run options ") < text.find("--protocol ")

    def test_texts_are_those_of_the_class_that_says_more(self, capsys):
        text = help_of(Trainer, capsys)
        assert "Units of the only layer, which are few." in text
        assert "Passes, of which there are few. (default: 7)" in text  # another text, another default
        assert "Highest step size. (default: 0.5)" in text  # another default only
        assert "paper: as it is printed." in text
        assert "Mirror half of the images" in text
        assert "Passes over the training rows" not in text

    def test_the_options_are_those_of_the_whole_class(self):
        config = parse_arguments(Trainer, ["--units", "3", "--protocol", "paper", "--no-flip"], "toy train")
        assert config == Trainer(units=3, protocol="paper", flip=False)
        assert (config.epochs, config.learning_rate, config.batch_size) == (7, 0.5, 64)
        assert config.run_folder == Path("runs/digits/plain-paper/seed-0")
        assert list(yaml.safe_load(to_yaml(config))) == list(yaml.safe_load(to_yaml(Trainer())))

    def test_a_value_out_of_bounds_is_refused(self):
        with pytest.raises(ValueError, match=r"`--learning-rate` should be finite .* Found -1\.0\."):
            parse_arguments(Trainer, ["--learning-rate", "-1"], "toy train")

    def test_a_class_without_groups_is_one(self, capsys):
        text = help_of(Config, capsys)
        assert "--rate" in text
        assert not any(f" {title} options " in text for title in GROUPS)
        assert parse_arguments(Config, ["--rate", "2"], "toy").rate == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [("rate: 2.0", True), ("paper: {}", False), ("paper: {rate: 2.0}", False), ("protocol: paper", False)],
)
def test_the_papers_protocol_says_where_there_are_no_settings_of_the_paper(parse, capsys, text, says):
    """A file that names the protocol itself, as that of a run, has them all."""
    assert parse(text, "--protocol", "paper").protocol == "paper"
    note = capsys.readouterr().err
    assert note.startswith("note: no settings of the paper are known") == says
    assert (note.count("\n") == 1) == says
    assert parse(text, "--protocol", "default").protocol == "default"
    assert not capsys.readouterr().err

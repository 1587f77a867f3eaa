"""What a search may choose: the spaces that packages ship, as distributions of Optuna."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hmc_shared.cli.parse import parse
from hmc_shared.messages import shown
from hmc_shared.object_files import read_yaml
from hmc_shared.study.programs import check_train_options, find_entry, options_of, train_options

FILE = "spaces.yaml"
"""In a package: ``metric``, the figure of metrics.jsonl by which its methods choose their epoch; ``common``,
the space of all; more by label, which ``common: false`` there takes the place of. An option has ``low`` and
``high`` (``log: true``), or ``choices``."""
_RANGE, _CHOICES = {"low", "high", "log"}, {"choices"}


@dataclass(frozen=True)
class Space:
    metric: str
    options: Mapping[str, BaseDistribution]
    recipe: Mapping[str, Any]
    """What the options are without a search: the first trial."""

    @property
    def texts(self) -> dict[str, str]:
        return {name: _text(distribution) for name, distribution in self.options.items()}


def load_space(words: tuple[str, ...]) -> Space | None:
    """The space of a command, as its package ships it; None for a method in which there is nothing to choose.

    What the command line sets is not searched. A recipe's value outside of a range widens the range.

    Raises ValueError for a command whose package ships no space, and for a space that is wrong.
    """
    entry, options = find_entry(words[0]), train_options(words)
    package = entry.module.partition(".")[0] if entry else ""
    path = Path(str(files(package))) / FILE if package else Path(FILE)
    if options is None or not path.is_file():
        raise ValueError(f"`{words[0]}` cannot be searched: its package ships no {FILE}.")
    config: Any = parse(options, words[2:], prog=" ".join(words[:2]), package=package)
    content = read_yaml(path)
    if content.get(config.label, {}) is None:
        return None
    if not isinstance(content.get("metric"), str):
        found = shown(content.get("metric")) if "metric" in content else "none"
        raise ValueError(f"{path}: `metric` should be a figure such as validation/map. Found {found}.")
    specs: dict[str, Any] = {}
    method = getattr(config, "method", config.label)  # what the label says more is no other space
    for section in ("common", *dict.fromkeys([method, config.label])):
        if not isinstance(options_there := content.get(section) or {}, dict):
            raise ValueError(
                f"{path}: `{section}` should map options to ranges. Found {shown(options_there)}."
            )
        if options_there.get("common") is False:
            specs, options_there = {}, {k: spec for k, spec in options_there.items() if k != "common"}
        specs |= options_there
    set_already = {name for name, _ in options_of(words)}
    recipe: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for name, spec in specs.items():
        if name in set_already or f"no_{name}" in set_already:
            continue
        try:
            if not isinstance(spec, dict) or set(spec) not in (_RANGE, _RANGE - {"log"}, _CHOICES):
                raise ValueError(f"should have `low` and `high`, or `choices`. Found {shown(spec)}.")
            for value in spec.get("choices", (spec.get("low"), spec.get("high"))):
                check_train_options(words, name, value)
            recipe[name] = getattr(config, name)
            distributions[name] = _distribution(spec, recipe[name])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: `{name}` of {config.label}: {error}") from error
    if not distributions:
        raise ValueError(f"{path} has nothing to search for {config.label}: leave it out by `search: false`.")
    return Space(content["metric"], distributions, recipe)


def _distribution(spec: Mapping[str, Any], recipe: Any) -> BaseDistribution:
    if "choices" in spec:
        return CategoricalDistribution(list(dict.fromkeys([*spec["choices"], recipe])))
    low, high, log = min(spec["low"], recipe), max(spec["high"], recipe), spec.get("log", False)
    kind = IntDistribution if isinstance(low, int) and isinstance(high, int) else FloatDistribution
    return kind(low, high, log=log)


def _text(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return "{" + ", ".join(map(str, distribution.choices)) + "}"
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return f"[{distribution.low:g}, {distribution.high:g}]" + (" log" if distribution.log else "")

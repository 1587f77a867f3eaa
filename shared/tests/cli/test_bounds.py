"""What a value of an option may be: bounds and choices at the fields, and marks for resumed runs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, Literal, Optional

import pytest

from hmc_shared.cli.bounds import (
    FREE,
    Bounds,
    Count,
    NonNegative,
    NonNegativeInt,
    Positive,
    Share,
    ShareBelow1,
    check,
    check_options,
    free_options,
)
from hmc_shared.cli.train_options import Seed, TrainOptions


def options(hint: Any, value: object) -> Any:
    """One option ``--some-value``."""
    return make_dataclass("Options", [("some_value", hint)])(value)


@pytest.mark.parametrize(
    ("hint", "right", "wrong", "rule"),
    [
        (Count, [1, 10**9], [0, -1], "be at least 1"),
        (NonNegativeInt, [0, 7], [-1], "be finite and not negative"),
        (Seed, [0, 2**32 - 1], [-1, 2**32], "lie in [0, 4294967295]"),
        (NonNegative, [0.0, 1e300], [-1e-300], "be finite and not negative"),
        (Positive, [1e-300, 1e300], [0.0, -1.0], "be finite and above 0"),
        (Share, [0.0, 0.3, 1.0], [-1e-9, 1 + 1e-9], "lie in [0, 1]"),
        (ShareBelow1, [0.0, 0.999], [1.0, -0.1], "lie in [0, 1)"),
        (Annotated[float, Bounds(0.5, 2, open_low=True)], [0.6, 2.0], [0.5, 2.1], "lie in (0.5, 2]"),
        (Annotated[float, Bounds(-2)], [-2.0, 0.0], [-2.1], "be at least -2"),
        (Annotated[float, Bounds()], [-1e300, 1e300], [], "be"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_option(hint, right, wrong, rule):
    for value in right:
        check_options(options(hint, value))
    for value in [*wrong, math.nan, math.inf, -math.inf]:
        message = re.escape(f"`--some-value` should {rule}")
        with pytest.raises(ValueError, match=rf"^{message}.*\. Found {re.escape(repr(value))}\.$"):
            check_options(options(hint, value))


@pytest.mark.parametrize("hint", [Count | None, Optional[Share], Annotated[Count | None, FREE]])  # noqa: UP045
def test_bounds_stand_inside_unions_which_may_be_none(hint):
    check_options(options(hint, None))
    check_options(options(hint, 1))
    with pytest.raises(ValueError, match=r"`--some-value` should .* Found -1\."):
        check_options(options(hint, -1))


@pytest.mark.parametrize("hint", [Literal["a", "b"], Annotated[Literal["a", "b"], FREE]])
def test_a_choice_is_one_of_its_literal(hint):
    check_options(options(hint, "b"))
    with pytest.raises(ValueError, match=r"^`--some-value` should be one of a, b\. Found 'c'\.$"):
        check_options(options(hint, "c"))


def test_what_is_no_number_is_out_of_bounds_and_what_has_no_bounds_is_not_checked():
    with pytest.raises(ValueError, match=r"`--some-value` should be an integer\. Found '3'\."):
        check_options(options(Count, "3"))
    with pytest.raises(ValueError, match=r"`--some-value` should be an integer\. Found None\."):
        check_options(options(Count, None))
    with pytest.raises(ValueError, match=r"`--some-value` should be a number\. Found '3'\."):
        check_options(options(Share, "3"))
    check_options(options(float, math.nan))


def test_a_rule_between_options_names_one_of_them():
    config = options(int, 3)
    check(config, "some_value", True, "be odd")
    with pytest.raises(ValueError, match=r"^`--some-value` should be even\. Found 3\.$"):
        check(config, "some_value", False, "be even")


@dataclass(frozen=True)
class Toy(TrainOptions):
    share: Share = 0.5
    threads: Annotated[Count | None, FREE] = None
    device: Annotated[str, FREE] | None = None


def test_every_trainer_checks_its_options_when_they_are_made():
    with pytest.raises(ValueError, match=r"`--share` should lie in \[0, 1\]\. Found 2\."):
        Toy(share=2)
    with pytest.raises(ValueError, match=r"`--epochs` should be at least 1\. Found 0\."):
        Toy(epochs=0)
    with pytest.raises(ValueError, match=r"`--protocol` should be one of default, paper\. Found 'papr'\."):
        Toy(protocol="papr")


def test_options_that_are_marked_are_free_on_resume():
    base = {"data_dir", "output_dir", "config", "resume", "overwrite", "test"}
    base |= {"checkpoint_every", "checkpoint_minutes", "skip_bad_steps", "dry_run", "log_with"}
    assert free_options(TrainOptions) == base
    assert Toy().free_on_resume() == base | {"threads", "device"}


def test_an_option_stays_free_on_resume_with_another_default():
    @dataclass(frozen=True)
    class Rarely(TrainOptions):
        checkpoint_every: int = 10

    assert free_options(Rarely) == free_options(TrainOptions)

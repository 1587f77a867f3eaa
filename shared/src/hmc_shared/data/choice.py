"""What a user says of how inputs are read: columns that are features, and the window of deep images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from hmc_shared.messages import listed


@dataclass(frozen=True)
class FeatureChoice:
    """The options ``--features``, ``--drop`` and ``--categorical``."""

    features: tuple[str, ...] = ()
    """Columns to take; none: all that can be features."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    categorical: tuple[str, ...] = ()
    """Columns of words to take, a feature for each word."""

    def __bool__(self) -> bool:
        return bool(self.features or self.drop or self.categorical)

    @property
    def option(self) -> str:
        """The first option that is given, for messages."""
        return next((f"`--{name}`" for name, columns in asdict(self).items() if columns), "")

    def check(self, columns: Collection[str], taken: Collection[str], origin: str) -> None:
        """Raises ValueError for columns that are not there, have another use, or are chosen and dropped."""
        for option, names in asdict(self).items():
            for name in names:
                if name not in columns:
                    raise ValueError(
                        f"`--{option}` should name columns of {origin}, {listed(columns)}. Found {name!r}."
                    )
                if name in taken and option != "drop":
                    raise ValueError(f"`--{option}` should name features. Found {name!r}, which is none.")
        if both := sorted({*self.features, *self.categorical} & {*self.drop}):
            raise ValueError(f"`--drop` should not name a column that is chosen. Found {both[0]!r}.")


def parse_window(text: str) -> tuple[float, float]:
    """The two percentiles of ``--window``, such as "1,99". Raises ValueError for anything else."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0.0
    if not 0 <= low < high <= 100:
        raise ValueError(f"`--window` should be two rising percentiles, such as 1,99. Found {text!r}.")
    return low, high


def stored_window(content: Any) -> tuple[float, float] | None:
    """What a file of JSON has kept of ``--window``: null, or two numbers. Raises ValueError as above."""
    return None if content is None else parse_window(",".join(map(str, content)))

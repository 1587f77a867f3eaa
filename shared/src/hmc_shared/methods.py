"""The methods that installed packages offer, by their entry points; nothing here imports torch."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib.metadata import entry_points

GROUP = "hmc.methods"
"""Entry points: name of the package's library = "module:METHODS", a tuple of :class:`Method`."""

PUBLISHED = ("hcal", "hlstm", "hp-dval", "mulsupcon-ld")
"""The distributions of this project that train methods, each with a program of its name."""


@dataclass(frozen=True)
class Method:
    """A method that a package trains."""

    label: str
    """Its name in results."""
    command: str
    """The command line that trains it, such as "hlstm train --method chmcnn"."""
    model: str
    """"module:Class" of its network."""
    demo: str | None = None
    """More options for ``hmc demo`` than its data set, "" for none; None: the demo leaves it out."""
    demo_minutes: float = 1.0
    """About how long that takes, so that the demo can start the longest runs first."""

    @property
    def demo_command(self) -> list[str]:
        return [*shlex.split(self.command), *shlex.split(self.demo or "")]


def installed_methods() -> list[Method]:
    """The methods of all installed packages. Raises ValueError for an entry point that cannot be loaded."""
    methods: list[Method] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            methods += point.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"The methods of {point.name} ({point.value}) cannot be had: {error}."
            ) from error
    return methods

"""The plans that installed packages ship."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from hmc_shared.messages import listed

GROUP = "hmc.plans"
"""Entry points: any name = "package.folder", whose YAML files are plans."""


def shipped_plans() -> dict[str, Path]:
    """Name to file. Nothing of a package is imported but the packages around the folder."""
    found: dict[str, Path] = {}
    for point in entry_points(group=GROUP):
        package, _, folder = point.value.rpartition(".")
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or []:
            found |= {path.stem: path for path in (Path(place) / folder).glob("*.yaml")}
    return dict(sorted(found.items()))


def find_plan(name: str) -> Path:
    """The file of a plan. Raises ValueError unless it is a path or the name of a shipped plan."""
    if Path(name).is_file():
        return Path(name)
    shipped = shipped_plans()
    if name not in shipped:
        what = (
            f"one of the shipped plans ({listed(shipped, 40)})" if shipped else "the name of a shipped plan"
        )
        raise ValueError(f"the plan should be a YAML file or {what}. Found {name!r}.")
    return shipped[name]

"""A linear layer and binary cross-entropy for each class."""

from typing import Any

from hmc_shared.cli.lazy import lazy_attribute


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import: `toy-method --help` must not pay for it.
    return lazy_attribute(__name__, name, {"Linear": "model", "load_model": "model"})

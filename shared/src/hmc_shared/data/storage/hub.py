"""Data sets on the Hugging Face hub: whether they are there, and the local copy of an exported folder."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors

from hmc_shared.messages import reason


def download(repository: str) -> Path:
    """The local copy of a dataset repository. Raises ValueError if there is none and none can be fetched."""
    try:
        return Path(huggingface_hub.snapshot_download(repository, repo_type="dataset"))
    except errors.LocalEntryNotFoundError as error:
        raise ValueError(f"'hf:{repository}' is no folder, and the hub is not reached.") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"'hf:{repository}' is neither a folder nor on the hub: {reason(error)}") from error


def find_repository(name: str) -> None:
    """Raise ValueError unless the hub has a data set, or is not reached and `datasets` has kept it."""
    try:
        if hub_answers(name) or _is_kept(name):
            return
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise ValueError(f"'hf:{name}' is neither a folder nor on the hub: {reason(error)}") from error
    raise ValueError(f"'hf:{name}' is no folder, and the hub is not reached.")


@lru_cache
def hub_answers(name: str) -> bool:
    """Whether the hub is reached, asked once: `datasets` would ask for half a minute.

    Raises what the hub says of a data set that it does not have.
    """
    try:
        huggingface_hub.HfApi().dataset_info(name, timeout=10)
    except (errors.HfHubHTTPError, errors.HFValidationError):
        raise
    except Exception:  # of the network, whose library depends on the release
        return False
    return True


def _is_kept(name: str) -> bool:
    """Whether the cache of `datasets` has a folder of this name, whose words that library parts by "_"."""
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME, "datasets")).expanduser()
    folders = cache.iterdir() if cache.is_dir() else ()
    return any(_squeezed(folder.name) == _squeezed(name.replace("/", "_")) for folder in folders)


def _squeezed(name: str) -> str:
    return name.replace("_", "").lower()

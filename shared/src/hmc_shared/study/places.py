"""Names of data sets and labels as folders of a study; options and metrics by name; references to runs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from fnmatch import filter as matching
from typing import Any

from hmc_shared.cli.parse import OPTION
from hmc_shared.messages import listed, shown

REFERENCE = re.compile(r"\{([^{}]+)/([^{}/]+)\}")
"""In an option, ``{data set/label}`` is the folder of that run with the same seed; ``{./label}``: of the run
on the same data set."""
ENGINE_OPTIONS = frozenset({"dataset", "seed", "output_dir", "resume", "overwrite", "test"})
"""Options of train that the study itself gives to each run."""
METRICS = (
    *("au_prc", "map", "f1_micro", "f1_macro", "f1_example", "hamming_accuracy", "precision_at_1"),
    *("map_head", "map_medium", "map_tail", "map_classes", "map_absent", "ap_variance", "incoherent"),
    *("hierarchical_precision", "hierarchical_recall", "hierarchical_f1", "au_prc_with_roots"),
    *("hierarchical_f1_example", "exact_match", "coverage_error", "ranking_loss", "auroc_macro"),
    *("fmax", "fmax_weighted", "smin"),
    *("accuracy_leaf", "hvr", "hvr_levels", "hvr_relations"),
    *("accuracy_path", "accuracy_balanced", "tree_error", "mistake_severity"),
)
"""What :func:`hmc_shared.metrics.summarize` gives, beside the numbered ones; torch-free here."""
_NUMBERED = {
    "accuracy_level": range(100),
    "distance_at": (1, 5, 20),
    "hops_at": (1, 5, 20),
}
"""Name to the numbers that stand behind it."""
_TAKEN = re.compile(r"logs|search|report\.html|compare\.\w+", re.IGNORECASE)
"""What a study itself puts beside the folders of data sets."""
_LONGEST = 200
"""Bytes of a folder's name, so that there is room for what stands behind it."""


def folder_of(dataset: str) -> str:
    """The folder of the runs on a data set. Raises ValueError for a name that cannot have one."""
    folder = _plain(dataset) if dataset.isprintable() else dataset
    _check_folder("the name of a data set", folder)
    if _TAKEN.fullmatch(folder):
        raise ValueError(f"{shown(dataset)} cannot be a data set: the study has a {folder} of its own.")
    return folder


def check_label(label: str) -> None:
    """Raise ValueError for a label that is no name of a folder."""
    _check_folder("a label", label)


def _plain(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text)


def _check_folder(what: str, name: str) -> None:
    if not name.strip() or name in (".", "..") or {"/", "\\"} & set(name) or not name.isprintable():
        rule = "be a plain name, without slashes and control characters"
    elif len(name.encode()) > _LONGEST:
        rule = f"have {_LONGEST} bytes at most, with what the grid adds"
    else:
        return
    raise ValueError(f"{what} should {rule}. Found {shown(name)}.")


def folded(name: str) -> str:
    """Equal for names that some disks take for one: letters in another case, or accents written otherwise."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def suffix_of(name: str, value: Any) -> str:
    """What an option of a grid adds to a label."""
    return f"-{name.replace('_', '-')}-{_plain(str(value))}"


def check_option(name: str, value: Any, taken: Collection[str] = ENGINE_OPTIONS) -> None:
    """Raise ValueError for what would not be this option with this value on a command line.

    So is an option in ``taken``, and text that would be read as another option.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII):
        raise ValueError(f"{shown(name)} is no name of an option.")
    if name.replace("-", "_").removeprefix("no_") in taken:
        raise ValueError(f"{shown(name)} is set by the study itself.")
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and (OPTION.match(item) or not is_word(item)):
            rule = "not begin with '-'" if OPTION.match(item) else "be text without null characters"
            raise ValueError(f"a value of {shown(name)} should {rule}. Found {shown(item)}.")


def is_word(text: str) -> bool:
    """Whether a program can be given this text."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def check_metric(name: str) -> None:
    """Raise ValueError for a name or pattern that no metric has."""
    numbered = (f"{of}_{number}" for of, numbers in _NUMBERED.items() for number in numbers)
    if not matching((*METRICS, *numbered), name.removeprefix("test/")):
        known = listed([*sorted(METRICS), *(f"{of}_*" for of in _NUMBERED)], 40)
        raise ValueError(f"`metrics` should be among {known}. Found {shown(name)}.")


def references(
    words: Collection[str], folders: Mapping[str, str], labels: Collection[str], own: str
) -> dict[str, str]:
    """Text of each reference in words to the place it names, less the seed.

    What names neither a data set of the plan nor one of its labels is text. ``folders``: name to folder;
    ``own``: that of the data set that ``.`` stands for.
    """
    folders = {**folders, ".": own}
    found = (match for word in words for match in REFERENCE.finditer(word))
    return {
        match[0]: f"{folders.get(match[1], match[1])}/{match[2]}"
        for match in found
        if match[1] in folders or match[2] in labels
    }

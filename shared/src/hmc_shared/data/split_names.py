"""What the splits of a source are called: one rule for folders, tables, `hf:` and labels.json."""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = {
    "train": ("train", "training", "trn", "trainval", "trainvalid"),
    "validation": ("val", "valid", "validation", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst"),
    "unlabelled": ("unlabeled", "unlabelled", "unsupervised"),
}
THINGS = "set|split|data|dataset|images?|imgs?|pictures|photos|files|samples|rows|part"
"""What people write behind the word, and digits: train_images, Test-Data, val2017."""


def split_of(name: str) -> str | None:
    """The split that a name stands for, in any case: a key of WORDS; None for another name.

    Only the whole name counts: a class may well be called test_tube.
    """
    for split, words in WORDS.items():
        if re.fullmatch(rf"({'|'.join(words)})([ _.-]*({THINGS}))?[ _.-]*[0-9]*", name.strip().lower()):
            return split
    return None


def parts_of(names: Iterable[str], origin: object) -> tuple[dict[str, str], list[str]]:
    """Name to part, "train", "validation" or "test", or all names to "all"; and notes.

    An unlabelled split is left out. The validation split replaces a missing test split. A training split that
    is the only one is the whole: its part is "all", of which the three are sampled.

    Raises ValueError, naming ``origin`` and the name, for a name that says no split, two names for one split
    (but for the case of their letters), and if there is no training split.
    """
    split_of_name = {name: split_of(name) for name in names}
    found = ", ".join(map(repr, split_of_name))
    for name, split in split_of_name.items():
        if split is None:
            raise ValueError(
                f"{origin}: the splits should be called train, val and test, and unlabeled what is to be "
                f"left out. Found {name!r}."
            )
    part_of = {name: split for name, split in split_of_name.items() if split and split != "unlabelled"}
    notes = [f"the split {name!r} was left out" for name in split_of_name if name not in part_of]
    for part in set(part_of.values()):
        same = [name for name in part_of if part_of[name] == part]
        if len({name.lower() for name in same}) > 1:
            raise ValueError(f"{origin} should have one {part} split. Found {same[0]!r} and {same[1]!r}.")
    if "train" not in part_of.values():
        raise ValueError(f"{origin} should have a train split. Found {found or 'none'}.")
    if "test" not in part_of.values() and "validation" in part_of.values():
        part_of = {name: "test" if part == "validation" else part for name, part in part_of.items()}
        notes.append("test: the validation split, because there is no test split")
    if "test" not in part_of.values():
        notes.append("all splits are drawn from the training split, because it is the only one")
        part_of = dict.fromkeys(part_of, "all")
    return part_of, notes

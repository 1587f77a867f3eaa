"""Prompts: texts of a fixed template, and learned vectors before the name of a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hp_dval.clip import Clip


def class_names(hierarchy: Hierarchy) -> list[str]:
    """What a text calls each class: its name with spaces for underscores and hyphens.

    Of a name that is a path only the part below its parent counts, "cat" of "animal/cat"; a slash in any
    other name belongs to it, as in "TV/monitor". Where that is the same for several classes, but for the case
    of letters, they are told apart: the name of the parent comes first, "person other" and "animal other",
    then that of its parent, and where all parents are used up a name is taken as it is written.
    """
    words = [_words(hierarchy, node) for node in range(len(hierarchy))]
    texts, above = list(words), [_parent(hierarchy, node) for node in range(len(hierarchy))]
    while same := _alike(texts):
        longer = [(node, parent) for node in same if (parent := above[node]) is not None]
        for node, parent in longer:
            texts[node], above[node] = f"{words[parent]} {texts[node]}", _parent(hierarchy, parent)
        if not longer:
            return [hierarchy.names[node] if node in same else text for node, text in enumerate(texts)]
    return texts


def _words(hierarchy: Hierarchy, node: int) -> str:
    name = hierarchy.names[node]
    for parent in hierarchy.parents(node):
        name = name.removeprefix(f"{hierarchy.names[parent]}/")
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def _parent(hierarchy: Hierarchy, node: int) -> int | None:
    return next(iter(hierarchy.parents(node)), None)


def _alike(texts: Sequence[str]) -> set[int]:
    """The places of texts that come twice, the case of letters aside."""
    counts = Counter(text.casefold() for text in texts)
    return {place for place, text in enumerate(texts) if counts[text.casefold()] > 1}


def fixed_texts(hierarchy: Hierarchy, templates: Sequence[str]) -> list[str]:
    """The texts t^H of Eq. (3), one a class: its name in the template, or in that of its level.

    Args:
        hierarchy: the C classes.
        templates: one for all classes, or one for each level from the roots down, each with a ``{}``.

    Raises ValueError for another number of templates, for one without its place for the name, and for a name
    of which nothing is left.
    """
    if len(templates) not in (1, hierarchy.num_levels):
        raise ValueError(
            f"`--templates` should be one, or one for each of {hierarchy.num_levels} levels. "
            f"Found {len(templates)}."
        )
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"`--templates` should each have one {{}} for the name. Found {template!r}.")
    of_level = list(templates) * (hierarchy.num_levels if len(templates) == 1 else 1)
    for node, name in enumerate(hierarchy.names):
        if not _words(hierarchy, node):
            raise ValueError(f"a class should have a name of more than blanks, - and _. Found {name!r}.")
    names = zip(class_names(hierarchy), hierarchy.depth.tolist(), strict=True)
    return [of_level[depth].replace("{}", name) for name, depth in names]


def tokens_of(clip: Clip, texts: Sequence[str], room: int = 0) -> Tensor:
    """Token ids (n, length) of texts that a CLIP reads to their end and tells apart.

    Raises ValueError, naming the text, for one that is longer than its context less ``room``, and for two
    that are the same to it: it ignores the case of letters, and more.
    """
    most = clip.context_length - room
    tokens, fits = clip.tokenize(texts), clip.fits(texts, max(most, 2))
    if most < 3 or not fits.all():
        text = texts[int(fits.int().argmin())]
        raise ValueError(
            f"the text {text!r} should have at most {max(most, 0)} tokens, start and end included, for this "
            "CLIP: shorten the name of the class, `--templates` or `--prompt-length`."
        )
    first_with: dict[tuple[int, ...], str] = {}
    for text, row in zip(texts, map(tuple, tokens.tolist()), strict=True):
        if row in first_with:
            raise ValueError(
                f"the CLIP reads two texts alike: {first_with[row]!r} and {text!r}. Rename a class."
            )
        first_with[row] = text
    return tokens


@torch.no_grad()
def text_embeddings(clip: Clip, texts: Sequence[str], batch_size: int = 256) -> Tensor:
    """Unit embeddings (n, D_e) of texts, Eq. (3). Raises ValueError as :func:`tokens_of` does."""
    tokens_of(clip, texts)
    parts = [clip.encode_text(texts[i : i + batch_size]) for i in range(0, len(texts), batch_size)]
    return F.normalize(torch.cat(parts).float(), dim=-1)


class Prompts(nn.Module):
    """The prompts [v_1, ..., v_M, w_i] of Eq. (6), one a class, through the frozen text tower of a CLIP.

    A name ends with a full stop, as in CoOp. Sequences end with the longest name if the tower allows it: see
    :mod:`hp_dval.clip`.

    Args:
        clip: its text tower.
        names: C class names.
        length: M, the number of learned vectors.

    Raises ValueError as :func:`tokens_of` does: for a name that leaves no room for the vectors.
    """

    def __init__(self, clip: Clip, names: Sequence[str], length: int) -> None:
        super().__init__()
        self.clip = clip
        tokens = tokens_of(clip, [f"{name}." for name in names], length).to(clip.device)
        with torch.no_grad():
            embeddings = clip.embed(tokens)
        first = int(clip.has_start)
        self.start, self.names = embeddings[:, :first], embeddings[:, first:]
        # A learned vector stands for the first token of its name: neither padding nor end of text.
        learned = tokens[:, first : first + 1].expand(-1, length)
        self.tokens = torch.cat([tokens[:, :first], learned, tokens[:, first:]], dim=1)
        self.tokens = self.tokens[:, : clip.context_length]  # beyond it is padding

    def forward(self, contexts: Tensor) -> Tensor:
        """Unit text embeddings (K, C, D_e) of K sets of learned vectors (K, M, width)."""
        K, C = len(contexts), len(self.names)
        learned = contexts.unsqueeze(1).expand(-1, C, -1, -1)  # shared over classes
        start, names = (fixed.expand(K, -1, -1, -1) for fixed in (self.start, self.names))
        sequences = torch.cat([start, learned, names], dim=2).flatten(0, 1)  # (K C, length, width)
        sequences = sequences[:, : self.tokens.shape[1]]
        encoded = self.clip.encode_embeddings(sequences, self.tokens.repeat(K, 1))
        return F.normalize(encoded.float(), dim=-1).unflatten(0, (K, C))

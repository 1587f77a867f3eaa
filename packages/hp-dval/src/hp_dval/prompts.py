"""Prompts: texts of a fixed template, and learned vectors before the name of a class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hp_dval.clip import Clip


def class_names(hierarchy: Hierarchy) -> list[str]:
    """What a text calls each class: the last part of a path, with spaces for underscores and hyphens."""
    return [name.rpartition("/")[2].replace("_", " ").replace("-", " ").strip() for name in hierarchy.names]


def fixed_texts(hierarchy: Hierarchy, templates: Sequence[str]) -> list[str]:
    """The texts t^H of Eq. (3), one a class: its name in the template, or in that of its level.

    Args:
        hierarchy: the C classes.
        templates: one for all classes, or one for each level from the roots down, each with a ``{}``.

    Raises ValueError for another number of templates, and for one without its place for the name.
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
    names = zip(class_names(hierarchy), hierarchy.depth.tolist(), strict=True)
    return [of_level[depth].replace("{}", name) for name, depth in names]


@torch.no_grad()
def text_embeddings(clip: Clip, texts: Sequence[str], batch_size: int = 256) -> Tensor:
    """Unit embeddings (n, D_e) of texts, Eq. (3)."""
    parts = [clip.encode_text(texts[i : i + batch_size]) for i in range(0, len(texts), batch_size)]
    return F.normalize(torch.cat(parts).float(), dim=-1)


class Prompts(nn.Module):
    """The prompts [v_1, ..., v_M, w_i] of Eq. (6), one a class, through the frozen text tower of a CLIP.

    A name ends with a full stop, as in CoOp. Sequences end with the longest name: see :mod:`hp_dval.clip`.

    Args:
        clip: its text tower.
        names: C class names.
        length: M, the number of learned vectors.

    Raises ValueError for a name that leaves no room for them.
    """

    def __init__(self, clip: Clip, names: Sequence[str], length: int) -> None:
        super().__init__()
        self.clip = clip
        tokens = clip.tokenize([f"{name}." for name in names]).to(clip.device)
        if tokens.shape[1] + length > clip.context_length:
            raise ValueError(
                f"`--prompt-length` should leave room for the longest name, {tokens.shape[1]} tokens with "
                f"start and end, of {clip.context_length}. Found {length}."
            )
        with torch.no_grad():
            embeddings = clip.embed(tokens)
        self.start, self.names = embeddings[:, :1], embeddings[:, 1:]
        self.ends = clip.ends(tokens) + length

    def forward(self, contexts: Tensor) -> Tensor:
        """Unit text embeddings (K, C, D_e) of K sets of learned vectors (K, M, width)."""
        K, C = len(contexts), len(self.names)
        learned = contexts.unsqueeze(1).expand(-1, C, -1, -1)  # shared over classes
        start, names = (fixed.expand(K, -1, -1, -1) for fixed in (self.start, self.names))
        sequences = torch.cat([start, learned, names], dim=2).flatten(0, 1)  # (K C, length, width)
        encoded = self.clip.encode_embeddings(sequences, self.ends.repeat(K))
        return F.normalize(encoded.float(), dim=-1).unflatten(0, (K, C))

"""Prompts: texts of a fixed template, and learned vectors before the text of a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.data import Split
from hmc_shared.messages import shown
from hp_dval.clip import Clip

Texts = Mapping[str, Sequence[str]]
"""Of each class, by its name, one or more texts: see :mod:`hp_dval.class_texts`."""


def fixed_texts(hierarchy: Hierarchy, templates: Sequence[str], texts: Texts) -> dict[str, list[str]]:
    """The texts t^H of Eq. (3) of each class: its own in the template, or in that of its level.

    Args:
        hierarchy: the C classes.
        templates: one for all classes, or one for each level from the roots down, each with a ``{}``.
        texts: of each class, one or more that take the place of ``{}``.

    Raises ValueError as :func:`level_templates` does.
    """
    of_level = level_templates(hierarchy, templates)
    return {
        name: [of_level[depth].replace("{}", text) for text in texts[name]]
        for name, depth in zip(hierarchy.names, hierarchy.depth.tolist(), strict=True)
    }


def level_templates(hierarchy: Hierarchy, templates: Sequence[str]) -> list[str]:
    """The template of each level, where one may stand for all.

    Raises ValueError for another number of templates, and for one without its place for the text.
    """
    if len(templates) not in (1, hierarchy.num_levels):
        raise ValueError(
            f"`--templates` should be one, or one for each of {hierarchy.num_levels} levels. "
            f"Found {len(templates)}."
        )
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"`--templates` should each have one {{}} for the name. Found {template!r}.")
    return list(templates) * (hierarchy.num_levels if len(templates) == 1 else 1)


def check_texts(clip: Clip, texts: Texts, room: int = 0) -> None:
    """Raise ValueError, naming the class, for texts that a CLIP does not read to their end, or reads alike.

    Too long is what does not fit into its context less ``room``. Two classes are alike if all of their texts
    are: a CLIP ignores the case of letters, and more.
    """
    most = clip.context_length - room
    first_with: dict[frozenset[tuple[int, ...]], str] = {}
    for name, of_class in texts.items():
        fits = clip.fits(of_class, max(most, 2))
        if most < 3 or not fits.all():
            text = of_class[int(fits.int().argmin())]
            raise ValueError(
                f"the class {shown(name)} has a text of more than {max(most, 0)} tokens, start and end "
                f"included, for which this CLIP has room: {shown(text)}. Give it a shorter one by "
                "`--class-texts`, or shorten its name, `--templates` or `--prompt-length`."
            )
        rows = frozenset(map(tuple, clip.tokenizer(list(of_class)).tolist()))
        if rows in first_with:
            raise ValueError(
                f"the CLIP reads the texts of two classes alike, {shown(first_with[rows])} and "
                f"{shown(name)}: {shown(of_class[0])}. Rename one, or give it another by `--class-texts`."
            )
        first_with[rows] = name


@torch.no_grad()
def text_embeddings(clip: Clip, texts: Texts, batch_size: int = 256) -> Tensor:
    """Unit embeddings (C, D_e) of classes, Eq. (3): the mean of the unit embeddings of their texts.

    The mean over texts is the ensemble of Radford et al. 2021. Raises ValueError as :func:`check_texts` does.
    """
    check_texts(clip, texts)
    every = [text for of_class in texts.values() for text in of_class]
    parts = [clip.encode_text(every[i : i + batch_size]) for i in range(0, len(every), batch_size)]
    embeddings = F.normalize(torch.cat(parts).float(), dim=-1).split([len(texts[name]) for name in texts])
    return F.normalize(torch.stack([of_class.mean(0) for of_class in embeddings]), dim=-1)


def first_words(clip: Clip, template: str, length: int) -> Tensor:
    """Token embeddings (m, width) of what a template has before its ``{}``, at most ``length``."""
    tokens = clip.tokenize([template.partition("{}")[0]]).to(clip.device)
    ends = int(clip.has_start), tokens.shape[1] - 1  # the last one is the end of text
    return clip.embed(tokens)[0, slice(*ends)][:length]


@torch.no_grad()
def caption_embeddings(clip: Clip, split: Split, texts: Texts, batch_size: int = 256) -> Tensor:
    """Unit embeddings (n, D_e) of the captions of a split; without captions, of the texts of its labels.

    What does not fit into the context is cut.
    """
    first = [of_class[0] for of_class in texts.values()]
    captions = split.captions or [
        " and ".join(first[label] for label in row.nonzero().flatten().tolist()) for row in split.targets
    ]
    parts = [clip.encode_text(captions[i : i + batch_size]) for i in range(0, len(captions), batch_size)]
    return F.normalize(torch.cat(parts).float(), dim=-1)


class Prompts(nn.Module):
    """The prompts [v_1, ..., v_M, w_i] of Eq. (6), one a class, through the frozen text tower of a CLIP.

    Behind the vectors stands the first text of the class and a full stop, as in CoOp. Sequences end with the
    longest text if the tower allows it: see :mod:`hp_dval.clip`.

    Args:
        clip: its text tower.
        texts: of the C classes.
        length: M, the number of learned vectors.

    Raises ValueError as :func:`check_texts` does: for a text that leaves no room for the vectors.
    """

    texts: Tensor
    """(C, length) int64: the tokens of the texts."""
    tokens: Tensor
    """(C, M + length) int64: those of the prompts."""

    def __init__(self, clip: Clip, texts: Texts, length: int) -> None:
        super().__init__()
        self.clip = clip
        first_texts = {name: [f"{of_class[0]}."] for name, of_class in texts.items()}
        check_texts(clip, first_texts, length)
        tokens = clip.tokenize([text for (text,) in first_texts.values()]).to(clip.device)
        first = self.first = int(clip.has_start)
        self.register_buffer("texts", tokens, persistent=False)
        # A learned vector stands for the first token of its name: neither padding nor end of text.
        learned = tokens[:, first : first + 1].expand(-1, length)
        prompts = torch.cat([tokens[:, :first], learned, tokens[:, first:]], dim=1)
        prompts = prompts[:, : clip.context_length]  # beyond it is padding
        self.register_buffer("tokens", prompts, persistent=False)

    def forward(self, contexts: Tensor) -> Tensor:
        """Unit text embeddings (K, C, D_e) of K sets of learned vectors (K, M, width) or (K, C, M, width)."""
        K, C = len(contexts), len(self.texts)
        is_shared = contexts.ndim == 3
        learned = contexts.unsqueeze(1).expand(-1, C, -1, -1) if is_shared else contexts
        start, names = self.clip.embed(self.texts).expand(K, -1, -1, -1).tensor_split([self.first], dim=2)
        sequences = torch.cat([start, learned, names], dim=2).flatten(0, 1)  # (K C, length, width)
        sequences = sequences[:, : self.tokens.shape[1]]
        encoded = self.clip.encode_embeddings(sequences, self.tokens.repeat(K, 1))
        return F.normalize(encoded.float(), dim=-1).unflatten(0, (K, C))

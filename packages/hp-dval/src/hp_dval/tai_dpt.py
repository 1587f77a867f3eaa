"""TaI-DPT: a global and a local prompt of each class, learned from sentences alone, used on images."""

# No `from __future__ import annotations`: huggingface_hub reads the constructors' annotations as types.
import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.data import Split
from hp_dval.clip import Clip
from hp_dval.dualcoop import DualCoOp
from hp_dval.model import CARD
from hp_dval.prompts import Texts, level_templates

SCALE = 4.0
"""What cosines are multiplied by, against a margin of 1 in the ranking loss."""
SHARPNESS = 50.0
"""Of the weights of places in a sentence or an image."""
MOST_LABELS = 3
"""Leaves in a sentence."""
LEAST_SENTENCES = 1000


class TaIDPT(DualCoOp, **CARD):
    """Texts as images, with double-grained prompts (Guo et al. 2023).

    CLIP embeds texts and images alike, so prompts can learn from sentences and be used on images. A sentence
    is, as an image is, one embedding f of the whole and one f_j of each place, a token or a patch. With the
    global text P_i and the local text Q_i of class i

        w = softmax_j(50 <Q_i, f_j>),    s_i = 4 (<P_i, f> + sum_j w_j <Q_i, f_j>) / 2

    The paper's sentences are captions, its labels the nouns in them; here classes are named in the templates:
    :func:`sentences`. The patches of images are those of :class:`hp_dval.dualcoop.DualCoOp`, and so are the
    arguments. Its loss is the ranking loss of both grains, here of their mean: ``--loss ranking``.
    """

    method = "tai-dpt"
    views = ("global prompts", "local prompts")

    def scores(self, tokens: Tensor, text: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):
            whole, places = tokens[:, 0].float(), tokens[:, 1:].float()
            cosines = torch.einsum("bnd,cd->bcn", places, text[1].float())
            is_behind = (places == 0).all(2).unsqueeze(1)  # the end of a sentence
            weights = (SHARPNESS * cosines).masked_fill(is_behind, -torch.inf).softmax(2)
            return self.log_scale.exp() * (whole @ text[0].float().T + (weights * cosines).sum(2)) / 2


def sentences(
    hierarchy: Hierarchy, templates: Sequence[str], texts: Texts, count: int, seed: int
) -> tuple[list[str], Tensor]:
    """Sentences such as "a photo of a cat and dog.", and their labels (count, C) bool, ancestors included.

    Each names one to three leaves, as many as any other, all at random, by one of their texts, in the
    template of the level of the first one.
    """
    draw = random.Random(seed)
    of_level, leaves = level_templates(hierarchy, templates), hierarchy.leaves.tolist()
    found, labels = [], torch.zeros(count, len(hierarchy), dtype=torch.bool)
    for row in labels:
        classes = draw.sample(leaves, draw.randint(1, min(MOST_LABELS, len(leaves))))
        named = " and ".join(draw.choice(texts[hierarchy.names[leaf]]) for leaf in classes)
        found.append(of_level[int(hierarchy.depth[classes[0]])].replace("{}", named))
        row[classes] = True
    return found, hierarchy.add_ancestors(labels)


@torch.no_grad()
def sentence_split(
    clip: Clip,
    hierarchy: Hierarchy,
    templates: Sequence[str],
    texts: Texts,
    count: int,
    seed: int,
    batch_size: int = 256,
) -> Split:
    """Sentences to train on instead of images: inputs are unit tokens (n, 1 + length, D_e), zeros at the end.

    As many as ``count``, and 1,000 at least. What does not fit into the context is cut. Raises ValueError for
    a CLIP of which :meth:`hp_dval.clip.Clip.encode_every_token` does not read the tokens.
    """
    found, labels = sentences(hierarchy, templates, texts, max(count, LEAST_SENTENCES), seed)
    parts = [
        clip.encode_every_token(found[i : i + batch_size]).float() for i in range(0, len(found), batch_size)
    ]
    longest = max(part.shape[1] for part in parts)
    tokens = [F.pad(F.normalize(part, dim=2), (0, 0, 0, longest - part.shape[1])) for part in parts]
    ids = tuple(f"sentence-{number}" for number in range(len(found)))
    return Split(torch.cat(tokens), labels, ids, captions=tuple(found))

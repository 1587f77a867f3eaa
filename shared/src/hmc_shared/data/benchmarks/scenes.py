"""Scenes of one to four pictures of different classes, each in its own quarter, with captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

PLACES = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


def compose(
    size: int,
    pictures: Mapping[str, Sequence[np.ndarray]],
    names: Sequence[str],
    tickets: np.ndarray,
    rng: np.random.Generator,
    background: int = 0,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Compose ``size`` random scenes.

    Args:
        size: number of scenes n.
        pictures: of each scale, such as "small", the pictures of each class, (m, side, side) or
            (m, side, side, 3) uint8; m is the same in all scales. The last scale fills a quarter.
        names: of the classes, for the captions.
        tickets: (C,) int64, sampling weights of the classes; four or more are positive.
        rng: only its ``integers`` are used, so the scenes are the same bytes on every platform.
        background: grey level between the pictures.

    Returns:
        (n, 2 * side, 2 * side) or (n, 2 * side, 2 * side, 3) uint8 images, (n, C) bool classes present, n
        captions such as "a small zero at the top left and a large six at the bottom left".
    """
    scales = list(pictures)
    _, quarter, _, *channels = pictures[scales[-1]][0].shape
    images = np.full((size, 2 * quarter, 2 * quarter, *channels), background, dtype=np.uint8)
    present = np.zeros((size, len(names)), dtype=bool)
    captions = []
    for scene in range(size):
        free, left, parts = list(PLACES), tickets.copy(), {}
        for _ in range(rng.integers(1, 5)):
            label = int(np.searchsorted(left.cumsum(), rng.integers(left.sum()), side="right"))
            left[label] = 0  # no class twice
            place = free.pop(rng.integers(len(free)))
            scale = scales[rng.integers(len(scales))]
            choice = pictures[scale][label]
            picture = choice[rng.integers(len(choice))]
            side = len(picture)
            y, x = (quarter * half + rng.integers(quarter - side + 1) for half in PLACES[place])
            images[scene, y : y + side, x : x + side] = picture
            present[scene, label] = True
            parts[place] = f"a {scale} {names[label]} at the {place}"
        in_reading_order = [parts[place] for place in PLACES if place in parts]
        captions.append(enumerate_things(in_reading_order))
    return images, present, tuple(captions)


def enumerate_things(things: Sequence[str]) -> str:
    """A list in words: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(things[:-1]), things[-1]]))

"""How an image of any size becomes the square that a model looks at: :mod:`hmc_shared.vision.pixels`."""

from __future__ import annotations

from typing import Literal

Resize = Literal["squash", "pad", "crop", "imagenet"]


def resize_of(resize: Resize, *, is_table: bool) -> Resize:
    """What a model does with files: small images of one size have no margin that ImageNet's way may cut."""
    return "crop" if resize == "imagenet" and not is_table else resize

"""Augmentation and cached tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmc_shared.data.batches import sampled_batches
from hmc_shared.predict.score import score_split
from hp_dval.batches import frozen_tokens, score_tokens, shift, training_batches
from hp_dval.build import build_model
from hp_dval.clip_files import load_clip
from hp_dval.config import Config
from hp_dval.stages import FrozenTokens, StageEpoch


@settings(deadline=None)
@given(
    seed=st.integers(0, 99),
    padding=st.integers(0, 3),
    flip=st.booleans(),
    height=st.integers(3, 6),
    width=st.integers(3, 6),
)
def test_shift_is_a_crop_of_the_padded_image_and_a_mirror(seed, padding, flip, height, width):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 256, (4, 2, height, width), dtype=torch.uint8, generator=generator)
    drawn = torch.rand(4, 3, generator=generator)
    ours = shift(images, drawn, padding=padding, flip=flip)
    assert ours.dtype == torch.uint8
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    for image, (down, right, mirror), result in zip(padded, drawn.tolist(), ours, strict=True):
        top, left = int(down * (2 * padding + 1)), int(right * (2 * padding + 1))
        crop = image[:, top : top + height, left : left + width]
        assert torch.equal(result, crop.flip(2) if flip and mirror < 0.5 else crop)


def test_without_padding_and_mirror_nothing_moves():
    images = torch.randint(256, (3, 1, 4, 5), dtype=torch.uint8)
    assert torch.equal(shift(images, torch.rand(3, 3), padding=0, flip=False), images)


@pytest.fixture(scope="module")
def model(scenes, clip_json, clip_file):
    options = {"student": "small", "patch_size": 8, "width": 24, "layers": 1, "heads": 2, "k": 4}
    return build_model(Config(**options), scenes, load_clip(clip_json, clip_file)).eval()


def epoch_of(model, split, config, **options):
    order = sampled_batches(split.targets, config.batch_size, "random", seed=0, epoch=0)
    generator = torch.Generator()
    yield from training_batches(
        model, split.inputs, split.targets, order, config, 0, 0, generator, rank=0, world=1, **options
    )


def test_batches_are_changed_images_for_the_alignment_and_tokens_for_the_prompts(model, scenes):
    split, config = scenes.train, Config(batch_size=40, flip=False, crop_padding=1)
    tokens = frozen_tokens(model, split, config)
    images = list(epoch_of(model, split, config, aligns=True))
    cached = list(epoch_of(model, split, config, aligns=False, tokens=tokens))
    computed = list(epoch_of(model, split, config, aligns=False))
    assert [len(batch.rows) for batch in images] == [40, 40, 16]
    for image, token, anew in zip(images, cached, computed, strict=True):
        assert torch.equal(image.rows, token.rows)
        assert torch.equal(image.labels, split.targets[image.rows])
        assert torch.equal(image.weights, anew.weights)
        assert image.inputs.dtype == torch.uint8
        assert not torch.equal(image.inputs, split.inputs[image.rows])
        assert torch.equal(token.inputs, tokens[token.rows])
        torch.testing.assert_close(anew.inputs, token.inputs)
        assert not anew.inputs.requires_grad


def test_scores_of_tokens_are_those_of_the_images(model, scenes):
    tokens = frozen_tokens(model, scenes.test, Config())
    torch.testing.assert_close(score_tokens(model, tokens), score_split(model, scenes.test))
    assert frozen_tokens(model, scenes.test, Config(cache_gib=0.0)) is None


def test_tokens_are_kept_while_the_student_is_frozen(model, scenes):
    frozen = FrozenTokens(model, Config())
    aligning, tuning = StageEpoch("joint", 0, 1), StageEpoch("prompts", 0, 1)
    assert frozen.of(scenes.test, aligning) is None
    tokens = frozen.of(scenes.test, tuning)
    assert tokens.shape == (len(scenes.test), 17, 24)
    assert frozen.of(scenes.test, tuning) is tokens
    torch.testing.assert_close(frozen.score(scenes.test, aligning), frozen.score(scenes.test, tuning))

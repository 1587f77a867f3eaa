"""Prototypes, offsets, and learned vectors of each class: what CLIP itself as a classifier can be."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid
from torch.nn import functional as F

from hp_dval.baselines import fitted_offset, prototypes
from hp_dval.build import load_model
from hp_dval.train import train


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 30.0]))
def test_an_offset_makes_the_mean_probability_the_share_of_positives(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(40, 3, generator=generator) + 20
    targets = torch.rand(40, 3, generator=generator) < torch.tensor([0.0, 0.2, 1.0])
    offset = fitted_offset(logits, targets)
    share = (targets.sum(0) + 0.5) / 41
    means = torch.sigmoid(logits.double() + offset).mean(0).float()
    torch.testing.assert_close(means, share, atol=1e-4, rtol=0)


def test_prototypes_decide_as_centroids_of_centred_images():
    """Of two classes that exclude each other and are equally frequent, as scikit-learn's do."""
    generator = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(60, 5, generator=generator) + 2, dim=1)
    labels = torch.arange(60) % 2
    features[labels == 1, 0] += 0.5
    means = prototypes(features, F.one_hot(labels).bool(), torch.zeros(2, 5))
    torch.testing.assert_close(means[0], -means[1])  # the mean of all rows is between them
    centroids = torch.tensor(NearestCentroid().fit(features, labels).centroids_).float()
    torch.testing.assert_close(means[1], F.normalize(centroids[1] - centroids[0], dim=0))


def test_a_class_without_a_row_keeps_its_text():
    features, text = F.normalize(torch.randn(4, 5), dim=1), F.normalize(torch.randn(2, 5), dim=1)
    targets = torch.tensor([[True, False]] * 3 + [[False, False]])
    assert torch.equal(prototypes(features, targets, text)[1], text[1])


def test_prototypes_are_of_training_rows_alone(tmp_path, scenes, small):
    train(small("all", method="prototypes"), scenes)
    blank = replace(scenes.test, targets=~scenes.test.targets)
    train(small("other", method="prototypes"), replace(scenes, test=blank, validation=blank))
    text, other = (load_model(tmp_path / run / "model").text for run in ("all", "other"))
    assert torch.equal(text, other)


@pytest.mark.parametrize("method", ["coop", "zero-shot"])
def test_an_offset_is_kept_with_the_model(tmp_path, scenes, small, method):
    train(small(method=method, offset=True, coherent=False), scenes)
    model = load_model(tmp_path / "run" / "model").eval()
    logits = model.logits_of(scenes.train.inputs)
    assert model.offset.abs().max() > 0.1
    if method == "zero-shot":
        share = (scenes.train.targets.sum(0) + 0.5) / (len(scenes.train) + 1)
        torch.testing.assert_close(logits.sigmoid().mean(0), share, atol=1e-3, rtol=0)


@pytest.mark.parametrize("method", ["coop", "hp-dval"])
def test_learned_vectors_of_each_class_are_trained_and_saved(tmp_path, scenes, small, method):
    train(small(method=method, context="class", loss="bce"), scenes)
    model = load_model(tmp_path / "run" / "model")
    assert model.contexts.shape == (1 if method == "coop" else 2, len(scenes.hierarchy), 4, 16)
    spread = model.contexts.detach().std(1)
    assert spread.min() > 1e-4  # no two classes have the same
    assert (model.text - model.fixed_text).abs().max() > 1e-3


@pytest.mark.parametrize("method", ["hp-dval", "dval", "prototypes"])
def test_an_offset_is_for_methods_of_cosines_alone(small, method):
    with pytest.raises(ValueError, match="`--offset` should be left out but with the methods coop"):
        small(method=method, offset=True)

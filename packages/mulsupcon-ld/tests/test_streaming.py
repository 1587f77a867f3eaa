"""Sums over keys against the sums of whole matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mulsupcon_ld import streaming
from mulsupcon_ld.keys import Keys
from mulsupcon_ld.streaming import KeyLabels, sums_over_keys, without_own

DOUBLE = torch.float64


def random_keys(seed, K, C, d, dtype=DOUBLE):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.nn.functional.normalize(torch.randn(K, d, generator=generator, dtype=DOUBLE))
    labels = torch.rand(K, C, generator=generator) < 0.4
    distributions = torch.randn(K, C, generator=generator, dtype=DOUBLE).softmax(1)
    return Keys(embeddings.to(dtype), labels, distributions.to(dtype))


@given(st.integers(0, 999), st.integers(1, 12), st.integers(1, 6), st.booleans())
@settings(deadline=None, max_examples=60)
def test_the_sums_for_cpus_are_those_for_gpus(seed, K, C, with_degrees):
    """Also of labels that no key has, and keys without labels."""
    keys = random_keys(seed, K, C, 3)
    degrees, labels = keys.distributions if with_degrees else None, random_keys(seed + 1, 4, C, 3).labels
    weights = keys.labels * (1 if degrees is None else degrees)
    for of_keys in (KeyLabels(keys.labels, sparse=True), KeyLabels(keys.labels, sparse=False)):
        weight, total = of_keys.sums(keys.embeddings, degrees)
        torch.testing.assert_close(weight, weights.sum(0).double())
        torch.testing.assert_close(total, weights.T.double() @ keys.embeddings)
        assert torch.equal(of_keys.counts, keys.labels.sum(0))
        some = slice(K // 3, K)
        expected = (keys.labels[some].unsqueeze(1) & labels).sum(2).double()
        assert torch.equal(of_keys.shared(labels, some, DOUBLE), expected)


@pytest.mark.parametrize("pairs", [4, 20, 36, 2**20])
def test_weighted_sums_over_positives_are_those_of_the_matrix(pairs, monkeypatch):
    monkeypatch.setitem(streaming.PAIRS, "cpu", pairs)
    keys, own = random_keys(0, 23, 4, 3), torch.tensor([0, 22, 5, 11, 12])
    z = random_keys(1, 5, 4, 3).embeddings
    is_positive = torch.rand(23, 5, generator=torch.Generator().manual_seed(2)) < 0.5

    others = without_own(lambda rows, columns: is_positive[columns, rows].double(), own)
    expected = is_positive.T.clone()
    expected[torch.arange(5), own] = False
    s = z @ keys.embeddings.T / 0.3
    for weights, full in ((None, s.softmax(1)), (torch.square, s.square())):
        found = sums_over_keys(z, keys, 0.3, others, weights, (keys.distributions,))
        torch.testing.assert_close(found.log_sum, s.logsumexp(1))
        assert torch.equal(found.number, expected.sum(1).double())
        torch.testing.assert_close(found.weight, (expected * full).sum(1))
        torch.testing.assert_close(found.values[0], (expected * full) @ keys.distributions)


def test_a_low_temperature_neither_overflows_nor_loses_the_sum(monkeypatch):
    """Similarities up to 1,000, of which float32 has no exponential, the largest in any block."""
    monkeypatch.setitem(streaming.PAIRS, "cpu", 20)
    keys = random_keys(0, 45, 3, 4, torch.float32)
    z = random_keys(1, 5, 3, 4, torch.float32).embeddings.requires_grad_()
    found = sums_over_keys(z, keys, 0.001).log_sum
    expected = (z / 0.001 @ keys.embeddings.T).logsumexp(1)
    torch.testing.assert_close(found, expected)
    weights = torch.arange(1.0, 6)
    gradients = [torch.autograd.grad(weights @ sums, z)[0] for sums in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=0.1)  # they are of the order of 1,000

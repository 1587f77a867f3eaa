"""The losses against loops over samples and labels, written from the paper's equations and Algorithm 1."""

from functools import partial
from typing import NamedTuple, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mulsupcon_ld import losses, streaming
from mulsupcon_ld.keys import Keys
from mulsupcon_ld.losses import (
    Weight,
    all_loss,
    any_loss,
    ld_loss,
    median_sigma,
    mulsupcon_loss,
)
from mulsupcon_ld.streaming import KeyLabels

TAU = 0.3  # not 0.1: the loops take exponentials without a shift


class Case(NamedTuple):
    z: Tensor
    labels: Tensor
    logits: Tensor
    keys: Keys
    own: Tensor
    batch_keys: int

    @property
    def mean_labels(self):
        return max(float(self.labels.sum(1).double().mean()), 0.1)


def unit(generator, *shape):
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(values, dim=1)


def make_case(
    seed, anchors, others, queue, C=4, d=3, density=0.4, patterns=None, one_hot=False, copies=False
):
    """Keys of a batch, of which the anchors are some, then those of a queue."""
    generator = torch.Generator().manual_seed(seed)
    batch_keys = anchors + others
    K = batch_keys + queue
    labels = torch.rand(patterns or K, C, generator=generator) < density
    labels = labels[torch.randint(len(labels), (K,), generator=generator)]
    embeddings = unit(generator, 2 if copies else K, d)
    embeddings = embeddings[torch.randint(len(embeddings), (K,), generator=generator)]
    scale = 1000 if one_hot else 1  # degrees that have underflowed to 0
    distributions = (scale * torch.randn(K, C, generator=generator, dtype=torch.float64)).softmax(1)
    own = torch.randperm(batch_keys, generator=generator)[:anchors]
    z = embeddings[own].clone() if copies else unit(generator, anchors, d)
    logits = torch.randn(anchors, C, generator=generator, dtype=torch.float64)
    keys = Keys(embeddings, labels, distributions)
    return Case(z.requires_grad_(), labels[own], logits.requires_grad_(), keys, own, batch_keys)


cases = st.builds(
    make_case,
    seed=st.integers(0, 999),
    anchors=st.integers(1, 4),
    others=st.integers(0, 3),
    queue=st.integers(0, 5),
    C=st.integers(1, 5),
    d=st.integers(1, 4),
    density=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
    patterns=st.sampled_from([None, None, 1, 2]),
    one_hot=st.booleans(),
    copies=st.booleans(),
)


def log_shares(case, i):
    """Eq. (10) for one anchor: a list over the keys."""
    weights = [torch.exp(case.z[i] @ k / TAU) for k in case.keys.embeddings]
    return [torch.log(weight / sum(weights)) for weight in weights]


def label_sets(labels):
    return [{j for j, has in enumerate(row) if has} for row in labels.tolist()]


def naive_supcon(case, is_positive):
    losses = []
    for i, y in enumerate(label_sets(case.labels)):
        C2 = log_shares(case, i)
        P = [
            p for p, y_p in enumerate(label_sets(case.keys.labels)) if is_positive(y, y_p) or p == case.own[i]
        ]
        losses.append(-sum(C2[p] for p in P) / len(P))
    return torch.stack(losses)


def naive_mulsupcon(case):
    """Eq. (3), and of Eq. (4) the division by the number of labels, for the mean over the anchors."""
    losses = []
    for i, y in enumerate(label_sets(case.labels)):
        C2, loss = log_shares(case, i), 0 * case.z[i].sum()
        for j in y:
            P_j = [p for p, y_p in enumerate(label_sets(case.keys.labels)) if j in y_p]
            loss = loss - sum(C2[p] for p in P_j) / len(P_j)
        losses.append(loss / case.mean_labels)
    return torch.stack(losses)


def naive_ld(case, alpha, weight, sigma, literal, relative, batch_keys):
    """Lines 9 to 22 of Algorithm 1 with Eq. (6), (7), (8), (12), (13)."""

    def compared(y):
        y = y.double()
        return y / y.sum() if relative and y.any() else y

    losses = []
    for i, own in enumerate(case.own.tolist()):
        y, d_i, C2 = case.labels[i], case.logits[i].exp() / case.logits[i].exp().sum(), log_shares(case, i)
        mask = [p for p in range(batch_keys, len(C2)) if p != own and (y & case.keys.labels[p]).any()]
        P = [own, *mask]
        y_p = {own: y, **{p: case.keys.labels[p] for p in mask}}
        d_p = {own: d_i, **{p: case.keys.distributions[p] for p in mask}}
        contrastive = 0.0
        for j in range(len(y)):
            if y[j]:
                P_j = [p for p in P if y_p[p][j]]
                term = sum(d_p[p][j] * C2[p] for p in P_j)
                contrastive = contrastive - (term if literal else term / len(P_j) / case.mean_labels)
        G = 0.0
        for p in P:
            distance = (case.z[i] - case.keys.embeddings[p]).square().sum()
            C = {
                "prob": C2[p].exp(),
                "neg_log": -C2[p],
                "literal": C2[p],
                "rbf": torch.exp(-distance / (2 * sigma**2)),
            }[weight].detach()
            G = G + C * (d_i - d_p[p]).square().sum() / (1 if literal or weight == "prob" else len(P))
        H = sum((compared(y_p[p]) - d_p[p]).square().sum() for p in (P if literal else [own]))
        losses.append(contrastive + G + alpha * H)
    return torch.stack(losses)


def assert_equal_with_gradients(case, found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    # Each anchor counts differently, so that a gradient in the wrong row shows.
    weights = torch.arange(1.0, len(found) + 1, dtype=found.dtype)
    gradients = [
        torch.autograd.grad(
            weights @ losses, [case.z, case.logits], allow_unused=True, materialize_grads=True
        )
        for losses in (found, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-9)


@given(cases)
@settings(deadline=None, max_examples=60)
def test_any_and_all_are_means_over_sets_of_positives(case):
    arguments = (case.z, case.labels, case.keys, case.own)
    found = any_loss(*arguments, temperature=TAU)
    assert_equal_with_gradients(case, found, naive_supcon(case, lambda y, y_p: bool(y & y_p)))
    found = all_loss(*arguments, temperature=TAU)
    assert_equal_with_gradients(case, found, naive_supcon(case, lambda y, y_p: y == y_p))


@given(cases)
@settings(deadline=None, max_examples=60)
def test_mulsupcon_is_equation_3_and_4(case):
    found = mulsupcon_loss(case.z, case.labels, case.keys, temperature=TAU, mean_labels=case.mean_labels)
    assert_equal_with_gradients(case, found, naive_mulsupcon(case))


@pytest.mark.parametrize("weight", get_args(Weight))
@given(case=cases, literal=st.booleans(), relative=st.booleans(), from_queue=st.booleans())
@settings(deadline=None, max_examples=60)
def test_ld_loss_is_algorithm_1(weight, case, literal, relative, from_queue):
    options = dict(alpha=0.7, weight=weight, sigma=0.8, literal=literal, relative=relative)
    options["batch_keys"] = case.batch_keys if from_queue else 0
    found = ld_loss(
        case.z,
        case.labels,
        case.logits,
        case.keys,
        case.own,
        temperature=TAU,
        mean_labels=case.mean_labels,
        **options,
    )
    assert_equal_with_gradients(case, found, naive_ld(case, **options))


@pytest.mark.parametrize("pairs", [4, 20, 36, 60])
def test_blocks_change_nothing(pairs, monkeypatch):
    """Also those that do not divide 7 anchors and 30 keys: of 1, 2 or 3 anchors and 4 to 60 keys."""
    case = make_case(6, 7, 2, 21, C=5, d=4)
    whole = list(losses_of(case))
    monkeypatch.setitem(streaming.PAIRS, "cpu", pairs)
    for found, expected in zip(losses_of(case), whole, strict=True):
        assert_equal_with_gradients(case, found, expected)


def test_no_matrix_of_all_pairs_is_made(monkeypatch):
    """Neither forward nor backward: nothing as large as 64 anchors x 4,000 keys."""
    monkeypatch.setitem(streaming.PAIRS, "cpu", 2**12)
    case, largest = make_case(7, 64, 0, 3936, C=6, d=8), 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            parts = made if isinstance(made, tuple | list) else [made]
            largest = max([largest, *(part.numel() for part in parts if isinstance(part, Tensor))])
            return made

    with Sizes():
        for found in losses_of(case):
            found.sum().backward()
    assert largest <= case.keys.embeddings.numel()


def in_precision(case, dtype):
    keys = case.keys._replace(
        embeddings=case.keys.embeddings.float(), distributions=case.keys.distributions.float()
    )
    z, logits = (values.detach().to(dtype).requires_grad_() for values in (case.z, case.logits))
    return case._replace(z=z, logits=logits, keys=keys)


def losses_of(case):
    shared = dict(temperature=0.1)
    contrasted = (case.z, case.labels, case.keys, case.own)
    yield any_loss(*contrasted, **shared)
    yield all_loss(*contrasted, **shared)
    shared["mean_labels"] = torch.tensor(case.mean_labels)
    yield mulsupcon_loss(case.z, case.labels, case.keys, **shared)
    for weight in get_args(Weight):
        yield ld_loss(
            *(case.z, case.labels, case.logits, case.keys, case.own),
            alpha=0.1,
            weight=weight,
            sigma=1.0,
            **shared,
        )


def test_the_losses_of_gpus_are_those_of_cpus(monkeypatch):
    """Also with a label that no key has."""
    case = make_case(5, 4, 2, 20, C=6, d=8)
    case.labels[:, 0], case.keys.labels[:, 0] = False, False
    found = list(losses_of(case))
    monkeypatch.setattr(losses, "KeyLabels", partial(KeyLabels, sparse=False))
    torch.testing.assert_close(found, list(losses_of(case)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing_but_the_inputs(dtype):
    half = in_precision(make_case(0, 4, 2, 20, C=6, d=8), dtype)
    single = in_precision(half, torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        found = list(losses_of(half))
    for ours, expected in zip(found, losses_of(single), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, expected)


def test_float32_at_the_size_of_a_real_step_is_float64():
    """Sums over 2,000 keys at temperature 0.1, with distributions close to each other."""
    case = make_case(1, 32, 0, 2000, C=100, d=64, density=0.05)
    exact, rounded = list(losses_of(case)), list(losses_of(in_precision(case, torch.float32)))
    for expected, found in zip(exact, rounded, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_halves_of_a_batch_give_the_loss_and_gradient_of_the_whole():
    case = in_precision(make_case(2, 8, 0, 30, C=6, d=5), torch.float32)
    encoder = torch.randn(7, 5 + 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    inputs = torch.randn(8, 7, generator=torch.Generator().manual_seed(1))

    def step(rows):
        z, logits = (inputs[rows] @ encoder).split([5, 6], 1)
        part = case._replace(
            z=torch.nn.functional.normalize(z), labels=case.labels[rows], logits=logits, own=case.own[rows]
        )
        means = [losses.mean() for losses in losses_of_part(part)]
        return [(mean.detach(), torch.autograd.grad(mean, encoder, retain_graph=True)[0]) for mean in means]

    def losses_of_part(part):
        arguments = dict(temperature=0.1, mean_labels=case.mean_labels)  # of the global batch
        yield any_loss(part.z, part.labels, part.keys, part.own, temperature=0.1)
        yield mulsupcon_loss(part.z, part.labels, part.keys, **arguments)
        for weight in get_args(Weight):
            yield ld_loss(
                *(part.z, part.labels, part.logits, part.keys, part.own),
                alpha=0.1,
                weight=weight,
                sigma=1.0,
                **arguments,
            )

    for whole, first, second in zip(
        step(slice(None)), step(slice(0, None, 2)), step(slice(1, None, 2)), strict=True
    ):
        for expected, *found in zip(whole, first, second, strict=True):
            torch.testing.assert_close(sum(found) / 2, expected, rtol=1e-5, atol=1e-5)


def test_only_the_literal_weight_pushes_distributions_of_positives_apart():
    """Proof in docs/mulsupcon-ld/deviations.md: C^(2) <= 0, so that -G grows with the distances."""
    case = make_case(3, 1, 0, 1, C=3, density=1.0)

    def loss(weight, logits):
        return ld_loss(
            *(case.z, case.labels, logits, case.keys, case.own),
            temperature=TAU,
            mean_labels=1.0,
            alpha=0.0,
            weight=weight,
            sigma=1.0,
        )

    def smoothness(weight, logits):
        without = (loss("neg_log", logits) + loss("literal", logits)) / 2  # their G are each other's negative
        return (loss(weight, logits) - without).sum()

    other = case.keys.distributions[1 - case.own.item()]
    for weight in get_args(Weight):
        (gradient,) = torch.autograd.grad(smoothness(weight, case.logits), case.logits)
        before, after = (
            (logits.softmax(1) - other).norm() for logits in (case.logits, case.logits - 0.01 * gradient)
        )
        assert (after > before) == (weight == "literal")


def test_an_anchor_without_labels():
    """ANY and ALL draw it to its own second view; what sums over labels leaves only H."""
    case = make_case(4, 2, 0, 5)
    case.labels[0] = False
    case.keys.labels[:] = True
    case.keys.labels[case.own[0]] = False
    C2 = torch.stack(log_shares(case, 0))[case.own[0]]
    arguments = (case.z, case.labels, case.keys, case.own)
    torch.testing.assert_close(any_loss(*arguments, temperature=TAU)[0], -C2)
    torch.testing.assert_close(all_loss(*arguments, temperature=TAU)[0], -C2)
    assert mulsupcon_loss(*arguments[:3], temperature=TAU, mean_labels=1.0)[0] == 0
    found = ld_loss(
        *(case.z, case.labels, case.logits, case.keys, case.own), temperature=TAU, mean_labels=1.0, alpha=0.5
    )
    torch.testing.assert_close(found[0], 0.5 * case.logits[0].softmax(0).square().sum())


def test_median_sigma_is_a_median_of_distances():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert median_sigma(points).item() == pytest.approx(18**0.5)  # of 1, 18 ** 0.5 and 5
    assert median_sigma(torch.ones(4, 2)).item() == pytest.approx(1e-3)


def test_bad_input_is_refused():
    case = make_case(0, 2, 0, 2)
    arguments = (case.z, case.labels, case.logits, case.keys, case.own)
    options = dict(temperature=TAU, mean_labels=1.0, alpha=0.1)
    with pytest.raises(
        ValueError, match=r"`weight` should be one of prob, neg_log, literal, rbf. Found 'cosine'"
    ):
        ld_loss(*arguments, weight="cosine", **options)
    with pytest.raises(ValueError, match="`sigma` should be a number for weight 'rbf'"):
        ld_loss(*arguments, weight="rbf", **options)

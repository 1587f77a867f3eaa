"""The losses against loops over samples and classes, written from the papers' equations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from hmc_shared.partial_labels import without_unknown
from hp_dval.build import classification_loss
from hp_dval.config import Config
from hp_dval.losses import (
    asymmetric_loss,
    bce_loss,
    caption_loss,
    class_balanced_focal_loss,
    db_loss,
    l1_distance,
    ldam_loss,
    ranking_loss,
    reweighted_bce_loss,
)

N = 1142
COUNTS = torch.tensor([6, 34, 154, 775, 4])


def case(seed=0, B=6, C=5, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(B, C, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.rand(B, C, generator=generator) < 0.4


def log1pexp(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def naive_db(
    logits, labels, *, weighted, tau, beta, mu, lam, kappa, rebalance, bias, focal, gamma, factor, n=N
):
    """Eq. (11) to (15), entry by entry, and the focal factor of the DB paper's Section 3.3."""
    B, C = labels.shape
    counts = COUNTS.tolist()
    losses, plain = [[0.0] * C for _ in range(B)], []
    for k in range(B):
        present = [i for i in range(C) if labels[k, i]]
        for i in range(C):
            v = kappa * math.log(1 / (counts[i] / n) - 1) / (lam if bias == "code" else 1)
            s = logits[k, i].item()
            over = range(C) if rebalance == "class" else present
            total = sum(1 / counts[j] for j in over)
            r = tau + (1 / (1 + math.exp(-beta * (1 / counts[i] / total - mu))) if total else 1.0)
            r = 1.0 if rebalance == "off" else r
            w = (counts[i] / n) / max(m / n for m in counts) if weighted else 1.0
            if labels[k, i]:
                x, weight = w * (s - v), r
                entropy, p_t = log1pexp(-x), sigmoid(x)
            else:
                x, weight = lam * (s - v), r / lam
                entropy, p_t = log1pexp(x), 1 - sigmoid(x)
            plain.append(entropy)
            losses[k][i] = weight * entropy * (factor * (1 - p_t) ** gamma if focal == "element" else 1.0)
    if focal == "batch":
        p_t = math.exp(-sum(plain) / len(plain))
        losses = [[factor * (1 - p_t) ** gamma * entry for entry in row] for row in losses]
    return torch.tensor([sum(row) / C for row in losses], dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999),
    weighted=st.booleans(),
    rebalance=st.sampled_from(["sample", "class", "off"]),
    bias=st.sampled_from(["code", "paper"]),
    focal=st.sampled_from(["element", "batch", "off"]),
    numbers=st.sampled_from(
        [(0.1, 10.0, 0.3, 5.0, 0.05), (0.1, 10.0, 0.2, 2.0, 0.05), (0.5, 2, 0.7, 1.5, 1)]
    ),
)
def test_db_loss_is_the_equations(seed, weighted, rebalance, bias, focal, numbers):
    tau, beta, mu, lam, kappa = numbers
    logits, labels = case(seed)
    ours = db_loss(
        logits,
        labels,
        COUNTS,
        N,
        weighted_positives=weighted,
        tau=tau,
        beta=beta,
        mu=mu,
        negative_scale=lam,
        kappa=kappa,
        rebalance=rebalance,
        bias=bias,
        focal=focal,
    )
    theirs = naive_db(
        logits,
        labels,
        weighted=weighted,
        tau=tau,
        beta=beta,
        mu=mu,
        lam=lam,
        kappa=kappa,
        rebalance=rebalance,
        bias=bias,
        focal=focal,
        gamma=2.0,
        factor=2.0,
    )
    assert ours.shape == (6,)
    torch.testing.assert_close(ours.detach(), theirs, rtol=1e-9, atol=1e-12)


def test_db_star_pulls_head_positives_up_and_rare_ones_hardly():
    """Why cosines have to be scaled: with s = 0.1 the gradient of a rare positive is its small w_i."""
    gradients = {}
    for s in (0.0, -10.0):
        logits = torch.full((5, 5), s, requires_grad=True)
        options = {"weighted_positives": True, "rebalance": "off", "focal": "off", "kappa": 0.0}
        db_loss(logits, torch.eye(5, dtype=torch.bool), COUNTS, N, **options).sum().backward()
        gradients[s] = -5 * logits.grad.diagonal()
    w = COUNTS / COUNTS.max()
    torch.testing.assert_close(gradients[0.0], w / 2)
    assert gradients[-10.0][3] > 0.9999


def test_db_weights_depend_on_the_labels_that_a_sample_has():
    labels = torch.tensor([[1, 0, 0, 0, 0], [1, 0, 0, 0, 1]], dtype=torch.bool)
    options = {"weighted_positives": False, "focal": "off", "kappa": 0.0}
    losses = []
    for sample in labels:
        logits = torch.zeros(1, 5, requires_grad=True)
        db_loss(logits, sample[None], COUNTS, N, **options).sum().backward()
        losses.append(-logits.grad[0, 0].item() * 5 * 2)  # r of class 0
    alone, shared = 1.0, (1 / 6) / (1 / 6 + 1 / 4)
    assert losses == pytest.approx([0.1 + sigmoid(10 * (r - 0.2)) for r in (alone, shared)], rel=1e-5)


@pytest.mark.parametrize("labels", [torch.zeros(2, 3), torch.ones(2, 3)], ids=["none", "all"])
@pytest.mark.parametrize("counts", [[0, 2, 1], [0, 0, 0], [2, 2, 2]])
def test_db_loss_is_finite_for_classes_without_positives_or_negatives(labels, counts):
    logits = torch.zeros(2, 3, requires_grad=True)
    loss = db_loss(logits, labels.bool(), torch.tensor(counts), 2, weighted_positives=True)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


def test_a_flat_re_balancing_weight_counts_for_samples_without_labels_too():
    logits, labels = case(7)
    labels[0] = False
    options = {"weighted_positives": False, "tau": 0.1}
    flat = db_loss(logits, labels, COUNTS, N, beta=0.0, **options)
    plain = db_loss(logits, labels, COUNTS, N, rebalance="off", **options)
    torch.testing.assert_close(flat, 0.6 * plain)  # tau + sigmoid(0)


@pytest.mark.parametrize("size", [100.0, 1e4])
@pytest.mark.parametrize("focal", ["element", "batch", "off"])
def test_extreme_logits_keep_losses_and_gradients_finite(size, focal):
    logits = torch.tensor([[size, -size, size, -size, 0.0]], requires_grad=True)
    labels = torch.tensor([[True, True, False, False, True]])
    losses = [
        db_loss(logits, labels, COUNTS, N, weighted_positives=True, focal=focal),
        class_balanced_focal_loss(logits, labels, COUNTS, focal=focal),
        asymmetric_loss(logits, labels),
        asymmetric_loss(logits, labels, margin=0.0),
    ]
    (gradient,) = torch.autograd.grad(torch.cat(losses).sum(), logits)
    assert torch.cat(losses).isfinite().all()
    assert gradient.isfinite().all()


def test_class_balanced_focal_loss_is_the_equation():
    logits, labels = case(1, B=8)
    labels[0] = False
    beta = 0.9
    raw = [(1 - beta) / (1 - beta**count) for count in COUNTS.tolist()]
    w = [5 * value / sum(raw) for value in raw]
    expected = []
    for row, present in zip(logits.tolist(), labels.tolist(), strict=True):
        own = [w[i] for i in range(5) if present[i]]
        weight = sum(own) / len(own) if own else 1.0
        entries = []
        for s, y in zip(row, present, strict=True):
            p_t = sigmoid(s) if y else 1 - sigmoid(s)
            entries.append(2 * weight * (1 - p_t) ** 2 * -math.log(p_t))
        expected.append(sum(entries) / 5)
    ours = class_balanced_focal_loss(logits, labels, COUNTS, beta=beta)
    torch.testing.assert_close(ours.tolist(), expected)


def test_with_equal_counts_it_is_the_focal_loss_of_torchvision():
    logits, labels = case(2)
    ours = class_balanced_focal_loss(logits, labels, torch.full((5,), 9), factor=1.0)
    theirs = sigmoid_focal_loss(logits, labels.double(), alpha=-1, gamma=2).mean(1)
    torch.testing.assert_close(ours, theirs)


def test_bce_is_the_multi_label_soft_margin_loss_of_torch():
    logits, labels = case(3)
    theirs = torch.nn.MultiLabelSoftMarginLoss(reduction="none")(logits, labels.double())
    torch.testing.assert_close(bce_loss(logits, labels), theirs, check_dtype=False)


def test_asymmetric_loss_is_the_equation_and_bce_without_asymmetry():
    logits, labels = case(4)
    p = logits.sigmoid()
    q = (p - 0.05).clamp(min=0)
    expected = torch.where(labels, -(1 - p) * p.log(), -(q**4) * (1 - q).log()).mean(1)
    torch.testing.assert_close(asymmetric_loss(logits, labels, gamma_positive=1.0), expected)
    plain = asymmetric_loss(logits, labels, gamma_negative=0.0, margin=0.0)
    torch.testing.assert_close(plain, bce_loss(logits, labels).double())


def test_reweighted_bce_is_that_of_torch_with_weights():
    logits, labels = case(7)
    weight = torch.tensor([math.sqrt(N / n) for n in COUNTS.tolist()], dtype=torch.float64)
    options = {"weight": weight, "reduction": "none"}
    theirs = F.binary_cross_entropy_with_logits(logits, labels.double(), **options).mean(1)
    torch.testing.assert_close(reweighted_bce_loss(logits, labels, COUNTS, N), theirs)


def test_ldam_takes_the_largest_margin_off_the_rarest_class():
    logits, labels = case(8)
    expected = torch.zeros(len(logits), dtype=torch.float64)
    for k, i in labels.cpu().nonzero().tolist() + (~labels).nonzero().tolist():
        margin = 0.5 * (4 / COUNTS[i].item()) ** 0.25 if labels[k, i] else 0.0  # 4: the rarest
        z = logits[k, i].item() - 30 * margin
        expected[k] += log1pexp(-z if labels[k, i] else z) / 5
    torch.testing.assert_close(ldam_loss(logits, labels, COUNTS), expected, check_dtype=False)
    torch.testing.assert_close(ldam_loss(logits, labels, COUNTS, margin=0.0), bce_loss(logits, labels))


def test_the_loss_of_captions_is_the_hinge_embedding_loss_of_torch_with_margins_of_classes():
    generator = torch.Generator().manual_seed(9)
    captions, texts = (F.normalize(torch.randn(n, 7, generator=generator), dim=1) for n in (6, 5))
    labels = torch.rand(6, 5, generator=generator) < 0.4
    sign = torch.where(labels, 1, -1)
    expected = torch.zeros(6)
    for i, n in enumerate(COUNTS.tolist()):
        distances = 1 - torch.cosine_similarity(captions, texts[i : i + 1])
        margin = 0.2 / (n / COUNTS.sum().item()) ** 0.25
        expected += F.hinge_embedding_loss(distances, sign[:, i], margin, reduction="none") / 5
    torch.testing.assert_close(caption_loss(captions, texts, labels, COUNTS), expected)
    unknown = ~labels & (torch.rand(6, 5, generator=generator) < 0.5)
    left_out = torch.zeros(6)  # their terms, which a class of its own has
    for i, n in enumerate(COUNTS.tolist()):
        distances = 1 - torch.cosine_similarity(captions, texts[i : i + 1])
        margin = 0.2 / (n / COUNTS.sum().item()) ** 0.25
        left_out += (margin - distances).clamp(min=0) * unknown[:, i] / 5
    found = caption_loss(captions, texts, labels, COUNTS, unknown)
    torch.testing.assert_close(found, expected - left_out)


def test_without_its_parts_the_db_loss_is_bce():
    logits, labels = case(5)
    options = {"rebalance": "off", "focal": "off", "kappa": 0.0, "negative_scale": 1.0}
    ours = db_loss(logits, labels, COUNTS, N, weighted_positives=False, **options)
    torch.testing.assert_close(ours, bce_loss(logits, labels).double())


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_finite_differences(weighted):
    logits, labels = case(6, B=3)
    assert torch.autograd.gradcheck(
        lambda s: db_loss(s, labels, COUNTS, N, weighted_positives=weighted), logits
    )


def test_l1_distance():
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    norms = torch.linalg.vector_norm(a - b, ord=1, dim=1)
    torch.testing.assert_close(l1_distance(a, b, "sum"), norms)
    torch.testing.assert_close(l1_distance(a, b), norms / 4)


@pytest.mark.parametrize("loss", ["db-star", "db", "cb-focal", "asl", "bce", "rw", "ldam", "ranking"])
def test_unknown_entries_cost_nothing_in_any_loss(loss):
    """Neither value nor gradient: as a negative that the network is certain of, whose part is 0."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(8, 5, generator=generator, requires_grad=True)
    labels = torch.rand(8, 5, generator=generator) < 0.3
    unknown = (torch.rand(8, 5, generator=generator) < 0.3) & ~labels
    config = Config(loss=loss)
    targets = torch.arange(8).unsqueeze(1) < torch.tensor([1, 2, 3, 4, 3])  # of the training rows
    loss_of = classification_loss(config, targets, torch.ones(5, dtype=torch.bool))
    value = loss_of(without_unknown(logits, unknown), labels)
    value.sum().backward()
    assert value.isfinite().all()
    assert (logits.grad[unknown] == 0).all()
    if loss != "ranking":  # which is content with pairs that a margin parts
        assert (logits.grad[labels] != 0).all()
    if loss not in ("cb-focal", "ldam"):  # whose weights, or margins, are relative to those of all classes
        labels[:, 0], unknown = False, torch.zeros_like(unknown)
        unknown[:, 0] = True
        of_rest = classification_loss(config, targets, torch.arange(5) > 0)
        value = loss_of(without_unknown(logits, unknown), labels)
        assert torch.allclose(value, of_rest(logits, labels) * 4 / 5)


def test_the_ranking_loss_is_that_of_a_loop_over_pairs():
    logits, labels = case(scale=1.0)
    expected = []
    for row, present in zip(logits.tolist(), labels.tolist(), strict=True):
        pairs = [(i, j) for i in range(5) for j in range(5) if present[i] and not present[j]]
        expected.append(sum(max(0.0, 1.5 - row[i] + row[j]) for i, j in pairs) / 5)
    ours = ranking_loss(logits, labels, margin=1.5)
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64))
    assert ranking_loss(logits, torch.ones_like(labels)).eq(0).all()  # no pair

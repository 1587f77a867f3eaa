"""LaMP, MPVAE and C-GMVAE: losses beside loops and known distributions; what the networks promise."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl

from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.data.batches import Batch
from mulsupcon_ld.baselines import (
    CGMVAE,
    MPVAE,
    Gaussian,
    LaMP,
    MixtureOutputs,
    ProbitOutputs,
    c_gmvae_loss,
    kl_divergence,
    lamp_loss,
    log_mixture,
    mpvae_loss,
    probit_logits,
    probit_losses,
)
from mulsupcon_ld.build import build_model, finetuning_loss
from mulsupcon_ld.config import Config

FLAT = Hierarchy.from_edges([], nodes="abcd")
LABELS = torch.tensor([[True, False, True, False], [False] * 4, [True] * 4, [False, True, False, False]])


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def bce(logit, label):
    return math.log1p(math.exp(-logit if label else logit))


def assert_same_gradients(loss, loop, *inputs):
    """Of the loss by autograd, and of the loop by differences."""
    inputs = [value.clone().requires_grad_() for value in inputs]
    loss(*inputs).sum().backward()
    for value in inputs:
        found = torch.empty_like(value)
        for at in np.ndindex(*value.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [other.detach().clone() for other in inputs]
                moved[[other is value for other in inputs].index(True)][at] += step
                ends.append(sum(loop(*moved)))
            found[at] = (ends[0] - ends[1]) / 2e-5
        torch.testing.assert_close(value.grad, found, rtol=1e-6, atol=1e-7)


def test_lamp_adds_a_fifth_of_each_output_between():
    outputs = numbers(3, 4, 4)

    def loop(outputs):
        weights = [0.2, 0.2, 1.0]
        return [
            sum(
                w * np.mean([bce(float(outputs[part, row, j]), LABELS[row, j]) for j in range(4)])
                for part, w in enumerate(weights)
            )
            for row in range(4)
        ]

    torch.testing.assert_close(lamp_loss(outputs, LABELS), tensor(loop(outputs)))
    assert_same_gradients(lambda outputs: lamp_loss(outputs, LABELS), loop, outputs)


def probit_loop(means, root, noise):
    """Draw by draw, label by label, pair by pair."""
    found = []
    for row, labels in enumerate(LABELS):
        likelihood, ranking = 0.0, 0.0
        on, off = labels.nonzero().flatten().tolist(), (~labels).nonzero().flatten().tolist()
        for w in noise[:, row]:
            p = norm.cdf([float(means[row, j] + root[j] @ w) for j in range(4)])
            likelihood += np.prod([p[j] if labels[j] else 1 - p[j] for j in range(4)]) / len(noise)
            pairs = [math.exp(-5 * (p[i] - p[k])) for i in on for k in off]
            ranking += sum(pairs) / max(1, 5 * len(pairs)) / len(noise)
        found.append((-math.log(likelihood), ranking))
    return found


def test_the_probit_and_its_ranking_are_those_of_a_loop():
    means, root, noise = numbers(4, 4), numbers(4, 2, seed=1), numbers(3, 4, 2, seed=2)
    nll, ranking = probit_losses(means, root, LABELS, noise)
    torch.testing.assert_close(torch.stack([nll, ranking], 1), tensor(probit_loop(means, root, noise)))

    def weighted(means, root):
        outputs = ProbitOutputs(torch.stack([means, 2 * means]), root, tensor([0, 1, 2, 3]))
        return mpvae_loss(outputs, LABELS, noise, nll_weight=0.3, ranking_weight=2.0)

    def loop(means, root):
        both = zip(*(probit_loop(m, root, noise) for m in (means, 2 * means)), strict=True)
        return [sum(0.3 * nll + 2 * ranking for nll, ranking in row) + 1.1 * i for i, row in enumerate(both)]

    torch.testing.assert_close(weighted(means, root), tensor(loop(means, root)))
    assert_same_gradients(weighted, loop, means, root)


def test_the_probit_is_the_probability_of_signs_of_normal_numbers():
    """By scipy's integral of the multivariate normal, and by counting draws with a fixed seed."""
    means, root = 0.5 * numbers(1, 3), numbers(3, 3, seed=1)
    noise = numbers(50_000, 1, 3, seed=2)
    drawn = means + (noise @ root.T)[:, 0] + numbers(50_000, 3, seed=3) > 0
    total = 0.0
    for code in range(8):
        labels = torch.tensor([[bool(code & 1), bool(code & 2), bool(code & 4)]])
        found = (-probit_losses(means, root, labels, noise)[0]).exp().item()
        sign = np.where(labels.numpy()[0], 1.0, -1.0)  # P(sign x > 0) = P(-sign x < 0)
        covariance = np.outer(sign, sign) * (root @ root.T + torch.eye(3)).numpy()
        assert found == pytest.approx(
            multivariate_normal(cov=covariance).cdf(sign * means.numpy()[0]), abs=5e-3
        )
        assert found == pytest.approx((drawn == labels).all(1).double().mean().item(), abs=1e-2)
        total += found
    assert total == pytest.approx(1)


def test_mpvae_predicts_the_margins_of_its_probit():
    torch.manual_seed(0)
    model = MPVAE(FLAT, (6,), width=16).eval()
    inputs = torch.randn(5, 6)
    z = Gaussian.of(model.prior(model.encoder(inputs))).mean
    means, noise = model.decode(inputs, z), torch.randn(100_000, 1, 4)
    with torch.no_grad():
        drawn = torch.special.ndtr(means + noise @ model.root.T).mean(0)
        torch.testing.assert_close(model.logits(inputs).sigmoid(), drawn, rtol=0, atol=4e-3)


def test_the_log_odds_of_a_probit_rise_and_are_close():
    t = torch.linspace(-30, 30, 10_001, dtype=torch.float64)
    assert (probit_logits(t).sigmoid() - torch.special.ndtr(t)).abs().max() < 1.5e-4
    assert (probit_logits(t).diff() > 0).all()


def test_divergence_and_mixture_are_those_of_torch():
    q, p = (Gaussian(numbers(4, 3, seed=s), numbers(4, 3, seed=s + 1)) for s in (0, 2))
    of_torch = [Independent(Normal(g.mean, (g.log_variance / 2).exp()), 1) for g in (q, p)]
    torch.testing.assert_close(kl_divergence(q, p), kl.kl_divergence(*of_torch))
    z, are_of = numbers(2, 3, seed=5), LABELS[[0, 2]]
    expected = [
        MixtureSameFamily(
            Categorical(probs=row.double()), Independent(Normal(p.mean, (p.log_variance / 2).exp()), 1)
        ).log_prob(at)
        for row, at in zip(are_of, z, strict=True)
    ]
    torch.testing.assert_close(log_mixture(z, p, are_of), torch.stack(expected))


def test_c_gmvae_adds_three_entropies_a_divergence_and_the_contrast_with_labels():
    logits, divergence = numbers(3, 4, 4), numbers(4, seed=1)

    def loop(logits, divergence):
        found = []
        for row, labels in enumerate(LABELS):
            entropies = sum(
                bce(float(logits[part, row, j]), labels[j]) for part in range(3) for j in range(4)
            )
            contrast = [
                -math.log(math.exp(logits[part, row, j]) / sum(math.exp(s) for s in logits[part, row]))
                for part in range(2)
                for j in labels.nonzero().flatten().tolist()
            ]
            found.append(
                0.5 * entropies + 6 * float(divergence[row]) + (float(np.mean(contrast)) if contrast else 0.0)
            )
        return found

    def loss(logits, divergence):
        return c_gmvae_loss(MixtureOutputs(logits, divergence), LABELS)

    torch.testing.assert_close(loss(logits, divergence), tensor(loop(logits, divergence)))
    assert_same_gradients(loss, loop, logits, divergence)


@pytest.mark.parametrize("name", ["mpvae", "c-gmvae"])
def test_labels_reach_the_training_alone(name):
    """Through the label encoder: the losses of rows without a label are finite, too."""
    torch.manual_seed(0)
    model = {"mpvae": MPVAE, "c-gmvae": CGMVAE}[name](FLAT, (6,), width=16, dropout=0.0)
    inputs, counted = torch.randn(4, 6), torch.tensor([0, 2, 3])
    batch = Batch(inputs, LABELS, torch.ones(4), torch.arange(4))
    losses = finetuning_loss(Config(loss=name), model(inputs, LABELS), batch, counted)
    assert losses.isfinite().all()
    losses.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    before = model.eval().predict_proba(inputs)
    with torch.no_grad():
        for parameter in model.label_encoder.parameters():
            parameter.add_(1.0)
    assert torch.equal(model.predict_proba(inputs), before)


def test_nodes_of_lamp_hear_of_each_other_and_rows_do_not():
    torch.manual_seed(0)
    model, inputs = LaMP(FLAT, (6,), width=16, layers=3).eval(), torch.randn(4, 6)
    assert model(inputs).shape == (6, 4, 4)
    inputs.requires_grad_()
    model(inputs)[-1, 0].sum().backward()
    assert inputs.grad[0].abs().min() > 0
    assert inputs.grad[1:].abs().max() == 0
    changed = LaMP(FLAT, (6,), width=16, layers=3).eval()
    changed.load_state_dict(model.state_dict())
    with torch.no_grad():
        changed.embedding[3] += 1.0  # of another label
        assert (changed(inputs)[0, :, :3] == model(inputs)[0, :, :3]).all()  # before the first exchange
        assert (changed(inputs)[-1, :, 0] != model(inputs)[-1, :, 0]).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"lamp, mpvae and c-gmvae take vectors\. Found 'mpvae'"):
        build_model(Config(loss="mpvae"), load_dataset("digits", view="image"))
    with pytest.raises(ValueError, match=r"`width` should be a multiple of 4, the heads of lamp\. Found 30"):
        LaMP(FLAT, (6,), width=30)

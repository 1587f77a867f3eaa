"""The losses against loops written from the paper's formulas, on balanced and unbalanced trees."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hcal import losses
from hcal.losses import (
    adaptive_weights,
    coupling_losses,
    cross_entropies,
    group_means,
    info_nce,
    level_losses,
    perturb,
)
from hmc_shared import Hierarchy

BALANCED = Hierarchy.from_paths(["a/x", "a/y", "b/z"])
# Leaves at three depths, and samples may also end at the inner node "b/c".
UNBALANCED = Hierarchy.from_paths(["a", "b/c/x", "b/c/y", "b/d", "e/f/z"])
TAU = 0.1


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(values, dim=-1)


def path_of(hierarchy, node):
    """The ids on the path to a node, padded with -1; None is no label."""
    path = []
    while node is not None:
        path.append(node)
        node = next(iter(hierarchy.parents(node)), None)
    return [*path[::-1], *[-1] * (hierarchy.num_levels - len(path))]


def contrast(feature, own, prototypes):
    """Eq. (6), (7): sum over the positives of -log of the positive's share among positives and negatives."""

    def weight(prototype):
        return math.exp(sum(a * b for a, b in zip(feature, prototype, strict=True)) / TAU)

    positives = [version[own] for version in prototypes]
    negatives = [p for version in prototypes for j, p in enumerate(version) if j != own]
    whole = sum(weight(p) for p in positives + negatives)
    return -sum(math.log(weight(p) / whole) for p in positives)


def naive_level_losses(
    features, paths, prototypes, hierarchy, aggregation=True, renormalise=False, every_label=False
):
    found = []
    for depth, level in enumerate(hierarchy.levels):
        versions = [version.tolist() for version in prototypes[depth]]
        alone, groups = [], {}
        for feature, path in zip(features.tolist(), paths, strict=True):
            if path[depth] < 0:
                continue
            own = path[depth] - level.start
            ends = depth + 1 == len(path) or path[depth + 1] < 0
            if ends or not aggregation:
                alone.append(contrast(feature, own, versions))
            else:
                groups.setdefault(own, []).append(feature)
        of_groups = []
        for own, members in groups.items():
            mean = [sum(column) / len(members) for column in zip(*members, strict=True)]  # Eq. (2)
            if renormalise:
                length = math.hypot(*mean)
                mean = [value / length for value in mean]
            of_groups.append(contrast(mean, own, versions))
        grouped = sum(map(len, groups.values()))
        divisor = len(level) if every_label else len(of_groups)
        total = sum(alone) + (grouped * sum(of_groups) / divisor if of_groups else 0)
        found.append(total / (len(alone) + grouped) if alone or grouped else 0.0)
    return found


@st.composite
def batches(draw):
    hierarchy = draw(st.sampled_from([BALANCED, UNBALANCED]))
    ends = hierarchy.leaves.tolist() if hierarchy is BALANCED else [*range(len(hierarchy)), None]
    nodes = draw(st.lists(st.sampled_from(ends), min_size=1, max_size=8))
    seed = draw(st.integers(0, 99))
    prototypes = [
        [unit(len(level), 3, seed=seed + 7 * version) for version in range(draw(st.sampled_from([1, 2])))]
        for level in hierarchy.levels
    ]
    return hierarchy, [path_of(hierarchy, node) for node in nodes], prototypes, unit(len(nodes), 3, seed=seed)


@given(batches(), st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=60)
def test_level_losses_are_the_papers_formulas(case, aggregation, renormalise, every_label):
    hierarchy, paths, prototypes, features = case
    found = level_losses(
        features,
        torch.tensor(paths),
        prototypes,
        hierarchy.levels,
        temperature=TAU,
        aggregation=aggregation,
        renormalise=renormalise,
        every_label=every_label,
    )
    expected = naive_level_losses(
        features, paths, prototypes, hierarchy, aggregation, renormalise, every_label
    )
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(batches(), st.booleans(), st.booleans(), st.data())
@settings(deadline=None, max_examples=40)
def test_a_sample_of_weight_3_counts_as_three(case, aggregation, printed, data):
    hierarchy, paths, prototypes, features = case
    weights = torch.tensor([data.draw(st.integers(1, 3)) for _ in paths])
    options = {"temperature": TAU, "aggregation": aggregation}
    options |= {"renormalise": printed, "every_label": printed}
    paths, levels = torch.tensor(paths), hierarchy.levels
    found = level_losses(features, paths, prototypes, levels, weights=weights / 7, **options)
    many, many_paths = features.repeat_interleave(weights, 0), paths.repeat_interleave(weights, 0)
    expected = level_losses(many, many_paths, prototypes, levels, **options)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-9)
    logits = features @ unit(len(hierarchy), 3, seed=5).T
    found = cross_entropies(logits, paths, levels, weights / 7)
    expected = cross_entropies(logits.repeat_interleave(weights, 0), many_paths, levels)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-9)


def test_a_level_of_its_own_features_is_read_from_its_own_column():
    paths = torch.tensor([path_of(BALANCED, node) for node in (2, 3, 4, 2)])
    features, prototypes = unit(4, 2, 3), [[unit(len(level), 3)] for level in BALANCED.levels]
    together = level_losses(features, paths, prototypes, BALANCED.levels, temperature=TAU)
    for depth in range(2):
        alone = level_losses(features[:, depth], paths, prototypes, BALANCED.levels, temperature=TAU)
        assert together[depth] == alone[depth]


def test_only_samples_on_the_way_have_a_gradient():
    """A sample that ended above takes no part in the loss of a level below, nor one without a label."""
    features = unit(3, 3).requires_grad_()
    paths = torch.tensor([path_of(UNBALANCED, UNBALANCED.index[name]) for name in ("a", "b/d", "b/c/x")])
    paths[0] = -1
    prototypes = [[unit(len(level), 3)] for level in UNBALANCED.levels]
    found = level_losses(features, paths, prototypes, UNBALANCED.levels, temperature=TAU)
    reached = []
    for loss in found:
        (gradient,) = torch.autograd.grad(loss, features, retain_graph=True)
        reached.append(gradient.abs().sum(1).gt(0).tolist())
    assert reached == [[False, True, True], [False, True, True], [False, False, True]]


def test_group_means_are_means():
    features, members = unit(5, 3), torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]]) == 1
    means, size = group_means(features, members)
    torch.testing.assert_close(means[0], features[[0, 2]].mean(0))
    torch.testing.assert_close(means[1], features[[1, 3, 4]].mean(0))
    assert size.tolist() == [2, 3, 0]
    assert means[2].tolist() == [0, 0, 0]


def test_perturbed_prototypes_lie_on_the_sphere_within_epsilon():
    prototypes = unit(50, 4).float()
    found = perturb(prototypes, 0.05, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(50))
    assert (found - prototypes).norm(dim=1).max() <= 2 * 0.05 * 2  # noise of length at most sqrt(4) epsilon
    assert (found - prototypes).abs().max() > 0.02
    assert torch.equal(found, perturb(prototypes, 0.05, torch.Generator().manual_seed(0)))
    assert not torch.equal(found, perturb(prototypes, 0.05, torch.Generator().manual_seed(1)))
    torch.testing.assert_close(perturb(prototypes, 0.0, torch.Generator()), prototypes)


def test_the_perturbation_is_a_constant_and_prototypes_learn_through_it():
    prototypes = torch.randn(4, 3, requires_grad=True)
    moved = perturb(torch.nn.functional.normalize(prototypes), 0.05, torch.Generator().manual_seed(0))
    info_nce(unit(2, 3).float(), torch.tensor([0, 1]), [moved], TAU).sum().backward()
    assert prototypes.grad.abs().sum(1).gt(0).all()
    # Only the direction of a prototype counts: its gradient is tangential.
    assert (prototypes.grad * prototypes).sum(1).abs().max() < 1e-5


def test_one_version_is_cross_entropy_and_rows_without_label_cost_nothing():
    features, prototypes, labels = unit(4, 3), unit(5, 3), torch.tensor([4, 0, -1, 2])
    found = info_nce(features, labels, [prototypes], TAU)
    kept = labels >= 0
    expected = torch.nn.functional.cross_entropy(features[kept] @ prototypes.T / TAU, labels[kept])
    torch.testing.assert_close(found[kept].mean(), expected)
    assert found[2] == 0


def test_adaptive_weights_are_a_softmax_that_is_not_learnt():
    values = torch.tensor([0.3, 0.7, 1.1], dtype=torch.float64, requires_grad=True)
    paths = torch.tensor([[0, 2, 4], [1, 3, -1]])
    weights = adaptive_weights(values, paths, 0.5)
    shares = [math.exp(v / 0.5) for v in (0.3, 0.7, 1.1)]
    assert weights.tolist() == pytest.approx([s / sum(shares) for s in shares])
    assert not weights.requires_grad
    assert adaptive_weights(values, paths, 1e6).tolist() == pytest.approx([1 / 3] * 3, abs=1e-5)
    assert adaptive_weights(values, paths, 1e-2).tolist() == pytest.approx([0, 0, 1])


def test_a_level_takes_no_share_if_no_sample_reaches_it_and_its_own_at_a_loss_of_0():
    """Eq. (11): exp(0) = 1, so a level of one class counts; below the ends of all paths there is nothing."""
    weights = adaptive_weights(torch.tensor([0.0, 0.7, 0.0]), torch.tensor([[0, 1, -1], [0, 2, -1]]), 0.5)
    assert weights.tolist() == pytest.approx([1 / (1 + math.exp(1.4)), 1 / (1 + math.exp(-1.4)), 0])
    assert adaptive_weights(torch.zeros(2), torch.full((3, 2), -1), 0.5).tolist() == [0, 0]


def test_cross_entropies_leave_out_what_a_path_does_not_reach():
    logits = torch.randn(3, len(UNBALANCED), dtype=torch.float64)
    names = ("a", "b/d", "b/c/x")
    paths = torch.tensor([path_of(UNBALANCED, UNBALANCED.index[name]) for name in names])
    found = cross_entropies(logits, paths, UNBALANCED.levels)
    for depth, level in enumerate(UNBALANCED.levels):
        rows = paths[:, depth] >= 0
        expected = torch.nn.functional.cross_entropy(
            logits[rows][:, level.start : level.stop], paths[rows, depth] - level.start
        )
        torch.testing.assert_close(found[depth], expected)


class TwoProcesses:
    """Stands for two processes in one: what each contributes to a sum is known from a first round."""

    def __init__(self, monkeypatch):
        self.recorded, self.rank, self.round = [[], []], 0, 0
        monkeypatch.setattr(losses, "num_processes", lambda: 2)
        monkeypatch.setattr(losses, "over_processes", self.add)

    def add(self, values):
        mine = self.recorded[self.rank]
        place = self.place = self.place + 1
        if len(mine) <= place:
            mine.append(None)
        mine[place] = values
        other = self.recorded[1 - self.rank]
        # The gradient of both processes' losses comes back to the values: they are alike, so it doubles.
        total = values + (other[place].detach() if len(other) > place else 0)
        return 2 * total - total.detach()

    def run(self, function):
        """Call ``function(rank)`` often enough for every sum to see what the other process contributes."""
        for _ in range(4):
            results = []
            for self.rank in range(2):
                self.place = -1
                results.append(function(self.rank))
        return results


@pytest.mark.parametrize("hierarchy", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_halves_of_a_batch_give_the_loss_and_gradient_of_the_whole(hierarchy, monkeypatch):
    """The average over two processes of loss and gradient, with sums over processes played by hand."""
    nodes = [*hierarchy.leaves.tolist(), *hierarchy.leaves.tolist()[:2], *range(len(hierarchy))][:9]
    if hierarchy is BALANCED:
        nodes = [node for node in nodes if node in hierarchy.leaves.tolist()]
    paths = torch.tensor([path_of(hierarchy, node) for node in nodes])
    features = unit(len(nodes), 3)
    prototypes = [unit(len(level), 3).requires_grad_() for level in hierarchy.levels]

    def step(rows):
        own = features[rows].clone().requires_grad_()
        versions = [[p] for p in prototypes]
        found = level_losses(own, paths[rows], versions, hierarchy.levels, temperature=TAU)
        weights = adaptive_weights(found, paths[rows], 0.5)
        gradients = torch.autograd.grad(weights @ found, [own, *prototypes])
        return found.detach(), weights, gradients

    whole, weights, (of_features, *of_prototypes) = step(slice(None))
    processes = TwoProcesses(monkeypatch)
    halves = processes.run(lambda rank: step(slice(rank, None, 2)))
    torch.testing.assert_close((halves[0][0] + halves[1][0]) / 2, whole)
    for rank, (_, own_weights, gradients) in enumerate(halves):
        torch.testing.assert_close(own_weights, weights)
        torch.testing.assert_close(gradients[0] / 2, of_features[rank::2])
    for place, expected in enumerate(of_prototypes):
        torch.testing.assert_close((halves[0][2][1 + place] + halves[1][2][1 + place]) / 2, expected)


@pytest.mark.parametrize("hierarchy", [BALANCED, UNBALANCED], ids=["balanced", "unbalanced"])
def test_coupling_is_that_of_a_loop_over_samples_and_classes(hierarchy):
    """The formulas of CMT, pair by pair of levels; samples that end above the finer one have no part."""
    C, nodes = len(hierarchy), [*range(len(hierarchy)), None]
    parents = [next(iter(hierarchy.parents(node)), -1) for node in range(C)]
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(nodes), C, generator=generator, dtype=torch.float64, requires_grad=True)
    shares = torch.rand(C, generator=generator, dtype=torch.float64)
    paths = torch.tensor([path_of(hierarchy, node) for node in nodes])
    found = coupling_losses(logits, paths, hierarchy.levels, torch.tensor(parents), shares)

    expected = [0.0]
    for depth in range(1, hierarchy.num_levels):
        fine, inner = hierarchy.levels[depth], sorted({parents[f] for f in hierarchy.levels[depth]})
        terms = []
        for row, path in zip(logits, paths.tolist(), strict=True):
            if path[depth] < 0:
                continue
            p_f = {f: row[f].exp() / sum(row[g].exp() for g in fine) for f in fine}
            p_c = {c: row[c].exp() / sum(row[g].exp() for g in inner) for c in inner}
            matching = -sum(p_c[c] * sum(p_f[f] for f in fine if parents[f] == c).log() for c in inner)
            weight = {f: math.exp(shares[f] if parents[f] == path[depth - 1] else 0.0) for f in fine}
            annotation = -sum(weight[f] / sum(weight.values()) * p_f[f].log() for f in fine)
            terms.append(matching + annotation)
        expected.append(sum(terms) / len(terms))
    torch.testing.assert_close(
        found, torch.stack([torch.as_tensor(value, dtype=found.dtype) for value in expected])
    )
    weights = torch.arange(1.0, len(found) + 1, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad(sum(w * loss for w, loss in zip(weights, values, strict=True)), logits)[0]
        for values in (found, expected)
    )
    torch.testing.assert_close(ours, theirs)

"""Which classes are unknown below the deepest labels, against a loop over them."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared import Hierarchy
from hmc_shared.metrics import au_prc
from hmc_shared.partial_labels import unknown_classes, without_unknown


@st.composite
def cases(draw):
    """A hierarchy in which a node has any number of earlier ones as parents, and closed targets."""
    count = draw(st.integers(1, 9))
    parents = {
        f"n{node}": [f"n{p}" for p in draw(st.sets(st.integers(0, node - 1), max_size=2))] if node else []
        for node in range(count)
    }
    hierarchy = Hierarchy.from_parents(parents)
    rows = draw(st.lists(st.lists(st.booleans(), min_size=count, max_size=count), min_size=1, max_size=4))
    return torch.from_numpy(hierarchy.add_ancestors(torch.tensor(rows).numpy())), hierarchy


def descendants(node, hierarchy):
    found = set()
    for child in hierarchy.children(node):
        found |= {child} | descendants(child, hierarchy)
    return found


@given(cases())
def test_unknown_is_what_is_below_a_label_without_labels_below(case):
    targets, hierarchy = case
    expected = torch.zeros_like(targets)
    for row, labels in enumerate(targets):
        for node in labels.nonzero()[:, 0].tolist():
            below = descendants(node, hierarchy)
            if not any(labels[child] for child in below):
                expected[row, list(below)] = True
    assert torch.equal(unknown_classes(targets, hierarchy), expected)


@given(cases(), st.integers(0, 9))
def test_what_is_unknown_changes_neither_the_loss_nor_the_ranking(case, seed):
    targets, hierarchy = case
    logits = torch.randn(targets.shape, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    known = ~unknown_classes(targets, hierarchy)
    masked = without_unknown(logits, ~known)
    entropies = torch.nn.functional.binary_cross_entropy_with_logits(
        masked, targets.float(), reduction="none"
    )
    assert (entropies[~known] == 0).all()
    entropies.sum().backward()
    assert (logits.grad[~known] == 0).all()
    if targets.any():
        flat = logits.detach()[known][:, None], targets[known][:, None]
        assert abs(au_prc(masked.detach(), targets) - au_prc(*flat)) < 1e-12

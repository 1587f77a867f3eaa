"""Roll-ups against walks, their thresholds against brute force, their promises over random splits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from hmc_shared import Hierarchy
from hmc_shared.cli.commands import CertainOptions, PredictOptions
from hmc_shared.data import load_dataset
from hmc_shared.predict import guarantee
from hmc_shared.predict.decision import confident_labels
from hmc_shared.predict.guarantee import GRID, Outcomes, certain_threshold, curve, p_values, set_threshold
from hmc_shared.predict.rollup import choose_rule, outcomes_of, path_ends, roll_up

SEEDS = st.integers(0, 2**32 - 1)
TREE = Hierarchy.from_paths(["animal/cat/tabby", "animal/cat/persian", "animal/dog", "plant/tree"])
DAG = Hierarchy.from_parents({"r": None, "s": None, "a": "r", "b": ["r", "s"], "x": ["a", "b"], "y": "b"})
HIERARCHIES = st.sampled_from([TREE, DAG])


def random_rows(h: Hierarchy, seed: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Coherent probabilities, sums over leaves, and true paths that they say something of."""
    rng = np.random.default_rng(seed)
    leaves = h.leaves.numpy()
    mass = rng.dirichlet(np.full(len(leaves), 0.4), size=n)
    own = h.ancestors_of(h.leaves).numpy().astype(float)
    p = np.minimum(mass @ own, 1.0).astype(np.float32)
    nodes = [rng.choice(leaves, p=row) if rng.random() < 0.8 else rng.integers(len(h)) for row in mass]
    return torch.from_numpy(p), h.ancestors_of(torch.tensor(nodes))


def walked(p: np.ndarray, h: Hierarchy, threshold: float) -> set[int]:
    """The answer by the words of the definition."""
    at = max(h.roots.tolist(), key=lambda i: p[i])
    while children := h.children(at):
        at = max(children, key=lambda i: p[i])
    return {c for c in h.path_to(at) if p[c] >= threshold}


@given(HIERARCHIES, SEEDS, st.floats(0, 1))
def test_answers_and_outcomes_equal_the_walk(h, seed, threshold):
    p, targets = random_rows(h, seed)
    answers, outcomes = roll_up(p, h, threshold), outcomes_of(p, targets, h)
    expected = [walked(row, h, threshold) for row in p.double().numpy()]
    assert [set(row.nonzero().flatten().tolist()) for row in answers] == expected
    answered, wrong = (int(of[0]) for of in outcomes.counts(np.array([threshold])))
    truths = [set(row.nonzero().flatten().tolist()) for row in targets]
    assert answered == sum(map(bool, expected))
    assert wrong == sum(bool(e - t) for e, t in zip(expected, truths, strict=True))
    depths = [max((int(h.depth[c]) + 1 for c in e), default=0) for e in expected]
    assert outcomes.depth(threshold) == pytest.approx(np.mean(depths))
    points = curve(outcomes, np.array([threshold]))
    assert points["answered"][0] == answered / 40
    assert np.isnan(points["error"][0]) if not answered else points["error"][0] == wrong / answered


@given(HIERARCHIES, SEEDS, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_only_cuts(h, seed, one, other):
    p, _ = random_rows(h, seed)
    low, high = (roll_up(p, h, threshold) for threshold in sorted((one, other)))
    assert not (high & ~low).any()


@given(SEEDS, st.floats(0.501, 1))
def test_above_one_half_it_is_the_roll_up_of_min_confidence(seed, threshold):
    p, _ = random_rows(TREE, seed)
    assert torch.equal(roll_up(p, TREE, threshold), confident_labels(p, TREE, threshold, single_path=True))


def test_without_rows():
    p, targets = torch.zeros(0, len(TREE)), torch.zeros(0, len(TREE), dtype=torch.bool)
    outcomes = outcomes_of(p, targets, TREE)
    assert len(path_ends(p, TREE)) == 0
    assert certain_threshold(outcomes, 0.1, 0.9) is None
    assert set_threshold(outcomes, 0.1) == 0.0
    assert np.isnan(outcomes.depth(0.5))


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.01, 0.99))
def test_p_values_are_the_binomial_tail(one, other, target):
    wrong, answered = sorted((one, other))
    found = p_values(np.array([answered]), np.array([wrong]), target)
    assert found[0] == pytest.approx(binom.cdf(wrong, answered, target), abs=1e-12)


def by_brute_force(outcomes: Outcomes, target: float, confidence: float) -> float | None:
    """The fallback procedure in its own words: part of delta, and that of rejected ones just before."""
    delta, rejected = 1 - confidence, []
    for i, threshold in enumerate(GRID):
        run = 0
        while run < i and GRID[i - 1 - run] in rejected:
            run += 1
        answered = int((outcomes.answered >= threshold).sum())
        wrong = int((outcomes.wrong >= threshold).sum())
        if binom.cdf(wrong, answered, target) <= delta / len(GRID) * (run + 1):
            rejected.append(threshold)
    return float(min(rejected)) if rejected else None


@given(SEEDS, st.floats(0.05, 0.6), st.sampled_from([0.5, 0.9, 0.99]))
def test_the_threshold_is_that_of_the_procedure(seed, target, confidence):
    outcomes = outcomes_of(*random_rows(TREE, seed, 150), TREE)
    assert certain_threshold(outcomes, target, confidence) == by_brute_force(outcomes, target, confidence)


@given(HIERARCHIES, SEEDS, st.floats(0.01, 0.99))
def test_of_the_rows_themselves_at_most_the_target_lacks_a_class(h, seed, target):
    p, targets = random_rows(h, seed)
    q = set_threshold(outcomes_of(p, targets, h), target)
    lacking = (targets & (p.double() < q)).any(1).sum()
    assert lacking <= target * (len(p) + 1)
    more = np.nextafter(q, 2.0)  # the largest such threshold, but for equal probabilities
    assert q == 0 or (targets & (p.double() < more)).any(1).sum() >= np.floor(target * (len(p) + 1))


def measured_over_splits(
    p: torch.Tensor, targets: torch.Tensor, h: Hierarchy, target: float, splits: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Of each random split in two: the error of the second half's answers, and the sets that lack a class.

    Where no threshold keeps the promise there are no answers, and no error.
    """
    errors, lacking = [], []
    for seed in range(splits):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(p)))
        one, other = order[: len(p) // 2], order[len(p) // 2 :]
        held_out, fresh = (outcomes_of(p[rows], targets[rows], h) for rows in (one, other))
        threshold = certain_threshold(held_out, target, 0.9)
        errors.append(0.0 if threshold is None else curve(fresh, np.array([threshold]))["error"][0])
        lacking.append(np.mean(fresh.missed < set_threshold(held_out, target)))
    return np.array(errors), np.array(lacking)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize(
    ("name", "rows", "target"), [("digits", 200, 0.05), ("digits", 200, 0.1), ("products", 2500, 0.1)]
)
def test_the_promises_hold_over_200_splits(name, rows, target):
    data = load_dataset(name)
    inputs = torch.cat([split.inputs for split in data.splits.values()]).numpy().astype(float)
    targets = torch.cat([split.targets for split in data.splits.values()])
    h, leaves = data.hierarchy, data.hierarchy.leaves.numpy()
    truth = targets[:, leaves].int().argmax(1).numpy()
    inputs /= inputs.std()
    model = LogisticRegression(max_iter=50).fit(inputs[:rows], truth[:rows])
    noise = np.random.default_rng(0).normal(size=inputs[rows:].shape)  # so that it is sure of wrong answers
    mass = np.zeros((len(inputs) - rows, len(leaves)))
    mass[:, model.classes_] = model.predict_proba(inputs[rows:] + 0.5 * noise)
    p = torch.from_numpy((mass @ h.ancestors_of(h.leaves).numpy()).clip(max=1)).float()
    errors, lacking = measured_over_splits(p, targets[rows:], h, target)
    assert np.mean(errors <= target) >= 0.95 * 0.9
    assert errors.mean() > target / 3  # the promise is not kept by silence
    assert abs(lacking.mean() - target) < 0.01


def test_the_promise_holds_where_the_risk_is_known():
    """Rows of a known distribution: the error at the chosen threshold is the true one, without noise."""
    rng = np.random.default_rng(0)
    levels = np.linspace(0.3, 0.999, 200)  # an answer of this confidence is right with probability c^2

    def risk(threshold: float) -> float:
        given = levels[levels >= threshold]
        return float(1 - (given**2).mean()) if len(given) else 0.0

    broken, target = 0, risk(float(GRID[18])) - 1e-9  # a threshold of the grid breaks it, by next to nothing
    for _ in range(400):
        confidence = rng.choice(levels, 300)
        is_wrong = rng.random(300) >= confidence**2
        wrong = np.where(is_wrong, confidence, -np.inf)
        outcomes = Outcomes(confidence, wrong, confidence[:, None], confidence)
        threshold = certain_threshold(outcomes, target, 0.8)
        broken += threshold is not None and risk(threshold) > target
    assert broken / 400 <= 0.2 + 2 * np.sqrt(0.2 * 0.8 / 400)
    assert broken > 0  # else the bound would be loose beyond use


class TestRules:
    def test_a_rule_answers_as_it_promises(self):
        p, targets = random_rows(TREE, 0, 400)
        rule = choose_rule(CertainOptions(target_error=0.4), p, targets, TREE, "rows")
        assert torch.equal(rule.labels(p, TREE), roll_up(p, TREE, rule.threshold))
        assert "with confidence 0.9 at most 40 % of the answers given are wrong (of 400 rows" in rule.promise
        sets = choose_rule(CertainOptions(target_error=0.1, sets=True), p, targets, TREE, "rows")
        assert torch.equal(sets.labels(p, TREE), p.double() >= sets.threshold)
        assert "at most 10 % of the sets lack a true class" in sets.promise

    def test_what_cannot_be_kept_is_refused(self):
        p, targets = random_rows(TREE, 0, 20)
        with pytest.raises(ValueError, match=r"no threshold keeps the error at most 0.01 .* 20 rows of rows"):
            choose_rule(CertainOptions(target_error=0.01), p, targets, TREE, "rows")
        targets[0] = True
        with pytest.raises(ValueError, match=r"Found several classes in a level in rows: `--sets`"):
            choose_rule(CertainOptions(target_error=0.3), p, targets, TREE, "rows")
        assert choose_rule(CertainOptions(target_error=0.3, sets=True), p, targets, TREE, "rows").sets

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"target_error": 0.0}, "`--target-error` should lie in"),
            ({"sets": True}, "`--sets` should come with --target-error"),
            ({"target_error": 0.1, "min_confidence": 0.5}, "`--min-confidence` should come without"),
            ({"target_error": 0.1, "calibrate": False}, "`--calibrate` should stay on with --target-error"),
        ],
    )
    def test_options_that_contradict_each_other(self, options, message):
        with pytest.raises(ValueError, match=message):
            PredictOptions("run", ["rows.csv"], **options)


def test_the_mathematics_needs_no_torch():
    path = guarantee.__file__
    code = f"import runpy, sys; runpy.run_path({path!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

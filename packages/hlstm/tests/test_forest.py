"""The forest against scikit-learn's own predictions, and the shares of classes in its leaves."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesRegressor

from hlstm.build import load_model
from hlstm.config import Config
from hlstm.forest import Forest
from hlstm.grow import class_weights, grow_forest, rounded_down
from hlstm.train import train
from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.metrics import incoherent
from hmc_shared.predict.export import export_program
from hmc_shared.predict.score import score_split
from hmc_shared.runs.read import load_run


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", view="vector")


def small(**options):
    return Config(method="clus-ens", **{"trees": 5, **options})


@pytest.mark.parametrize("splitter", ["best", "random"])
def test_probabilities_are_the_mean_shares_of_the_leaves(digits, splitter):
    """Leaf by leaf, from the rows that were drawn for each tree."""
    model = grow_forest(small(splitter=splitter), digits, digits.train)
    rows = digits.test.inputs[:20]
    leaves = model.leaves(model.normalize(rows))
    leaf_of_row = model.leaves(model.normalize(digits.train.inputs)).T  # (T, n)
    share = torch.zeros_like(model.share).scatter(1, model.row, model.share)
    expected = torch.zeros(20, len(digits.hierarchy))
    for tree in range(5):
        for row in range(20):
            inside = leaf_of_row[tree] == leaves[row, tree]
            weight = share[tree][inside]
            assert weight.sum().item() == pytest.approx(1)
            assert inside.sum() >= 5
            expected[row] += weight @ digits.train.targets[inside].float() / 5
    torch.testing.assert_close(model(model.normalize(rows))[0].sigmoid(), expected, rtol=1e-4, atol=1e-6)


def test_a_bootstrap_sample_leaves_out_a_third_and_random_splits_none(digits):
    drawn = {
        splitter: grow_forest(small(splitter=splitter), digits, digits.train).share
        for splitter in ("best", "random")
    }
    assert (drawn["best"] == 0).float().mean().item() == pytest.approx(np.exp(-1), abs=0.03)
    assert (drawn["random"] > 0).all()


def test_it_differs_from_scikit_learns_forest_no_more_than_that_from_another_of_its_own(digits):
    x, y = digits.train.inputs.numpy(), digits.train.targets.numpy()
    theirs = [
        ExtraTreesRegressor(50, min_samples_leaf=5, max_features=0.3, random_state=seed).fit(x, y)
        for seed in range(2)
    ]
    first, second = (forest.predict(digits.test.inputs.numpy()) for forest in theirs)
    configuration = small(trees=50, splitter="random", max_features=0.3, level_weight=1.0)
    model = grow_forest(configuration, digits, digits.train)
    ours = score_split(model, digits.test).sigmoid().numpy()
    assert np.abs(ours - first).mean() < 1.1 * np.abs(second - first).mean()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.lists(st.floats(-1e6, 1e6, width=32), min_size=1))
def test_a_rounded_threshold_sends_every_float32_the_same_way(thresholds, values):
    thresholds, values = np.array(thresholds), np.array(values, dtype=np.float32)
    exact = values[:, None].astype(np.float64) <= thresholds
    assert np.array_equal(values[:, None] <= rounded_down(thresholds).astype(np.float32), exact)


def test_class_weights_fall_with_the_mean_of_the_parents():
    h = Hierarchy.from_parents({"a": None, "b": "a", "c": ["a", "b"], "d": ["c", "a"]})
    weights = class_weights(h, 0.5)
    found = {name: weights[h.index[name]].item() for name in h.names}
    assert found == pytest.approx({"a": 1, "b": 0.5, "c": 0.5 * 0.75, "d": 0.5 * (0.375 + 1) / 2})


def test_a_run_can_be_loaded_exported_and_told_again(tmp_path, digits):
    results = train(small(output_dir=str(tmp_path / "run")), digits)
    run = load_run(tmp_path / "run")
    model = load_model(tmp_path / "run" / "model")
    assert isinstance(model, Forest)
    scores = score_split(model, digits.test)
    assert np.array_equal(scores.numpy(), run.scores)
    assert incoherent(run.scores, digits.hierarchy) == 0
    assert results["validation"] > 0.9
    rows = digits.test.inputs[:7]
    program = export_program(model, rows).module()
    torch.testing.assert_close(program(rows)["probabilities"], model.predict_proba(rows))
    again = train(small(output_dir=str(tmp_path / "again")), digits)
    assert again["metrics"] == results["metrics"]
    other = train(small(output_dir=str(tmp_path / "other"), seed=1), digits)
    assert other["metrics"] != results["metrics"]


def test_combinations_of_classes_give_a_forest_that_is_almost_as_good(digits):
    results = {}
    for projections in (0, 8):
        configuration = small(trees=30, projections=projections)
        model = grow_forest(configuration, digits, digits.train)
        right = (score_split(model, digits.test) >= 0) == digits.test.targets
        results[projections] = right.float().mean().item()
    assert results[8] != results[0]
    assert results[8] == pytest.approx(results[0], abs=0.02)

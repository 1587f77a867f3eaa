"""Confusion matrices by level, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from hmc_shared.compare.comparison import compare
from hmc_shared.compare.confusion import confusion_by_level
from hmc_shared.compare.html.report import to_html
from hmc_shared.metrics import level_predictions, level_targets
from hmc_shared.runs.read import load_run


@pytest.fixture
def row(make_run):
    for seed in range(2):
        root = make_run("poor", seed, noise=2.0).parents[1]
    return compare([root]).tables[0].rows[0]


def test_each_level_is_scikit_learns_matrix(row):
    runs = [load_run(run.path) for run in row.runs]
    levels = confusion_by_level(row)
    assert [level.depth for level in levels] == [0, 1]  # one class at depth 2
    for level in levels:
        expected = 0
        for run in runs:
            true = level_targets(run.targets, run.hierarchy)[:, level.depth]
            predicted = level_predictions(run.scores, run.hierarchy)[true >= 0, level.depth]
            expected = expected + confusion_matrix(true[true >= 0], predicted, labels=level.classes)
        np.testing.assert_array_equal(level.counts, expected / 2)
        accuracy = row.metric(f"accuracy_level_{level.depth}").mean
        assert np.trace(level.counts) / level.counts.sum() == pytest.approx(accuracy)


def test_of_many_classes_those_with_most_mistakes_are_shown(row):
    (_, whole), (_, part) = confusion_by_level(row), confusion_by_level(row, limit=2)
    wrong = whole.counts - np.diag(np.diag(whole.counts))
    mistakes = dict(zip(whole.classes, wrong.sum(0) + wrong.sum(1), strict=True))
    assert part.total == len(whole.classes) == 3
    hidden = {*whole.classes} - {*part.classes}
    assert min(mistakes[shown] for shown in part.classes) >= max(mistakes[node] for node in hidden)
    places = np.searchsorted(whole.classes, part.classes)
    np.testing.assert_array_equal(part.counts, whole.counts[np.ix_(places, places)])


def test_samples_of_several_classes_have_none(make_run):
    comparison = compare([make_run(several=True)])
    assert confusion_by_level(comparison.tables[0].rows[0]) == []
    assert 'class="matrix"' not in to_html(comparison)

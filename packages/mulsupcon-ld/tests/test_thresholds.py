"""Where samples may have several paths: one threshold, or one for each class, chosen on validation."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from hmc_shared.compare.scoring import evaluate_path, score_run
from hmc_shared.data import load_dataset
from hmc_shared.predict.export import metadata
from hmc_shared.predict.threshold import best_threshold
from hmc_shared.runs.read import load_run
from mulsupcon_ld.build import load_model
from mulsupcon_ld.config import Config
from mulsupcon_ld.train import train


@pytest.fixture(scope="module")
def two_paths():
    """Digits whose samples have the classes of the next one, too."""
    digits = load_dataset("digits")
    parts = {
        name: replace(split, targets=split.targets | split.targets.roll(1, 0))
        for name, split in digits.splits.items()
    }
    return replace(digits, **parts)


def small(tmp_path, **options):
    defaults = {"loss": "bce", "epochs": 3, "width": 32, "dim": 16, "batch_size": 128}
    return Config(output_dir=str(tmp_path / "run"), **defaults, **options)


def test_where_samples_have_several_paths_the_threshold_is_chosen_on_validation(tmp_path, two_paths):
    train(small(tmp_path), two_paths)
    run = load_run(tmp_path / "run")
    model = load_model(tmp_path / "run" / "model")
    logits = model.logits_of(two_paths.validation.inputs)
    assert run.threshold == model.decision.threshold
    assert run.threshold == best_threshold(logits.numpy(), two_paths.validation.targets.numpy())
    predicted = run.scores >= run.threshold
    f1 = 2 * (predicted & run.targets).sum() / (predicted.sum() + run.targets.sum())
    assert run.results["metrics"]["test/f1_micro"] == pytest.approx(f1)


def test_thresholds_of_classes_go_with_the_run(tmp_path, two_paths):
    results = train(small(tmp_path, threshold_by="class"), two_paths)
    folder = tmp_path / "run"
    run, model = load_run(folder), load_model(folder / "model")
    logits = model.logits_of(two_paths.validation.inputs).numpy()
    for node, threshold in enumerate(run.threshold):
        assert threshold == best_threshold(logits[:, [node]], two_paths.validation.targets.numpy()[:, [node]])
    assert len(set(run.threshold)) > len(run.threshold) // 2
    labels = model.predict(two_paths.test.inputs).numpy()
    assert np.array_equal(labels, run.answers)
    assert results["metrics"]["test/f1_macro"] == pytest.approx(
        f1_score(run.targets, labels, average="macro")
    )
    assert score_run(folder).notes == ()  # recomputed, the metrics are the same
    assert metadata(model)["decision"] == {
        "rule": "thresholds",
        "of": "scores",
        "thresholds": [*run.threshold],
    }
    evaluation, _ = evaluate_path(folder)
    assert list(evaluation.threshold.values()) == list(run.threshold)
    evaluation, _ = evaluate_path(folder, threshold=0.5)
    assert evaluation.threshold == 0.5


def test_without_validation_there_are_none():
    with pytest.raises(ValueError, match="`--threshold-by` should be all under --protocol paper"):
        Config(threshold_by="class", protocol="paper")

"""All metrics of one run in one flat dictionary, the content of ``results.json``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hmc_shared.constraints import only_with_ancestors
from hmc_shared.hierarchy import Hierarchy

from ._inputs import (
    Array,
    Threshold,
    as_binary_pair,
    as_counts,
    as_mask,
    as_pair,
    as_unknown,
    as_weights,
    check_width,
    mean_of_classes,
)
from .cafa import curve
from .hierarchical import pooled_and_by_sample
from .levels import (
    accuracy_leaf,
    accuracy_per_level,
    hvr,
    hvr_relations,
    incoherent,
    is_single_path,
    level_predictions,
    level_targets,
)
from .ranking import (
    Pooled,
    au_prc,
    coverage_and_loss,
    head_medium_tail,
    pooled,
    precision_at_1,
    rankings_of_classes,
    variance_of_classes,
)
from .severity import (
    KS,
    accuracy_balanced,
    accuracy_path,
    best_leaves,
    distance_at,
    hops_at,
    hvr_of_answers,
    mistake_severity,
    ranked_distances,
    tree_error,
)
from .thresholded import exact_match, f1_example, f1_macro, f1_micro, hamming_accuracy


def summarize(
    scores: Array,
    targets: Array,
    hierarchy: Hierarchy,
    *,
    evaluated: Array | None = None,
    train_counts: Array | None = None,
    information: Array | None = None,
    threshold: Threshold = 0.0,
    answers: Array | None = None,
    unknown: Array | None = None,
    only: str | None = None,
) -> dict[str, float]:
    """Every metric of scores (n, C) against targets (n, C) with ancestors added.

    ``evaluated``: bool (C,), the classes that count, all by default. It limits all metrics but
    ``au_prc_with_roots`` (there only if some class is not evaluated), ``incoherent`` and the level metrics.
    ``train_counts``: integers (C,), the training positives; gives ``map_head``, ``map_medium`` and
    ``map_tail``, each if its group has a class with positives.
    ``information``: (C,), see :func:`hmc_shared.metrics.cafa.information_accretion`; gives ``fmax_weighted``
    and ``smin``, if some evaluated class has information.
    ``threshold``: a class is predicted if its score is at least this; 0 suits logits. Or (C,), one for each
    class: then a class is predicted if also all above it reach theirs.
    ``answers``: bool (n, C), what ``predict`` says. Where samples have one path, F1 and the like are of these
    labels, and no threshold counts; the metrics of paths are of the leaf with the highest score without them.
    ``unknown``: bool (n, C), entries of which nobody knows whether they are true; targets are False there. No
    metric counts them, and the metrics of levels and of paths are left out.
    ``only``: the name of a metric: only this one, and those that cost nothing beside it.

    ``map``, ``ap_variance`` and ``f1_macro`` skip classes without positives: ``map_classes`` are counted,
    ``map_absent`` skipped; ``auroc_macro`` also skips those without negatives. The metrics of levels and of
    paths, ``accuracy_level_<depth>`` to ``hops_at_<k>``, are there if no sample has two nodes in one level.
    NaN marks what the data leave undefined, for example ``hierarchical_precision`` if nothing is predicted.
    ValueError as in the single metrics.

    >>> h = Hierarchy.from_paths(["animal/cat", "animal/dog"])
    >>> result = summarize(np.array([[3.0, 2.0, -1.0]]), np.array([[1, 0, 1]]), h)
    >>> result["accuracy_level_0"], result["accuracy_leaf"], result["map_absent"]
    (1.0, 0.0, 1.0)
    """
    return measure(
        scores,
        targets,
        hierarchy,
        evaluated=evaluated,
        train_counts=train_counts,
        information=information,
        threshold=threshold,
        answers=answers,
        unknown=unknown,
        only=only,
    ).metrics


@dataclass(frozen=True, eq=False)
class Measured:
    """The metrics of predictions, and what else their computation gives."""

    metrics: dict[str, float]
    """As :func:`summarize` returns them."""
    ap: np.ndarray
    """(C,) average precision of each class; NaN if not evaluated or without positives."""
    auroc: np.ndarray
    """(C,) area under the ROC curve of each class; NaN also without negatives."""
    pooled: Pooled
    """All evaluated entries in one ranking."""
    au_prc_of_levels: dict[int, float]
    """AU(PRC) over the evaluated classes of each depth that has any."""


def measure(
    scores: Array,
    targets: Array,
    hierarchy: Hierarchy,
    *,
    evaluated: Array | None = None,
    train_counts: Array | None = None,
    information: Array | None = None,
    threshold: Threshold = 0.0,
    answers: Array | None = None,
    unknown: Array | None = None,
    only: str | None = None,
) -> Measured:
    """What :func:`summarize` returns and more, of the same arguments."""

    def is_wanted(*names: str) -> bool:  # or how they begin
        return only is None or only.startswith(names)

    scores, targets = as_pair(scores, targets)
    size = len(hierarchy)
    check_arguments(scores, threshold, size)
    mask = np.ones(size, dtype=bool) if evaluated is None else as_mask(evaluated, size, "evaluated")
    columns = slice(None) if mask.all() else mask  # a slice copies nothing
    raw_scores = scores
    if unknown is not None:
        unknown = as_unknown(unknown, targets)
        scores = np.where(unknown, -np.inf, scores)  # below all thresholds
    seen_scores, seen_targets = scores[:, columns], targets[:, columns]
    seen_unknown = None if unknown is None else unknown[:, columns]

    depths = {depth: columns_of(level, mask) for depth, level in enumerate(hierarchy.levels)}
    depths = {depth: of_level for depth, of_level in depths.items() if of_level is not None}
    whole, areas = pooled(scores, targets, depths.values())
    result = {"au_prc": whole.area()}
    if not mask.all() and is_wanted("au_prc_with_roots"):
        result["au_prc_with_roots"] = au_prc(scores, targets)

    ap, roc = np.full((2, size), np.nan)
    if is_wanted("map", "ap_variance", "auroc_macro"):
        ap[mask], roc[mask] = rankings_of_classes(seen_scores, seen_targets, seen_unknown)
        result |= _class_metrics(ap[mask], roc[mask], train_counts, mask)
    if is_wanted("precision_at_1", "coverage_error", "ranking_loss"):
        result |= _of_rankings(seen_scores, seen_targets, seen_unknown)
    del seen_scores  # perhaps a copy

    is_path = unknown is None and is_single_path(targets, hierarchy)
    predictions = decided(raw_scores, threshold, hierarchy, unknown)
    if is_path and answers is not None:
        predictions, _ = as_binary_pair(answers, targets)
    if is_wanted("f1_", "exact_match", "hamming_accuracy", "hierarchical_"):
        result |= _of_decisions(predictions, targets, hierarchy, mask, unknown)
    if is_wanted("incoherent"):
        result["incoherent"] = incoherent(raw_scores, hierarchy)
    if is_wanted("fmax", "smin"):
        result |= _of_samples(scores, targets, mask, information)
    if is_path and is_wanted("accuracy_level_", "accuracy_leaf", "hvr_"):
        result |= _level_metrics(scores, targets, hierarchy)
    if is_path and is_wanted(*PATH_METRICS):
        result |= _path_metrics(scores, targets, hierarchy, answers)
    return Measured(result, ap, roc, whole, dict(zip(depths, areas, strict=True)))


def decided(
    scores: np.ndarray, threshold: Threshold, hierarchy: Hierarchy, unknown: np.ndarray | None = None
) -> np.ndarray:
    """The classes (n, C) bool whose scores (n, C) reach the threshold; never what is ``unknown`` (n, C) bool.

    Of thresholds (C,) by class those alone whose ancestors reach theirs, too: as
    :meth:`hmc_shared.predict.decision.Decision.labels` has it.
    """
    limits = np.asarray(threshold, dtype=scores.dtype)
    predictions = scores >= limits
    if limits.ndim:
        predictions = only_with_ancestors(torch.from_numpy(predictions), hierarchy).numpy()
    return predictions if unknown is None else predictions & ~unknown


def check_arguments(scores: np.ndarray, threshold: Threshold, size: int) -> None:
    """Raise ValueError for scores of another number of classes, and a threshold that is not finite."""
    check_width(scores, size, "scores")
    if np.ndim(threshold) and np.shape(threshold) != (size,):
        raise ValueError(f"`threshold` should be one number or {size}. Found shape {np.shape(threshold)}.")
    if not np.isfinite(threshold).all():
        raise ValueError(f"`threshold` should be a finite number. Found {threshold}.")


PATH_METRICS = (
    *("hvr", "accuracy_path", "accuracy_balanced", "tree_error", "mistake_severity"),
    *("distance_at_", "hops_at_"),
)


def columns_of(level: range, mask: np.ndarray) -> slice | np.ndarray | None:
    """The columns of a level that are in ``mask`` (C,) bool: a slice, which copies nothing, if all are."""
    ids = np.arange(level.start, level.stop)[mask[level.start : level.stop]]
    if len(ids) == len(level):
        return slice(level.start, level.stop)
    return ids if len(ids) else None


def _class_metrics(
    ap: np.ndarray, roc: np.ndarray, train_counts: Array | None, mask: np.ndarray
) -> dict[str, float]:
    """Means over the classes in ``mask`` (C,), mAP also by group, and the variance of their AP."""
    result = {
        "map": mean_of_classes(ap, "skip"),
        "map_classes": float((~np.isnan(ap)).sum()),
        "map_absent": float(np.isnan(ap).sum()),
    }
    if train_counts is not None:
        counts = as_counts(train_counts, "train_counts")
        if len(counts) != len(mask):
            raise ValueError(
                f"`train_counts` should have {len(mask)} entries, one per node. Found {len(counts)}."
            )
        for group, members in head_medium_tail(counts[mask]).items():
            if not np.isnan(ap[members]).all():  # also false for an empty group
                result[f"map_{group}"] = mean_of_classes(ap[members], "skip")
    result |= {"ap_variance": variance_of_classes(ap), "auroc_macro": mean_of_classes(roc, "skip")}
    return result


def _of_rankings(scores: np.ndarray, targets: np.ndarray, unknown: np.ndarray | None) -> dict[str, float]:
    """The metrics of each sample's ranking of the classes."""
    coverage, loss = coverage_and_loss(scores, targets, unknown)
    return {
        "precision_at_1": precision_at_1(scores, targets),
        "coverage_error": coverage,
        "ranking_loss": loss,
    }


def _of_decisions(
    predictions: np.ndarray,
    targets: np.ndarray,
    hierarchy: Hierarchy,
    mask: np.ndarray,
    unknown: np.ndarray | None,
) -> dict[str, float]:
    """Predictions are False where labels are unknown, so that only shares of all entries have to know."""
    columns = slice(None) if mask.all() else mask
    seen = predictions[:, columns], targets[:, columns]
    (precision, recall, f1), by_sample = pooled_and_by_sample(predictions, targets, hierarchy, mask, unknown)
    known = slice(None) if unknown is None else ~unknown[:, columns]
    return {
        "f1_micro": f1_micro(*seen),
        "f1_macro": f1_macro(*seen),
        "f1_example": f1_example(*seen),
        "exact_match": exact_match(*seen),
        "hamming_accuracy": hamming_accuracy(*(np.atleast_2d(of[known]) for of in seen)),
        "hierarchical_precision": precision,
        "hierarchical_recall": recall,
        "hierarchical_f1": f1,
        "hierarchical_f1_example": by_sample,
    }


def _of_samples(
    scores: np.ndarray, targets: np.ndarray, mask: np.ndarray, information: Array | None
) -> dict[str, float]:
    """The metrics of CAFA over the classes in ``mask`` (C,)."""
    result = {"fmax": curve(scores, targets, mask).fmax}
    if information is not None:
        bits = as_weights(information, len(mask), "information") * mask
        if bits.any():
            weighted = curve(scores, targets, bits)
            result |= {"fmax_weighted": weighted.fmax, "smin": weighted.smin}
    return result


def _level_metrics(scores: np.ndarray, targets: np.ndarray, hierarchy: Hierarchy) -> dict[str, float]:
    predicted, true = level_predictions(scores, hierarchy), level_targets(targets, hierarchy)
    result = {
        f"accuracy_level_{depth}": float(accuracy)
        for depth, accuracy in enumerate(accuracy_per_level(predicted, true))
    }
    result["accuracy_leaf"] = accuracy_leaf(predicted, true)
    result["hvr_levels"] = hvr(predicted, hierarchy)
    result["hvr_relations"] = hvr_relations(predicted, hierarchy)
    return result


def _path_metrics(
    scores: np.ndarray, targets: np.ndarray, hierarchy: Hierarchy, answers: Array | None
) -> dict[str, float]:
    answers = best_leaves(scores, hierarchy) if answers is None else answers
    result = {
        "hvr": hvr_of_answers(answers, hierarchy),
        "accuracy_path": accuracy_path(answers, targets, hierarchy),
        "accuracy_balanced": accuracy_balanced(answers, targets, hierarchy),
        "tree_error": tree_error(answers, targets, hierarchy),
        "mistake_severity": mistake_severity(answers, targets, hierarchy),
    }
    ks = [k for k in KS if k <= len(hierarchy.leaves)]
    ranked = ranked_distances(scores, targets, hierarchy, max(ks))
    result |= {f"distance_at_{k}": distance_at(ranked, k) for k in ks}
    return result | {f"hops_at_{k}": hops_at(ranked, k) for k in ks}

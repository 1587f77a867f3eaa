"""One definition of every metric: functions of numpy arrays or torch tensors, values as fractions in [0, 1]
but for ``coverage_error``, in classes, ``smin``, in bits, and distances, in edges.

A class without positives has no average precision: it is skipped by default and counted by ``summarize``.
What the data leave undefined is NaN. Sums are taken in float64; scores in half precision are refused.
"""

from .cafa import fmax, information_accretion, smin
from .hierarchical import hierarchical_f1_example, hierarchical_precision_recall_f1
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
    ap_variance,
    au_prc,
    auroc,
    average_precision,
    coverage_error,
    head_medium_tail,
    mean_average_precision,
    precision_at_1,
    ranking_loss,
)
from .severity import (
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
from .summary import summarize
from .thresholded import exact_match, f1_example, f1_macro, f1_micro, hamming_accuracy

__all__ = [
    "accuracy_balanced",
    "accuracy_leaf",
    "accuracy_path",
    "accuracy_per_level",
    "ap_variance",
    "au_prc",
    "auroc",
    "average_precision",
    "best_leaves",
    "coverage_error",
    "distance_at",
    "exact_match",
    "f1_example",
    "f1_macro",
    "f1_micro",
    "fmax",
    "hamming_accuracy",
    "head_medium_tail",
    "hierarchical_f1_example",
    "hierarchical_precision_recall_f1",
    "hops_at",
    "hvr",
    "hvr_of_answers",
    "hvr_relations",
    "incoherent",
    "information_accretion",
    "is_single_path",
    "level_predictions",
    "level_targets",
    "mean_average_precision",
    "mistake_severity",
    "precision_at_1",
    "ranked_distances",
    "ranking_loss",
    "smin",
    "summarize",
    "tree_error",
]

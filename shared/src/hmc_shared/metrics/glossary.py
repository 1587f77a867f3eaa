"""Each metric in a sentence, for readers of a report; the definitions are in docs/concepts/metrics.md."""

from __future__ import annotations

from fnmatch import fnmatchcase

GLOSSARY = {
    "au_prc": "Area under precision over recall of all pairs of sample and class in one ranking.",
    "au_prc_with_roots": "The same, with the classes that other metrics leave out.",
    "map": "Average precision of each class by itself, mean over the classes that have a test sample.",
    "map_classes": "Number of classes that map counts.",
    "map_absent": "Number of classes without a test sample, which map leaves out.",
    "map_head": "map over the classes with at least 100 training samples.",
    "map_medium": "map over the classes with 20 to 99 training samples.",
    "map_tail": "map over the classes with fewer than 20 training samples.",
    "auroc_macro": "Area under each class's ROC curve, 1/2 for chance, mean over classes.",
    "ap_variance": "Variance of the average precision over the classes; lower is more even.",
    "precision_at_1": "Share of samples whose best class is a true one; often a root.",
    "coverage_error": "How many classes score at least as high as the lowest true one; lower is better.",
    "ranking_loss": "Share of pairs of a true and a false class in the wrong order; lower is better.",
    "f1_micro": "Harmonic mean of precision and recall over all pairs of sample and class.",
    "f1_macro": "F1 of each class, mean over classes.",
    "f1_example": "F1 of each sample, mean over samples.",
    "exact_match": "Share of samples whose classes are all right.",
    "hamming_accuracy": "Share of all pairs of sample and class that are decided right.",
    "hierarchical_precision": "Share of the predicted classes, ancestors included, that are true.",
    "hierarchical_recall": "Share of the true classes, ancestors included, that are predicted.",
    "hierarchical_f1": "Harmonic mean of hierarchical precision and recall.",
    "hierarchical_f1_example": "Hierarchical F1 of each sample, mean over samples.",
    "incoherent": "Share of edges whose child scores above its parent; 0 is coherent.",
    "fmax": "Best F1 over all thresholds, as CAFA takes it: precision and recall are means over samples.",
    "fmax_weighted": "fmax with classes weighted by their information.",
    "smin": "Least distance, in bits, between answer and truth over all thresholds; lower is better.",
    "accuracy_level_*": "Share of right classes at this depth, 0 for roots, by the best of each level.",
    "accuracy_leaf": "Share of samples whose deepest class is the best one of its level.",
    "hvr": "Share of answers that are no path of the hierarchy; lower is better.",
    "hvr_levels": "Share of samples whose best classes of the levels are no path; lower is better.",
    "hvr_relations": "Broken edges between these best classes, over samples and classes; lower is better.",
    "accuracy_path": "Share of answers that are right at all levels.",
    "accuracy_balanced": "The same for each deepest class by itself, mean over classes.",
    "tree_error": "Mean number of edges between answer and truth; lower is better.",
    "mistake_severity": "Height of the common ancestor of a wrong answer and the truth, mean over mistakes.",
    "distance_at_*": "The same height, 0 for the truth itself, mean over the k best leaves; lower is better.",
    "hops_at_*": "Whether nearer leaves come first among the k best: 1 for the best order, 0 for the worst.",
}
"""Names as in :func:`hmc_shared.metrics.summarize`, or patterns of them."""


def meaning(name: str) -> str:
    """The sentence of a metric; empty for one of another program."""
    return next((text for pattern, text in GLOSSARY.items() if fnmatchcase(name, pattern)), "")

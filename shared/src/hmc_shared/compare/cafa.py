"""Predictions in the files of CAFA against annotations: Fmax, weighted Fmax and Smin of each ontology."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from hmc_shared.compare.align import align
from hmc_shared.constraints import max_over_descendants
from hmc_shared.data.formats.annotations import (
    Annotations,
    Scores,
    is_gaf,
    read_annotations,
    read_information,
    read_scores,
)
from hmc_shared.data.formats.obo import RELATIONS, Ontology, read_obo
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import listed
from hmc_shared.metrics.cafa import Block, Curve, curve_of, information, with_and_possible

ROWS_TIMES_TERMS = 2**22
"""Scores that are spread over the ancestors at a time."""


@dataclass(frozen=True)
class Best:
    """A best value, and the threshold that reaches it; NaN where no threshold predicts anything."""

    value: float
    threshold: float


@dataclass(frozen=True)
class OfOntology:
    """The predictions of one ontology (namespace)."""

    namespace: str
    targets: int
    """With a true term in it."""
    terms: int
    """That count."""
    coverage: float
    """Share of the targets with a predicted term, at the lowest threshold."""
    fmax: Best
    precision: float
    """At the threshold of ``fmax``, as ``recall``."""
    recall: float
    fmax_weighted: Best | None
    """None without information, as ``smin``."""
    smin: Best | None


def evaluate_files(
    predictions: str | Path,
    truth: str | Path,
    obo: str | Path,
    *,
    train: str | Path | None = None,
    ia: str | Path | None = None,
    evidence: Collection[str] = (),
    relations: Collection[str] = RELATIONS,
    step: float | None = None,
    roots: bool = False,
    skip: bool = False,
) -> tuple[list[OfOntology], tuple[str, ...]]:
    """Score a file of predictions as ``cafaeval`` does; also returns notes.

    Scores and annotations count for the ancestors, too: for scores, the largest below. Targets without a true
    term in an ontology do not count in it.

    Args:
        predictions: lines of target, term and score; of terms predicted twice the larger score counts.
        truth: lines of target and term, or a GAF file.
        obo: the ontologies.
        train: annotations of training samples in either form, from which the information of terms is taken.
        ia: instead, lines of term and information.
        evidence: codes that count in GAF files, default all.
        relations: of a child to its parent.
        step: try the thresholds step, 2 step, ... below 1, as ``cafaeval``; default: all thresholds.
        roots: count terms without parents, which every target of an ontology has.
        skip: leave out terms that the ontology does not have.

    Raises ValueError as the readers of these files do, if no target has predictions, for a step outside
    (0, 1), and for both of train and ia.
    """
    _check(truth, train, ia, evidence, step)
    ontology = read_obo(obo, relations)

    def read(path: str | Path) -> Annotations:
        return read_annotations(path, ontology, evidence if is_gaf(path) else (), skip=skip)

    annotations = read(truth)
    scores = read_scores(predictions, ontology, skip=skip)
    if not annotations.terms.keys() & set(scores.targets):
        known, found = listed(annotations.terms, 3), listed(scores.targets, 3)
        raise ValueError(f"{predictions} should be of targets of {truth}, {known}. Found {found}.")
    notes = [*annotations.notes, *scores.notes]
    known = read_information(ia, ontology) if ia is not None else None
    training = read(train) if train is not None else None
    notes += training.notes if training else ()
    grid = None if step is None else np.arange(step, 1, step)
    found = []
    for namespace, part in parts_of(ontology).items():
        if len(true := Labels(annotations.terms, part)):
            bits = _information(part, training, known)
            found.append(_evaluate(namespace, true, scores, bits, grid, roots))
    return found, tuple(dict.fromkeys(notes))


def _check(
    truth: str | Path,
    train: str | Path | None,
    ia: str | Path | None,
    evidence: Collection[str],
    step: float | None,
) -> None:
    """Raise ValueError for options of :func:`evaluate_files` that do not fit together."""
    if step is not None and not 0 < step < 1:
        raise ValueError(f"`--step` should lie between 0 and 1. Found {step}.")
    if train is not None and ia is not None:
        raise ValueError("Information is taken from `--train-annotations` or `--ia`. Found both.")
    if evidence and not any(is_gaf(path) for path in (truth, train) if path is not None):
        raise ValueError(f"`--evidence` is for .gaf files. Found none among {truth} and {train}.")


def _information(
    part: Hierarchy, training: Annotations | None, known: Mapping[str, float] | None
) -> np.ndarray | None:
    """(C,) of the terms of a namespace; None where nothing tells it."""
    if training is not None:
        return information(*Labels(training.terms, part).counts())
    return None if known is None else np.array([known.get(name, 0.0) for name in part.names])


def parts_of(ontology: Ontology) -> dict[str, Hierarchy]:
    """Namespace to its terms."""
    names = ontology.hierarchy.names
    nodes = {namespace: list[str]() for namespace in ontology.namespaces.values()}
    edges = {namespace: list[tuple[str, str]]() for namespace in nodes}
    for name in names:
        nodes[ontology.namespaces[name]].append(name)
    for parent, child in ontology.hierarchy.edges.tolist():
        edges[ontology.namespaces[names[child]]].append((names[parent], names[child]))
    return {name: Hierarchy.from_edges(edges[name], nodes=nodes[name]) for name in nodes}


class Labels:
    """Targets that have a term of a hierarchy, and the ids of their terms, without ancestors."""

    def __init__(self, terms: Mapping[str, Sequence[str]], hierarchy: Hierarchy) -> None:
        self.hierarchy = hierarchy
        ids = {
            target: [hierarchy.index[name] for name in names if name in hierarchy.index]
            for target, names in terms.items()
        }
        self.of = {target: nodes for target, nodes in ids.items() if nodes}
        self.place = {target: at for at, target in enumerate(self.of)}

    def __len__(self) -> int:
        return len(self.of)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows, and their label sets (b, C) bool, ancestors added."""
        size = max(1, ROWS_TIMES_TERMS // len(self.hierarchy))
        lists = list(self.of.values())
        for start in range(0, len(lists), size):
            part = lists[start : start + size]
            targets = np.zeros((len(part), len(self.hierarchy)), dtype=bool)
            rows = np.repeat(np.arange(len(part)), [len(nodes) for nodes in part])
            targets[rows, np.concatenate(part)] = True
            yield slice(start, start + len(part)), self.hierarchy.add_ancestors(targets)

    def counts(self) -> np.ndarray:
        """See :func:`hmc_shared.metrics.cafa.with_and_possible`."""
        nothing = np.zeros((2, len(self.hierarchy)), dtype=np.int64)
        return sum((with_and_possible(targets, self.hierarchy) for _, targets in self.blocks()), nothing)


@dataclass(frozen=True, eq=False)
class Predicted:
    """Some targets with their k best-scored terms, the ancestors of predicted ones among them."""

    scores: np.ndarray
    """(b, k) float64, -inf where a target has fewer."""
    terms: np.ndarray
    """(b, k) int64."""
    true: np.ndarray
    """(b, k) bool."""
    targets: np.ndarray
    """(b, C) bool as bits of bytes: the true terms, also those without a score."""


def _evaluate(
    namespace: str,
    true: Labels,
    scores: Scores,
    bits: np.ndarray | None,
    grid: np.ndarray | None,
    roots: bool,
) -> OfOntology:
    parts = list(_predicted(true, scores))
    counted = np.ones(len(true.hierarchy))
    if not roots:
        counted[true.hierarchy.roots.numpy()] = 0

    def weighted(weights: np.ndarray) -> Curve:
        def blocks() -> Iterator[Block]:
            for part in parts:
                of_terms = np.where(part.scores > -np.inf, weights[part.terms], 0)
                totals = np.unpackbits(part.targets, axis=1, count=len(weights)) @ weights
                seen = (of_terms > 0) | (counted[part.terms] > 0)
                yield Block(np.where(seen, part.scores, -np.inf), part.true, of_terms, totals)

        return curve_of(blocks, grid)

    plain, informed = weighted(counted), None if bits is None else weighted(bits)
    at = int(plain.f.argmax()) if plain else -1
    lowest = 0 if grid is None else grid[0]  # scores of 0 are no predictions, and not there
    counts = [(part.scores >= lowest) & (counted[part.terms] > 0) for part in parts]
    predicted = sum(int(of_part.any(axis=1).sum()) for of_part in counts)
    return OfOntology(
        namespace,
        targets=len(true),
        terms=int(counted.sum()),
        coverage=predicted / len(true),
        fmax=_best(plain, plain.f, largest=True),
        precision=float(plain.precision[at]) if plain else math.nan,
        recall=float(plain.recall[at]) if plain else math.nan,
        fmax_weighted=None if informed is None else _best(informed, informed.f, largest=True),
        smin=None if informed is None else _best(informed, informed.s, largest=False),
    )


def _predicted(true: Labels, scores: Scores) -> Iterator[Predicted]:
    """The predictions for the targets that count, block by block."""
    hierarchy = true.hierarchy
    row = np.array([true.place.get(target, -1) for target in scores.targets], dtype=np.int64)[scores.target]
    # One entry for each term that an id stands for.
    number = np.array([len(terms) for terms in scores.terms])
    ids = np.array(
        [hierarchy.index.get(name, -1) for terms in scores.terms for name in terms], dtype=np.int64
    )
    first = number.cumsum() - number
    times = number[scores.term]
    entry = np.repeat(np.arange(len(row)), times)
    offset = np.arange(len(entry)) - np.repeat(times.cumsum() - times, times)
    row, node, score = row[entry], ids[first[scores.term[entry]] + offset], scores.score[entry]
    kept = np.flatnonzero((row >= 0) & (node >= 0) & (score > 0))
    kept = kept[np.argsort(row[kept], kind="stable")]
    row, node, score = row[kept], node[kept], score[kept]
    for rows, targets in true.blocks():
        part = slice(*np.searchsorted(row, [rows.start, rows.stop]))
        dense = np.zeros(targets.shape)
        np.maximum.at(dense, (row[part] - rows.start, node[part]), score[part])
        yield _packed(max_over_descendants(torch.from_numpy(dense), hierarchy).numpy(), targets)


def _packed(dense: np.ndarray, targets: np.ndarray) -> Predicted:
    """Without the terms of score 0, which are not predicted."""
    row, term = np.nonzero(dense)
    number = np.bincount(row, minlength=len(dense))
    place = np.arange(len(row)) - np.repeat(number.cumsum() - number, number)
    shape = len(dense), int(number.max(initial=0))
    scores, terms, true = np.full(shape, -np.inf), np.zeros(shape, np.int64), np.zeros(shape, bool)
    scores[row, place], terms[row, place], true[row, place] = dense[row, term], term, targets[row, term]
    return Predicted(scores, terms, true, np.packbits(targets, axis=1))


def _best(curve: Curve, values: np.ndarray, *, largest: bool) -> Best:
    if not curve:
        return Best(math.nan, math.nan)
    at = int(values.argmax() if largest else values.argmin())
    return Best(float(values[at]), float(curve.thresholds[at]))


def to_text(found: Sequence[OfOntology]) -> str:
    """A table with a row for each ontology."""
    header = ["ontology", "targets", "terms", "coverage", "fmax", "at", "precision", "recall"]
    informed = any(one.smin for one in found)
    rows = []
    for one in found:
        numbers = [one.coverage, one.fmax.value, one.fmax.threshold, one.precision, one.recall]
        for best in (one.fmax_weighted, one.smin) if informed else ():
            numbers += [best.value, best.threshold] if best else [math.nan, math.nan]
        cells = ["-" if math.isnan(number) else f"{number:.4f}" for number in numbers]
        rows.append([one.namespace, f"{one.targets:,}", f"{one.terms:,}", *cells])
    return align([header + (["fmax_weighted", "at", "smin", "at"] if informed else []), *rows])


def to_json(found: Sequence[OfOntology]) -> str:
    """The same by ontology; undefined values are null."""
    content = {one.namespace: asdict(one) for one in found}
    return json.dumps(json.loads(json.dumps(content), parse_constant=lambda _: None), indent=2)

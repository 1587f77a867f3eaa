"""Predictions and other tables as CSV or JSON, to a file or to standard output."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import Tensor

from hmc_shared.hierarchy import Hierarchy


def write_predictions(
    output: str | None,
    ids: Sequence[str],
    hierarchy: Hierarchy,
    probabilities: Tensor,
    labels: Tensor,
    *,
    as_json: bool = False,
) -> None:
    """Write predictions (n, C) to a file, or to standard output for None.

    CSV has the columns id, labels (";" between them, ancestors first: for one path that is the path), and the
    probability of each class. JSON is a list with, for each sample, its ``id``; ``answer``, the most specific
    labels, each with its ``class``, ``probability`` and ``path`` (ancestors, then itself); and
    ``probabilities`` by class.
    """
    names = hierarchy.names
    if as_json:
        write_json(output, to_records(ids, hierarchy, probabilities, labels))
        return
    rows = zip(ids, labels, probabilities.tolist(), strict=True)
    write_table(
        output,
        ["id", "labels", *names],
        (
            [name, ";".join(names[i] for i in classes.nonzero().flatten()), *(f"{p:.6g}" for p in row)]
            for name, classes, row in rows
        ),
    )


def to_records(
    ids: Sequence[str], hierarchy: Hierarchy, probabilities: Tensor, labels: Tensor
) -> list[dict[str, Any]]:
    """The list that :func:`write_predictions` writes as JSON."""
    names, ancestors = hierarchy.names, hierarchy.ancestors
    records = []
    answers = hierarchy.most_specific(labels)
    for name, answer, row in zip(ids, answers, probabilities.tolist(), strict=True):
        answers_of = [
            {
                "class": names[node],
                "probability": round(row[node], 6),
                "path": [names[i] for i in ancestors[node].nonzero().flatten().tolist()],
            }
            for node in answer.nonzero().flatten().tolist()
        ]
        by_class = {label: round(p, 6) for label, p in zip(names, row, strict=True)}
        records.append({"id": name, "answer": answers_of, "probabilities": by_class})
    return records


def write_json(output: str | None, content: Any) -> None:
    """Write JSON to a file, or to standard output for None."""
    with ExitStack() as stack:
        file = sys.stdout if output is None else stack.enter_context(open(output, "w", encoding="utf-8"))
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")


def write_table(path: str | Path | None, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV to a file, or to standard output for None."""
    with ExitStack() as stack:
        file = sys.stdout
        if path is not None:
            file = stack.enter_context(open(path, "w", newline="", encoding="utf-8"))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)

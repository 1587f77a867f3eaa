"""Predictions and other tables as CSV or JSON, to a file or to standard output."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet
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

    CSV has the columns id, labels (";" between them, ancestors first: for one path that is the path; a JSON
    list where a class has ";" or "|" in its name), and the probability of each class; so has a .parquet file,
    with lists of labels. A class called as another column gets " (class)" added in the header. JSON, which a
    name that ends in .json asks for, too, is a list with, for each sample, its ``id``; ``answer``, the
    most specific labels, each with its ``class``, ``probability`` and ``path`` (ancestors, then itself); and
    ``probabilities`` by class.
    """
    suffix = "" if output is None else Path(output).suffix.lower()
    if as_json and suffix == ".parquet":
        raise ValueError(f"`--output` should end in .json with `--json`. Found {output!r}.")
    names = hierarchy.names
    if as_json or suffix == ".json":
        write_json(output, to_records(ids, hierarchy, probabilities, labels))
        return
    found = ([names[i] for i in row.nonzero().flatten().tolist()] for row in labels)
    header = {"id": None, "labels": None}
    for name in names:
        while name in header:
            name += " (class)"
        header[name] = None
    if suffix == ".parquet":
        columns = {"id": pa.array(ids), "labels": pa.array(found, pa.list_(pa.string()))}
        columns |= {name: pa.array(p.numpy()) for name, p in zip([*header][2:], probabilities.T, strict=True)}
        parquet.write_table(pa.table(columns), output)
        return
    is_ambiguous = any(separator in name for name in names for separator in ";|")

    def joined(own: list[str]) -> str:
        return json.dumps(own, ensure_ascii=False) if is_ambiguous else ";".join(own)

    rows = zip(ids, found, probabilities.tolist(), strict=True)
    write_table(
        output,
        [*header],
        ([name, joined(own), *(f"{p:.6g}" for p in row)] for name, own, row in rows),
    )


def to_records(
    ids: Sequence[str], hierarchy: Hierarchy, probabilities: Tensor, labels: Tensor
) -> list[dict[str, Any]]:
    """The list that :func:`write_predictions` writes as JSON."""
    names = hierarchy.names
    records = []
    answers = hierarchy.most_specific(labels)
    for name, answer, row in zip(ids, answers, probabilities.tolist(), strict=True):
        answers_of = [
            {
                "class": names[node],
                "probability": round(row[node], 6),
                "path": [names[i] for i in hierarchy.path_to(node)],
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
    """Write CSV to a file, or parquet to one that is called so, or CSV to standard output for None."""
    if path is not None and Path(path).suffix.lower() == ".parquet":
        every = list(rows)
        columns = {str(name): pa.array([row[at] for row in every]) for at, name in enumerate(header)}
        parquet.write_table(pa.table(columns), path)
        return
    with ExitStack() as stack:
        file = sys.stdout
        if path is not None:
            file = stack.enter_context(open(path, "w", newline="", encoding="utf-8"))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)

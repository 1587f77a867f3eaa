"""Predictions and other tables as CSV or JSON, to a file or to standard output."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import parquet
from torch import Tensor

from hmc_shared.hierarchy import Hierarchy
from hmc_shared.runs.files import replacing


@dataclass(frozen=True)
class Predictions:
    """What a model says of n inputs."""

    ids: list[str]
    """Their names."""
    hierarchy: Hierarchy
    probabilities: Tensor
    """(n, C) float32, calibrated."""
    labels: Tensor
    """(n, C) bool, ancestors included."""


def write_predictions(output: str | None, blocks: Iterable[Predictions], *, as_json: bool = False) -> None:
    """Write predictions of one model, block by block, to a file, or to standard output for None.

    CSV has the columns id, labels (";" between them, ancestors first: for one path that is the path; a JSON
    list where a class has ";" or "|" in its name), and the probability of each class; so has a .parquet file,
    with lists of labels. A class called as another column gets " (class)" added in the header. JSON, which a
    name that ends in .json asks for, too, is a list with, for each sample, its ``id``; ``answer``, the
    most specific labels, each with its ``class``, ``probability`` and ``path`` (ancestors, then itself); and
    ``probabilities`` by class.

    A file appears once it is complete. Raises ValueError without a block.
    """
    suffix = "" if output is None else Path(output).suffix.lower()
    if as_json and suffix == ".parquet":
        raise ValueError(f"`--output` should end in .json with `--json`. Found {output!r}.")
    waiting = iter(blocks)
    first = next(waiting, None)  # before the file is opened: most of what can be wrong is found now
    if first is None:
        raise ValueError("there should be predictions to write. Found none.")
    blocks = chain([first], waiting)
    if as_json or suffix == ".json":
        write_json(output, (record for block in blocks for record in to_records(block)))
    elif suffix == ".parquet":
        write_parquet(output or "", _tables(header_of(first.hierarchy), blocks))
    else:
        write_table(output, header_of(first.hierarchy), _csv_rows(blocks))


def header_of(hierarchy: Hierarchy) -> list[str]:
    """Names of the columns of predictions, all different."""
    header = {"id": None, "labels": None}
    for name in hierarchy.names:
        while name in header:
            name += " (class)"
        header[name] = None
    return [*header]


def label_names_of(block: Predictions) -> Iterator[list[str]]:
    """The names of each sample's labels, ancestors first."""
    names = block.hierarchy.names
    return ([names[i] for i in row.nonzero()[0]] for row in block.labels.numpy())


def _tables(header: list[str], blocks: Iterable[Predictions]) -> Iterator[pa.Table]:
    kinds = [pa.string(), pa.list_(pa.string()), *[pa.float32()] * (len(header) - 2)]
    schema = pa.schema(list(zip(header, kinds, strict=True)))
    for block in blocks:
        columns = [
            pa.array(block.ids, pa.string()),
            pa.array(list(label_names_of(block)), schema.types[1]),
            *map(pa.array, block.probabilities.T.numpy()),
        ]
        yield pa.table(columns, schema=schema)


def write_parquet(path: str | Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema, at least one, to a .parquet file, one after the other."""
    waiting = iter(tables)
    first = next(waiting)
    with _binary(Path(path)) as file, parquet.ParquetWriter(file, first.schema) as writer:
        for table in chain([first], waiting):
            writer.write_table(table)


def _csv_rows(blocks: Iterable[Predictions]) -> Iterator[list[str]]:
    for block in blocks:
        is_ambiguous = any(separator in name for name in block.hierarchy.names for separator in ";|")
        rows = (
            block.probabilities.numpy()
        )  # a row at a time: a block of Python numbers takes 8 times the memory
        for name, own, row in zip(block.ids, label_names_of(block), rows, strict=True):
            joined = json.dumps(own, ensure_ascii=False) if is_ambiguous else ";".join(own)
            yield [name, joined, *(f"{p:.6g}" for p in row.tolist())]


def to_records(block: Predictions) -> Iterator[dict[str, Any]]:
    """What :func:`write_predictions` writes of each sample as JSON."""
    names, hierarchy = block.hierarchy.names, block.hierarchy
    answers = hierarchy.most_specific(block.labels)
    for name, answer, probabilities in zip(block.ids, answers, block.probabilities, strict=True):
        row = probabilities.tolist()
        answers_of = [
            {
                "class": names[node],
                "probability": round(row[node], 6),
                "path": [names[i] for i in hierarchy.path_to(node)],
            }
            for node in answer.nonzero().flatten().tolist()
        ]
        by_class = {label: round(p, 6) for label, p in zip(names, row, strict=True)}
        yield {"id": name, "answer": answers_of, "probabilities": by_class}


def write_json(output: str | None, records: Iterable[Any]) -> None:
    """Write a JSON list to a file, or to standard output for None, one record after the other."""
    with _text(output) as file:
        before = "[\n  "
        for record in records:
            # No line break stands inside a JSON string: those that there are separate lines.
            text = json.dumps(record, indent=2, ensure_ascii=False).replace("\n", "\n  ")
            file.write(before + text)
            before = ",\n  "
        file.write("[]\n" if before.startswith("[") else "\n]\n")


@contextmanager
def _binary(path: Path) -> Generator[IO[bytes], None, None]:
    """A file that takes the place of another once it is complete; a device or a pipe is just written to."""
    is_plain = path.is_file() or not path.exists()
    with replacing(path.resolve()) if is_plain else path.open("wb") as file:
        yield file


@contextmanager
def _text(path: str | Path | None) -> Generator[IO[str], None, None]:
    """The same for text in UTF-8; standard output for None."""
    if path is None:
        yield sys.stdout
        return
    with _binary(Path(path)) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.detach()


def write_table(path: str | Path | None, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Write CSV to a file, or parquet to one that is called so, or CSV to standard output for None."""
    if path is not None and Path(path).suffix.lower() == ".parquet":
        every = list(rows)
        columns = {str(name): pa.array([row[at] for row in every]) for at, name in enumerate(header)}
        write_parquet(path, [pa.table(columns)])
        return
    with _text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)

"""Which terms of an ontology targets have: GAF files, and the two- and three-column files of CAFA."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from hmc_shared.data.formats.cells import as_numbers, compute, encoded
from hmc_shared.data.formats.obo import Ontology
from hmc_shared.data.storage.sources import file_error, read_bytes, text_lines
from hmc_shared.messages import listed, shown

GAF = (".gaf", ".gaf.gz")
GAF_VERSIONS = ("2.0", "2.1", "2.2")
EVIDENCE = (
    *("EXP", "IDA", "IPI", "IMP", "IGI", "IEP", "HTP", "HDA", "HMP", "HGI", "HEP", "IBA", "IBD"),
    *("IKR", "IRD", "ISS", "ISO", "ISA", "ISM", "IGC", "RCA", "TAS", "NAS", "IC", "ND", "IEA"),
)
"""Codes of GO."""
GAF_COLUMNS = 15
"""That a line has at least; two more may be empty."""
SUBMISSION = ("AUTHOR", "MODEL", "KEYWORDS", "ACCURACY", "END")
"""First words of the lines around the predictions in a submission to CAFA."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """Targets with terms."""

    terms: dict[str, list[str]]
    """Target to its terms, each once, without their ancestors."""
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Symbols and synonyms, which only a GAF file has, to the targets that have them."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scores:
    """Predicted terms of targets: m of them."""

    targets: list[str]
    terms: list[tuple[str, ...]]
    """Of the ontology: several where an alternative id stands for several; none where it is left out."""
    target: np.ndarray
    """(m,) place in ``targets``."""
    term: np.ndarray
    """(m,) place in ``terms``."""
    score: np.ndarray
    """(m,) float64 in [0, 1]."""
    notes: tuple[str, ...] = ()


def read_annotations(
    path: str | Path, ontology: Ontology, evidence: Collection[str] = (), *, skip: bool = False
) -> Annotations:
    """Read a GAF file, by its ending, or lines of a target and a term; plain or .gz.

    Alternative and replaced ids become their terms. Of a GAF file, annotations with the qualifier NOT are
    left out, and with ``evidence`` all but those with one of these codes, such as EXP and IDA.

    Raises ValueError, naming file, line and value, for a line that is none of the format, and for an unknown
    or obsolete term, unless these are to be left out: ``skip``.
    """
    path = Path(path)
    if is_gaf(path):
        return _of_gaf(path, ontology, evidence, skip)
    if evidence:
        raise ValueError(f"`--evidence` is for .gaf files only. Found {path}.")
    (targets, terms), line_of = _columns(path, 2)
    codes, names = encoded(targets)
    known = _Terms(path, ontology, skip)
    of_terms, distinct = encoded(terms)
    resolved = known.resolve(distinct, lambda at: line_of(int(np.argmax(of_terms == at))))
    pairs = np.unique(np.stack([codes, of_terms]), axis=1)
    found: dict[str, dict[str, None]] = {}
    for target, term in pairs.T.tolist():
        for name in resolved[term]:
            found.setdefault(names[target], {})[name] = None
    return Annotations(_lists(found, path), notes=known.notes)


def is_gaf(path: str | Path) -> bool:
    """Whether a file is one of GAF, by its ending."""
    return str(path).lower().endswith(GAF)


def read_scores(path: str | Path, ontology: Ontology, *, skip: bool = False) -> Scores:
    """Read lines of a target, a term and a score in [0, 1], as CAFA takes them; plain or .gz.

    Raises ValueError as :func:`read_annotations` does, and for another score.
    """
    path = Path(path)
    (targets, terms, scores), line_of = _columns(path, 3)
    numbers = as_numbers(scores)
    is_wrong = ~((numbers.values >= 0) & (numbers.values <= 1))  # NaN too
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        text = shown(scores[row].as_py())
        raise file_error(path, line_of(row), f"a score should be a number from 0 to 1. Found {text}")
    target, names = encoded(targets)
    term, distinct = encoded(terms)
    known = _Terms(path, ontology, skip)
    resolved = known.resolve(distinct, lambda at: line_of(int(np.argmax(term == at))))
    return Scores(names, resolved, target, term, numbers.values, known.notes)


def read_information(path: str | Path, ontology: Ontology) -> dict[str, float]:
    """Read lines of a term and its information, as CAFA gives them. Raises ValueError as the others do.

    Terms that the ontology lacks are left out: what is counted are its terms.
    """
    path = Path(path)
    (terms, values), line_of = _columns(path, 2)
    numbers = as_numbers(values).values
    is_wrong = ~((numbers >= 0) & (numbers <= np.inf))
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        found = shown(values[row].as_py())
        raise file_error(path, line_of(row), f"information should be a number of at least 0. Found {found}")
    names = terms.to_pylist()
    # An infinite value is that of a term that no training sample has: it does not count.
    return {
        name: bits
        for name, bits in zip(names, np.where(np.isinf(numbers), 0.0, numbers).tolist(), strict=True)
        if name in ontology.hierarchy.index
    }


class _Terms:
    """Resolves ids of a file, and keeps count of those that were not plain terms."""

    def __init__(self, path: Path, ontology: Ontology, skip: bool) -> None:
        self.path, self.ontology, self.skip = path, ontology, skip
        self.other: dict[str, None] = {}
        self.left_out: dict[str, None] = {}

    def resolve(self, names: Sequence[str], line_of: Callable[[int], int]) -> list[tuple[str, ...]]:
        """The terms of each id. Raises ValueError, naming the line, unless unknown ones are left out."""
        resolved: list[tuple[str, ...]] = []
        for at, name in enumerate(names):
            try:
                terms = self.ontology.resolve(name)
            except ValueError as error:
                if not self.skip:
                    raise file_error(self.path, line_of(at), str(error)) from error
                terms = ()
                self.left_out[name] = None
            if terms and terms != (name,):
                self.other[name] = None
            resolved.append(terms)
        return resolved

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.other:
            notes.append(f"{self.path.name}: alternative or replaced ids: {listed(self.other, 3)}")
        if self.left_out:
            ids = listed(self.left_out, 3)
            notes.append(f"{self.path.name}: left out, no terms of {self.ontology.file}: {ids}")
        return tuple(notes)


def _lists(
    found: dict[str, dict[str, None]], path: Path, evidence: Collection[str] = ()
) -> dict[str, list[str]]:
    if not found:
        of = f" with the evidence {listed(evidence)}" if evidence else ""
        raise ValueError(f"{path} should hold annotations{of}. Found none.")
    return {target: list(terms) for target, terms in found.items()}


def _columns(path: Path, width: int) -> tuple[list[pa.ChunkedArray], Callable[[int], int]]:
    """The first columns, of texts without blanks around them, and the line of each row.

    Cells are separated by tabs, or else by blanks. A first line with "term" in place of a term is a header.
    """
    content = read_bytes(path)
    try:
        table = arrow_csv.read_csv(
            pa.py_buffer(content),
            arrow_csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
            arrow_csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            arrow_csv.ConvertOptions(
                column_types={f"f{at}": pa.string() for at in range(width)},
                include_columns=[f"f{at}" for at in range(width)],
                strings_can_be_null=False,
            ),
        )
        columns = [compute.utf8_trim_whitespace(column) for column in table.columns]
        is_plain = all(compute.all(compute.not_equal(column, "")).as_py() for column in columns)
        if is_plain and not _is_around([columns[0][0].as_py(), columns[1][0].as_py()]):
            return columns, lambda row: row + 1
    except (pa.ArrowException, KeyError, IndexError):
        pass  # line by line: more than tabs between cells, or an error to name
    numbers, rows = list[int](), list[list[str]]()
    for number, line in enumerate(text_lines(content, path), start=1):
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if not any(cells) or _is_around(cells):
            continue
        if len(cells) < width or not all(cells[:width]):
            parts = ("target and term", "target, term and score")[width - 2]
            raise file_error(path, number, f"a line should hold {parts}, with tabs. Found {shown(line)}")
        numbers.append(number)
        rows.append(cells[:width])
    if not rows:
        raise ValueError(f"{path} should hold lines of {width} columns. Found none.")
    return [
        pa.chunked_array([pa.array(column, pa.string())]) for column in zip(*rows, strict=True)
    ], numbers.__getitem__


def _is_around(cells: Sequence[str]) -> bool:
    """Whether a line is a header, or one of those around the predictions in a submission."""
    is_header = len(cells) > 1 and cells[1].lower().replace("_", " ") in ("term", "go term", "go id", "score")
    return cells[0].split()[0] in SUBMISSION if not is_header and cells[0] else is_header


def _of_gaf(path: Path, ontology: Ontology, evidence: Collection[str], skip: bool) -> Annotations:
    known, cache = _Terms(path, ontology, skip), dict[str, tuple[str, ...]]()
    found: dict[str, dict[str, None]] = {}
    aliases: dict[str, dict[str, None]] = {}
    codes: dict[str, None] = {}
    for number, line in enumerate(text_lines(read_bytes(path), path), start=1):
        if line.startswith("!gaf-version:") and line.split(":", 1)[1].strip() not in GAF_VERSIONS:
            raise file_error(
                path, number, f"GAF should be of version {listed(GAF_VERSIONS)}. Found {shown(line)}"
            )
        if line.startswith("!") or not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < GAF_COLUMNS or not (cells[1] and cells[4]):
            raise file_error(
                path, number, f"a line of GAF should have {GAF_COLUMNS} cells or more. Found {shown(line)}"
            )
        target, symbol, qualifiers, term, code, synonyms = (cells[at] for at in (1, 2, 3, 4, 6, 10))
        codes[code] = None
        if "NOT" in qualifiers.split("|") or (evidence and code not in evidence):
            continue
        if term not in cache:
            cache[term] = known.resolve([term], lambda _, line=number: line)[0]
        if not cache[term]:
            continue
        found.setdefault(target, {}).update(dict.fromkeys(cache[term]))
        for alias in (symbol, *synonyms.split("|")):
            if alias and alias != target:
                aliases.setdefault(alias, {})[target] = None
    if unknown := [code for code in evidence if code not in (*EVIDENCE, *codes)]:
        raise ValueError(f"`--evidence` should be among {listed(codes, 30)} of {path}. Found {unknown[0]!r}.")
    return Annotations(
        _lists(found, path, evidence), {name: tuple(of) for name, of in aliases.items()}, known.notes
    )

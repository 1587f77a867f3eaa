"""Ontologies in the OBO format, read by obonet: terms, their parents, alternative and obsolete ids."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from hmc_shared.data.storage.sources import file_error, read_bytes, text_lines
from hmc_shared.extras import needed
from hmc_shared.graph_depth import CycleError
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import listed, reason, shown

RELATIONS = ("is_a", "part_of")
"""What makes a term a child of another, as CAFA counts it."""
SUFFIXES = (".obo", ".obo.gz")
_TAGS = (
    "id",
    "name",
    "namespace",
    "alt_id",
    "is_a",
    "relationship",
    "is_obsolete",
    "replaced_by",
    "consider",
)
_KEPT = tuple(f"{tag}:" for tag in _TAGS)
_HEADER = "\nontology: terms\n"
"""Without a header obonet complains."""
_ERRORS = (ValueError, LookupError, TypeError, AttributeError)
"""What obonet ends in for what is no OBO."""


@dataclass(frozen=True, eq=False)
class Ontology:
    """The terms of a file, which may hold several ontologies: no edge leads from one to another."""

    file: str
    """Its name, for messages."""
    hierarchy: Hierarchy
    """All terms that are not obsolete."""
    namespaces: Mapping[str, str]
    """Term to the ontology that it is of."""
    instead: Mapping[str, tuple[str, ...]]
    """Alternative and replaced ids to the terms that they stand for."""
    obsolete: Mapping[str, tuple[str, ...]]
    """Obsolete ids without a replacement to those that the file says to consider."""

    def resolve(self, name: str) -> tuple[str, ...]:
        """The term, or those that an alternative or replaced id stands for.

        Raises ValueError for an unknown id, and for an obsolete one without a replacement.
        """
        if name in self.hierarchy.index:
            return (name,)
        if name in self.instead:
            return self.instead[name]
        if name in self.obsolete:
            hint = f": consider {listed(self.obsolete[name], 3)}" if self.obsolete[name] else ""
            raise ValueError(
                f"the term {shown(name)} is obsolete in {self.file}, without a replacement{hint}"
            )
        raise ValueError(f"{shown(name)} is not a term of {self.file}")


def read_obo(path: str | Path, relations: Collection[str] = RELATIONS) -> Ontology:
    """Read a file in the OBO format, plain or .gz: the terms, with their parents by the given relations.

    A parent in another namespace is left out, as in CAFA, and so is one by a relationship, but not by is_a,
    that the file does not have.

    Raises ValueError, naming file and line, for other text, a term given twice, a parent that is no term, and
    for a cycle; for a relation that the file does not have; and if obonet is not installed.
    """
    path = Path(path)
    obonet = needed("obonet", "go", "Reading .obo files")
    lines = text_lines(read_bytes(path), path)
    stanzas = list(_stanzas(lines, path))

    def parse(parts: Iterable[list[str]]) -> Any:
        text = "\n".join(line for part in parts for line in [*part, ""])
        return obonet.read_obo(StringIO(text + _HEADER), ignore_obsolete=False)

    try:
        graph = parse(part for _, part in stanzas)
    except _ERRORS:
        for line, part in stanzas:
            try:
                parse([part])
            except _ERRORS as error:
                what = "it has no id" if isinstance(error, KeyError) else reason(error)
                raise file_error(path, line, f"the term is not readable: {what}") from error
        raise
    return _ontology(graph, _lines_of_terms(graph, stanzas, path), _default_namespace(lines), relations, path)


def _stanzas(lines: list[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line that each term begins in, and its lines: the tags that are needed, with plain blanks.

    obonet reads long blanks, and the definitions and synonyms of terms, slowly. Raises ValueError, naming
    file and line, for a line without a tag.
    """
    start, kept = 0, list[str]()
    for number, line in enumerate([*lines, "["], start=1):
        if line.startswith("["):
            if kept:
                yield start, kept
            start, kept = number, ["[Term]"] if line.startswith("[Term]") else []
        elif kept and line.startswith(_KEPT):
            kept.append(" ".join(line.split()))
        elif kept and line.strip() and not re.match(r"[\w-]+:|!", line):
            raise file_error(path, number, f"a line of a term should be TAG: VALUE. Found {shown(line)}")


def _lines_of_terms(
    graph: Collection[str], stanzas: Collection[tuple[int, list[str]]], path: Path
) -> dict[str, int]:
    """Id to the line that its term begins in. Raises ValueError for an id of two terms, and without one."""
    found: dict[str, int] = {}
    for start, lines in stanzas:
        name = next((line.split()[1] for line in lines if line.startswith("id: ")), "")
        if not name or name not in graph:  # without an id, or with blanks in it
            raise file_error(path, start, "a term should have an id, one word")
        if name in found:
            raise file_error(path, start, f"the term {shown(name)} again, as in line {found[name]}")
        found[name] = start
    if not found:
        raise ValueError(f"{path} should hold terms, each after a line [Term]. Found none.")
    return found


def _default_namespace(lines: list[str]) -> str:
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith("default-namespace:"))
    return next(found, "terms")


def _ontology(
    graph: Any, line_of: Mapping[str, int], default: str, relations: Collection[str], path: Path
) -> Ontology:
    present = dict.fromkeys(relation for *_, relation in graph.edges(keys=True))
    if unknown := [relation for relation in relations if relation not in (*RELATIONS, *present)]:
        raise ValueError(
            f"A relation of {path} should be among {listed(present)}. Found {shown(unknown[0])}."
        )
    terms = {name: data for name, data in graph.nodes(data=True) if name in line_of}
    is_obsolete = {name for name, data in terms.items() if data.get("is_obsolete") == "true"}
    nodes = [name for name in terms if name not in is_obsolete]
    if not nodes:
        raise ValueError(f"{path} should hold terms that are not obsolete. Found none.")
    namespaces = {name: terms[name].get("namespace") or default for name in nodes}
    instead, hints = _other_ids(terms, is_obsolete)
    known = Ontology(path.name, Hierarchy.from_edges([], nodes=nodes), namespaces, instead, hints)
    edges: dict[tuple[str, str], None] = {}
    for child, parent, relation in graph.edges(keys=True):
        if relation not in relations or child not in namespaces:
            continue
        try:
            parents = known.resolve(parent)
        except ValueError as error:
            if relation == "is_a":
                raise file_error(path, line_of[child], f"{error}, but a parent of {shown(child)}") from error
            continue
        edges |= dict.fromkeys((up, child) for up in parents if namespaces[up] == namespaces[child])
    try:
        hierarchy = Hierarchy.from_edges(edges, nodes=nodes)
    except CycleError as error:
        raise file_error(path, line_of[error.cycle[-1]], str(error)) from error
    return Ontology(path.name, hierarchy, namespaces, instead, hints)


def _other_ids(
    terms: Mapping[str, Any], is_obsolete: Collection[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """The last two fields of an :class:`Ontology`."""
    instead: dict[str, tuple[str, ...]] = {}
    for name, data in terms.items():
        for other in data.get("alt_id", ()) if name not in is_obsolete else ():
            if other not in terms or other in is_obsolete:
                instead[other] = (*instead.get(other, ()), name)
    for name in sorted(is_obsolete - instead.keys()):
        found, waiting, seen = dict[str, None](), [name], {name}
        while waiting:  # a replacement may be obsolete itself
            for other in terms[waiting.pop()].get("replaced_by", ()):
                if other in terms and other not in is_obsolete:
                    found[other] = None
                elif other in instead:
                    found |= dict.fromkeys(instead[other])
                elif other in terms and other not in seen:
                    seen.add(other)
                    waiting.append(other)
        if found:
            instead[name] = tuple(found)
    hints = {name: tuple(terms[name].get("consider", ())) for name in is_obsolete if name not in instead}
    return instead, hints

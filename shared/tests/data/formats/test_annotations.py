"""Ontologies, and the annotations and scores of targets with their terms."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared.data.formats.annotations import read_annotations, read_information, read_scores
from hmc_shared.data.formats.obo import Ontology, read_obo


def term(name: str, *lines: str) -> str:
    return "\n".join(["[Term]", f"id: {name}", f"name: the term {name}", *lines, ""])


OBO = "\n".join(
    [
        "format-version: 1.2\nontology: zoo\n",
        term("Z:1", "namespace: zoo"),
        term("Z:2", "namespace: zoo", "is_a: Z:1 ! above", "alt_id: Z:20", "alt_id: Z:21"),
        term(
            "Z:3",
            "namespace: zoo",
            "is_a: Z:20",
            'relationship: part_of Z:2 {x="a: b"} ! twice',
            "alt_id: Z:21",
        ),
        term("Z:4", "namespace: zoo", "is_a: Z:1", "relationship: part_of Z:3", "relationship: eats Z:2"),
        term(
            "Z:5", "namespace: garden", "relationship: part_of Z:1 ! elsewhere", "relationship: part_of UB:1"
        ),
        term("Z:6", "is_obsolete: true", "replaced_by: Z:7"),
        term("Z:7", "is_obsolete: true", "replaced_by: Z:20"),
        term("Z:8", "is_obsolete: true", "consider: Z:3", "consider: Z:4"),
        term("Z:9", "is_obsolete: true", "replaced_by: Z:9"),
        "[Typedef]\nid: part_of\nname: part of\nis_a: nothing\n",
    ]
)


@pytest.fixture(scope="module")
def ontology(tmp_path_factory) -> Ontology:
    path = tmp_path_factory.mktemp("obo") / "zoo.obo"
    path.write_text(OBO)
    return read_obo(path)


def edges(ontology: Ontology) -> set[tuple[str, str]]:
    names = ontology.hierarchy.names
    return {(names[a], names[b]) for a, b in ontology.hierarchy.edges.tolist()}


def test_terms_and_parents(ontology, tmp_path):
    assert set(ontology.hierarchy.names) == {"Z:1", "Z:2", "Z:3", "Z:4", "Z:5"}
    is_a = {("Z:1", "Z:2"), ("Z:2", "Z:3"), ("Z:1", "Z:4")}
    assert edges(ontology) == is_a | {("Z:3", "Z:4")}
    assert ontology.namespaces["Z:5"] == "garden"
    (tmp_path / "zoo.obo.gz").write_bytes(gzip.compress(OBO.replace("\n", "\r\n").encode()))
    assert edges(read_obo(tmp_path / "zoo.obo.gz", relations=["is_a"])) == is_a


def test_a_relation_that_the_file_does_not_have_is_refused(ontology, tmp_path):
    (tmp_path / "zoo.obo").write_text(OBO)
    assert ("Z:2", "Z:4") in edges(read_obo(tmp_path / "zoo.obo", relations=["eats"]))
    with pytest.raises(ValueError, match=r"should be among is_a, part_of, eats. Found 'isa'"):
        read_obo(tmp_path / "zoo.obo", relations=["isa"])
    (tmp_path / "zoo.obo").write_text(OBO.replace("part_of", "lives_in"))
    assert edges(read_obo(tmp_path / "zoo.obo")) == edges(read_obo(tmp_path / "zoo.obo", relations=["is_a"]))


def test_other_ids(ontology):
    assert ontology.resolve("Z:3") == ("Z:3",)
    assert ontology.resolve("Z:20") == ("Z:2",)
    assert ontology.resolve("Z:21") == ("Z:2", "Z:3")
    assert ontology.resolve("Z:6") == ontology.resolve("Z:7") == ("Z:2",)
    for name, message in (
        ("Z:8", "the term 'Z:8' is obsolete in zoo.obo, without a replacement: consider Z:3, Z:4"),
        ("Z:9", "the term 'Z:9' is obsolete in zoo.obo, without a replacement"),
        ("Z:10", "'Z:10' is not a term of zoo.obo"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            ontology.resolve(name)


def test_blank_lines_inside_terms_and_none_between(ontology, tmp_path):
    path = tmp_path / "zoo.obo"
    lines = [line for line in OBO.splitlines() if line]
    for text in ("\n".join(lines), "\n\n".join(lines), "\n! a comment\n".join(lines)):
        path.write_text(text)
        assert edges(read_obo(path)) == edges(ontology)


NAMES = st.sampled_from(["Z:1", "Z:2", "Z:20", "Z:21", "Z:6", "Z:5"])
ROWS = st.lists(st.tuples(st.sampled_from("abcd"), NAMES, st.integers(0, 1000)), min_size=1, max_size=12)


@given(ROWS, st.sampled_from(["\n", "\r\n"]))
def test_tabs_blanks_and_what_stands_around_make_no_difference(ontology, tmp_path_factory, rows, ends):
    folder = tmp_path_factory.mktemp("files")
    lines = [[target, name, f"{score / 1000}"] for target, name, score in rows]
    around = [
        "AUTHOR me",
        "MODEL 1",
        "KEYWORDS three words, here.",
        *(" ".join(line) for line in lines),
        "END",
    ]
    header = ["target\tterm\tscore", "", *("\t ".join(line) for line in lines), ""]
    kinds = [["\t".join(line) for line in lines], around, header]
    found = []
    for number, kind in enumerate(kinds):
        path = folder / f"{number}.tsv"
        path.write_text(ends.join(kind) + ends, newline="")
        scores = read_scores(path, ontology)
        found.append(
            [
                (scores.targets[target], scores.terms[name], score)
                for target, name, score in zip(scores.target, scores.term, scores.score.tolist(), strict=True)
            ]
        )
        expected: dict[str, set[str]] = {}
        for target, name, _ in rows:
            expected.setdefault(target, set()).update(ontology.resolve(name))
        of_file = read_annotations(path, ontology)
        assert {target: set(names) for target, names in of_file.terms.items()} == expected
    assert found[0] == found[1] == found[2]
    assert found[0] == [(target, ontology.resolve(name), score / 1000) for target, name, score in rows]


def written(folder: Path, text: str, name: str = "f.tsv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_what_is_left_out_and_replaced_is_said(ontology, tmp_path):
    path = written(tmp_path, "a\tZ:20\na\tZ:8\nb\tZ:99\nb\tZ:1\n")
    annotations = read_annotations(path, ontology, skip=True)
    assert annotations.terms == {"a": ["Z:2"], "b": ["Z:1"]}
    assert annotations.notes == (
        "f.tsv: alternative or replaced ids: Z:20",
        "f.tsv: left out, no terms of zoo.obo: Z:8, Z:99",
    )
    with pytest.raises(ValueError, match=r"f.tsv:2: the term 'Z:8' is obsolete"):
        read_annotations(path, ontology)


def test_information(ontology, tmp_path):
    path = written(tmp_path, "Z:1\t0\nZ:2\t1.5\nZ:3\tinf\nZ:99\t2\n")
    assert read_information(path, ontology) == {"Z:1": 0, "Z:2": 1.5, "Z:3": 0}
    for text in ("-1", "x", "nan"):
        with pytest.raises(ValueError, match=f"f.tsv:2: information should be a number .* Found '{text}'"):
            read_information(written(tmp_path, f"Z:1\t0\nZ:2\t{text}\n"), ontology)


def gaf(*lines: tuple[str, str, str, str, str]) -> str:
    """Lines of id, symbol, qualifier, term and evidence code."""
    cells = [
        ["DB", name, symbol, qualifier, term, "", code, "", "P", "", "old|older", *[""] * 4]
        for name, symbol, qualifier, term, code in lines
    ]
    return "\n".join(["!gaf-version: 2.1", *("\t".join(line) for line in cells), ""])


def test_gaf(ontology, tmp_path):
    text = gaf(
        ("a", "A", "", "Z:3", "EXP"),
        ("a", "A", "contributes_to", "Z:4", "IEA"),
        ("b", "B", "NOT|part_of", "Z:4", "EXP"),
        ("c", "", "part_of", "Z:6", "IEA"),
    )
    path = written(tmp_path, text, "f.gaf")
    annotations = read_annotations(path, ontology)
    assert annotations.terms == {"a": ["Z:3", "Z:4"], "c": ["Z:2"]}
    assert annotations.aliases == {"A": ("a",), "old": ("a", "c"), "older": ("a", "c")}
    assert read_annotations(path, ontology, ["EXP"]).terms == {"a": ["Z:3"]}
    packed = tmp_path / "f.gaf.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_annotations(packed, ontology).terms == annotations.terms


def test_many_predictions_are_read_by_columns(ontology, tmp_path, monkeypatch):
    """Not line by line, which takes ten times as long."""
    monkeypatch.setattr("hmc_shared.data.formats.annotations.text_lines", None)
    path = written(tmp_path, "\n".join(f"t{at}\tZ:{at % 5 + 1}\t0.{at % 10}" for at in range(1000)))
    assert np.bincount(read_scores(path, ontology).target).tolist() == [1] * 1000

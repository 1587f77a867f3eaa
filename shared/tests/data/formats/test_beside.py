"""`table:PATH` with an ontology and annotations beside it."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from hmc_shared.data import load_dataset
from hmc_shared.data.dataset import HierarchicalDataset

OBO = """format-version: 1.2

[Term]
id: GO:1
name: process
namespace: biological_process

[Term]
id: GO:2
name: growth
namespace: biological_process
alt_id: GO:22
is_a: GO:1 ! process
def: "Growth [of something]: large." [] {x="y"}

[Term]
id: GO:3
name: death
namespace: biological_process
is_a: GO:1 {source="x"} ! process
relationship: part_of GO:2 ! growth

[Term]
id: GO:4
name: unused
namespace: biological_process
is_a: GO:2

[Term]
id: GO:5
name: function
namespace: molecular_function

[Term]
id: GO:6
name: binding
namespace: molecular_function
is_a: GO:5
relationship: part_of GO:2 ! of another namespace
relationship: regulates GO:3

[Term]
id: GO:7
name: obsolete binding
namespace: molecular_function
is_obsolete: true
replaced_by: GO:6

[Term]
id: GO:8
name: obsolete, without a replacement
namespace: molecular_function
is_obsolete: true
consider: GO:6
"""


def gaf_line(name: str, symbol: str, qualifier: str, term: str, code: str, synonyms: str = "") -> str:
    cells = ["SGD", name, symbol, qualifier, term, "PMID:1", code, "", "P", "a gene", synonyms, "protein"]
    return "\t".join([*cells, "taxon:559292", "20200101", "SGD", "", ""])


GAF = "\n".join(
    [
        "!gaf-version: 2.2",
        "!generated-by: nobody",
        gaf_line("S1", "AAA1", "involved_in", "GO:3", "IDA", "YAL001C|OLD1"),
        gaf_line("S1", "AAA1", "enables", "GO:7", "IEA", "YAL001C|OLD1"),
        gaf_line("S2", "BBB1", "NOT|involved_in", "GO:3", "IDA", "YAL002W"),
        gaf_line("S2", "BBB1", "involved_in", "GO:22", "IMP", "YAL002W"),
        gaf_line("S3", "CCC1", "enables", "GO:6", "IEA", "OLD1"),
        "",
    ]
)


TABLE = """id,x,y,split
S1,1,2,train
YAL002W,2,1,val
CCC1,3,2,test
S9,4,1,train
"""
TWO_COLUMNS = "S1\tGO:3\nS1\tGO:7\nYAL002W GO:22\nCCC1\tGO:6\nS77\tGO:1\n"


@pytest.fixture
def folder(tmp_path):
    def write(table: str = TABLE, obo: str | None = OBO, **files: str) -> str:
        """Write the files, "_" for "." in their names; the name of the data set."""
        (tmp_path / "genes.csv").write_text(table)
        for name, text in {"go_obo": obo, **files}.items():
            if text is not None:
                (tmp_path / name.replace("_", ".")).write_text(text)
        return f"table:{tmp_path}"

    return write


def labels_of(dataset: HierarchicalDataset) -> dict[str, set[str]]:
    names = dataset.hierarchy.names
    return {
        sample: {names[node] for node in np.flatnonzero(row)}
        for split in dataset.splits.values()
        for sample, row in zip(split.ids, split.targets.numpy(), strict=True)
    }


EXPECTED = {
    "S1": {"GO:1", "GO:2", "GO:3", "GO:5", "GO:6"},
    "YAL002W": {"GO:1", "GO:2"},
    "CCC1": {"GO:5", "GO:6"},
}


def check(dataset: HierarchicalDataset) -> None:
    """What all ways of giving the labels come to."""
    assert labels_of(dataset) == EXPECTED
    hierarchy = dataset.hierarchy
    assert set(hierarchy.names) == {"GO:1", "GO:2", "GO:3", "GO:5", "GO:6"}  # the used ones
    edges = {(hierarchy.names[a], hierarchy.names[b]) for a, b in hierarchy.edges.tolist()}
    assert edges == {("GO:1", "GO:2"), ("GO:1", "GO:3"), ("GO:2", "GO:3"), ("GO:5", "GO:6")}
    counted = {
        name for name, counts in zip(hierarchy.names, dataset.evaluated.tolist(), strict=True) if counts
    }
    assert counted == {"GO:2", "GO:3", "GO:6"}  # not the roots
    assert dataset.feature_names == ("x", "y")
    assert dataset.train.inputs.tolist() == [[1, 2]]
    assert "rows left out, without annotations: S9" in dataset.notes


def test_gaf(folder):
    dataset = load_dataset(folder(sgd_gaf=GAF))
    check(dataset)
    assert "joined by symbol or synonym: YAL002W, CCC1" in dataset.notes
    assert dataset.sources.keys() == {"genes.csv", "go.obo", "sgd.gaf"}


@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_older_gaf_packed(folder, tmp_path, version):
    name = folder(obo=None)
    text = GAF.replace("2.2", version)
    (tmp_path / "sgd.gaf.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "go.obo.gz").write_bytes(gzip.compress(OBO.encode()))
    check(load_dataset(name))


def test_two_columns(folder):
    check(load_dataset(folder(annotations_tsv=TWO_COLUMNS)))


def test_labels_in_the_table(folder):
    table = TABLE.replace("split", "split,labels").replace("train\nY", "train,GO:3|GO:7\nY")
    table = table.replace("val", "val,GO:22").replace("test", "test,GO:6").replace("4,1,train", "4,1,train,")
    dataset = load_dataset(folder(table))
    assert labels_of(dataset) == EXPECTED | {"S9": set()}  # an empty cell is no label, not an unknown one


def test_evidence(folder):
    first, _, last = GAF.rpartition("IEA")
    name = folder(sgd_gaf=f"{first}EXP{last}")
    dataset = load_dataset(name, evidence=["EXP", "IDA", "IMP"])
    assert labels_of(dataset) == EXPECTED | {"S1": {"GO:1", "GO:2", "GO:3"}}
    with pytest.raises(ValueError, match="the test split should have rows"):
        load_dataset(name, evidence=["IDA", "IMP"])
    with pytest.raises(ValueError, match=r"`--evidence` should be among IDA, IEA, IMP, EXP of .*Found 'ISX'"):
        load_dataset(name, evidence=["ISX"])
    with pytest.raises(ValueError, match=r"sgd.gaf should hold annotations with the evidence ISS"):
        load_dataset(name, evidence=["ISS"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sgd_gaf": GAF.replace("GO:22", "GO:8")},
            r"sgd.gaf:6: the term 'GO:8' is obsolete in go.obo",
        ),
        ({"sgd_gaf": GAF.replace("GO:22", "GO:9")}, r"sgd.gaf:6: 'GO:9' is not a term of go.obo."),
        ({"sgd_gaf": GAF.replace("2.2", "1.0")}, r"sgd.gaf:1: GAF should be of version 2.0, 2.1, 2.2. Found"),
        ({"sgd_gaf": GAF + "S1\tx\n"}, r"sgd.gaf:8: a line of GAF should have 15 cells or more. Found 'S1"),
        (
            {"annotations_tsv": TWO_COLUMNS, "sgd_gaf": GAF},
            r"should hold one file of annotations .* annotations.t",
        ),
        ({"annotations_tsv": "a\tGO:3\n"}, r"annotations.tsv should be of ids of .*S1, YAL.*Found a."),
        ({"annotations_tsv": "a\n"}, r"annotations.tsv:1: a line should hold target and term"),
        (
            {"edges_csv": "parent,child\n,a\n"},
            r"should hold one hierarchy beside the table. Found edges.csv, go.obo",
        ),
        ({}, r"genes.csv should have a column 'labels'"),
        ({"sgd_gaf": GAF, "table": TABLE.replace("id,", "name,")}, r"genes.csv should have a column 'id'"),
        (
            {"sgd_gaf": GAF, "table": TABLE.replace("CCC1", "OLD1")},
            r"genes.csv, line 4: an id should be of one ob",
        ),
        (
            {"sgd_gaf": GAF, "table": TABLE.replace("split", "labels")},
            r"genes.csv has the column 'labels', and sgd.gaf lies beside it",
        ),
        (
            {"table": TABLE.replace("split", "labels").replace("train", "GO:3").replace("val", "GO:8")},
            r"genes.csv, line 3: the term 'GO:8' is obsolete in go.obo",
        ),
        (
            {"sgd_gaf": GAF, "obo": OBO.replace("id: GO:5", "id: GO:6")},
            r"go.obo:34: the term 'GO:6' again, as in",
        ),
        ({"sgd_gaf": GAF, "obo": "[Typedef]\nid: part_of\n"}, r"go.obo should hold terms, each after a line"),
        (
            {"sgd_gaf": GAF, "obo": OBO.replace("is_a: GO:5", "is_a: GO:8")},
            r"go.obo:34: the term 'GO:8' is obsol",
        ),
        (
            {"sgd_gaf": GAF, "obo": OBO.replace("is_a: GO:1 !", "is_a: GO:3 !")},
            r"go.obo:\d+: The hierarchy has a cycle",
        ),
        (
            {"sgd_gaf": GAF, "obo": OBO.replace("id: GO:4", "id: GO 4")},
            r"go.obo:23: a term should have an id, one",
        ),
    ],
)
def test_what_is_wrong_is_named(folder, change, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(folder(**change))


def test_evidence_needs_a_gaf_file(folder):
    with pytest.raises(
        ValueError, match=r"`--evidence` is for tables with a .gaf file beside them. Found none"
    ):
        load_dataset(folder(annotations_tsv=TWO_COLUMNS), evidence=["EXP"])
    with pytest.raises(ValueError, match=r"`--evidence` is for table:PATH only. Found it for 'digits'"):
        load_dataset("digits", evidence=["EXP"])

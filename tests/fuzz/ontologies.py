"""Readers of ontologies and of annotations with their terms."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import Reader
from run_files import of_file, put

from hmc_shared.compare.cafa import evaluate_files
from hmc_shared.data import load_dataset
from hmc_shared.data.formats.annotations import read_annotations, read_information, read_scores
from hmc_shared.data.formats.obo import read_obo

OBO = b"""format-version: 1.2
default-namespace: process

[Term]
id: GO:1
name: root
alt_id: GO:11
alt_id: GO:12

[Term]
id: GO:2
name: growth
namespace: process
is_a: GO:11 {source="x"} ! root
relationship: part_of GO:1 ! root
relationship: regulates GO:3

[Term]
id: GO:3
name: function
namespace: function

[Term]
id: GO:4
name: obsolete
is_obsolete: true
replaced_by: GO:5

[Term]
id: GO:5
is_obsolete: true
replaced_by: GO:2
consider: GO:1

[Typedef]
id: part_of
"""
LINE = b"SGD\t%b\tSYM%b\t%b\tGO:%b\tPMID:1\tIDA\t\tP\tgene\tOLD%b|X\tprotein\ttaxon:1\t20200101\tSGD\t\t\n"
GAF = b"!gaf-version: 2.2\n! a comment\n" + b"".join(
    LINE % (name, name, qualifier, term, name)
    for name, qualifier, term in (
        (b"a", b"enables", b"2"),
        (b"b", b"NOT|enables", b"2"),
        (b"b", b"", b"11"),
        (b"c", b"", b"3"),
    )
)
TRUTH = b"EntryID\tterm\taspect\na\tGO:2\tP\nb\tGO:12\tP\nc\tGO:3\tF\n"
PREDICTIONS = (
    b"AUTHOR nobody\nMODEL 1\nKEYWORDS one, two three.\na\tGO:2\t0.9\nb GO:4 1e-1\nc\tGO:3\t1\nEND\n"
)
PLAIN = b"a\tGO:2\t0.9\nb\tGO:4\t1e-1\nc\tGO:3\t1\n"
INFORMATION = b"GO:2\t1.5\nGO:3\tinf\nGO:9\t0\n"
TOKENS = (
    *b"[Term] [Typedef] id: name: namespace: alt_id: is_a: relationship: part_of is_obsolete: true".split(),
    *b"replaced_by: consider: GO:1 GO:2 GO:5 GO:9 !gaf-version: 9 NOT | ! END MODEL term nan".split(),
    *b"\xff \xef\xbb\xbf \0 \" ' 0.5 1e400 -1 [ { ( \\".split(),
    *(b"\t", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b": ", "\u2028".encode(), b"is_a: GO:2\n", b"{x"),
)
TABLE = b"id,x,split\na,1,train\nb,2,val\nc,3,test\n"

with tempfile.TemporaryDirectory() as at:
    ONTOLOGY = read_obo(put(Path(at), "go.obo", OBO))


def table(name: str) -> Callable[[bytes, Path], object]:
    """A file of this name beside a table, and the others that it takes."""

    def read(content: bytes, folder: Path) -> object:
        others = {"go.obo": OBO} if name == "sgd.gaf" else {"sgd.gaf": GAF}
        for other, text in {"genes.csv": TABLE, **others, name: content}.items():
            put(folder, other, text)
        return load_dataset(f"table:{folder}")

    return read


def evaluation(content: bytes, folder: Path) -> object:
    obo, truth, predictions = (
        put(folder, name, text) for name, text in (("go.obo", OBO), ("t.tsv", TRUTH), ("p.tsv", content))
    )
    return evaluate_files(predictions, truth, obo, train=truth, skip=True)


READERS = (
    Reader("obo", of_file("go.obo", read_obo), (OBO,), TOKENS, says="go.obo"),
    Reader(
        "obo, packed",
        of_file("go.obo.gz", read_obo),
        (gzip.compress(OBO, mtime=0),),
        (gzip.compress(b"a"), b"\0"),
        says="go.obo",
    ),
    Reader(
        "gaf", of_file("x.gaf", lambda path: read_annotations(path, ONTOLOGY)), (GAF,), TOKENS, says="x.gaf"
    ),
    Reader(
        "truth of cafa",
        of_file("t.tsv", lambda path: read_annotations(path, ONTOLOGY)),
        (TRUTH,),
        TOKENS,
        says="t.tsv",
    ),
    Reader(
        "predictions of cafa",
        of_file("p.tsv", lambda path: read_scores(path, ONTOLOGY)),
        (PREDICTIONS, PLAIN),
        TOKENS,
        says="p.tsv",
    ),
    Reader(
        "information of cafa",
        of_file("ia.tsv", lambda path: read_information(path, ONTOLOGY)),
        (INFORMATION,),
        TOKENS,
        says="ia.tsv",
    ),
    Reader("evaluation of cafa", evaluation, (PREDICTIONS, PLAIN), TOKENS),
    Reader("obo beside a table", table("go.obo"), (OBO,), TOKENS, slow=2),
    Reader("gaf beside a table", table("sgd.gaf"), (GAF,), TOKENS, slow=2),
)

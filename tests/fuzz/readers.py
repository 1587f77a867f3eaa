"""The readers of the project: what they read, valid files, and the tokens of their formats."""

from __future__ import annotations

import gzip
from pathlib import Path

from harness import Reader

from hmc_shared.data.benchmarks import clus, mulan
from hmc_shared.data.formats.arff import parse_arff
from hmc_shared.data.storage.find import find_sets
from hmc_shared.data.storage.raw import RawSet
from hmc_shared.data.storage.sources import read_bytes
from hmc_shared.data.vector_dataset import vector_dataset

ROWS = b"1,0.5,red,0,1\n'2', ?,'blue',1,1\n{0 3,2 green,4 1} % sparse\n-1e3,4,?,0,0\n"
ATTRIBUTES = b"""@attribute first numeric
@attribute 'the second' REAL [0,5]
@attribute colour {red, 'blue',"green"} % a comment
"""
CLUS = b"@RELATION 'toy'\n% a comment\n" + ATTRIBUTES + b"@attribute class hierarchical "
CLUS_FILES = (
    CLUS + b"01,01/02,02\n@data\n1,?,red,01/02\n2,0.5,'blue',02@01\n?,-1e3,?,02\n",
    CLUS + b"root/a,root/b,a/c,b/c\n@DATA 1,2,red,c\n{0 1,3 b}\n3,4,green,root\n",
    CLUS + b"a/b,a/c,b/d,c/d\n@DATA\n1,2,red,d\n{0 1,3 b}\n3,4,green,c\n",
)
LABELS = b"@attribute sun{0,1}\n@attribute rain {0,1}\n"
MULAN = b"@relation toy\n" + ATTRIBUTES + LABELS + b"@data\n" + ROWS
MEKA = MULAN.replace(b"toy", b"'toy: -C -2'", 1)
MEKA_FIRST = b"@relation 'toy: -C 2'\n" + LABELS + b"@attribute x real\n@data\n1,0,2\n0,1,?\n{2 7}\n1,1,1e3\n"
XML = b"""<?xml version="1.0" encoding="utf-8"?>
<labels xmlns="http://mulan.sourceforge.net/labels">
<label name="sun"><label name="rain"></label></label>
</labels>
"""
ARFF_TOKENS = (
    *b"@relation @attribute @data numeric {red,blue} string date hierarchical , ; { } ' \" % ?".split(),
    *b"@ / root root/a a/b b/a -C \xef\xbb\xbf \xff \xc3\xa9 \\ \\u00e9 \\ud83d [0,1] {0} {0.5}".split(),
    *(b"\t", b" ", b"\n", b"\r", b"\r\n", b"\0", b"@data 1,2", b"'a,b'", b"% x\n", b"1,?,red,01\n", b"0x1F"),
)
XML_TOKENS = (
    *(b"<label>", b"</label>", b'<label name="a">', b'<label name="sun"/>', b"<!--", b"<![CDATA[", b"&lt;"),
    *(b"&a;", b"&#0;", b"&#x10FFFF;", b"\xff\xfe", b"\0", b"\n", b'"', b"encoding=", b"xmlns:a="),
    b'<!DOCTYPE labels [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
    b'<!DOCTYPE labels SYSTEM "file:///etc/passwd">',
    b'<?xml version="1.0" encoding="utf-7"?>',
    b'<?xml version="1.0" encoding="shift_jis"?>',
)


def _whole(raw: RawSet) -> object:
    """What training does with a set."""
    return vector_dataset("toy", raw, {}, "default", validation_share=0.3, origin="file")


def _clus(content: bytes, folder: Path) -> object:
    files = {part: folder / f"toy.{part}.arff" for part in ("train", "validation", "test")}
    return _whole(clus.read_set(files, dict.fromkeys(files, content)))


def _mulan(content: bytes, folder: Path) -> object:
    files = {
        "train": folder / "toy-train.arff",
        "test": folder / "toy-test.arff",
        "labels": folder / "toy.xml",
    }
    return _whole(mulan.read_set(files, dict.fromkeys(files, content) | {"labels": XML}))


def _meka(content: bytes, folder: Path) -> object:
    (folder / "toy.arff").write_bytes(content)
    find_sets(folder)
    return _whole(mulan.read_set({"all": folder / "toy.arff"}, {"all": content}))


def _xml(content: bytes, folder: Path) -> object:
    files = {"train": folder / "toy-train.arff", "labels": folder / "toy.xml"}
    return mulan.read_set(files, {"train": MULAN, "labels": content})


def _gzip(content: bytes, folder: Path) -> object:
    path = folder / "toy.train.arff.gz"
    path.write_bytes(content)
    return parse_arff(read_bytes(path), path)


READERS = (
    Reader("clus", _clus, CLUS_FILES, ARFF_TOKENS),
    Reader("mulan", _mulan, (MULAN,), ARFF_TOKENS),
    Reader("meka", _meka, (MEKA, MEKA_FIRST), ARFF_TOKENS),
    Reader("xml", _xml, (XML,), XML_TOKENS),
    Reader(
        "gzip",
        _gzip,
        tuple(gzip.compress(text, mtime=0) for text in CLUS_FILES),
        (gzip.compress(b"a"), b"\0"),
    ),
)

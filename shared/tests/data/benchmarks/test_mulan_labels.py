"""The XML files of Mulan: what they may hold, and that nothing in them is followed or expanded."""

from pathlib import Path

import pytest

from hmc_shared.data.benchmarks.mulan import parse_labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'<!DOCTYPE l [<!ENTITY a "aaaa">]><labels><label name="&a;"/></labels>', "a document type"),
        (b'<!DOCTYPE labels SYSTEM "file:///etc/passwd"><labels/>', "a document type"),
        (b'<labels><label name="&a;"/></labels>', "undefined entity"),
        (b'<?xml version="1.0" encoding="klingon"?><labels/>', "unknown encoding: klingon"),
        (b'<?xml version="1.0" encoding="shift_jis"?><labels/>', "multi-byte encodings are not supported"),
        (b'<labels>\n<label name="\xff"/></labels>', "not well-formed"),
        (b"", "no element found"),
    ],
)
def test_damaged_and_dangerous_xml_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^toy\.xml:\d+: damaged XML \({message}.*\)\.$"):
        parse_labels(content, Path("toy.xml"))


def test_labels_may_nest_deeper_than_python_recurses() -> None:
    opened = "".join(f'<label name="a{i}">' for i in range(3000))
    hierarchy = parse_labels(f"<labels>{opened}{'</label>' * 3000}</labels>".encode(), Path("toy.xml"))
    assert hierarchy.num_levels == 3000


def test_labels_need_no_namespace_and_may_be_deep() -> None:
    content = (
        b'<labels><label name="a"><label name="b"><label name="c"/></label></label><label name="d"/></labels>'
    )
    hierarchy = parse_labels(content, Path("toy.xml"))
    assert hierarchy.names == ("a", "d", "b", "c")
    assert hierarchy.num_levels == 3

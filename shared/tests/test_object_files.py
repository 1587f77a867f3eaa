"""JSON and YAML objects: read, or refused in one line that names the file."""

from __future__ import annotations

import pytest

from hmc_shared.object_files import LARGEST_YAML, read_json, read_yaml

READERS = {"json": read_json, "yaml": read_yaml}


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_an_object_is_read(tmp_path, form, start):
    path = tmp_path / f"a.{form}"
    path.write_text(start + '{"a": [1, 2.5, null, "ü"], "b": {"c": true}}', encoding="utf-8")
    assert READERS[form](path) == {"a": [1, 2.5, None, "ü"], "b": {"c": True}}


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"3",
        b"null",
        b'{"a": ',
        b"\xff\xfe",
        b"\x00",
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000,
        b"{" * 100_000,
        b"a: &x [1]\nb: *x\n",
        b"&x a: *x",
        b"1: 2",
        b"? [a]\n: b",
        b"!!python/object/apply:os.getcwd []",
        b"a: !!python/name:os.system",
        b"a: 2020-99-99",
        b'{"a": 1, "b": 2, "a": 3}',
        b"a: {b: 1, b: 2}",
    ],
)
def test_anything_else_is_refused_by_the_name_of_the_file(tmp_path, form, content):
    path = tmp_path / f"a.{form}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.{form}") as caught:
        READERS[form](path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("form", READERS)
def test_what_is_not_there_and_what_is_too_large_are_refused(tmp_path, form):
    with pytest.raises(ValueError, match=rf"a\.{form} cannot be read: No such file"):
        READERS[form](tmp_path / f"a.{form}")
    (tmp_path / "b.yaml").write_bytes(b" " * (LARGEST_YAML + 1))
    with pytest.raises(ValueError, match=r"b\.yaml should be of 131072 bytes or fewer"):
        read_yaml(tmp_path / "b.yaml")


@pytest.mark.parametrize(("key", "found"), [("no", "False"), ("3", "3"), ("2020-01-01", "datetime.date")])
def test_a_key_that_yaml_takes_for_no_text_is_named(tmp_path, key, found):
    (tmp_path / "a.yaml").write_text(f"x: 1\n{key}: 2\n")
    with pytest.raises(ValueError, match=rf"names as keys\. Found {found}.* quotes"):
        read_yaml(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text(f"x: 1\n'{key}': 2\n")
    assert read_yaml(tmp_path / "a.yaml") == {"x": 1, key: 2}

"""Files are read within bounds, and an error is one line."""

import gzip
from pathlib import Path

import pytest

from hmc_shared.data.storage.sources import FREE_BYTES, GROWTH, file_error, read_bytes


def test_a_gzip_file_may_not_unpack_to_a_multiple_of_what_is_usual(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    for size, refused in ((FREE_BYTES, False), (FREE_BYTES + 1, True), (1 << 28, True)):
        path.write_bytes(gzip.compress(bytes(size)))
        if refused:
            with pytest.raises(ValueError, match=rf"a\.gz unpacks to more than {GROWTH} times its size"):
                read_bytes(path)
        else:
            assert read_bytes(path) == bytes(size)


def test_what_cannot_be_read_is_a_value_error(tmp_path: Path) -> None:
    for name in ("folder", "folder.gz"):
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match=f"{name} cannot be read: Is a directory"):
            read_bytes(tmp_path / name)
    with pytest.raises(ValueError, match=r"no\.gz cannot be read: No such file"):
        read_bytes(tmp_path / "no.gz")


def test_an_error_is_one_short_line() -> None:
    message = str(file_error(Path("a.arff"), 3, "two\nlines " + "x" * 200000 + " end."))
    assert message.startswith("a.arff:3: two lines xxx")
    assert message.endswith("xxx....")
    assert len(message) < 500

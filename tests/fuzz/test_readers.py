"""Every reader, on mutated files and on heaps of tokens: it reads them or raises its documented error.

HMC_FUZZ is the number of mutated files for each reader, HMC_FUZZ_SEED chooses others.
"""

import os
import time
from pathlib import Path

import pytest
from harness import SECONDS, Reader, complaint, damaged, failures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import READERS as MODELS
from ontologies import READERS as ONTOLOGIES
from readers import READERS as FORMATS
from run_files import READERS as RUN_FILES
from sets import READERS as SETS
from studies import READERS as STUDIES
from user_files import READERS as USER_FILES

READERS = (*FORMATS, *ONTOLOGIES, *RUN_FILES, *SETS, *MODELS, *STUDIES, *USER_FILES)

COUNT = int(os.environ.get("HMC_FUZZ", "150"))
SEED = int(os.environ.get("HMC_FUZZ_SEED", "0"))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_mutated_files_are_read_or_refused(reader: Reader) -> None:
    found = failures(reader, max(20, COUNT // reader.slow), SEED)
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_valid_files_are_read(reader: Reader, tmp_path: Path) -> None:
    for content in reader.seeds:
        reader.read(content, tmp_path)


@pytest.mark.parametrize("reader", [*FORMATS, *ONTOLOGIES], ids=lambda reader: reader.name)
@settings(
    max_examples=min(COUNT, 1000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_heaps_of_tokens_are_read_or_refused(reader: Reader, tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(reader.seeds))
    place = data.draw(st.integers(0, len(content)))
    heap = data.draw(st.lists(st.sampled_from(reader.tokens) | st.binary(max_size=8), max_size=20))
    rest = content[place:] if data.draw(st.booleans()) else b""
    assert complaint(reader, content[:place] + b"".join(heap) + rest, tmp_path) is None


def test_the_harness_finds_what_it_looks_for() -> None:
    def read(content: bytes, _: Path) -> object:
        if b"loop" in content:
            while True:
                time.process_time()
        if b"memory" in content:
            return bytearray(1 << 31)
        if b"die" in content:
            os._exit(3)
        if b"key" in content:
            return {}["key"]
        if b"lines" in content:
            raise ValueError("two\nlines")
        raise ValueError("refused")

    words = {
        b"memory": "MemoryError",
        b"die": "the process died, exit code 3",
        b"key": "KeyError",
        b"lines": "a message of 9 characters",
        b"loop": f"more than {SECONDS} s",
    }
    for word, what in words.items():
        reader = Reader(word.decode(), read, (b"", word), tokens=(word,))
        first = next(number for number in range(100) if word in damaged(reader, 0, number))
        found = failures(reader, first + 1)
        assert [failure.number for failure in found] == [first], word
        assert what in found[0].what

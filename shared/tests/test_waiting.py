"""What a terminal shows while something takes long."""

from __future__ import annotations

import io
import sys

import pytest

from hmc_shared import waiting as module
from hmc_shared.data import load_dataset
from hmc_shared.waiting import waiting, watched


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stderr", [None, io.StringIO()])
def test_without_a_terminal_nothing_asks_for_the_lock_of_tqdm(stderr, monkeypatch):
    def locked(*_: object, **__: object) -> None:
        raise AssertionError("a killed process may have kept the lock")

    monkeypatch.setattr(module, "tqdm", locked)
    monkeypatch.setattr(sys, "stderr", stderr)
    load_dataset("digits")
    with waiting("reading"):
        assert list(watched(range(3), "scoring", 3, "rows")) == [0, 1, 2]


def test_a_terminal_shows_what_is_read(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    load_dataset("digits")
    assert "reading digits ..." in terminal.getvalue()
    assert list(watched(range(3), "scoring", 3, "rows")) == [0, 1, 2]


def test_other_processes_than_the_first_show_nothing(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(module, "is_first_process", lambda: False)
    load_dataset("digits")
    assert not terminal.getvalue()

"""A comparison of two methods, and a report read back."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from hmc_shared.compare.comparison import Comparison, compare

VOID = {"meta", "img", "br", "wbr"}


class Page(HTMLParser):
    """The report as a reader has it: fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append(attributes["src"])
        assert "src" not in attributes or tag == "img"
        assert tag not in {"script", "link", "iframe", "object"}
        if tag == "table":
            self._rows = self.tables[attributes.get("class") or f"#{len(self.tables)}"] = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td"):
            self._rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        data = data.replace("\xa0", " ")
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data


@pytest.fixture
def comparison(make_run) -> Comparison:
    for method, noise in {"good": 0.7, "poor": 1.6}.items():
        for seed in range(3):
            command = f"{method} train --seed {seed}"
            root = make_run(method, seed, noise=noise, results={"command": command}).parents[1]
    return compare([root], ["au_prc", "hvr", "accuracy_level_*"])


@pytest.fixture
def read_page() -> type[Page]:
    return Page

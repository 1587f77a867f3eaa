"""The tokens of an ARFF line: names, cells, entries of sparse rows, with quotes, escapes and comments.

As Weka reads them (``weka.core.converters.ArffLoader``), with differences that published files need: a comma
alone separates where a line has one, so a value may hold blanks; and only where a cell could begin, ``%``
begins a comment, and a quote a quoted text, so ``0.2%_MMS`` and ``m\\'usica`` are names.
"""

from __future__ import annotations

import re

QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
WORD = rf"{QUOTED}|[^\s,{{}}'\"%][^\s,{{}}]*"
COMMA_CELL = re.compile(
    rf"\s*(?:(?P<quoted>{QUOTED})|(?P<plain>(?:[^\s,{{}}'\"%](?:[^,{{}}%]|(?<=\S)%)*)?))\s*(?P<end>,|%|$|(?=[{{}}]))",
    re.DOTALL,
)
BLANK_CELL = re.compile(
    rf"\s*(?:(?P<quoted>{QUOTED})|(?P<plain>[^\s,{{}}'\"%][^\s{{}}]*))(?P<end>\s*(?:%|$|(?=[{{}}]))|\s+)",
    re.DOTALL,
)
ENTRY = re.compile(rf"\s*([0-9]{{1,9}})\s+({WORD})(?:\s*,|\s+|(?=}}))", re.DOTALL)
CLOSED = re.compile(r"\s*}\s*(?:%.*)?", re.DOTALL)
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
CONTROL = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
QUOTED_CELL = re.compile(rf"(?<![^\s,])(?:{QUOTED})", re.DOTALL)
END_OF_CELLS = re.compile(r"[{}]|(?<![^\s,])%")
SPECIAL = re.compile(r"['\"{}%]")


def split_cells(text: str, *, blanks: bool = True) -> tuple[list[str], str]:
    """The cells of a dense row, and what follows them from the first brace outside quotes on.

    Commas separate cells; where there is none, blanks do, unless ``blanks`` is False. Raises ValueError for a
    quote that is not closed, or is not around a whole value.
    """
    text = text.strip()
    if not SPECIAL.search(text):  # nearly all rows
        cells = text.split(",")
        if len(cells) == 1 and blanks:
            return text.split(), ""
        has_blanks = len(text.split(None, 1)) > 1
        return [cell.strip() for cell in cells] if has_blanks else cells, ""
    plain = END_OF_CELLS.split(QUOTED_CELL.sub("", text), maxsplit=1)[0]
    pattern = COMMA_CELL if "," in plain or not blanks or not plain else BLANK_CELL
    cells, position, end = [], 0, ","
    while end != "%":
        match = pattern.match(text, position)
        if not match:
            found = text[position : position + 40]
            raise ValueError(f"expected a value, and quotes around the whole of it, found {found!r}")
        cells.append(unquoted(match["quoted"]) if match["quoted"] else match["plain"].rstrip())
        position, end = match.end(), match["end"].strip()
        if end != "," and (position == len(text) or text[position] in "{}"):
            break
    return cells, "" if end == "%" else text[position:]


def split_entries(text: str) -> list[tuple[int, str]]:
    """The (index, cell) pairs of a sparse row, from its brace on. Raises ValueError for anything else."""
    entries, position = [], 1
    while match := ENTRY.match(text, position):
        entries.append((int(match[1]), unquoted(match[2])))
        position = match.end()
    if not CLOSED.fullmatch(text, position):
        raise ValueError(f"expected {{index value, ...}}, found {text[position:][:40]!r}")
    return entries


def unquoted(word: str) -> str:
    """A name or value without its quotes, escapes replaced; one without quotes stays as it is."""
    if word[:1] not in ("'", '"'):
        return word
    return unescaped(word[1:-1]) if "\\" in word else word[1:-1]


def unescaped(text: str) -> str:
    r"""``\n``, ``\t``, ``\r``, ``\b``, ``\f`` and ``\uXXXX`` replaced; others stand for themselves."""

    def replacement(match: re.Match[str]) -> str:
        found = match[1]
        return chr(int(found[1:], 16)) if len(found) > 1 else CONTROL.get(found, found)

    text = ESCAPE.sub(replacement, text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins pairs of \uD8xx\uDCxx

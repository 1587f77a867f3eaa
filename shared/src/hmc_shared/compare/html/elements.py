"""Pieces of HTML: tables, plots, folds."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape

from hmc_shared.compare.comparison import ComparisonTable
from hmc_shared.compare.html.pictures import data_uri


def html_table(head: Sequence[str], rows: Sequence[str], name: str) -> str:
    columns = "".join(f"<th>{column}</th>" for column in head)
    body = "\n".join(rows)
    return (
        f'<div class="wide"><table class="{name}"><thead><tr>{columns}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def html_row(words: Sequence[str]) -> str:
    """A line of a table from HTML: the first word is its heading."""
    first, *others = words
    return f"<tr><th>{first}</th>{''.join(f'<td>{word}</td>' for word in others)}</tr>"


def figure(plot: Callable[[io.BytesIO], None], text: str, is_wide: bool = False) -> str:
    """A plot below its text; a wide one scrolls by itself where the page is narrow."""
    buffer = io.BytesIO()
    plot(buffer)
    # As an image: inline SVGs would share their ids and styles.
    source = data_uri(buffer.getvalue(), "image/svg+xml")
    image = f'<img class="plot" src="{source}" alt="{text}">'
    return f"<p>{text}</p>\n" + (f'<div class="wide panels">{image}</div>' if is_wide else image)


def side_by_side(parts: Sequence[str], kind: str = "pair") -> str:
    """Parts two abreast where there is room; of ``kind`` "uneven" the first is wider."""
    return f'<div class="{kind}">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def fold(summary: str, content: str, is_open: bool = False) -> str:
    """Content that a click shows or hides."""
    return f"<details{' open' if is_open else ''}><summary>{escape(summary)}</summary>\n{content}\n</details>"


def breakable(name: str) -> str:
    """A name that may be divided after its separators."""
    return re.sub(r"(?<=[/._@-])(?=\w)", "<wbr>", escape(name))


def more(number: int, text: str) -> str:
    return f"<p>{number} more {text}.</p>" if number > 0 else ""


def over_seeds(table: ComparisonTable) -> str:
    return ", mean over seeds" if any(len(row.runs) > 1 for row in table.rows) else ""

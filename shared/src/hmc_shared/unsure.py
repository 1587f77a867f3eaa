"""What is made of labels that were left open, in tables with a column of 0 and 1 for each class."""

from __future__ import annotations

from typing import Literal

Uncertain = Literal["refuse", "positive", "negative", "unknown"]
"""Of -1, a finding of which a report is not sure in CheXpert (Irvin et al. 2019)."""
Blank = Literal["refuse", "negative", "unknown"]
"""Of an empty cell, which is a class that the report does not mention."""

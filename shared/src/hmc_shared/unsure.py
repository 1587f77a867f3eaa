"""What is made of labels that were left open, in tables with a column of 0 and 1 for each class."""

from __future__ import annotations

from typing import Literal

Uncertain = Literal["refuse", "positive", "negative"]
"""Of -1, by which CheXpert (Irvin et al. 2019) says that a report is not sure; its U-Ones, U-Zeros."""
Blank = Literal["refuse", "negative"]
"""Of an empty cell, which is a class that the report does not mention."""

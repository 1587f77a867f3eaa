"""Texts to vectors without a network: TF-IDF and its singular vectors, kept as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

MOST_TERMS = 2**15
"""The most frequent pieces of words that are counted."""
SEED = 0


def vectoriser(**options: Any) -> Any:
    """Two to four neighbouring characters of a word with a blank on each side, in lower case and without
    accents: they know words in other forms and languages without blanks, and forgive mistakes in writing."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # a second, for texts alone

    kind: Any = TfidfVectorizer  # whose types are inferred from its defaults
    return kind(
        analyzer="char_wb",
        ngram_range=(2, 4),
        strip_accents="unicode",
        sublinear_tf=True,
        dtype=np.float32,
        **options,
    )


@dataclass(frozen=True, eq=False)
class TextFit:
    """What was learnt from the training texts.

    With the counts c(t) of the V terms in a text, its vector is A w / ||w|| for
    w(t) = (1 + log c(t)) idf(t) where c(t) > 0, and 0 elsewhere.
    """

    terms: tuple[str, ...]
    """V pieces of words."""
    idf: np.ndarray
    """(V,) float32: 1 + log((1 + n) / (1 + n(t))) of n training texts, n(t) with the term."""
    components: np.ndarray
    """A, (k, V) float16: the right singular vectors of the training texts' w / ||w||."""

    def __post_init__(self) -> None:
        k, terms = self.components.shape if self.components.ndim == 2 else (0, 0)
        if k < 1 or terms != len(self.terms) or self.idf.shape != (terms,):
            shapes = f"{len(self.terms)}, {self.idf.shape} and {self.components.shape}"
            raise ValueError(f"terms, idf and components should be V, (V,) and (k, V). Found {shapes}.")
        if len({*self.terms}) < terms:
            raise ValueError("each term should stand once. Found one again.")
        if not (np.isfinite(self.idf).all() and np.isfinite(self.components).all()):
            raise ValueError("idf and components should be finite.")

    def __len__(self) -> int:
        return len(self.components)

    @cached_property
    def _vectoriser(self) -> Any:
        fitted = vectoriser(vocabulary=self.terms)
        fitted.idf_ = self.idf
        return fitted

    @cached_property
    def _projection(self) -> np.ndarray:
        return self.components.astype(np.float32).T

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(n, k) float32; 0 for a text of unknown words."""
        return self._vectoriser.transform(texts) @ self._projection


def fit_texts(texts: Sequence[str], size: int) -> TextFit:
    """Learn from training texts; ``size`` is k, less where there are fewer texts or terms.

    Raises ValueError for texts without a word.
    """
    from sklearn.decomposition import TruncatedSVD

    counter = vectoriser(max_features=MOST_TERMS)
    try:
        weights = counter.fit_transform(texts)
    except ValueError as error:
        raise ValueError("the training texts should have words. Found none.") from error
    k = min(size, *weights.shape)
    with np.errstate(all="ignore"):  # shares of a variance of 0, which nobody asks for
        svd: Any = TruncatedSVD(k, random_state=SEED).fit(weights)
    terms = counter.get_feature_names_out().tolist()
    return TextFit(tuple(terms), counter.idf_.astype(np.float32), svd.components_.astype(np.float16))

"""Raw columns in splits: statistics for standardising, imputation, a validation split where there is none."""

from __future__ import annotations

from typing import Literal

import numpy as np

Protocol = Literal["default", "paper"]
Arrays = dict[str, np.ndarray]


def prepare(
    files: Arrays, protocol: Protocol, sampled: np.ndarray | None = None
) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """Divide raw features into splits, and take the statistics by which a model standardises them.

    Args:
        files: "train", "test" and perhaps "validation" to (n, F) float64, NaN where a value is missing.
        protocol: "default" takes the means and deviations of the training split only, missing values
            counted as the mean; a column that is constant there has the deviation inf, and so becomes 0
            everywhere. "paper" does what the public code of C-HMCNN does (Giunchiglia and Lukasiewicz, 2020):
            each file is imputed with its own column means, mean and deviation are those of training and
            validation rows together, and a constant column has the deviation 1.
        sampled: (n,) bool, the rows of the training file that become the validation split.

    Returns:
        "train", "validation" and "test" to (n, F) float32, NaN where a value is missing (none under "paper");
        and the mean and the scale, (F,) float64: a model takes (x - mean) / scale, and 0 where x is missing.
    """
    files = dict(files)  # of which each goes as soon as it is done
    if protocol == "paper":
        for name, x in files.items():
            files[name] = impute(x, column_means(x))
    if sampled is not None:
        files |= divide(files, sampled)
    if protocol == "default":
        mean, scale = statistics(files["train"])
    else:
        mean, scale = statistics(np.concatenate([files["train"], files["validation"]]), of_constant=1.0)
    return {name: files.pop(name).astype(np.float32) for name in list(files)}, mean, scale


def statistics(x: np.ndarray, of_constant: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (F,) of rows (n, F), missing values counted as the mean, for standardising.

    A constant column has the deviation ``of_constant``; with inf it becomes 0 everywhere.
    """
    x = impute(x, column_means(x))
    # A constant column may have a deviation of 1e-17 instead of 0: compare its values, not its deviation.
    constant = x.max(0) == x.min(0)
    return x.mean(0), np.where(constant, of_constant, x.std(0))


def divide(files: Arrays, sampled: np.ndarray | None) -> Arrays:
    """Move the ``sampled`` rows of "train" to "validation"; None leaves the files as they are."""
    if sampled is None:
        return files
    return {"train": files["train"][~sampled], "validation": files["train"][sampled], "test": files["test"]}


def column_means(x: np.ndarray) -> np.ndarray:
    """(F,) means of the values that are there; 0 for a column without any."""
    if not np.isnan(x).any():
        return x.sum(0) / max(len(x), 1)
    present = ~np.isnan(x)
    return np.where(present, x, 0.0).sum(0) / np.maximum(present.sum(0), 1)


def impute(x: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Replace NaN by the value of ``means`` (F,) in its column."""
    return np.where(np.isnan(x), means, x) if np.isnan(x).any() else x


def shuffled(n: int, seed: int) -> np.ndarray:
    """The numbers 0..n-1 in random order, by integers and a stable sort: the same on every platform."""
    return np.argsort(np.random.default_rng(seed).integers(0, 2**62, n), kind="stable")


def sample_splits(targets: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Row numbers of 60 % training, 20 % validation and 20 % test, stratified, each in ascending order."""
    test = stratified_sample(targets, 0.2, seed)
    rest = np.flatnonzero(~test)
    validation = stratified_sample(targets[rest], 0.25, seed)
    return {"train": rest[~validation], "validation": rest[validation], "test": np.flatnonzero(test)}


def stratified_sample(targets: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Sample about ``share`` of the rows so that every class keeps its share: (n,) bool, True where sampled.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011, Algorithm 1) into two parts: take the
    class with the fewest rows left, give each of its rows to the part that still wants most of that class,
    then to the part that wants most rows. ``targets`` is (n, C) bool.
    """
    shares = np.array([1.0 - share, share])
    wanted_rows = shares * len(targets)
    wanted = shares[:, None] * targets.sum(0)  # (2, C)
    left = targets.sum(0)  # rows of each class not yet given away
    part = np.full(len(targets), -1)

    def assign(rows: np.ndarray, label: int | None) -> None:
        for row in rows:
            rest, sampled = wanted_rows if label is None else wanted[:, label]
            if rest == sampled:
                rest, sampled = wanted_rows
            part[row] = int(sampled > rest)
            wanted_rows[part[row]] -= 1
            wanted[part[row]] -= targets[row]
            left[:] -= targets[row]

    order = shuffled(len(targets), seed)
    while left.any():
        rarest = int(np.where(left > 0, left, len(targets) + 1).argmin())
        assign(order[targets[order, rarest] & (part[order] < 0)], rarest)
    assign(order[part[order] < 0], None)  # rows without any class
    return part == 1

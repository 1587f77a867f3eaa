"""Is a difference more than chance? Ranks over many data sets, and bootstrap intervals for two runs on one.

The tests over data sets need the extra ``hmc-shared[stats]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from hmc_shared.compare.align import align
from hmc_shared.compare.comparison import LOWER_IS_BETTER, NOT_RANKED, Comparison
from hmc_shared.compare.plots import save
from hmc_shared.messages import counted
from hmc_shared.metrics import summarize
from hmc_shared.runs.read import Run, load_run
from hmc_shared.waiting import watched


@dataclass(frozen=True)
class Ranks:
    """Methods ranked on each data set (Demsar 2006); rank 1 is the best, equal values share the mean rank."""

    metric: str
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    values: np.ndarray
    """(N, k) means over the seeds of a method on a data set; NaN where it has none and is ranked last."""
    ranks: np.ndarray
    """(N, k)."""
    friedman: float
    """Chi-squared statistic of Friedman's test with correction for ties; NaN for two methods."""
    friedman_p: float
    """Probability of ranks at least this different if all methods were equal."""
    nemenyi_p: np.ndarray
    """(k, k) the same for each pair of methods, corrected for the number of pairs."""
    notes: tuple[str, ...]
    """What was left out, one line each."""

    @property
    def average(self) -> np.ndarray:
        """(k,) average ranks."""
        return self.ranks.mean(0)

    def critical_difference(self, alpha: float = 0.05) -> float:
        """Average ranks that are further apart differ at level ``alpha`` (Nemenyi)."""
        from scipy.stats import studentized_range  # optional: the extra `stats`

        n, k = self.ranks.shape
        return float(studentized_range.ppf(1 - alpha, k, math.inf) * math.sqrt(k * (k + 1) / (12 * n)))


def rank_methods(
    comparison: Comparison,
    metric: str,
    methods: Sequence[str] = (),
    missing: Literal["drop", "last"] = "drop",
) -> Ranks:
    """Rank the rows of the comparison's tables by one metric.

    Args:
        comparison: of runs under one protocol; each of its tables is a data set.
        metric: name as in ``summarize``.
        methods: methods to rank, all by default.
        missing: what becomes of a data set without one of them, with a note: it is left out, or the method is
            ranked last there, as in Table II of HLSTM; several share the mean of the last ranks.

    Raises ValueError for several protocols, a metric or method that is unknown, a method with several rows on
    a data set, fewer than two methods or data sets, and without the extra ``stats``.
    """
    metric = metric.removeprefix("test/")
    protocols = {table.protocol for table in comparison.tables}
    if len(protocols) > 1:
        raise ValueError(f"Ranks should be over one protocol. Found {', '.join(sorted(protocols))}.")
    if metric in NOT_RANKED or not any(metric in table.all_metrics for table in comparison.tables):
        raise ValueError(f"`--metric` should be one that the runs have and that can rank. Found {metric!r}.")
    known = tuple(dict.fromkeys(row.method for table in comparison.tables for row in table.rows))
    unknown = [name for name in methods if name not in known]
    if unknown:
        raise ValueError(f"`--methods` should be among {', '.join(known)}. Found {unknown[0]!r}.")
    names = tuple(methods) or known
    values, datasets, notes = [], [], []
    for table in comparison.tables:
        rows = [row for row in table.rows if row.method in names and metric in table.all_metrics]
        means = {row.method: row.metric(metric).mean for row in rows}
        if len(means) < len(rows):
            labels = ", ".join(row.label for row in rows)
            raise ValueError(
                f"A method should have one set of options on a data set; name the runs to rank. "
                f"Found on {table.dataset}: {labels}."
            )
        found = [means.get(name, math.nan) for name in names]
        without = ", ".join(name for name, mean in zip(names, found, strict=True) if math.isnan(mean))
        if without and (missing == "drop" or all(map(math.isnan, found))):
            notes.append(f"{table.dataset} is left out: it has no {metric} of {without}.")
            continue
        if without:
            notes.append(f"{table.dataset} has no {metric} of {without}: ranked last.")
        datasets.append(table.dataset)
        values.append(found)
    if len(names) < 2 or len(datasets) < 2:
        reasons = " ".join(["", *notes])
        raise ValueError(
            "Ranks should be of at least two methods on at least two data sets that have all of them. "
            f"Found {counted(len(names), 'method')} on {counted(len(datasets), 'data set')}.{reasons}"
        )
    return _tests(metric, names, tuple(datasets), np.array(values), tuple(notes))


def _tests(
    metric: str,
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    values: np.ndarray,
    notes: tuple[str, ...],
) -> Ranks:
    try:  # optional: the extra `stats`
        from scikit_posthocs import posthoc_nemenyi_friedman
        from scipy.stats import friedmanchisquare, rankdata
    except ImportError as error:
        raise ValueError("Ranks need the extra stats: pip install 'hmc-shared[stats]'.") from error
    losses = np.nan_to_num(values if metric in LOWER_IS_BETTER else -values, nan=math.inf, posinf=math.inf)
    chi_squared = p = math.nan
    if len(methods) > 2:  # for two, Nemenyi's test is enough
        chi_squared, p = friedmanchisquare(*losses.T)
    return Ranks(
        metric=metric,
        methods=methods,
        datasets=datasets,
        values=values,
        ranks=rankdata(losses, axis=1),
        friedman=float(chi_squared),
        friedman_p=float(p),
        nemenyi_p=posthoc_nemenyi_friedman(losses).to_numpy(),
        notes=notes,
    )


def to_text(ranks: Ranks) -> str:
    """The values, the average ranks and the tests, as aligned text."""
    return f"{align(to_rows(ranks))}\n\n{describe_tests(ranks)}"


def to_rows(ranks: Ranks) -> list[list[str]]:
    """A heading, the values and ranks on each data set, the average ranks; the best method first."""
    best_first = ranks.average.argsort(kind="stable")
    rows = [
        [
            dataset,
            *(f"{'-' if np.isnan(values[i]) else f'{values[i]:.4f}'} ({rank[i]:g})" for i in best_first),
        ]
        for dataset, values, rank in zip(ranks.datasets, ranks.values, ranks.ranks, strict=True)
    ]
    average = ["average rank", *(f"{ranks.average[i]:.2f}" for i in best_first)]
    return [[f"{ranks.metric} (rank)", *(ranks.methods[i] for i in best_first)], *rows, average]


def describe_tests(ranks: Ranks, alpha: float = 0.05) -> str:
    """What the tests say: a line for that of Friedman, one for that of Nemenyi."""
    best_first, lines = ranks.average.argsort(kind="stable"), list[str]()
    if not math.isnan(ranks.friedman):
        lines.append(f"Friedman: chi-squared {ranks.friedman:.2f}, p = {ranks.friedman_p:.2g}")
    apart = [
        f"{ranks.methods[i]} and {ranks.methods[j]} (p = {ranks.nemenyi_p[i, j]:.2g})"
        for place, i in enumerate(best_first)
        for j in best_first[place + 1 :]
        if ranks.nemenyi_p[i, j] < alpha
    ]
    lines.append(
        f"Nemenyi: average ranks {ranks.critical_difference(alpha):.2f} apart differ at level {alpha:g}: "
        f"{', '.join(apart) or 'none do'}"
    )
    return "\n".join(lines)


def critical_difference_diagram(ranks: Ranks, path: str | Path, alpha: float = 0.05) -> None:
    """Plot average ranks on a line; a bar joins methods that do not differ at level ``alpha`` (Nemenyi)."""
    import pandas as pd  # comes with scikit-posthocs
    import scikit_posthocs  # optional: the extra `stats`

    figure = Figure(figsize=(7, 1.2 + 0.25 * len(ranks.methods)), layout="constrained")
    axes = figure.add_subplot()
    names = list(ranks.methods)
    p = pd.DataFrame(ranks.nemenyi_p, index=names, columns=names)
    scikit_posthocs.critical_difference_diagram(
        pd.Series(ranks.average, index=names),
        p,
        ax=axes,
        alpha=alpha,
        label_fmt_left="{label} ({rank:.2f})",
        label_fmt_right="({rank:.2f}) {label}",
    )
    distance = ranks.critical_difference(alpha)
    title = (
        f"average rank by {ranks.metric}, {len(ranks.datasets)} data sets; critical difference {distance:.2f}"
    )
    axes.set_title(title, fontsize=10)
    save(figure, path)


@dataclass(frozen=True)
class Difference:
    """One metric of two runs on the same test samples."""

    metric: str
    first: float
    second: float
    low: float
    """Lower end of the interval of ``first - second``."""
    high: float
    level: float
    """Coverage of the interval."""
    resamples: int
    undefined: int
    """Resamples left out because the metric is undefined there, for example without positives."""

    @property
    def difference(self) -> float:
        return self.first - self.second


def paired_bootstrap(
    first: str | Path,
    second: str | Path,
    metric: str,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    progress: bool = False,
) -> Difference:
    """Percentile interval of the difference of two runs, over test samples resampled with replacement.

    Both runs are scored on the same resamples, so what they share cancels. The interval covers other test
    samples from the same source, not other seeds: for those, compare several runs of each.

    Args:
        first, second: run folders with the same test samples.
        metric: name as in :func:`hmc_shared.metrics.summarize`.
        resamples: number of resamples, each as large as the test set.
        level: coverage of the interval.
        seed: of the resampling.
        progress: show a bar in a terminal.

    Raises ValueError for damaged runs, runs on different data, and a metric that they do not have.
    """
    metric = metric.removeprefix("test/")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(
            f"`level` should lie in (0, 1) and `resamples` be at least 1. Found {level} and {resamples}."
        )
    runs = load_run(first), load_run(second)
    _check_same_data(*runs)
    samples = len(runs[0].targets)
    metrics = [_metrics(run, np.arange(samples)) for run in runs]
    known = [name for name in metrics[0] if name in metrics[1]]
    if metric not in known:
        raise ValueError(f"`--metric` should be among {', '.join(known)}. Found {metric!r}.")
    rng = np.random.default_rng(seed)
    differences = np.full(resamples, math.nan)
    draws = range(resamples)
    for i in watched(draws, metric, resamples, "resamples") if progress else draws:
        rows = rng.integers(samples, size=samples)
        one, other = (_metrics(run, rows, metric).get(metric, math.nan) for run in runs)
        differences[i] = one - other
    defined = differences[~np.isnan(differences)]
    low, high = math.nan, math.nan
    if len(defined):
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Difference(
        metric,
        first=metrics[0][metric],
        second=metrics[1][metric],
        low=float(low),
        high=float(high),
        level=level,
        resamples=resamples,
        undefined=resamples - len(defined),
    )


def _check_same_data(one: Run, other: Run) -> None:
    same = (
        one.hierarchy.checksum == other.hierarchy.checksum
        and np.array_equal(one.ids, other.ids)
        and np.array_equal(one.targets, other.targets)
        and np.array_equal(one.unknown, other.unknown)  # type: ignore[arg-type]  # both may be None
        and np.array_equal(one.evaluated, other.evaluated)
    )
    if not same:
        raise ValueError(
            "Two runs should share test samples, targets and classes. "
            f"Found others in {one.path} than in {other.path}."
        )


def _metrics(run: Run, rows: np.ndarray, only: str | None = None) -> dict[str, float]:
    return summarize(
        run.scores[rows],
        run.targets[rows],
        run.hierarchy,
        evaluated=run.evaluated,
        train_counts=run.train_counts if run.train_counts.any() else None,
        information=run.information,
        threshold=run.threshold,
        answers=None if run.answers is None else run.answers[rows],
        unknown=None if run.unknown is None else run.unknown[rows],
        only=only,
    )

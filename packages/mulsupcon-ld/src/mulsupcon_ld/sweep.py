"""``mulsupcon-ld sweep``: the ablation of Section 4.2 and the grid over alpha and beta."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from hmc_shared.cli import options
from mulsupcon_ld.config import FREE, Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hmc_shared.compare.comparison import Statistic
    from hmc_shared.data import HierarchicalDataset

METRICS = {  # the paper's abbreviations, in its order
    "HA": "hamming_accuracy",
    "ebF1": "f1_example",
    "miF1": "f1_micro",
    "maF1": "f1_macro",
    "p@1": "precision_at_1",
    "mAP": "map",
}


@dataclass(frozen=True)
class SweepConfig(Config):
    """Train without alpha, beta and both (ablation), or with all pairs of values of them (grid).

    All options of `mulsupcon-ld train` count for every run. Runs go to
    <output-dir>/alpha-<alpha>-beta-<beta>/seed-<seed>, the table to <output-dir>/<kind>.md, the heat map to
    <kind>.png. Finished runs are read, not repeated, and an interrupted one goes on.
    """

    kind: Annotated[Literal["ablation", "grid"], tyro.conf.Positional] = "ablation"
    """What to train. The ablation starts from --alpha and --beta."""
    alphas: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    """Values of alpha in the grid; default: the paper's."""
    betas: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    """Values of beta in the grid; default: the paper's."""
    seeds: tuple[int, ...] = ()
    """Seeds of the runs with each setting; default: three, from --seed on."""
    output_dir: str | None = None
    """Folder of the sweep; default: sweeps/<dataset>/<loss>."""
    resume: bool = True
    """Always on: finished runs stay, interrupted ones go on."""
    overwrite: bool = False
    """Train all runs anew."""

    @property
    def folder(self) -> Path:
        # Not below runs/: `hmc compare` would find the same setting twice there.
        return Path(self.output_dir or Path("sweeps", *self.run_folder.parts[1:-1]))

    @property
    def settings(self) -> dict[str, tuple[float, float]]:
        """Name to alpha and beta."""
        alpha, beta = self.alpha, self.beta
        if self.kind == "ablation":
            return {
                "full": (alpha, beta),
                "without alpha": (0.0, beta),
                "without beta": (alpha, 0.0),
                "without both": (0.0, 0.0),
            }
        return {f"alpha {a:g}, beta {b:g}": (a, b) for a, b in product(self.alphas, self.betas)}

    def __post_init__(self) -> None:
        super().__post_init__()
        options.check(self, "loss", self.has_distributions, "be cld or rld in a sweep")
        for name in ("alpha", "beta") if self.kind == "ablation" else ():
            options.check(self, name, getattr(self, name) > 0, "be above 0 in an ablation")
        for name in ("alphas", "betas", "seeds"):
            given = getattr(self, name)
            options.check(self, name, len(set(given)) == len(given), "differ from each other")
            options.check(self, name, bool(given) or name == "seeds", "be at least one")

    def run(self, alpha: float, beta: float, seed: int) -> Config:
        """The options of one run."""
        own = {
            "alpha": alpha,
            "beta": beta,
            "seed": seed,
            "output_dir": str(self.folder / f"alpha-{alpha:g}-beta-{beta:g}" / f"seed-{seed}"),
            "resume": not self.overwrite,
        }
        return Config(**{field.name: getattr(self, field.name) for field in fields(Config)} | own)


Row = dict[str, "Statistic"]


def sweep(config: SweepConfig, dataset: HierarchicalDataset | None = None) -> dict[str, Row]:
    """Train what is not finished; returns the metrics of each setting over the seeds.

    They are the paper's six on the test split, at the threshold of the run; under ``--protocol paper`` those
    of the public code; and ``validation``, the mAP there, but for that protocol. Table and heat map are
    written, too.

    Args:
        config: all options.
        dataset: used instead of loading ``config.dataset``.

    Raises ValueError for wrong options, a finished run with other options, and several processes.
    """
    from hmc_shared.compare.comparison import Statistic
    from hmc_shared.compare.plots import save
    from hmc_shared.runs.folder import RunFolder
    from mulsupcon_ld.train import train

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        rule = "train single runs with `mulsupcon-ld train` in several"
        raise ValueError(f"A sweep should run in one process: {rule}.")
    seeds = config.seeds or range(config.seed, config.seed + 3)
    runs = {name: [config.run(*pair, seed) for seed in seeds] for name, pair in config.settings.items()}
    for run in (run for group in runs.values() for run in group):
        if run.resume and (run.run_folder / "results.json").is_file():
            RunFolder(run.run_folder, resume=True).check_same_options(asdict(run), free=FREE)
        else:
            print(run.run_folder, file=sys.stderr)
            train(run, dataset)

    rows: dict[str, Row] = {}
    for name, group in runs.items():
        found = [run_metrics(run.run_folder) for run in group]
        rows[name] = {metric: Statistic(tuple(one[metric] for one in found)) for metric in found[0]}
    text = f"# {config.kind} of {config.loss} on {config.dataset}, protocol {config.protocol}\n\n"
    text += to_markdown(config, rows)
    (config.folder / f"{config.kind}.md").write_text(text + "\n", encoding="utf-8")
    save(draw(config, rows), config.folder / f"{config.kind}.png")
    return rows


def run_metrics(folder: Path) -> dict[str, float]:
    """The six metrics of a finished run, NaN if undefined, and its best mAP on validation, if any."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    of_test = {name.removeprefix("test/"): value for name, value in results["metrics"].items()}
    of_test |= results["published_metrics"]
    found = {short: of_test[name] for short, name in METRICS.items()}
    if results["validation"] is not None:
        found["validation"] = results["validation"]
    return {name: math.nan if value is None else value for name, value in found.items()}


def to_markdown(config: SweepConfig, rows: dict[str, Row]) -> str:
    """A table, mean ± sample standard deviation over seeds; and the best setting on validation, if any."""
    first = next(iter(rows.values()))
    columns = list(first)
    choice = "thresholds chosen there" if config.protocol == "paper" else "threshold from validation"
    seeds = len(first["mAP"].values)
    lines = [f"Test split, {choice}; mean over seeds ({seeds}); validation is mAP.", ""]
    lines += [
        f"| setting | alpha | beta | {' | '.join(columns)} |",
        "|---" * 3 + "|---:" * len(columns) + "|",
    ]
    for name, row in rows.items():
        cells = [name, *(f"{value:g}" for value in config.settings[name])]
        for statistic in (row[column] for column in columns):
            spread = "" if math.isnan(statistic.sd) else f" ± {statistic.sd:.4f}"
            cells.append(f"{statistic.mean:.4f}{spread}")
        lines.append(f"| {' | '.join(cells)} |")
    if "validation" in columns:
        best = max(rows, key=lambda name: rows[name]["validation"].mean)
        lines += ["", f"Best on validation: {best}."]
    return "\n".join(lines)


def draw(config: SweepConfig, rows: dict[str, Row]) -> Figure:
    """The heat map: of the grid, alpha by beta for each metric; of the ablation, settings by metrics."""
    import numpy as np

    from mulsupcon_ld.figures import draw_ablation, draw_grid

    means = np.array([[row[metric].mean for metric in METRICS] for row in rows.values()])  # (settings, 6)
    if config.kind == "ablation":
        return draw_ablation(means, list(rows), list(METRICS))
    maps = means.T.reshape(len(METRICS), len(config.alphas), len(config.betas))
    return draw_grid(dict(zip(METRICS, maps, strict=True)), config.alphas, config.betas)


def command(argv: list[str]) -> None:
    config = options.parse(SweepConfig, argv, prog="mulsupcon-ld sweep", package="mulsupcon_ld")
    print(to_markdown(config, sweep(config)))
    print(f"\n{config.folder / config.kind}.md, .png")


if __name__ == "__main__":
    options.main(command, prog="python -m mulsupcon_ld.sweep")

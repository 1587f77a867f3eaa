"""``mulsupcon-ld explain``: logical labels beside the label distributions that the pre-training recovered."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hmc_shared.compare.plots import save
from hmc_shared.data import HierarchicalDataset
from hmc_shared.predict.score import score_split
from hmc_shared.predict.write import write_table
from hmc_shared.runs.evaluate import dataset_of_run
from hmc_shared.runs.options import open_run
from mulsupcon_ld.build import load_model
from mulsupcon_ld.config import ExplainConfig
from mulsupcon_ld.drawing import draw_maps, draw_samples
from mulsupcon_ld.explanation import Explanation, to_text

PANELS = 12  # samples that a figure shows one by one; more are shown as two maps


def explain(config: ExplainConfig, dataset: HierarchicalDataset | None = None) -> Explanation:
    """The labels and the recovered distributions of a split or of some of its samples.

    Args:
        config: all options.
        dataset: used instead of loading the run's.

    Raises ValueError for a run without recovered distributions, other data, and an unknown sample.
    """
    _, options = open_run(config.run)
    folder = Path(config.run) / "pretrained"
    loss = options.get("loss")
    if loss not in ("cld", "rld") or not folder.is_dir():
        what = f"--loss {loss}" if loss else "no such run"
        rule = "be a run of --loss cld or rld that has finished its pre-training"
        raise ValueError(f"`run` should {rule}. Found {what} in {config.run}.")
    model = load_model(folder)
    dataset = dataset or dataset_of_run(config.run, options, model, data_dir=config.data_dir)
    split = dataset.splits[config.split]
    split = split.select(choose(split.ids, config.samples).numpy())
    model.is_constrained = False  # D = softmax(fc(r)), whatever is done to scores
    degrees = score_split(model, split, config.workers).softmax(1)
    return Explanation(split.ids, dataset.hierarchy, split.targets.numpy(), degrees.numpy())


def choose(ids: tuple[str, ...], samples: tuple[str, ...]) -> Tensor:
    """Row numbers (m,) int64 of the samples with these ids, of so many drawn ones, or all for none."""
    if not samples:
        return torch.arange(len(ids))
    row_of = {name: row for row, name in enumerate(ids)}
    if len(samples) == 1 and samples[0] not in row_of and samples[0].isdecimal() and int(samples[0]):
        drawn = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))
        return drawn[: int(samples[0])].sort().values
    for name in samples:
        if name not in row_of:
            raise ValueError(f"`--samples` should be ids such as {ids[0]!r}, or a number. Found {name!r}.")
    return torch.tensor([row_of[name] for name in samples])


def write(explanation: Explanation, path: str | Path, title: str) -> None:
    """All degrees as .csv; else a figure: a panel for each sample, or two maps of more than 12."""
    if Path(path).suffix == ".csv":
        names, depth = explanation.hierarchy.names, explanation.hierarchy.depth.tolist()
        labels, degrees = explanation.labels, explanation.degrees
        rows = (
            [sample, names[i], depth[i], int(labels[row, i]), f"{degrees[row, i]:.6g}"]
            for row, sample in enumerate(explanation.ids)
            for i in range(len(names))
        )
        write_table(path, ["id", "label", "depth", "logical", "degree"], rows)
        return
    figure = (draw_samples if len(explanation.ids) <= PANELS else draw_maps)(explanation)
    figure.suptitle(title)
    save(figure, path)


def command(config: ExplainConfig) -> None:
    explanation = explain(config)
    print(to_text(explanation, each=bool(config.samples)))
    if config.output:
        write(explanation, config.output, f"{config.run}: {config.split} split")
        print(f"\n{config.output}")

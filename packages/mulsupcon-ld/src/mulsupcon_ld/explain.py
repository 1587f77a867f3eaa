"""``mulsupcon-ld explain``: logical labels beside the label distributions that the pre-training recovered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hmc_shared.cli import options
from mulsupcon_ld.explanation import Explanation

if TYPE_CHECKING:
    import numpy as np

    from hmc_shared.data import HierarchicalDataset

PANELS = 12  # samples that a figure shows one by one; more are shown as two maps
SUFFIXES = (".csv", ".png", ".svg", ".pdf")


@dataclass(frozen=True)
class ExplainConfig:
    """Show logical labels beside recovered label distributions, for some samples or a whole split."""

    run: Annotated[str, tyro.conf.Positional]
    """Run folder of a loss that recovers label distributions, cld or rld; it need not be finished."""
    split: Literal["train", "validation", "test"] = "test"
    """The split to show."""
    samples: tuple[str, ...] = ()
    """Ids of samples; or one number, if no sample has that as its id: so many, drawn with a fixed seed.
    Default: the whole split, as a summary."""
    output: str | None = None
    """File for a figure, .png, .svg or .pdf; or for all degrees, .csv, a line for each sample and label."""
    data_dir: str | None = None
    """Folder of the data sets; default: that of the run, or the environment variable HMC_DATA."""
    workers: int = 2
    """Processes that read photographs."""

    def __post_init__(self) -> None:
        if self.output and Path(self.output).suffix not in SUFFIXES:
            raise ValueError(f"`--output` should end in one of {', '.join(SUFFIXES)}. Found {self.output}.")


def explain(config: ExplainConfig, dataset: HierarchicalDataset | None = None) -> Explanation:
    """The labels and the recovered distributions of a split or of some of its samples.

    Args:
        config: all options.
        dataset: used instead of loading the run's.

    Raises ValueError for a run without recovered distributions, other data, and an unknown sample.
    """
    import torch

    from hmc_shared.runs.evaluate import dataset_of_run
    from hmc_shared.runs.read import open_run
    from hmc_shared.vision.pixels import score_logits
    from mulsupcon_ld.methods import load_model

    saved = open_run(config.run)[1]
    folder = Path(config.run) / "pretrained"
    loss = saved.get("loss")
    if loss not in ("cld", "rld") or not folder.is_dir():
        found = f"--loss {loss}" if loss else "no such run"
        rule = "be a run of --loss cld or rld that has finished its pre-training"
        raise ValueError(f"`run` should {rule}. Found {found} in {config.run}.")
    model = load_model(folder)
    dataset = dataset or dataset_of_run(
        config.run,
        saved,
        model.hierarchy,
        model.input_shape,
        data_dir=config.data_dir,
        view="vector" if len(model.input_shape) == 1 else "image",
    )
    split = dataset.splits[config.split]
    rows = choose(split.ids, config.samples)
    inputs: Any = split.inputs
    inputs = inputs[rows] if isinstance(inputs, torch.Tensor) else inputs.select(rows.numpy())
    model.is_constrained = False  # D = softmax(fc(r)), whatever is done to scores
    degrees = score_logits(model, inputs, workers=config.workers).softmax(1)
    ids = tuple(split.ids[row] for row in rows.tolist())
    return Explanation(ids, dataset.hierarchy, split.targets[rows].numpy(), degrees.numpy())


def choose(ids: tuple[str, ...], samples: tuple[str, ...]) -> Any:
    """Row numbers, int64 tensor, of the samples with these ids, of so many drawn ones, or all for none."""
    import torch

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


def summarize(explanation: Explanation) -> dict[str, float]:
    """Means over samples: how far the distributions keep to the logical labels, and how even they are.

    ``mass_on_labels`` and ``top_is_label`` (the share of samples whose highest degree is a logical label's)
    count samples with labels only; ``mass_if_even`` is that of the uniform distribution. ``entropy`` is in
    nats, between 0 and ``entropy_at_most``. On a hierarchy, ``mass_level_<depth>`` add up to 1.
    """
    import numpy as np

    labels, degrees = explanation.labels, explanation.degrees.astype(np.float64)
    with_labels = labels.any(1)
    on_labels, top = (degrees * labels).sum(1), degrees.argmax(1)
    logs = np.log(degrees, out=np.zeros_like(degrees), where=degrees > 0)
    result = {
        "samples": float(len(labels)),
        "mass_on_labels": _mean(on_labels[with_labels]),
        "mass_if_even": _mean(labels[with_labels].mean(1)),
        "top_is_label": _mean(labels[np.arange(len(top)), top][with_labels]),
        "entropy": _mean(-(degrees * logs).sum(1)),
        "entropy_at_most": float(np.log(labels.shape[1])),
    }
    if explanation.hierarchy.num_levels > 1:
        mass = explanation.level_mass()
        result |= {f"mass_level_{depth}": _mean(column) for depth, column in enumerate(mass.T)}
    return result


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def to_text(explanation: Explanation, *, each: bool) -> str:
    """The summary, after the labels of each sample if ``each``: by degree, the logical ones marked ``*``."""
    from hmc_shared.compare.text import align

    names, parts = explanation.hierarchy.names, []
    mass = explanation.level_mass()
    for row, sample in enumerate(explanation.ids if each else ()):
        own, degrees = explanation.labels[row], explanation.degrees[row]
        shown = explanation.shown_labels(row)
        table = [["  *" if own[i] else "   ", names[i], f"{degrees[i]:.4f}"] for i in shown]
        if len(shown) < len(names):
            rest = 1 - degrees[shown].sum()
            table.append(["   ", f"{len(names) - len(shown)} more", f"{abs(rest):.4f}"])
        if mass.shape[1] > 1:
            table += [["   ", f"level {depth}", f"{of:.4f}"] for depth, of in enumerate(mass[row])]
        parts.append(f"{sample}\n{align(table, left=2)}")
    summary = summarize(explanation)
    lines = [
        f"{name:28} {value:.0f}" if name == "samples" else f"{name:28} {value:.4f}"
        for name, value in summary.items()
    ]
    return "\n\n".join([*parts, "\n".join(lines)])


def write(explanation: Explanation, path: str | Path, title: str) -> None:
    """All degrees as .csv; else a figure: a panel for each sample, or two maps of more than 12."""
    from hmc_shared.compare.plots import save
    from hmc_shared.predict.write import write_table
    from mulsupcon_ld.figures import draw_maps, draw_samples

    if Path(path).suffix == ".csv":
        names, depth = explanation.hierarchy.names, explanation.hierarchy.depth.tolist()
        write_table(
            path,
            ["id", "label", "depth", "logical", "degree"],
            (
                [
                    sample,
                    names[i],
                    depth[i],
                    int(explanation.labels[row, i]),
                    f"{explanation.degrees[row, i]:.6g}",
                ]
                for row, sample in enumerate(explanation.ids)
                for i in range(len(names))
            ),
        )
        return
    figure = (draw_samples if len(explanation.ids) <= PANELS else draw_maps)(explanation)
    figure.suptitle(title)
    save(figure, path)


def command(argv: list[str]) -> None:
    config = tyro.cli(ExplainConfig, args=argv, prog="mulsupcon-ld explain")
    explanation = explain(config)
    print(to_text(explanation, each=bool(config.samples)))
    if config.output:
        write(explanation, config.output, f"{config.run}: {config.split} split")
        print(f"\n{config.output}")


if __name__ == "__main__":
    options.main(command, prog="python -m mulsupcon_ld.explain")

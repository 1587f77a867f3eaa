"""``hmc blend``: several trained models as one, the mean of their probabilities, weighted by validation."""

# No `from __future__ import annotations`: huggingface_hub reads the constructor's annotations as types.
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub import snapshot_download
from torch import Tensor, nn

from hmc_shared.cli.blend import Blend as BlendOptions
from hmc_shared.cli.commands import format_metrics
from hmc_shared.cli.parse import to_yaml
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import listed, shown
from hmc_shared.metrics import au_prc, average_precision
from hmc_shared.mixture import mean_logits
from hmc_shared.model import HierarchicalModel, load_model, load_pretrained, model_card
from hmc_shared.resizing import Resize
from hmc_shared.runs.folder import Results, RunFolder
from hmc_shared.runs.read import RESERVED, VALIDATION, Run, load_predictions, load_run
from hmc_shared.runs.refit import fit_on_validation
from hmc_shared.runs.samples import Samples

MEMBERS = "members"
LABELS, UNKNOWN = ("ids", "targets"), ("unknown",)
"""What runs that are mixed have in common, of the arrays of their samples."""

CARD = model_card(
    "hmc-shared",
    """# {{ model_name | default("Hierarchical multi-label classifier", true) }}

The weighted mean of several models, each in a folder below `members`:

```python
from hmc_shared import load_model

model = load_model("path/to/this/folder")
probabilities = model.predict_proba(inputs)  # raw inputs as each member takes them; (n, C)
```
""",
    ["hierarchical-multi-label-classification"],
)


class Blend(HierarchicalModel, **CARD):
    """Models of one hierarchy whose uncalibrated probabilities are averaged, then calibrated together.

    No class exceeds its parent, whatever the models say.

    Args:
        hierarchy: the C classes.
        input_shape: of the raw inputs.
        weights: of the models, which ``members`` holds: positive, 1 together, or ValueError is raised.
        resize: how an image becomes the square that all of them look at.
    """

    library = "hmc_shared"
    method = "blend"

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        weights: Sequence[float],
        resize: Resize = "crop",
    ) -> None:
        super().__init__(hierarchy, input_shape, resize=resize)
        if not weights or min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6:
            raise ValueError(f"`weights` should be positive and add up to 1. Found {shown([*weights])}.")
        self.weights = tuple(weights)
        self.members = nn.ModuleList()

    def normalize(self, raw: Tensor) -> Tensor:
        """As it is: each member has statistics of its own."""
        return raw

    def logits(self, inputs: Tensor) -> Tensor:
        """Log-odds (batch, C) of the weighted mean of the members' probabilities."""
        members: Any = self.members
        scores = [member.to_scores(member.logits(member.normalize(inputs))) for member in members]
        return self.mixed(scores)

    def mixed(self, scores: Sequence[Tensor]) -> Tensor:
        """What the model says of the members' scores, (n, C) each: log-odds (n, C)."""
        return self.constrained(mean_logits(torch.stack([*scores]), self.weights))

    def _save_pretrained(self, save_directory: Path) -> None:
        members, self.members = self.members, nn.ModuleList()  # each goes into a folder of its own
        try:
            super()._save_pretrained(save_directory)
        finally:
            self.members = members
        for number, member in enumerate(members):
            member.save_pretrained(save_directory / MEMBERS / str(number))  # type: ignore[operator]

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "Blend":
        folder = Path(model_id if Path(model_id).is_dir() else snapshot_download(model_id))
        model: Blend = super()._from_pretrained(model_id=str(folder), **options)
        folders = [folder / MEMBERS / str(number) for number in range(len(model.weights))]
        model.members.extend(load_model(member) for member in folders)
        return model


def load(folder: str | Path) -> Blend:
    """Load what ``save_pretrained`` wrote."""
    return load_pretrained(folder, {Blend.method: Blend})


def choose_weights(
    held_out: Sequence[np.ndarray], score: Callable[[np.ndarray], float], rounds: int
) -> list[float]:
    """Convex weights of predictions by greedy selection with replacement (Caruana et al. 2004).

    From the best one on, each round adds the one with which the mean scores best; of all rounds the best
    counts, so the mean never scores below the best one.
    """
    counts = np.zeros(len(held_out), dtype=int)
    total, best, chosen = np.zeros_like(held_out[0]), -np.inf, counts
    for _ in range(rounds):
        scores = [score((total + each) / (counts.sum() + 1)) for each in held_out]
        winner = int(np.argmax(scores))
        counts[winner] += 1
        total = total + held_out[winner]
        if scores[winner] > best:
            best, chosen = scores[winner], counts.copy()
    return (chosen / chosen.sum()).tolist()


def blend(config: BlendOptions) -> Results:
    """Choose the weights, mix the test predictions, and write the run folder.

    Returns the content of ``results.json``. Raises ValueError, naming the run, for runs that do not fit
    together, lack their model or their predictions of the validation split, or would be overwritten.
    """
    started = time.perf_counter()
    runs = [load_run(path) for path in config.runs]
    held_out = [_validation(run) for run in runs]
    check_together(runs, held_out, config.dataset)
    models = models_of(runs)
    first = runs[0]
    name = first.results["dataset"]["name"]
    output = _apart(config.folder_for(name), runs)
    folder = RunFolder(output, resume=config.resume, overwrite=config.overwrite)
    folder.check_resumed(config)
    config = replace(config, dataset=_dataset_option(first) or name)
    folder.write_config(to_yaml(config))

    score = validation_score(config.metric, held_out[0], first.evaluated)
    logits = [torch.from_numpy(part["scores"]).float() for part in held_out]
    predictions = [each.double().sigmoid().numpy() for each in logits]
    single = [score(each) for each in predictions]
    all_weights = choose_weights(predictions, score, config.rounds)
    used = [number for number, weight in enumerate(all_weights) if weight]
    weights = [all_weights[number] for number in used]
    if len(used) == 1:
        print(f"note: blending does not help: {runs[used[0]].path} alone is best", file=sys.stderr)
    model = blended_model([models[number] for number in used], weights)
    mix = model.mixed([logits[number] for number in used])
    targets, ids, unknown = labels_of(held_out[0])
    about = targets, ids, torch.from_numpy(first.evaluated)
    fit_on_validation(model, mix, *about, folder, unknown, config.threshold_by)
    mix_reserved(model, [runs[number] for number in used], folder)
    model.save_pretrained(folder.model)
    scores = model.mixed([torch.from_numpy(runs[number].scores).float() for number in used])
    return folder.finish(
        Samples.of_run(first),
        scores,
        model.to_probabilities(scores),
        model.to_labels(scores),
        config=config,
        parameters=sum(runs[number].results.get("parameters") or 0 for number in used),
        seconds={
            "train": sum((run.results.get("seconds") or {}).get("train") or 0.0 for run in runs),
            "total": time.perf_counter() - started,
        },
        device=torch.device("cpu"),
        extra={
            "validation": score(mix.double().sigmoid().numpy()),
            "blend": {
                str(run.path): {"weight": weight, "validation": alone}
                for run, weight, alone in zip(runs, all_weights, single, strict=True)
            },
        },
    )


def validation_score(
    metric: Literal["au_prc", "map"], held_out: dict[str, Any], evaluated: np.ndarray
) -> Callable[[np.ndarray], float]:
    """A metric of probabilities (n, C) of validation rows: over what is known, of the evaluated classes."""
    targets, unknown = held_out["targets"][:, evaluated], held_out["unknown"]

    def score(probabilities: np.ndarray) -> float:
        ranked = probabilities if unknown is None else np.where(unknown, -1.0, probabilities)
        of = ranked[:, evaluated], targets
        return au_prc(*of) if metric == "au_prc" else float(np.nanmean(average_precision(*of)))

    return score


def labels_of(part: dict[str, Any]) -> tuple[Tensor, list[str], Tensor | None]:
    """Targets (n, C) bool, n ids and what is unknown, of predictions that were read."""
    unknown = part["unknown"]
    targets = torch.from_numpy(part["targets"]).bool()
    return targets, part["ids"].tolist(), None if unknown is None else torch.from_numpy(unknown)


def mix_reserved(model: Blend, runs: Sequence[Run], folder: RunFolder) -> None:
    """Write ``reserved.npz`` of a mix whose runs have all set the same rows aside; else none."""
    files = [run.path / RESERVED for run in runs]
    if not all(file.is_file() for file in files):
        return
    parts = [load_predictions(file, run.hierarchy) for file, run in zip(files, runs, strict=True)]
    if all(np.array_equal(part["ids"], parts[0]["ids"]) for part in parts):
        scores = model.mixed([torch.from_numpy(part["scores"]).float() for part in parts])
        targets, ids, unknown = labels_of(parts[0])
        folder.write_predictions(RESERVED, targets, ids, scores, model.to_probabilities(scores), unknown)


def models_of(runs: Sequence[Run]) -> list[HierarchicalModel]:
    """The models of runs. Raises ValueError, naming both runs, if two see other inputs."""
    models = [load_model(run.path) for run in runs]
    first = models[0]
    for run, model in zip(runs, models, strict=True):
        if (model.input_shape, model.resize) != (first.input_shape, first.resize):
            raise ValueError(
                "Runs that are mixed should see the same inputs. "
                f"Found {_inputs_of(first)} in {runs[0].path}, {_inputs_of(model)} in {run.path}."
            )
    return models


def blended_model(models: Sequence[HierarchicalModel], weights: Sequence[float]) -> Blend:
    """Models in one, not calibrated."""
    first = models[0]
    model = Blend(first.hierarchy, first.input_shape, weights, first.resize)
    model.members.extend(models)
    model.decision, model.embedder = replace(first.decision, threshold=None), first.embedder
    return model


def _inputs_of(model: HierarchicalModel) -> str:
    if not model.takes_images:
        return f"{model.input_shape[0]} features"
    channels, height, width = model.input_shape
    return f"images of {width} x {height} pixels in {channels} channels ({model.resize})"


def _validation(run: Run) -> dict[str, np.ndarray]:
    path = run.path / VALIDATION
    if not path.is_file():
        reason = (
            "the protocol 'paper' leaves no validation rows"
            if run.results["protocol"] == "paper"
            else "put the file back, or train the run again"
        )
        raise ValueError(f"{run.path} has no {VALIDATION}, by which weights are chosen: {reason}.")
    return load_predictions(path, run.hierarchy)


def check_together(
    runs: Sequence[Run], held_out: Sequence[dict[str, np.ndarray]], dataset: str | None = None
) -> None:
    """Raise ValueError unless there are runs, on the same samples and classes, under one protocol."""
    if not runs:
        raise ValueError("There is no run to mix: name run folders, before any option.")
    first = runs[0]
    name = first.results["dataset"]["name"]
    if dataset not in (None, name, _dataset_option(first)):
        raise ValueError(f"`--dataset` is {shown(dataset)}. Found a run on {shown(name)}: {first.path}.")
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise ValueError(f"Each run should be named once. Found {listed([str(run.path) for run in runs])}.")
    for run, part in zip(runs[1:], held_out[1:], strict=True):
        for what, one, other in (
            ("data set", first.results["dataset"]["name"], run.results["dataset"]["name"]),
            ("protocol", first.results["protocol"], run.results["protocol"]),
        ):
            if one != other:
                raise ValueError(
                    f"Runs that are mixed should have one {what}. Found {shown(one)} in {first.path}, "
                    f"{shown(other)} in {run.path}."
                )
        of_unknown = "(is it `--uncertain`, `--blank` or `--partial-labels`?)"
        same = {
            "classes": first.hierarchy == run.hierarchy and np.array_equal(first.evaluated, run.evaluated),
            "test samples or targets": all(
                np.array_equal(getattr(first, key), getattr(run, key)) for key in LABELS
            ),
            "validation samples or targets (is it `--set-aside`?)": all(
                np.array_equal(held_out[0][key], part[key]) for key in LABELS
            ),
            f"unknown test labels {of_unknown}": all(
                np.array_equal(getattr(first, key), getattr(run, key)) for key in UNKNOWN
            ),
            f"unknown validation labels {of_unknown}": all(
                np.array_equal(held_out[0][key], part[key]) for key in UNKNOWN
            ),
        }
        if other := [what for what, is_same in same.items() if not is_same]:
            raise ValueError(f"{run.path} has other {other[0]} than {first.path}.")


def _dataset_option(run: Run) -> Any:
    """What ``--dataset`` was, such as table:PATH; None if the run does not tell."""
    return (run.results.get("config") or {}).get("dataset")


def _apart(output: Path, runs: Sequence[Run]) -> Path:
    """The folder to write. Raises ValueError if that would take away one of the runs."""
    for run in runs:
        if run.path.resolve().is_relative_to(output.resolve()):
            raise ValueError(
                f"`--output` should be apart from the runs. Found {output}, where {run.path} is."
            )
    return output


def command(config: BlendOptions) -> None:
    results: Any = blend(config)
    for path, part in results["blend"].items():
        print(f"{part['weight']:.2f}  {path}  (validation {part['validation']:.4f})")
    print(f"validation of the mix{results['validation']:14.4f}")
    print(format_metrics(results["metrics"]))

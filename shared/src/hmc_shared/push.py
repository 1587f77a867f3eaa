"""``hmc push``: a model folder, with a card that says what it is, on the Hugging Face hub."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import EvalResult, ModelCardData

from hmc_shared.cli.push import Push
from hmc_shared.compare.comparison import NOT_RANKED, Statistic
from hmc_shared.compare.output import wrote
from hmc_shared.compare.scoring import ScoredRun, score_run
from hmc_shared.compare.text import literal, mean_sd
from hmc_shared.messages import listed, reason, shown
from hmc_shared.metrics.glossary import meaning
from hmc_shared.model import HierarchicalModel, load_model
from hmc_shared.runs.read import Run, load_run

CARD = "README.md"
FEW = 20
"""Training samples below which a class is called rare, as in ``map_tail``."""
NAMES = 200
"""Classes that a card names; config.json has all."""


def command(config: Push) -> None:
    """Write the card and upload the folder. Raises ValueError if the hub refuses, or is not reached."""
    check_repository(config.repository)
    if not config.dry_run and huggingface_hub.get_token() is None:
        raise ValueError("the hub wants a token that may write: `hf auth login`, or set HF_TOKEN.")
    run, folder = load_run(config.run), config.run / "model"
    text = card(run, score_run(config.run), load_model(folder), config.repository, config.license)
    (folder / CARD).write_text(text, encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    wrote([folder / CARD])
    if config.dry_run:
        for path in files:
            print(f"{path.stat().st_size:>12,}  {path.relative_to(folder).as_posix()}")
        return
    print(upload(folder, config.repository, private=config.private))


def check_repository(name: str) -> None:
    """Raise ValueError for what is no name of a repository with its owner."""
    try:
        huggingface_hub.utils.validate_repo_id(name)
    except ValueError as error:
        raise ValueError(f"OWNER/NAME is not {shown(name)}: {reason(error)}") from error
    if name.count("/") != 1:
        raise ValueError(f"OWNER/NAME should have one slash. Found {shown(name)}.")


def upload(folder: Path, repository: str, *, private: bool = False) -> str:
    """The address of a repository that now has the files of a folder, in one commit."""
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a model")
    except Exception as error:  # of the network, whose library depends on the release, and of the hub
        raise ValueError(f"{repository} was not uploaded: {reason(error)}") from error
    return f"{api.endpoint}/{repository}"


def card(
    run: Run, scored: ScoredRun, model: HierarchicalModel, repository: str, licence: str | None = None
) -> str:
    """The model card: what it is for, its scores, data, classes and limits, and how to repeat it."""
    results = run.results
    data = ModelCardData(
        library_name=model.library.replace("_", "-"),
        license=licence,
        pipeline_tag="image-classification" if model.takes_images else "tabular-classification",
        tags=["hierarchical-multi-label-classification", results["method"]],
        model_name=repository.partition("/")[2],
        eval_results=[
            EvalResult("multi-label-classification", "test", results["dataset"]["name"], name, value)
            for name, value in scored.evaluation.metrics.items()
            if name not in NOT_RANKED and not math.isnan(value)
        ],
    )
    parts = {
        "Intended use": intended_use(run, model),
        "How to use it": how_to_use(model, repository),
        "Scores": scores(run, scored),
        "Data": data_of(run),
        "Classes": classes(run),
        "Limits": limits(run, scored),
        "Training": training(run, scored),
    }
    title = f"# {literal(results['method'])} on {literal(results['dataset']['name'])}"
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in parts.items())
    return f"---\n{data.to_yaml()}\n---\n\n{title}\n\n{body}\n"


def intended_use(run: Run, model: HierarchicalModel) -> str:
    if model.takes_images:
        channels, height, width = model.input_shape
        inputs = f"images ({channels} channels, brought to {height} x {width} pixels: {model.resize})"
    else:
        inputs = f"vectors of {model.input_shape[0]} features"
        if model.decision.features:
            inputs += f" ({listed(map(literal, model.decision.features))})"
        if model.embedder is not None:
            inputs += f", made of {model.embedder.takes} by {literal(model.embedder.encoder)}"
    count, levels = len(run.hierarchy), run.hierarchy.num_levels
    return (
        f"It names the classes of {inputs}: {count:,} in {levels} levels, each with its probability. "
        f"It is for samples like those of {literal(run.results['dataset']['name'])}, on which it was trained."
    )


def how_to_use(model: HierarchicalModel, repository: str) -> str:
    inputs = "uint8 (n, channels, height, width)" if model.takes_images else "raw vectors (n, features)"
    parts = [part for part in model.modules() if isinstance(part, HierarchicalModel)]  # of a blend several
    packages = " ".join(dict.fromkeys(part.library.replace("_", "-") for part in parts))
    return (
        f"`pip install {packages}`, then\n\n```python\n"
        "from hmc_shared import load_model\nfrom huggingface_hub import snapshot_download\n\n"
        f'model = load_model(snapshot_download("{repository}"))\n'
        f"probabilities = model.predict_proba(inputs)  # {inputs}; to (n, C)\n"
        "labels = model.predict(inputs)  # (n, C) bool\n"
        "model.hierarchy.names  # the C classes\n```\n\n"
        f"`hf download {repository} --local-dir model` and `hmc predict model FILE` do the same for files."
    )


def scores(run: Run, scored: ScoredRun) -> str:
    evaluation = scored.evaluation
    head = [
        f"On {evaluation.samples:,} test samples and {evaluation.classes:,} classes, of one training.\n",
        "| metric | value | meaning |\n|---|---|---|",
    ]
    rows = [
        f"| `{name}` | {mean_sd(Statistic((value,)), name)} | {meaning(name)} |"
        for name, value in evaluation.metrics.items()
    ]
    error = run.results.get("calibration_error")
    rows += [] if error is None else [f"\nExpected calibration error of the probabilities: {error:.4f}."]
    return "\n".join([*head, *rows])


def data_of(run: Run) -> str:
    data = run.results["dataset"]
    sizes = ", ".join(f"{count:,} {part}" for part, count in (data.get("sizes") or {}).items())
    return (
        f"{literal(data['name'])}{f': {sizes} samples' if sizes else ''}; protocol "
        f"{literal(run.results['protocol'])}, seed {run.results['seed']}. SHA-256 of the data set: "
        f"`{data['checksum']}`. This page does not know under which licence the data are."
    )


def classes(run: Run) -> str:
    names = run.hierarchy.names
    more = f" and {len(names) - NAMES:,} more" if len(names) > NAMES else ""
    text = ", ".join(literal(name) for name in names[:NAMES])
    return f"{text}{more}. The hierarchy is in `config.json`."


def limits(run: Run, scored: ScoredRun) -> str:
    """What the numbers of the run say of where it is weak, and what they do not say."""
    lines = [
        "Whatever it is given, it answers by these classes: it does not know that something is none of them.",
        "The scores are of one split of the same source. On data of another source it may be worse, and the "
        "probabilities, which are calibrated on the validation split, too sure.",
        "It was not looked at for groups of people that it treats differently.",
    ]
    counts = run.train_counts[run.evaluated]
    if run.train_counts.any() and (rare := int((counts < FEW).sum())):
        lines.append(f"{rare:,} of {len(counts):,} classes have fewer than {FEW} training samples.")
    if absent := scored.evaluation.metrics.get("map_absent"):
        lines.append(f"{absent:,.0f} classes have no test sample: how well it finds them is not known.")
    if broken := scored.evaluation.metrics.get("hvr"):
        lines.append(f"{100 * broken:.1f} % of its answers contradict the hierarchy.")
    return "\n".join(f"* {line}" for line in lines)


def training(run: Run, scored: ScoredRun) -> str:
    results: dict[str, Any] = run.results
    versions = ", ".join(f"{name} {version}" for name, version in (scored.origin["versions"] or {}).items())
    seconds, command = scored.costs["train_seconds"], scored.origin["command"]
    lines = {
        "Finished": results.get("finished"),
        "Processor": scored.origin["device"],
        "Time": None if math.isnan(seconds) else f"{seconds:.0f} s",
        "Versions": versions,
    }
    text = "\n".join(f"* {name}: {literal(str(value))}" for name, value in lines.items() if value)
    again = f"```\n{command}\n```" if command else "It was started from Python."
    return f"{text}\n\nTo repeat it:\n\n{again}"

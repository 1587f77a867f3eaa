"""``hcal train``: one method, one data set, one run folder. Reads from top to bottom."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from hcal.__main__ import main
from hcal.batches import training_batches
from hcal.build import build_model, check_labels, method_backward, method_losses
from hcal.config import Config
from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.batches import balanced_weights
from hmc_shared.metrics import accuracy_leaf, accuracy_per_level, hvr, level_predictions, level_targets
from hmc_shared.predict.score import score_split
from hmc_shared.runs.checkpoints import Checkpoints
from hmc_shared.runs.command import run_training
from hmc_shared.runs.folder import Results, RunFolder
from hmc_shared.runs.progress import Progress, agreed, check_finite, epoch_bar, mean_loss, show, take_step
from hmc_shared.runs.refit import use_held_out
from hmc_shared.runs.steps import Steps, step_factor


def train(config: Config, dataset: HierarchicalDataset | None = None) -> Results | None:
    """Train, evaluate and write the run folder.

    Args:
        config: all options.
        dataset: used instead of loading ``config.dataset``.

    Returns the content of ``results.json``; None in all processes but the first.

    Raises:
        ValueError: for wrong options or data, a damaged checkpoint, and an occupied run folder.
        FloatingPointError: for a loss or weight that is not finite, naming step and last checkpoint.
    """
    # Options
    started = time.perf_counter()

    # Accelerator
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    folder = RunFolder.open(config, accelerator)
    set_seed(config.seed, device_specific=True)

    # Data: small images and vectors whole on the device
    dataset = dataset or load_dataset(config.dataset, config.data_dir, view=config.view, **config.reading)
    check_labels(dataset)
    hierarchy = dataset.hierarchy
    training = dataset.training_split(config.protocol if config.validation_rows else "default")
    inputs, targets = training.inputs, training.targets
    if isinstance(inputs, Tensor):
        inputs = inputs.to(device)
    paths = torch.from_numpy(level_targets(targets, hierarchy)).to(device)  # (n, L)
    sample_weights = training.weights
    if config.class_weights == "balanced":
        sample_weights = balanced_weights(paths.amax(1).cpu(), sample_weights)  # ids grow with depth
    validation_paths = torch.from_numpy(level_targets(dataset.validation.targets, hierarchy))

    # Model
    model = build_model(config, dataset).to(device)
    losses_of = method_losses(config, model)

    # Optimiser
    groups = model.parameter_groups(config.learning_rate, config.prototype_learning_rate, config.layer_decay)
    if config.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, weight_decay=config.weight_decay, fused=True)
    else:
        optimizer = torch.optim.SGD(
            groups, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
        )
    step_sizes = [group["lr"] for group in optimizer.param_groups]
    batches = Steps(config, len(inputs))

    # Prepare
    # Wrapped, because mixed precision replaces the forward of what is prepared: `model` scores in float32.
    wrapped: Any = torch.compile(model) if config.compile else model
    network, optimizer = accelerator.prepare(torch.nn.Sequential(wrapped), optimizer)
    generator = torch.Generator(device)
    progress = Progress()
    checkpoints = Checkpoints(accelerator, folder, config, progress, network=network, optimizer=optimizer)

    # Resume
    checkpoints.resume()

    # Epochs
    bar = epoch_bar(accelerator, config, config.epochs, progress, dataset, len(inputs))
    while progress.epoch < config.epochs and not progress.is_stale(config.patience):
        # Train
        network.train()
        backward = method_backward(config, model, accelerator)  # anew: what it remembers is in no checkpoint
        steps = progress.begin_epoch()
        place: dict[str, Any] = {"of_samples": sample_weights, "rank": rank, "world": world}
        for batch in training_batches(
            model, inputs, paths, config, progress.epoch, progress.step, generator, **place
        ):
            factor = step_factor(config, progress.epoch + batches.middle(len(steps)), config.epochs)
            for group, step_size in zip(optimizer.param_groups, step_sizes, strict=True):
                group["lr"] = step_size * factor
            losses, level_weights = losses_of(network(batch.inputs), batch.labels, generator, batch.weights)
            backward(losses * batches.share(len(steps)), level_weights)
            steps.append(torch.stack([losses.detach(), level_weights]))
            if batches.ends(len(steps) - 1):
                take_step(accelerator, network, optimizer, config, progress, config.accumulate)
                optimizer.zero_grad()
                if config.method != "nash-mtl":  # whose memory of the step before is in no checkpoint
                    checkpoints.after_step()
        of_steps: Any = accelerator.reduce(torch.stack(steps), reduction="mean")  # (steps, 2, L)
        step_losses = of_steps.prod(1).sum(1)
        check_finite(step_losses, progress, folder, *network.parameters())
        progress.end_epoch()

        # Evaluate
        record: dict[str, Any] = {
            "epoch": progress.epoch - 1,
            "train_loss": mean_loss(step_losses),
            "seconds": progress.train_seconds,
        }
        for depth, (loss, weight) in enumerate(of_steps.mean(0).T.tolist()):
            record |= {f"loss_level_{depth}": loss, f"weight_level_{depth}": weight}
        if config.protocol == "default":
            scores = model.to_scores(score_split(model, dataset.validation, config.workers))
            metrics = level_metrics(scores, validation_paths, hierarchy)
            record |= {f"validation/{name}": value for name, value in metrics.items()}
            progress.keep_if_best(agreed(metrics["accuracy_leaf"], accelerator), model)
        show(bar, record, "train_loss", "validation/accuracy_leaf", "validation/hvr")

        # Checkpoint
        if accelerator.is_main_process:
            folder.log_epoch(record)
        checkpoints.after_epoch()
    bar.close()
    checkpoints.after_training()

    # Results
    if not config.test:
        return folder.finish_trial(progress, accelerator)
    progress.restore_best(model)
    logits = score_split(model, dataset.test, config.workers)
    results = None
    if accelerator.is_main_process:
        use_held_out(model, dataset, folder, config)
        model.save_pretrained(folder.model)
        results = folder.finish(
            dataset,
            model.to_scores(logits),
            model.to_probabilities(logits),
            model.to_labels(logits),
            config=config,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            seconds={"train": progress.train_seconds, "total": time.perf_counter() - started},
            device=device,
            processes=world,
            extra=progress.summary(),
        )
    accelerator.end_training()
    return results


def level_metrics(scores: Tensor, paths: Tensor, hierarchy: Hierarchy) -> dict[str, float]:
    """Accuracy by level and of the deepest true node, and HVR, of scores (n, C) and true paths (n, L)."""
    predicted = level_predictions(scores, hierarchy)
    by_level = accuracy_per_level(predicted, paths.numpy())
    return {
        **{f"accuracy_level_{depth}": float(value) for depth, value in enumerate(by_level)},
        "accuracy_leaf": accuracy_leaf(predicted, paths.numpy()),
        "hvr": hvr(predicted, hierarchy),
    }


def command(config: Config) -> None:
    run_training(config, train)


if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

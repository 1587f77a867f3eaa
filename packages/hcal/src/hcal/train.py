"""``hcal train``: one method, one data set, one run folder. Reads from top to bottom."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from hcal.config import FREE, Config
from hmc_shared.cli import options


def train(config: Config, dataset: Any = None) -> dict[str, Any]:
    """Train, evaluate and write the run folder; returns the content of ``results.json``.

    Args:
        config: all options.
        dataset: a :class:`hmc_shared.data.HierarchicalDataset` to use instead of loading ``config.dataset``.

    Raises:
        ValueError: for wrong options or data, and an occupied run folder.
        FloatingPointError: for a loss that is not finite, naming step and last checkpoint.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.utils import broadcast, set_seed
    from tqdm import tqdm

    from hcal.inputs import training_batches
    from hcal.methods import build_model, check_labels, method_backward, method_losses
    from hmc_shared.data import load_dataset
    from hmc_shared.data.batches import batches
    from hmc_shared.metrics import level_targets
    from hmc_shared.runs.folder import RunFolder
    from hmc_shared.runs.progress import Progress, last_checkpoint, save_checkpoint
    from hmc_shared.vision.pixels import score_logits

    # Options
    started = time.perf_counter()

    # Accelerator
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    with accelerator.main_process_first():
        folder = RunFolder(config.run_folder, resume=config.resume or rank > 0, overwrite=config.overwrite)
    if config.resume:
        free = FREE | {"epochs"} if config.schedule == "none" else FREE  # a cosine is made for its epochs
        folder.check_same_options(asdict(config), free=free)
    set_seed(config.seed, device_specific=True)

    # Data: small images and vectors whole on the device
    dataset = dataset or load_dataset(config.dataset, config.data_dir, view=config.view, levels=config.levels)
    check_labels(dataset)
    hierarchy = dataset.hierarchy
    training = dataset.training_split(config.protocol)
    inputs, targets = training.inputs, training.targets
    if isinstance(inputs, torch.Tensor):
        inputs = inputs.to(device)
    paths = torch.from_numpy(level_targets(targets, hierarchy)).to(device)  # (n, L)
    validation_paths = torch.from_numpy(level_targets(dataset.validation.targets, hierarchy))

    # Model
    model = build_model(config, dataset).to(device)
    losses_of = method_losses(config, model)

    # Optimiser
    optimizer = torch.optim.SGD(
        model.parameter_groups(config.learning_rate, config.prototype_learning_rate),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )
    step_sizes = [group["lr"] for group in optimizer.param_groups]
    steps_an_epoch = math.ceil(len(inputs) / config.batch_size)

    # Prepare
    # Wrapped, because mixed precision replaces the forward of what is prepared: `model` scores in float32.
    wrapped: Any = torch.compile(model) if config.compile else model
    network = torch.nn.Sequential(wrapped)
    network, optimizer = accelerator.prepare(network, optimizer)
    generator = torch.Generator(device)
    progress = Progress()
    accelerator.register_for_checkpointing(progress)

    # Resume
    checkpoint = last_checkpoint(folder.checkpoints) if config.resume else None
    if checkpoint:
        accelerator.load_state(str(checkpoint))
    if accelerator.is_main_process:
        folder.write_config(options.to_yaml(config))
        folder.forget_epochs_from(progress.epoch)

    # Epochs
    bar = tqdm(
        total=config.epochs,
        initial=progress.epoch,
        desc=f"{config.method} on {dataset.name}",
        unit="epoch",
        disable=not accelerator.is_main_process,
    )
    while progress.epoch < config.epochs:
        # Train
        epoch_started = time.perf_counter()
        network.train()
        backward = method_backward(config, model, accelerator)  # anew: what it remembers is in no checkpoint
        steps = []
        order = batches(
            len(inputs), config.batch_size, seed=config.seed, epoch=progress.epoch, rank=rank, world=world
        )
        for batch, labels in training_batches(
            model, inputs, paths, list(order), config, progress.epoch, generator, rank=rank, world=world
        ):
            factor = step_factor(config, progress.epoch + (len(steps) + 0.5) / steps_an_epoch)
            for group, step_size in zip(optimizer.param_groups, step_sizes, strict=True):
                group["lr"] = step_size * factor
            losses, level_weights = losses_of(network(batch), labels, generator)
            backward(losses, level_weights)
            optimizer.step()
            optimizer.zero_grad()
            steps.append(torch.stack([losses.detach(), level_weights]))
        of_steps: Any = accelerator.reduce(torch.stack(steps), reduction="mean")  # (steps, 2, L)
        step_losses = of_steps.prod(1).sum(1)
        if not step_losses.isfinite().all():
            step = int((~step_losses.isfinite()).nonzero()[0])
            raise FloatingPointError(
                f"The training loss is {step_losses[step].item()} in epoch {progress.epoch + 1}, "
                f"step {step + 1}; the last checkpoint is {last_checkpoint(folder.checkpoints) or 'none'}."
            )
        progress.epoch += 1
        progress.train_seconds += time.perf_counter() - epoch_started

        # Evaluate
        record: dict[str, Any] = {
            "epoch": progress.epoch - 1,
            "train_loss": step_losses.mean().item(),
            "seconds": progress.train_seconds,
        }
        for depth, (loss, weight) in enumerate(of_steps.mean(0).T.tolist()):
            record |= {f"loss_level_{depth}": loss, f"weight_level_{depth}": weight}
        if config.protocol == "default":
            logits = score_logits(model, dataset.validation.inputs, workers=config.workers)
            model.calibrate(logits, validation_paths)
            found = level_metrics(model.scores(logits), validation_paths, hierarchy)
            record |= {f"validation/{name}": value for name, value in found.items()}
            # One process decides: batch statistics may differ between processes.
            leaf = torch.tensor(found["accuracy_leaf"], dtype=torch.float64, device=device)
            agreed: Any = broadcast(leaf)
            progress.keep_if_best(agreed.item(), model)
        shown = ("train_loss", "validation/accuracy_leaf", "validation/hvr")
        bar.set_postfix({name: f"{record[name]:.4f}" for name in shown if name in record})
        bar.update()

        # Checkpoint
        if accelerator.is_main_process:
            folder.log_epoch(record)
        if progress.epoch % config.checkpoint_every == 0:
            save_checkpoint(accelerator, folder.checkpoints, progress.epoch)
    bar.close()
    save_checkpoint(accelerator, folder.checkpoints, progress.epoch)

    # Results
    progress.restore_best(model)
    scores = model.scores(score_logits(model, dataset.test.inputs, workers=config.workers))
    results: dict[str, Any] = {}
    if accelerator.is_main_process:
        model.save_pretrained(folder.model)
        results = folder.finish(
            dataset,
            scores,
            method=config.method,
            protocol=config.protocol,
            seed=config.seed,
            config=asdict(config),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            seconds={"train": progress.train_seconds, "total": time.perf_counter() - started},
            device=device,
            extra={
                "epochs": progress.epoch,
                "best_epoch": progress.best_epoch,
                "validation": progress.best_score,
            },
        )
    accelerator.end_training()
    return results


def step_factor(config: Config, epoch: float) -> float:
    """What the step sizes are multiplied by after ``epoch`` epochs: warm-up, then constant or a cosine."""
    factor = 0.5 + 0.5 * math.cos(math.pi * epoch / config.epochs) if config.schedule == "cosine" else 1.0
    return factor * min(1.0, epoch / config.warmup_epochs) if config.warmup_epochs else factor


def level_metrics(scores: Any, paths: Any, hierarchy: Any) -> dict[str, float]:
    """Accuracy by level and of the deepest true node, and HVR, of scores (n, C) and true paths (n, L)."""
    from hmc_shared.metrics import accuracy_leaf, accuracy_per_level, hvr, level_predictions

    predicted = level_predictions(scores, hierarchy)
    by_level = accuracy_per_level(predicted, paths.numpy())
    return {
        **{f"accuracy_level_{depth}": float(value) for depth, value in enumerate(by_level)},
        "accuracy_leaf": accuracy_leaf(predicted, paths.numpy()),
        "hvr": hvr(predicted, hierarchy),
    }


def command(argv: list[str]) -> None:
    config = options.parse(Config, argv, prog="hcal train", package="hcal")
    results = train(config)
    if results:
        print(options.format_metrics(results["metrics"]))


if __name__ == "__main__":
    options.main(command, prog="python -m hcal.train")

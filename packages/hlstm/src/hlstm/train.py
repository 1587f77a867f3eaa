"""``hlstm train``: one method, one data set, one run folder. Reads from top to bottom."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hlstm.__main__ import main
from hlstm.baselines import HMCLMLP
from hlstm.batches import training_batches
from hlstm.build import build_model, method_loss
from hlstm.config import Config
from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.vector_dataset import with_validation_rows
from hmc_shared.metrics import au_prc
from hmc_shared.predict.score import score_known, score_split
from hmc_shared.runs.checkpoints import Checkpoints
from hmc_shared.runs.command import run_training
from hmc_shared.runs.folder import Results, RunFolder
from hmc_shared.runs.progress import Progress, agreed, check_finite, epoch_bar, mean_loss, show, take_step
from hmc_shared.runs.refit import Selection, select, use_held_out


def train(config: Config, dataset: HierarchicalDataset | None = None) -> Results | None:
    """Train, evaluate and write the run folder.

    Args:
        config: all options.
        dataset: of vectors, used instead of loading ``config.dataset``.

    Returns the content of ``results.json``; None in all processes but the first.

    Raises:
        ValueError: for wrong options or data, a damaged checkpoint, and an occupied run folder.
        FloatingPointError: for a loss or weight that is not finite, naming step and last checkpoint.
    """
    # Options
    started = time.perf_counter()
    if config.protocol == "refit" and not config.test:
        config = replace(config, protocol="default")  # the part that validation chooses by
    if config.method == "clus-ens":
        from hlstm.grow import grow  # scikit-learn takes seconds to import: only for forests

        return grow(config, dataset)

    # Accelerator
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    folder = RunFolder.open(config, accelerator)

    # Data: small vectors, whole on the device
    dataset = dataset or load_dataset(
        config.dataset, config.data_dir, view="vector", protocol=config.preprocessing, **config.reading
    )
    dataset = dataset.with_partial_labels() if config.partial_labels else dataset
    selection = select(config, train, dataset, folder, accelerator) if config.protocol == "refit" else None
    fitted = with_validation_rows(dataset) if selection else dataset
    training = fitted.training_split(config.protocol)
    inputs, targets = training.inputs.to(device), training.targets.to(device)  # type: ignore[union-attr]
    unknown = None if training.unknown is None else training.unknown.to(device)
    evaluated = dataset.evaluated
    validation_targets = dataset.validation.targets[:, evaluated]

    # Model
    set_seed(config.seed, device_specific=True)  # each process drops other units; weights come from the first
    model = build_model(config, fitted).to(device)
    loss_of = method_loss(config, dataset.hierarchy, evaluated.to(device))

    # Optimiser
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )

    # Prepare
    # Wrapped, because mixed precision replaces the forward of what is prepared: `model` scores in float32.
    wrapped: Any = torch.compile(model) if config.compile else model
    network, optimizer = accelerator.prepare(torch.nn.Sequential(wrapped), optimizer)
    scored: Any = model
    averages = []
    if config.weight_average:
        averages = [AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.weight_average))]
        scored = averages[0].module
    progress = Progress()
    parts = {"average": averages[0]} if averages else {}
    checkpoints = Checkpoints(
        accelerator, folder, config, progress, network=network, optimizer=optimizer, **parts
    )

    # Resume
    checkpoints.resume()

    # Epochs
    epochs, last_steps = refit_length(config, selection, len(dataset.train), len(inputs))
    levels = model if isinstance(model, HMCLMLP) and config.in_turn else None
    if levels is not None:
        epochs *= len(levels.heads)
    bar = epoch_bar(accelerator, config, epochs, progress, dataset, len(inputs))
    while progress.epoch < epochs and not progress.is_stale(config.patience):
        # Train
        network.train()
        level = progress.epoch // config.epochs  # with --in-turn
        if levels is not None:
            levels.train_level(level)
        losses = progress.begin_epoch()
        steps = slice(progress.step, last_steps if progress.epoch == epochs - 1 else None)
        place: dict[str, Any] = {"of_samples": training.weights, "rank": rank, "world": world}
        for batch in training_batches(model, inputs, targets, config, progress.epoch, steps, **place):
            global_logits, local_logits = network(batch.inputs)
            left_out = None if unknown is None else unknown[batch.rows]
            loss = batch.weights @ loss_of(global_logits, local_logits, batch.labels, left_out)
            accelerator.backward(loss)
            if levels is not None:
                levels.drop_gradients_but(level)
            is_taken = take_step(accelerator, network, optimizer, config, progress)
            optimizer.zero_grad()
            for average in averages if is_taken else []:
                average.update_parameters(model)
            losses.append(loss.detach() / config.members)
            checkpoints.after_step()
        step_losses: Any = accelerator.reduce(torch.stack(losses), reduction="mean")  # (steps,)
        check_finite(step_losses, progress, folder, *network.parameters())
        progress.end_epoch()

        # Evaluate
        record = {
            "epoch": progress.epoch - 1,
            "train_loss": mean_loss(step_losses),
            "seconds": progress.train_seconds,
        }
        if config.protocol == "default" and progress.epoch > epochs - config.epochs:
            scores = score_known(scored, dataset.validation)[:, evaluated]
            record["validation/au_prc"] = agreed(au_prc(scores, validation_targets), accelerator)
            progress.keep_if_best(record["validation/au_prc"], scored)
        if config.test_curve:
            scores = score_known(scored, dataset.test)[:, evaluated]
            record["test/au_prc"] = agreed(au_prc(scores, dataset.test.targets[:, evaluated]), accelerator)
        show(bar, record, "train_loss", "validation/au_prc", "test/au_prc")

        # Checkpoint
        if accelerator.is_main_process:
            folder.log_epoch(record)
        checkpoints.after_epoch()
    bar.close()
    checkpoints.after_training()

    # Results
    if not config.test:
        return folder.finish_trial(progress, accelerator)
    progress.restore_best(scored)
    logits = score_split(scored, dataset.test)
    results = None
    if accelerator.is_main_process:
        if selection:
            selection.give_to(scored, folder)
        use_held_out(scored, dataset, folder, config)
        scored.save_pretrained(folder.model)
        results = folder.finish(
            dataset,
            scored.to_scores(logits),
            scored.to_probabilities(logits),
            scored.to_labels(logits),
            config=config,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            seconds={"train": progress.train_seconds, "total": time.perf_counter() - started},
            device=device,
            processes=world,
            extra=progress.summary() | (selection.summary if selection else {}),
        )
    return results


def refit_length(
    config: Config, selection: Selection | None, training_rows: int, all_rows: int
) -> tuple[int, int | None]:
    """Epochs, and the steps of the last one, None for all of them.

    After a selection as many steps as were best on the training rows, in epochs of all rows.
    """
    if selection is None:
        return config.epochs, None
    steps = selection.epochs * math.ceil(training_rows / config.batch_size)
    steps_an_epoch = math.ceil(all_rows / config.batch_size)
    epochs = math.ceil(steps / steps_an_epoch)
    return epochs, steps - (epochs - 1) * steps_an_epoch


def command(config: Config) -> None:
    run_training(config, train)
    Accelerator().end_training()


if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

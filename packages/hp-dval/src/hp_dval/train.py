"""``hp-dval train``: one method, one data set, one run folder. Reads from top to bottom."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed

from hmc_shared.data import HierarchicalDataset, ImageTable, load_dataset
from hmc_shared.metrics import average_precision
from hmc_shared.partial_labels import without_unknown
from hmc_shared.predict.score import score_split
from hmc_shared.runs.checkpoints import Checkpoints
from hmc_shared.runs.command import run_training
from hmc_shared.runs.folder import Results, RunFolder
from hmc_shared.runs.progress import Progress, agreed, check_finite, epoch_bar, mean_loss, show, take_step
from hmc_shared.runs.refit import use_held_out
from hmc_shared.runs.steps import Steps
from hp_dval.__main__ import main
from hp_dval.batches import training_batches
from hp_dval.build import (
    Network,
    build_model,
    build_prompter,
    classification_loss,
    clip_of,
    distillation_loss,
    fit_to_rows,
    notes,
    prompt_loss,
    teacher_features,
    training_split,
)
from hp_dval.config import Config
from hp_dval.stages import (
    FrozenTokens,
    begin_next_stage,
    build_optimizer,
    epoch_batches,
    set_step_sizes,
    stage_epochs,
)


def train(config: Config, dataset: HierarchicalDataset | None = None) -> Results | None:
    """Align, tune the prompts, evaluate and write the run folder.

    Args:
        config: all options.
        dataset: of images, used instead of loading ``config.dataset``.

    Returns the content of ``results.json``; None in all processes but the first.

    Raises:
        ValueError: for wrong options or data, a CLIP that cannot be had, a damaged checkpoint, and an
            occupied run folder.
        FloatingPointError: for a loss or weight that is not finite, naming step and last checkpoint.
    """
    # Options
    started = time.perf_counter()
    stages = stage_epochs(config)

    # Accelerator
    # The student is not used in the prompt tuning, nor are the prompts before it.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision=config.mixed_precision, kwargs_handlers=[unused])
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    folder = RunFolder.open(config, accelerator)
    set_seed(config.seed)

    # Data: small images whole on the device
    dataset = dataset or load_dataset(config.dataset, config.data_dir, view="image", **config.reading)
    dataset = dataset.with_partial_labels() if config.partial_labels else dataset
    clip = clip_of(config).to(device)
    training = training_split(config, dataset, clip)
    inputs = training.inputs if isinstance(training.inputs, ImageTable) else training.inputs.to(device)
    targets, labels, evaluated = training.targets, training.targets.to(device), dataset.evaluated
    unknown = None if training.unknown is None else training.unknown.to(device)

    # Model
    model = build_model(config, dataset, clip).to(device)
    prompter = build_prompter(config, model, clip)
    fit_to_rows(config, model, prompter, training)
    loss_of = classification_loss(config, targets, evaluated.to(device))
    prompt_loss_of = prompt_loss(config, model, clip, training)

    # Optimiser: of the student and the prompts
    optimizer = build_optimizer(config, model)

    # Prepare
    # Wrapped, because mixed precision replaces the forward of what is prepared: `model` scores in float32.
    wrapped: Any = torch.compile(model) if config.compile else model
    network, optimizer = accelerator.prepare(Network(wrapped), optimizer)
    generator, frozen = torch.Generator(device), FrozenTokens(model, config)
    progress = Progress()
    checkpoints = Checkpoints(accelerator, folder, config, progress, network=network, optimizer=optimizer)

    # Resume
    checkpoints.resume()

    # Epochs
    bar = epoch_bar(accelerator, config, len(stages), progress, dataset, len(targets), notes(config, dataset))
    while progress.epoch < len(stages):
        # Train
        stage = stages[progress.epoch]
        network.train(stage.aligns)
        model.begin_epoch(stage.epoch, stage.epochs)
        losses, steps = progress.begin_epoch(), Steps(config, len(targets))
        order = epoch_batches(config, stage, targets[:, evaluated], progress.epoch, rank=rank, world=world)
        for batch in training_batches(
            model,
            inputs,
            labels,
            order,
            config,
            progress.epoch,
            progress.step,
            generator,
            aligns=stage.aligns,
            tokens=frozen.of(training, stage),
            of_samples=training.weights,
            rank=rank,
            world=world,
        ):
            set_step_sizes(optimizer, config, stage, steps.middle(len(losses)))
            normalised = model.normalize(batch.inputs) if stage.aligns else batch.inputs
            outputs = network(normalised, prompter if stage.tunes_prompts else None)
            loss = batch.weights @ loss_of(without_unknown(outputs.logits, unknown, batch.rows), batch.labels)
            if stage.distils and config.kd_weight:
                with accelerator.autocast():
                    f_clip = teacher_features(clip, batch.inputs)
                loss = loss + config.kd_weight * (batch.weights @ distillation_loss(outputs, f_clip))
            if stage.tunes_prompts:
                loss = loss + prompt_loss_of(outputs, batch)
            accelerator.backward(loss * steps.share(len(losses)))
            losses.append(loss.detach())
            if steps.ends(len(losses) - 1):
                take_step(accelerator, network, optimizer, config, progress, config.accumulate)
                network.zero_grad()
                checkpoints.after_step()
        step_losses: Any = accelerator.reduce(torch.stack(losses), reduction="mean")  # (steps,)
        check_finite(step_losses, progress, folder, *network.parameters())
        if stage.tunes_prompts:
            model.keep_texts(prompter)
        progress.end_epoch()

        # Evaluate
        record: dict[str, Any] = {
            "epoch": progress.epoch - 1,
            "stage": stage.stage,
            "train_loss": mean_loss(step_losses),
            "seconds": progress.train_seconds,
        }
        if config.protocol == "default":
            scores = frozen.score(dataset.validation, stage)[:, evaluated]
            precisions = torch.from_numpy(average_precision(scores, dataset.validation.targets[:, evaluated]))
            record["validation/map"] = agreed(precisions.nanmean(), accelerator)
            progress.keep_if_best(record["validation/map"], model)
        show(bar, record, "train_loss", "validation/map")
        if stage.is_last and progress.epoch < len(stages):
            begin_next_stage(progress, model)
            if accelerator.is_main_process:
                model.save_pretrained(folder.path / "aligned")

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


def command(config: Config) -> None:
    run_training(config, train)


if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

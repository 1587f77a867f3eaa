"""``hp-dval train``: one method, one data set, one run folder. Reads from top to bottom."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from functools import partial
from typing import Any

from hmc_shared.cli import options
from hp_dval.config import FREE, Config


def train(config: Config, dataset: Any = None) -> dict[str, Any]:
    """Align, tune the prompts, evaluate and write the run folder; returns the content of ``results.json``.

    Args:
        config: all options.
        dataset: a :class:`hmc_shared.data.HierarchicalDataset` to use instead of loading ``config.dataset``.

    Raises:
        ValueError: for wrong options or data, a CLIP that cannot be had, and an occupied run folder.
        FloatingPointError: for a loss that is not finite, naming step and last checkpoint.
    """
    import torch
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.utils import broadcast, set_seed
    from tqdm import tqdm

    from hmc_shared.data import load_dataset
    from hmc_shared.metrics import average_precision
    from hmc_shared.predict.threshold import best_threshold
    from hmc_shared.runs.folder import RunFolder
    from hmc_shared.runs.progress import Progress, last_checkpoint, save_checkpoint
    from hp_dval.clip import load_clip
    from hp_dval.inputs import epoch_order, frozen_tokens, of_all_images, score_logits, training_batches
    from hp_dval.methods import (
        Network,
        build_model,
        build_prompter,
        classification_loss,
        consistency_loss,
        distillation_loss,
        teacher_features,
    )

    # Options
    started = time.perf_counter()
    stages = [(stage, epoch, of) for stage, of in config.stages for epoch in range(of)]  # one an epoch

    # Accelerator
    # The student is not used in the prompt tuning, nor are the prompts before it.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision=config.mixed_precision, kwargs_handlers=[unused])
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    with accelerator.main_process_first():
        folder = RunFolder(config.run_folder, resume=config.resume or rank > 0, overwrite=config.overwrite)
    if config.resume:
        folder.check_same_options(asdict(config), free=FREE)
    set_seed(config.seed)

    # Data: small images whole on the device
    dataset = dataset or load_dataset(config.dataset, config.data_dir, view="image", levels=config.levels)
    training = dataset.training_split(config.protocol)
    inputs, targets = training.inputs, training.targets
    if isinstance(inputs, torch.Tensor):
        inputs = inputs.to(device)
    labels, evaluated = targets.to(device), dataset.evaluated
    validation_targets = dataset.validation.targets[:, evaluated].numpy()

    # Model
    clip = load_clip(config.clip, config.pretrained).to(device)
    model = build_model(config, dataset, clip).to(device)
    prompter = build_prompter(config, model, clip)
    loss_of = classification_loss(config, targets.sum(0).to(device), len(targets), evaluated.to(device))

    # Optimiser: the student and the prompts, of which a stage trains one or both
    optimizer = torch.optim.AdamW(
        [
            {"params": model.alignment_parameters(), "lr": config.learning_rate},
            {"params": [model.contexts], "lr": config.prompt_learning_rate},
        ],
        weight_decay=config.weight_decay,
        fused=True,
    )
    step_sizes = [group["lr"] for group in optimizer.param_groups]
    steps_an_epoch = math.ceil(len(inputs) / config.batch_size)

    # Prepare
    # Wrapped, because mixed precision replaces the forward of what is prepared: `model` scores in float32.
    wrapped: Any = torch.compile(model) if config.compile else model
    network, optimizer = accelerator.prepare(Network(wrapped), optimizer)
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
    tokens = validation_tokens = teacher = None  # each is computed once
    bar = tqdm(
        total=len(stages),
        initial=progress.epoch,
        desc=f"{config.label} on {dataset.name}",
        unit="epoch",
        disable=not accelerator.is_main_process,
    )
    while progress.epoch < len(stages):
        # Train
        epoch_started = time.perf_counter()
        stage, stage_epoch, stage_epochs = stages[progress.epoch]
        aligns, prompts = stage != "prompts", stage != "alignment"
        augments = config.augment if aligns else config.prompt_augment
        if not aligns and validation_tokens is None:
            validation_tokens = frozen_tokens(model, dataset.validation.inputs, config)
        if not aligns and not augments and tokens is None:
            tokens = frozen_tokens(model, inputs, config)
        if aligns and not augments and teacher is None:
            teach = partial(teacher_features, config, clip)
            teacher = of_all_images(teach, model, inputs, config.workers)
        network.train(aligns)
        losses = []
        for images, rows, weights in training_batches(
            model,
            inputs if tokens is None else None,
            epoch_order(targets[:, evaluated], config, progress.epoch, rank=rank, world=world),
            config,
            progress.epoch,
            generator,
            augment=augments,
            rank=rank,
            world=world,
        ):
            factor = step_factor(config, stage_epoch + (len(losses) + 0.5) / steps_an_epoch, stage_epochs)
            for group, step_size, is_trained in zip(
                optimizer.param_groups, step_sizes, (aligns, prompts), strict=True
            ):
                group["lr"] = step_size * factor if is_trained else 0.0
            if tokens is not None:
                batch = tokens.index_select(0, rows)
            else:
                batch = model.normalize(images)
                if not aligns:
                    with torch.no_grad():
                        batch = model.tokens(batch)
            outputs = network(batch, prompter if prompts else None)
            loss = weights @ loss_of(outputs.logits, labels.index_select(0, rows))  # Eq. (16), (17)
            if aligns and config.kd_weight:
                with torch.no_grad(), accelerator.autocast():
                    f_clip = teacher_features(config, clip, images) if teacher is None else teacher[rows]
                loss = loss + config.kd_weight * (weights @ distillation_loss(config, outputs, f_clip))
            if prompts and config.method not in ("no-sc", "coop"):
                loss = loss + config.sc_weight * consistency_loss(config, outputs.text, model.fixed_text)
            accelerator.backward(loss)
            optimizer.step()
            network.zero_grad()
            losses.append(loss.detach())
        step_losses: Any = accelerator.reduce(torch.stack(losses), reduction="mean")  # (steps,)
        if not step_losses.isfinite().all():
            step = int((~step_losses.isfinite()).nonzero()[0])
            raise FloatingPointError(
                f"The training loss is {step_losses[step].item()} in epoch {progress.epoch + 1}, "
                f"step {step + 1}; the last checkpoint is {last_checkpoint(folder.checkpoints) or 'none'}."
            )
        if prompts:
            with torch.no_grad():
                model.text.copy_(prompter(model.contexts))
        progress.epoch += 1
        progress.train_seconds += time.perf_counter() - epoch_started

        # Evaluate
        record: dict[str, Any] = {
            "epoch": progress.epoch - 1,
            "stage": stage,
            "train_loss": step_losses.mean().item(),
            "seconds": progress.train_seconds,
        }
        if config.protocol == "default":
            kept = None if aligns else validation_tokens
            logits = score_logits(model, dataset.validation.inputs, config.workers, kept)
            found = torch.from_numpy(average_precision(logits[:, evaluated], validation_targets)).nanmean()
            # One process decides: the last bits may differ between processes.
            agreed: Any = broadcast(found.double().to(device))
            record["validation/map"] = agreed.item()
            progress.keep_if_best(record["validation/map"], model)
        shown = ("train_loss", "validation/map")
        bar.set_postfix({name: f"{record[name]:.4f}" for name in shown if name in record})
        bar.update()
        if stage_epoch + 1 == stage_epochs and progress.epoch < len(stages):
            # The next stage goes on from the best epoch of this one, and has a best one of its own.
            progress.restore_best(model)
            progress.best_score = progress.best_epoch = progress.improved_epoch = None
            if accelerator.is_main_process:
                model.save_pretrained(folder.path / "aligned")

        # Checkpoint
        if accelerator.is_main_process:
            folder.log_epoch(record)
        if progress.epoch % config.checkpoint_every == 0:
            save_checkpoint(accelerator, folder.checkpoints, progress.epoch)
    bar.close()
    save_checkpoint(accelerator, folder.checkpoints, progress.epoch)

    # Results
    progress.restore_best(model)
    logits = score_logits(model, dataset.test.inputs, config.workers)
    threshold, held_out = None, None
    if config.protocol == "default":
        held_out = score_logits(model, dataset.validation.inputs, config.workers)
        threshold = best_threshold(held_out[:, evaluated].numpy(), validation_targets)
    results: dict[str, Any] = {}
    if accelerator.is_main_process:
        model.save_pretrained(folder.model)
        results = folder.finish(
            dataset,
            logits,
            method=config.label,
            protocol=config.protocol,
            seed=config.seed,
            config=asdict(config),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            seconds={"train": progress.train_seconds, "total": time.perf_counter() - started},
            device=device,
            threshold=threshold,
            validation_logits=held_out,
            extra={
                "epochs": progress.epoch,
                "best_epoch": progress.best_epoch,
                "validation": progress.best_score,
            },
        )
    accelerator.end_training()
    return results


def step_factor(config: Config, epoch: float, epochs: int) -> float:
    """What the step sizes are multiplied by after ``epoch`` epochs of a stage: warm-up, then its schedule."""
    factor = 0.5 + 0.5 * math.cos(math.pi * epoch / epochs) if config.schedule == "cosine" else 1.0
    return factor * min(1.0, epoch / config.warmup_epochs) if config.warmup_epochs else factor


def command(argv: list[str]) -> None:
    config = options.parse(Config, argv, prog="hp-dval train", package="hp_dval")
    results = train(config)
    if results:
        print(options.format_metrics(results["metrics"]))


if __name__ == "__main__":
    options.main(command, prog="python -m hp_dval.train")

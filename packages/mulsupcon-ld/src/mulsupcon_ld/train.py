"""``mulsupcon-ld train``: one loss, one data set, one run folder. Reads from top to bottom."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from hmc_shared.cli import options
from mulsupcon_ld.config import FREE, Config


def train(config: Config, dataset: Any = None) -> dict[str, Any]:
    """Pre-train, fine-tune, evaluate and write the run folder; returns the content of ``results.json``.

    Args:
        config: all options.
        dataset: a :class:`hmc_shared.data.HierarchicalDataset` to use instead of loading ``config.dataset``.

    Raises:
        ValueError: for wrong options or data, and an occupied run folder.
        FloatingPointError: for a loss that is not finite, naming step and last checkpoint.
    """
    import copy

    import torch
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.utils import broadcast, set_seed
    from tqdm import tqdm

    from hmc_shared.data import load_dataset
    from hmc_shared.data.batches import batches
    from hmc_shared.metrics import average_precision
    from hmc_shared.predict.threshold import best_threshold
    from hmc_shared.runs.folder import RunFolder, or_null
    from hmc_shared.runs.progress import Progress, last_checkpoint, save_checkpoint
    from hmc_shared.vision.pixels import score_logits
    from mulsupcon_ld.inputs import training_batches
    from mulsupcon_ld.keys import KeyQueue, Keys, gather_keys, update_key_network
    from mulsupcon_ld.methods import build_model, classification_loss, contrastive_loss
    from mulsupcon_ld.thresholds import published_metrics

    # Options
    started = time.perf_counter()
    pretrain_epochs, finetune_epochs = config.stage_epochs

    # Accelerator
    # The embeddings are not used in the fine-tuning, nor is fc in pre-training without distributions.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision=config.mixed_precision, kwargs_handlers=[unused])
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    with accelerator.main_process_first():
        folder = RunFolder(config.run_folder, resume=config.resume or rank > 0, overwrite=config.overwrite)
    if config.resume:
        folder.check_same_options(asdict(config), free=FREE | {"epochs"})
    set_seed(config.seed, device_specific=True)  # each process drops other units; weights come from the first

    # Data: vectors and small images whole on the device
    dataset = dataset or load_dataset(config.dataset, config.data_dir, view=config.view, levels=config.levels)
    training = dataset.training_split(config.protocol)
    inputs, targets = training.inputs, training.targets
    if isinstance(inputs, torch.Tensor):
        inputs = inputs.to(device)
    evaluated, counted = dataset.evaluated, dataset.evaluated.nonzero().squeeze(1).to(device)
    targets = (targets & evaluated).to(device)  # a label that does not count makes no positives
    validation_targets = dataset.validation.targets[:, evaluated].numpy()

    # Model
    model = build_model(config, dataset).to(device)
    queue = KeyQueue(config.queue_size, config.dim, len(dataset.hierarchy)).to(device)

    # Optimiser: one for each stage
    pretraining = torch.optim.AdamW(
        model.parameters(),
        lr=config.pretrain_learning_rate,
        weight_decay=config.pretrain_weight_decay,
        fused=True,
    )
    finetuning = torch.optim.AdamW(
        [
            {"params": model.encoder.parameters(), "lr": config.learning_rate * config.encoder_rate},
            {"params": [*model.projection.parameters(), *model.fc.parameters()], "lr": config.learning_rate},
        ],
        weight_decay=config.weight_decay,
        fused=True,
    )

    # Prepare
    # Wrapped, because mixed precision replaces the forward of what is prepared: `model` scores in float32.
    wrapped: Any = torch.compile(model) if config.compile else model
    network = torch.nn.Sequential(wrapped)
    network, pretraining, finetuning = accelerator.prepare(network, pretraining, finetuning)
    key_network = copy.deepcopy(model).requires_grad_(False)  # now that all processes have the same weights
    generator = torch.Generator(device)
    progress = Progress()
    accelerator.register_for_checkpointing(progress, key_network, queue)

    # Resume
    checkpoint = last_checkpoint(folder.checkpoints) if config.resume else None
    if checkpoint:
        accelerator.load_state(str(checkpoint))
    if accelerator.is_main_process:
        folder.write_config(options.to_yaml(config))
        folder.forget_epochs_from(progress.epoch)

    # Epochs
    bar = tqdm(
        total=pretrain_epochs + finetune_epochs,
        initial=progress.epoch,
        desc=f"{config.loss} on {dataset.name}",
        unit="epoch",
        disable=not accelerator.is_main_process,
    )
    while progress.epoch < pretrain_epochs + finetune_epochs and not progress.is_stale(config.patience):
        # Train
        epoch_started = time.perf_counter()
        network.train()
        is_pretraining = progress.epoch < pretrain_epochs
        optimizer = pretraining if is_pretraining else finetuning
        factor = step_factor(config, progress.epoch)
        step_sizes = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] *= factor
        losses = []
        order = batches(
            len(inputs), config.batch_size, seed=config.seed, epoch=progress.epoch, rank=rank, world=world
        )
        stream = training_batches(
            model,
            inputs,
            targets,
            list(order),
            config,
            progress.epoch,
            generator,
            pretraining=is_pretraining,
            rank=rank,
            world=world,
        )
        for views, labels, weights in stream:
            z, logits = network(views[0])
            if is_pretraining:
                update_key_network(key_network, model, config.momentum)
                with torch.no_grad(), accelerator.autocast():
                    embeddings, _ = key_network(views[1])
                size = min(config.batch_size, len(inputs) - len(losses) * config.batch_size)  # over processes
                batch_keys, own = gather_keys(
                    Keys(embeddings, labels, logits.detach().softmax(1)), size, accelerator
                )
                keys = batch_keys.concatenate(queue.contents())
                loss = weights @ contrastive_loss(config, z, logits, labels, keys, own, size)
                if config.has_distributions:
                    loss = loss + config.beta * model.fc.weight.square().sum()  # beta ||W||_F^2
            else:
                loss = weights @ classification_loss(config, logits[:, counted], labels[:, counted])
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            if is_pretraining:
                queue.push(batch_keys)
            losses.append(loss.detach())
        for group, step_size in zip(optimizer.param_groups, step_sizes, strict=True):
            group["lr"] = step_size
        step_losses: Any = accelerator.reduce(torch.stack(losses), reduction="mean")  # (steps,)
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
            "stage": "pre-training" if is_pretraining else "fine-tuning",
            "train_loss": step_losses.mean().item(),
            "seconds": progress.train_seconds,
        }
        if config.protocol == "default" and not is_pretraining:
            logits = score_logits(model, dataset.validation.inputs, workers=config.workers)
            found = torch.from_numpy(average_precision(logits[:, evaluated], validation_targets)).nanmean()
            # One process decides: batch statistics may differ between processes.
            agreed: Any = broadcast(found.double().to(device))
            record["validation/map"] = agreed.item()
            progress.keep_if_best(record["validation/map"], model)
        shown = ("train_loss", "validation/map")
        bar.set_postfix({name: f"{record[name]:.4f}" for name in shown if name in record})
        bar.update()

        # Checkpoint
        if accelerator.is_main_process:
            folder.log_epoch(record)
            if progress.epoch == pretrain_epochs:  # its label distributions are those of the paper
                model.save_pretrained(folder.path / "pretrained")
        if progress.epoch % config.checkpoint_every == 0:
            save_checkpoint(accelerator, folder.checkpoints, progress.epoch)
    bar.close()
    save_checkpoint(accelerator, folder.checkpoints, progress.epoch)

    # Results
    progress.restore_best(model)
    logits = score_logits(model, dataset.test.inputs, workers=config.workers)
    results: dict[str, Any] = {}
    threshold, held_out, published = None, None, {}
    if config.protocol == "default":
        held_out = score_logits(model, dataset.validation.inputs, workers=config.workers)
        threshold = best_threshold(held_out[:, evaluated].numpy(), validation_targets)
    else:
        test_targets = dataset.test.targets[:, evaluated].numpy()
        found = published_metrics(logits[:, evaluated].sigmoid().numpy(), test_targets)
        published = {name: or_null(value) for name, value in found.items()}
    if accelerator.is_main_process:
        model.save_pretrained(folder.model)
        results = folder.finish(
            dataset,
            logits,
            method=config.loss,
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
                "published_metrics": published,
            },
        )
    accelerator.end_training()
    return results


def step_factor(config: Config, epoch: int) -> float:
    """What the step sizes are multiplied by in an epoch: a cosine from 1 down to the lowest, again and again.

    Each cosine of a stage lasts twice as long as the one before (CosineAnnealingWarmRestarts, T_mult = 2).
    """
    highest, lowest, length = config.learning_rate, config.minimum_rate, config.restart
    pretrain_epochs = config.stage_epochs[0]
    if epoch < pretrain_epochs:
        highest, lowest = config.pretrain_learning_rate, config.pretrain_minimum_rate
        length = config.pretrain_restart
    else:
        epoch -= pretrain_epochs
    while epoch >= length:
        epoch, length = epoch - length, 2 * length
    floor = min(1.0, lowest / highest) if highest else 0.0
    return floor + (1 - floor) * (0.5 + 0.5 * math.cos(math.pi * epoch / length))


def command(argv: list[str]) -> None:
    config = options.parse(Config, argv, prog="mulsupcon-ld train", package="mulsupcon_ld")
    results = train(config)
    if results:
        print(options.format_metrics(results["metrics"]))


if __name__ == "__main__":
    options.main(command, prog="python -m mulsupcon_ld.train")

"""``hlstm train``: one method, one data set, one run folder. Reads from top to bottom."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from hlstm.config import FREE, Config
from hmc_shared.cli import options


def train(config: Config, dataset: Any = None) -> dict[str, Any]:
    """Train, evaluate and write the run folder; returns the content of ``results.json``.

    Args:
        config: all options.
        dataset: a :class:`hmc_shared.data.HierarchicalDataset` of vectors to use instead of loading
            ``config.dataset``.

    Raises:
        ValueError: for wrong options or data, and an occupied run folder.
        FloatingPointError: for a loss that is not finite, naming step and last checkpoint.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.utils import broadcast, set_seed
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
    from tqdm import tqdm

    from hlstm.methods import build_model, method_loss
    from hmc_shared.data import load_dataset
    from hmc_shared.data.batches import batches
    from hmc_shared.metrics import au_prc
    from hmc_shared.runs.folder import RunFolder
    from hmc_shared.runs.progress import Progress, last_checkpoint, save_checkpoint

    # Options
    started = time.perf_counter()

    # Accelerator
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    with accelerator.main_process_first():
        folder = RunFolder(config.run_folder, resume=config.resume or rank > 0, overwrite=config.overwrite)
    if config.resume:
        folder.check_same_options(asdict(config), free=FREE | {"epochs"})
    set_seed(config.seed, device_specific=True)  # each process drops other units; weights come from the first

    # Data: small vectors, whole on the device
    dataset = dataset or load_dataset(
        config.dataset, config.data_dir, view="vector", protocol=config.protocol, levels=config.levels
    )
    training = dataset.training_split(config.protocol)
    inputs, targets = training.inputs, training.targets
    inputs, targets = inputs.to(device), targets.to(device)
    evaluated = dataset.evaluated
    validation_inputs = dataset.validation.inputs.to(device)
    validation_targets = dataset.validation.targets[:, evaluated]

    # Model
    model = build_model(config, dataset).to(device)
    loss_of = method_loss(config, dataset.hierarchy, evaluated.to(device))

    # Optimiser
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )

    # Prepare
    # Wrapped, because mixed precision replaces the forward of what is prepared: `model` scores in float32.
    wrapped: Any = torch.compile(model) if config.compile else model
    network = torch.nn.Sequential(wrapped)
    network, optimizer = accelerator.prepare(network, optimizer)
    scored: Any = model
    averages = []
    if config.weight_average:
        averages = [AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.weight_average))]
        scored = averages[0].module
    progress = Progress()
    accelerator.register_for_checkpointing(progress, *averages)

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
    while progress.epoch < config.epochs and not progress.is_stale(config.patience):
        # Train
        epoch_started = time.perf_counter()
        network.train()
        losses = []
        order = batches(
            len(inputs), config.batch_size, seed=config.seed, epoch=progress.epoch, rank=rank, world=world
        )
        for rows, weights in order:
            rows, weights = rows.to(device), weights.to(device)
            global_logits, local_logits = network(inputs[rows])
            loss = weights @ loss_of(global_logits, local_logits, targets[rows])
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            for average in averages:
                average.update_parameters(model)
            losses.append(loss.detach())
        step_losses: Any = accelerator.reduce(torch.stack(losses), reduction="mean")  # (steps,)
        if not step_losses.isfinite().all():
            step = int((~step_losses.isfinite()).nonzero()[0])
            raise FloatingPointError(
                f"The training loss is {step_losses[step].item()} in epoch {progress.epoch + 1}, "
                f"step {step + 1}; the last checkpoint is {last_checkpoint(folder.checkpoints) or 'none'}."
            )
        train_loss = step_losses.mean().item()
        progress.epoch += 1
        progress.train_seconds += time.perf_counter() - epoch_started

        # Evaluate
        record = {"epoch": progress.epoch - 1, "train_loss": train_loss, "seconds": progress.train_seconds}
        if config.protocol == "default":
            scores = score(scored, validation_inputs)[:, evaluated]
            # One process decides: batch statistics (hmcn-f) may differ between processes.
            found = au_prc(scores, validation_targets)
            agreed: Any = broadcast(torch.tensor(found, dtype=torch.float64, device=device))
            record["validation/au_prc"] = agreed.item()
            progress.keep_if_best(record["validation/au_prc"], scored)
        bar.set_postfix(
            {name: f"{value:.4f}" for name, value in record.items() if name not in ("epoch", "seconds")}
        )
        bar.update()

        # Checkpoint
        if accelerator.is_main_process:
            folder.log_epoch(record)
        if progress.epoch % config.checkpoint_every == 0:
            save_checkpoint(accelerator, folder.checkpoints, progress.epoch)
    bar.close()
    save_checkpoint(accelerator, folder.checkpoints, progress.epoch)

    # Results
    progress.restore_best(scored)
    logits = score(scored, dataset.test.inputs.to(device))
    held_out = score(scored, validation_inputs) if config.protocol == "default" else None
    results: dict[str, Any] = {}
    if accelerator.is_main_process:
        scored.save_pretrained(folder.model)
        results = folder.finish(
            dataset,
            logits,
            method=config.method,
            protocol=config.protocol,
            seed=config.seed,
            config=asdict(config),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            seconds={"train": progress.train_seconds, "total": time.perf_counter() - started},
            device=device,
            validation_logits=held_out,
            extra={
                "epochs": progress.epoch,
                "best_epoch": progress.best_epoch,
                "validation": progress.best_score,
            },
        )
    accelerator.end_training()
    return results


def score(model: Any, features: Any, batch_size: int = 4096) -> Any:
    """Coherent logits (n, C) float32 on the CPU of standardised features (n, F), in evaluation mode."""
    import torch

    model.eval()
    with torch.no_grad():
        return torch.cat([model.logits(rows).cpu() for rows in features.split(batch_size)])


def command(argv: list[str]) -> None:
    config = options.parse(Config, argv, prog="hlstm train", package="hlstm")
    results = train(config)
    if results:
        print(options.format_metrics(results["metrics"]))


if __name__ == "__main__":
    options.main(command, prog="python -m hlstm.train")

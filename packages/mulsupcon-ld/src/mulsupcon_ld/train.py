"""``mulsupcon-ld train``: one loss, one data set, one run folder. Reads from top to bottom."""

from __future__ import annotations

import copy
import sys
import time
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed

from hmc_shared.data import HierarchicalDataset, ImageTable, load_dataset
from hmc_shared.metrics import average_precision
from hmc_shared.predict.score import score_known, score_split
from hmc_shared.runs.checkpoints import Checkpoints
from hmc_shared.runs.command import run_training
from hmc_shared.runs.folder import Results, RunFolder
from hmc_shared.runs.progress import Progress, agreed, check_finite, epoch_bar, mean_loss, show, take_step
from hmc_shared.runs.refit import use_held_out
from hmc_shared.runs.samples import or_null
from hmc_shared.runs.steps import Steps
from mulsupcon_ld.__main__ import main
from mulsupcon_ld.batches import training_batches
from mulsupcon_ld.build import build_model, contrastive_loss, finetuning_loss
from mulsupcon_ld.config import Config
from mulsupcon_ld.keys import KeyQueue, Keys, gather_keys, update_key_network
from mulsupcon_ld.networks import WithLabels
from mulsupcon_ld.published_metrics import published_metrics
from mulsupcon_ld.schedule import build_optimizers, set_step_sizes


def train(config: Config, dataset: HierarchicalDataset | None = None) -> Results | None:
    """Pre-train, fine-tune, evaluate and write the run folder.

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
    pretrain_epochs, finetune_epochs = config.stage_epochs

    # Accelerator
    # The embeddings are not used in the fine-tuning, nor is fc in pre-training without distributions.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision=config.mixed_precision, kwargs_handlers=[unused])
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    folder = RunFolder.open(config, accelerator)
    set_seed(config.seed, device_specific=True)  # each process drops other units; weights come from the first

    # Data: vectors and small images whole on the device
    dataset = dataset or load_dataset(config.dataset, config.data_dir, view=config.view, **config.reading)
    training = dataset.training_split(config.protocol)
    inputs = training.inputs if isinstance(training.inputs, ImageTable) else training.inputs.to(device)
    evaluated, counted = dataset.evaluated, dataset.evaluated.nonzero().squeeze(1).to(device)
    targets = (training.targets & evaluated).to(device)  # a label that does not count makes no positives
    unknown = None if training.unknown is None else training.unknown.to(device)

    # Model
    model = build_model(config, dataset).to(device)
    queue = KeyQueue(config.queue_size, config.dim, len(dataset.hierarchy)).to(device)

    # Optimiser: one for each stage
    pretraining, finetuning = build_optimizers(config, model)

    # Prepare
    # Wrapped, because mixed precision replaces the forward of what is prepared: `model` scores in float32.
    wrapped: Any = torch.compile(model) if config.compile else model
    network, pretraining, finetuning = accelerator.prepare(WithLabels(wrapped), pretraining, finetuning)
    key_network = copy.deepcopy(model).requires_grad_(False)  # now that all processes have the same weights
    generator = torch.Generator(device)
    progress = Progress()
    parts = {"network": network, "keys": torch.nn.ModuleList([key_network, queue])}
    optimizers = {"pretraining": pretraining, "finetuning": finetuning}
    checkpoints = Checkpoints(accelerator, folder, config, progress, **parts, **optimizers)

    # Resume
    checkpoints.resume()

    # Epochs
    total = pretrain_epochs + finetune_epochs
    bar = epoch_bar(accelerator, config, total, progress, dataset, len(inputs))
    while progress.epoch < total and not progress.is_stale(config.patience):
        # Train
        network.train()
        is_pretraining = config.is_pretraining(progress.epoch)
        optimizer = pretraining if is_pretraining else finetuning
        losses, step_keys, steps = progress.begin_epoch(), list[Keys](), Steps(config, len(inputs))
        place: dict[str, Any] = {"of_samples": training.weights, "rank": rank, "world": world}
        batches = training_batches(
            model, inputs, targets, config, progress.epoch, progress.step, generator, **place
        )
        for batch in batches:
            set_step_sizes(optimizer, config, progress.epoch, steps.middle(len(losses)))
            outputs = network(batch.inputs[0], batch.labels)
            if is_pretraining:
                z, logits = outputs
                if not step_keys:  # once a step
                    update_key_network(key_network, model, config.momentum)
                with torch.no_grad(), accelerator.autocast():
                    embeddings, _ = key_network(batch.inputs[1])
                new_keys = Keys(embeddings, batch.labels, logits.detach().softmax(1))
                size = min(config.batch_size, len(inputs) - len(losses) * config.batch_size)  # over processes
                new_keys, own_keys = gather_keys(new_keys, size, accelerator)
                step_keys.append(new_keys)
                keys = new_keys.concatenate(queue.contents())
                of_rows = contrastive_loss(config, z, logits, batch, keys, own_keys, size, unknown)
                loss = batch.weights @ of_rows
                if config.has_distributions:
                    loss = loss + config.beta * model.get_parameter("fc.weight").square().sum()  # ||W||_F^2
            else:
                loss = batch.weights @ finetuning_loss(config, outputs, batch, counted, unknown)
            accelerator.backward(loss * steps.share(len(losses)))
            losses.append(loss.detach())
            if steps.ends(len(losses) - 1):
                if take_step(accelerator, network, optimizer, config, progress, config.accumulate):
                    queue.push_all(step_keys)
                step_keys.clear()
                optimizer.zero_grad()
                checkpoints.after_step()
        step_losses: Any = accelerator.reduce(torch.stack(losses), reduction="mean")  # (steps,)
        check_finite(step_losses, progress, folder, *network.parameters())
        progress.end_epoch()

        # Evaluate
        record = {
            "epoch": progress.epoch - 1,
            "stage": "pre-training" if is_pretraining else "fine-tuning",
            "train_loss": mean_loss(step_losses),
            "seconds": progress.train_seconds,
        }
        if config.protocol == "default" and not is_pretraining:
            scores = score_known(model, dataset.validation, config.workers)[:, evaluated]
            precisions = average_precision(scores, dataset.validation.targets[:, evaluated])
            record["validation/map"] = agreed(torch.from_numpy(precisions).nanmean(), accelerator)
            progress.keep_if_best(record["validation/map"], model)
        show(bar, record, "train_loss", "validation/map")

        # Checkpoint
        if accelerator.is_main_process:
            folder.log_epoch(record)
            if progress.epoch == pretrain_epochs:  # its label distributions are those of the paper
                model.save_pretrained(folder.path / "pretrained")
        checkpoints.after_epoch()
    bar.close()
    checkpoints.after_training()

    # Results
    if not config.test:
        return folder.finish_trial(progress, accelerator)
    progress.restore_best(model)
    logits = score_split(model, dataset.test, config.workers)
    extra = {**progress.summary(), "published_metrics": {}}
    if config.protocol == "paper":
        probabilities, test_targets = logits.sigmoid()[:, evaluated], dataset.test.targets[:, evaluated]
        published = published_metrics(probabilities.numpy(), test_targets.numpy())
        extra["published_metrics"] = {name: or_null(value) for name, value in published.items()}
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
            extra=extra,
        )
    accelerator.end_training()
    return results


def command(config: Config) -> None:
    run_training(config, train)


if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

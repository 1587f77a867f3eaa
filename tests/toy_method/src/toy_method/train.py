"""``toy-method train``."""

import sys
import time

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.nn.functional import binary_cross_entropy_with_logits

from hmc_shared.cli.commands import format_metrics
from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.batches import batches
from hmc_shared.metrics import au_prc
from hmc_shared.predict.score import score_split
from hmc_shared.runs.checkpoints import Checkpoints
from hmc_shared.runs.folder import Results, RunFolder
from hmc_shared.runs.progress import Progress, check_finite, take_step
from hmc_shared.runs.refit import use_held_out
from toy_method.__main__ import main
from toy_method.config import Config
from toy_method.model import Linear


def train(config: Config, dataset: HierarchicalDataset | None = None) -> Results | None:
    """Train, evaluate and write the run folder."""
    started = time.perf_counter()
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    folder = RunFolder.open(config, accelerator)
    set_seed(config.seed)
    dataset = dataset or load_dataset(config.dataset, config.data_dir, view="vector", levels=config.levels)
    training = dataset.training_split(config.protocol)
    model = Linear(dataset.num_features, dataset.hierarchy)
    model.learn_statistics(dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    network, optimizer = accelerator.prepare(torch.nn.Sequential(model), optimizer)
    progress = Progress()
    checkpoints = Checkpoints(accelerator, folder, config, progress, network=network, optimizer=optimizer)
    checkpoints.resume()
    while progress.epoch < config.epochs:
        network.train()
        losses = progress.begin_epoch()
        order = list(batches(len(training), config.batch_size, seed=config.seed, epoch=progress.epoch))
        for rows, weights in order[progress.step :]:
            logits = network(model.normalize(training.inputs[rows]))
            entropies = binary_cross_entropy_with_logits(
                logits, training.targets[rows].float(), reduction="none"
            )
            loss = weights @ entropies.mean(1)
            accelerator.backward(loss)
            take_step(accelerator, network, optimizer, config, progress)
            optimizer.zero_grad()
            losses.append(loss.detach())
            checkpoints.after_step()
        check_finite(torch.stack(losses), progress, folder, *network.parameters())
        progress.end_epoch()
        score = au_prc(score_split(model, dataset.validation), dataset.validation.targets)
        progress.keep_if_best(score, model)
        folder.log_epoch({"epoch": progress.epoch - 1, "validation/au_prc": score})
        checkpoints.after_epoch()
    checkpoints.after_training()
    if not config.test:
        return folder.finish_trial(progress, accelerator)
    progress.restore_best(model)
    use_held_out(model, dataset, folder, config)
    model.save_pretrained(folder.model)
    logits = score_split(model, dataset.test)
    return folder.finish(
        dataset,
        model.to_scores(logits),
        model.to_probabilities(logits),
        model.to_labels(logits),
        config=config,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        seconds={"total": time.perf_counter() - started},
        device=accelerator.device,
        extra=progress.summary(),
    )


def command(config: Config) -> None:
    results = train(config)
    if results:
        print(format_metrics(results["metrics"]))


if __name__ == "__main__":
    main(["train", *sys.argv[1:]])

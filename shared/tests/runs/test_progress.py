"""Which epoch is kept."""

import torch

from hmc_shared.runs.progress import Progress


def test_the_last_of_the_best_epochs_is_kept_and_the_first_counts_for_patience():
    progress, model = Progress(), torch.nn.Linear(1, 1)
    for epoch, score in enumerate([0.5, 0.7, 0.7, 0.6], start=1):
        progress.epoch = epoch
        torch.nn.init.constant_(model.weight, epoch)
        progress.keep_if_best(score, model)
    assert (progress.best_score, progress.best_epoch, progress.improved_epoch) == (0.7, 3, 2)
    assert progress.is_stale(2)
    assert not progress.is_stale(3)
    progress.restore_best(model)
    assert model.weight.item() == 3


def test_a_score_that_is_no_number_chooses_nothing():
    progress, model = Progress(), torch.nn.Linear(1, 1)
    for epoch in (1, 2, 3):
        progress.epoch = epoch
        torch.nn.init.constant_(model.weight, epoch)
        progress.keep_if_best(float("nan"), model)
    assert (progress.best_score, progress.best_epoch) == (None, None)
    assert not progress.is_stale(1)
    progress.restore_best(model)
    assert model.weight.item() == 3

"""Choosing options on the validation split: trials of Optuna, as many for every method."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from hmc_shared.cli.parse import option_words
from hmc_shared.messages import reason
from hmc_shared.object_files import read_json
from hmc_shared.runs.log import read_log
from hmc_shared.study.plan import Plan, Run, Search
from hmc_shared.study.records import Task, settings_of
from hmc_shared.study.spaces import Space, load_space

optuna.logging.set_verbosity(optuna.logging.WARNING)
FOLDER = "search"
"""Of the trials, below that of the study."""
VALIDATION = "validation.json"
"""What a run leaves behind that scored no test split."""


def searchers(plan: Plan, study: Path, *, is_new: bool = True) -> dict[tuple[str, str], Searcher]:
    """By data set and label; nothing is written unless ``is_new``, where it begins if it has not.

    Raises ValueError for a method without a space, a storage that cannot be opened, and trials of another
    plan.
    """
    found: dict[tuple[str, str], Searcher] = {}
    storages: dict[str | None, BaseStorage] = {}
    for run in plan.runs:
        search = run.search
        if search is None or run.label in plan.missing or (run.dataset, run.label) in found:
            continue
        if (space := load_space(run.words)) is None:
            continue
        where = search.storage or str(study / FOLDER / "journal.log")
        try:
            if search.storage not in storages:
                storages[search.storage] = _open_storage(search.storage, study, is_new)
            found[run.dataset, run.label] = Searcher(
                run, search, study, storages[search.storage], space, plan.name
            )
        except OtherPlanError as error:
            raise ValueError(str(error)) from error
        except Exception as error:  # of a dozen databases and their drivers
            raise ValueError(f"the trials in {where} cannot be read: {reason(error)}") from error
    return found


def _open_storage(url: str | None, study: Path, is_new: bool) -> BaseStorage:
    if url:
        return get_storage(url)
    journal = study / FOLDER / "journal.log"
    if not is_new and not journal.exists():
        return InMemoryStorage()
    journal.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(journal)))


class OtherPlanError(ValueError):
    """Trials that were made with other options, or from another space."""


class Searcher:
    """The search of one method on one data set; several starts of the study may share it.

    A trial is a run with one seed and ``--no-test``: the test split is not scored. Trials that were
    interrupted go on, and none that is finished is repeated.
    """

    def __init__(
        self, run: Run, search: Search, study: Path, storage: BaseStorage, space: Space, plan: str
    ) -> None:
        self.run, self.search, self.folder, self.space = run, search, study, space
        self.place = f"{FOLDER}/{run.dataset}/{run.label}"
        self._pruned: set[Task] = set()
        self._mine: dict[Task, Trial] = {}
        self._reported: dict[Task, int] = {}
        self._study = optuna.create_study(
            storage=storage,
            study_name=f"{plan}/{run.dataset}/{run.label}",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=5)
            if search.prune
            else optuna.pruners.NopPruner(),
        )

        made_from = {"options": settings_of(run.words), "spaces": space.texts, "seeds": search.seed}
        before = self._study.user_attrs.get("made_from")
        if before is None:
            self._study.set_user_attr("made_from", made_from)
        elif before != made_from:
            what = next(name for name in made_from if before.get(name) != made_from[name])
            raise OtherPlanError(
                f"the trials of {run.label} on {run.dataset} in {study} were made with other {what}. Choose "
                "another --output, or delete that folder."
            )
        # What failed before counts only if something else has not: its cause may be mended.
        finished = [trial for trial in self.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        self._forgiven = set() if finished else {t.number for t in self.trials if t.state == TrialState.FAIL}

    @property
    def trials(self) -> list[FrozenTrial]:
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)
        return self._study.get_trials(deepcopy=False, states=states)

    @property
    def is_over(self) -> bool:
        trials = self.trials
        return self._is_spent(trials) and all(trial.state != TrialState.RUNNING for trial in trials)

    def _counted(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        return [trial for trial in trials if trial.number not in self._forgiven]

    def _is_spent(self, trials: list[FrozenTrial]) -> bool:
        trials = self._counted(trials)
        if self.search.trials is not None:
            return len(trials) >= self.search.trials
        return sum(map(_seconds, trials)) >= (self.search.seconds or 0)

    def has(self, task: Task) -> bool:
        return task in self._mine

    def claim(self) -> tuple[Task, FileLock] | None:
        """A trial to start: one that was interrupted, or a new one; None if the budget is spent or in use."""
        with FileLock(self._path / "ask.lock"):  # two starts must not both ask for the last trial
            trials = self.trials
            for trial in trials:
                task = self._task(trial.number, trial.params)
                if trial.state != TrialState.RUNNING or task in self._mine or (lock := task.lock()) is None:
                    continue
                if self._study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING:
                    self._mine[task] = Trial(self._study, trial._trial_id)  # pyright: ignore[reportPrivateUsage]
                    return task, lock
                lock.release()  # another start has ended it in the meantime
            if self._is_spent(trials):
                return None
            if len(trials) == len(self._forgiven):
                self._study.enqueue_trial(dict(self.space.recipe))
            # A seed for each trial: one that is asked for after a restart should not be the first again.
            seed = self.search.seed * 100_003 + len(trials)
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            trial = self._study.ask(dict(self.space.options))
            task = self._task(trial.number, trial.params)
            lock = task.lock()
            assert lock is not None
            self._mine[task] = trial
            return task, lock

    def ended(self, task: Task, code: int, seconds: float) -> None:
        """Tell what a trial has reached. One that failed counts as a trial, too."""
        trial = self._mine.pop(task)
        _add_seconds(trial, seconds)
        value = self._value(task)
        if value is not None:
            self._study.tell(trial, value)
        elif task in self._pruned:
            self._study.tell(trial, state=TrialState.PRUNED)
            (task.folder / VALIDATION).write_text(json.dumps({"pruned": True}) + "\n", encoding="utf-8")
        else:
            self._study.tell(trial, state=TrialState.FAIL)
        shutil.rmtree(task.folder / "checkpoints", ignore_errors=True)

    def _value(self, task: Task) -> float | None:
        """What a trial has reached; None if it has not ended well."""
        try:
            value = read_json(task.folder / VALIDATION).get("validation")
        except ValueError:
            return None
        return value if isinstance(value, int | float) and math.isfinite(value) else None

    def stopped(self, task: Task, seconds: float) -> None:
        """A trial that goes on another time."""
        _add_seconds(self._mine.pop(task), seconds)

    def prunes(self, task: Task) -> bool:
        """Whether the validation curve of a trial lies below the median of those before it."""
        if not self.search.prune or task in self._pruned:
            return False
        try:
            curve = {
                record["epoch"]: record[self.space.metric]
                for record in read_log(task.folder)
                if record.get(self.space.metric) is not None
            }
        except (ValueError, FileNotFoundError):  # nothing logged yet
            return False
        trial = self._mine[task]
        for epoch in sorted(curve.keys() - range(self._reported.get(task, 0))):
            trial.report(curve[epoch], epoch)
            self._reported[task] = epoch + 1
        if curve and trial.should_prune():
            self._pruned.add(task)
            return True
        return False

    @property
    def chosen(self) -> Mapping[str, Any] | None:
        """The options of the best trial; None if none was finished."""
        best = self._best()
        return None if best is None else best.params

    @property
    def status(self) -> str:
        done = [trial for trial in self.trials if trial.state != TrialState.RUNNING]
        return f"{len(done)} of {self.search.budget}" if self.search.trials else f"{len(done)}"

    @property
    def open_tasks(self) -> list[Task]:
        """Trials that have begun and not ended: they are at work, or were interrupted."""
        trials = [trial for trial in self.trials if trial.state == TrialState.RUNNING]
        return [self._task(trial.number, trial.params) for trial in trials]

    @property
    def seconds_of_trials(self) -> list[float]:
        """Of those that were finished."""
        return [_seconds(trial) for trial in self.trials if trial.state == TrialState.COMPLETE]

    @property
    def trials_left(self) -> int:
        """0 where the budget is one of seconds."""
        ended = [trial for trial in self._counted(self.trials) if trial.state != TrialState.RUNNING]
        return max((self.search.trials or 0) - len(ended), 0)

    def seconds_left(self, each: float) -> float:
        """Until the budget is spent, if a trial takes ``each``."""
        spent = sum(map(_seconds, self.trials))
        return self.trials_left * each if self.search.seconds is None else max(self.search.seconds - spent, 0)

    def summary(self) -> tuple[str, ...]:
        """Trials, those pruned and failed, seconds, and the best figure on validation."""
        trials, best = self.trials, self._best()
        states = [trial.state for trial in trials]
        counts = [len(trials), states.count(TrialState.PRUNED), states.count(TrialState.FAIL)]
        value = "-" if best is None else f"{self.space.metric.removeprefix('validation/')} {best.value:.4f}"
        return (*map(str, counts), f"{sum(map(_seconds, trials)):.0f}", value)

    def choices(self) -> list[tuple[str, str, str]]:
        """Each option with what was chosen and the space it was chosen from."""
        chosen = self.chosen or {}
        return [(name, str(chosen.get(name, "-")), text) for name, text in self.space.texts.items()]

    def _best(self) -> FrozenTrial | None:
        done = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return max(done, key=lambda trial: trial.value or 0.0, default=None)

    @property
    def _path(self) -> Path:
        path = self.folder / self.place
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _task(self, number: int, options: Mapping[str, Any]) -> Task:
        place = f"{self.place}/trial-{number}"
        chosen = [word for name, value in options.items() for word in option_words(name, value)]
        where = [
            "--seed",
            str(self.search.seed),
            "--no-test",
            "--output-dir",
            str(self.folder / place),
            "--resume",
        ]
        words = (*self.run.words_in(str(self.folder)), *chosen, *where)
        return Task(place, self.folder, words, VALIDATION, self.run.processes)


def _add_seconds(trial: Trial, seconds: float) -> None:
    trial.set_user_attr("seconds", trial.user_attrs.get("seconds", 0.0) + seconds)


def _seconds(trial: FrozenTrial) -> float:
    return float(trial.user_attrs.get("seconds", 0.0))

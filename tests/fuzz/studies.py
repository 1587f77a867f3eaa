"""Readers of studies: a plan, what a study remembers of a run, and what a trial leaves."""

from __future__ import annotations

from pathlib import Path

from harness import Reader
from run_files import JSON_TOKENS, YAML_TOKENS

from hmc_shared.study.plan import read_plan
from hmc_shared.study.queue import Queue
from hmc_shared.study.records import Task
from hmc_shared.study.status import state_of, status_text

PLANS = (
    b"about: one\ndatasets: [digits]\nmethods: [hlstm, flat]\nseeds: [0, 1]\noptions: {epochs: 3}\n",
    b"datasets: {a: {epochs: 1}, b: }\nmethods: {m: {command: hlstm train, processes: 2}}\n"
    b"grid: {dropout: [0.1, 2e-1]}\nsearch: {trials: 3, prune: false}\nmetrics: [map]\n",
    b"seeds: [1]\nparts:\n- {datasets: [a], methods: {x: hlstm train}}\n"
    b'- {datasets: [b], methods: {y: "hcal train --weights {a/x}/model"}, options: {levels: null}}\n',
)
RECORD = b'{"state": "running", "host": "a", "since": 1.5, "seconds": 2, "words": ["hlstm", "train"]}'


def _plan(content: bytes, folder: Path) -> object:
    path = folder / "plan.yaml"
    path.write_bytes(content)
    return read_plan(str(path))


def _record(content: bytes, folder: Path) -> object:
    """What `status` says of it: a damaged record is none."""
    path = folder / "plan.yaml"
    path.write_bytes(PLANS[0])
    task = Task("digits/hlstm/seed-0", folder, ("hlstm", "train"))
    task.record.parent.mkdir(parents=True, exist_ok=True)
    task.record.write_bytes(content)
    task.check()
    return state_of(task), status_text(Queue(read_plan(str(path)), folder))


READERS = (
    Reader("plan.yaml", _plan, PLANS, YAML_TOKENS, slow=4),
    Reader("record of a study", _record, (RECORD,), JSON_TOKENS, slow=4),
)

"""Settings of hypothesis, a run folder made by hand, encoded images, and a package of toy models."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from hmc_shared import __main__ as command
from hmc_shared.methods import GROUP
from hmc_shared.runs.read import SCHEMA
from hmc_shared.testing_marks import pytest_collection_modifyitems, pytest_configure  # noqa: F401

# A busy machine must not fail a property.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# animal > (cat, dog > poodle), plant > tree: ids by depth.
NODES = ["animal", "plant", "cat", "dog", "tree", "poodle"]
EDGES = [[0, 2], [0, 3], [1, 4], [3, 5]]
PATHS = [[0, 2], [0, 3], [0, 3, 5], [1, 4], [1]]

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """``make_run(method, seed, ...)`` writes a run folder with numpy and json alone, as an outsider would.

    Scores are noisy targets, made coherent (no child above its parent); ``noise`` sets how bad they are.
    ``several`` gives samples two paths. ``arrays`` and ``results`` replace parts of the two files, and a part
    that is None is left out. The stored metrics are those given in ``results``, none by default. With a
    ``threshold``, the run has a model/decision.json.
    """

    def make(
        method: str = "hlstm",
        seed: int = 0,
        *,
        noise: float = 1.0,
        protocol: str = "default",
        dataset: str = "toy",
        n: int = 60,
        several: bool = False,
        threshold: float | None = None,
        arrays: dict[str, Any] | None = None,
        results: dict[str, Any] | None = None,
        folder: Path | None = None,
    ) -> Path:
        folder = folder or tmp_path / "runs" / dataset / protocol / method / f"seed-{seed}"
        folder.mkdir(parents=True)
        targets = np.zeros((n, len(NODES)), dtype=bool)
        for i in range(n):
            targets[i, PATHS[i % len(PATHS)]] = True
            if several:
                targets[i, PATHS[(i // 2) % len(PATHS)]] = True
        rng = np.random.default_rng([seed, *method.encode()])
        scores = (targets * 2.0 - 1 + noise * rng.normal(size=targets.shape)).astype(np.float32)
        for parent, child in EDGES:
            scores[:, child] = np.minimum(scores[:, child], scores[:, parent])
        stored = {
            "scores": scores,
            "targets": targets,
            "ids": np.array([f"sample-{i}" for i in range(n)]),
            "evaluated": np.ones(len(NODES), dtype=bool),
            "train_counts": np.array([300, 150, 80, 60, 110, 9]),
        } | (arrays or {})
        np.savez_compressed(folder / "predictions.npz", **{k: v for k, v in stored.items() if v is not None})
        (folder / "hierarchy.json").write_text(json.dumps({"nodes": NODES, "edges": EDGES}))
        report = {
            "schema": SCHEMA,
            "method": method,
            "protocol": protocol,
            "seed": seed,
            "dataset": {
                "name": dataset,
                "checksum": "c0ffee",
                "sizes": {"train": 400, "validation": 90, "test": n},
            },
            "metrics": {},
            "decision": None if threshold is None else "model/decision.json",
            "config": {"seed": seed, "output_dir": str(folder), "learning_rate": 1e-3},
            "versions": {"python": "3.13"},
            "git_commit": None,
            "parameters": 1234,
            "seconds": {"train": 10.0 + seed, "total": 12.0 + seed},
            "peak_memory_mib": 512.5,
            "device": "cpu",
        } | (results or {})
        report = {key: value for key, value in report.items() if value is not None}
        (folder / "results.json").write_text(json.dumps(report))
        (folder / "config.yaml").write_text("seed: 0\n")
        if threshold is not None:
            (folder / "model").mkdir()
            decision = {"threshold": threshold, "single_path": not several, "features": []}
            (folder / "model" / "decision.json").write_text(json.dumps(decision))
        return folder

    return make


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("HMC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """A function that encodes pixels, or a size (height, width) filled with one colour, as a picture."""

    def to_bytes(pixels: np.ndarray | tuple[int, int], suffix: str = "png", **options: object) -> bytes:
        if isinstance(pixels, tuple):
            pixels = np.full((*pixels, 3), (200, 30, 90), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, suffix, **options)
        return file.getvalue()

    return to_bytes


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package ``toy`` of the folder packages, as if it were installed."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "packages")
    point = EntryPoint("toy", "toy:METHODS", GROUP)
    monkeypatch.setattr("hmc_shared.model.entry_points", lambda group: [point])
    return import_module("toy")


@pytest.fixture
def hmc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """``hmc(*words)`` in an empty folder; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["hmc", *map(str, words)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process is pytest's
        try:
            command.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


@pytest.fixture
def write_plan(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str, **_: Any) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return write

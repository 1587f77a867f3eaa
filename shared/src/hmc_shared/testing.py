"""Acceptance tests of a method, for pytest: what every package that trains must keep.

Subclass :class:`MethodContract` in a test file of the package, say what it needs, and pytest runs the tests::

    class TestContract(MethodContract):
        package = "hlstm"

        @classmethod
        def config(cls, folder, **options):
            return Config(output_dir=str(folder), hidden_size=16, **{"epochs": 2, **options})

Needs pytest, which is not a dependency of this package.
"""

from __future__ import annotations

import json
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from hmc_shared.cli.export import Export
from hmc_shared.cli.parse import parse, to_yaml
from hmc_shared.cli.stopping import STOP, Stopped
from hmc_shared.cli.train_options import TrainOptions
from hmc_shared.compare.scoring import score_run
from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.methods import installed_methods
from hmc_shared.metrics import incoherent
from hmc_shared.model import HierarchicalModel, load_model
from hmc_shared.object_files import read_json, read_yaml
from hmc_shared.predict import export
from hmc_shared.predict.score import score_split
from hmc_shared.runs.checkpoints import Checkpoints
from hmc_shared.runs.folder import RunFolder
from hmc_shared.runs.progress import last_checkpoint
from hmc_shared.runs.read import VALIDATION, Run, load_predictions, load_run
from hmc_shared.study.plan import read_plan
from hmc_shared.study.shipped import shipped_plans
from hmc_shared.testing_exports import decide, run_exported
from hmc_shared.testing_marks import DEVICE, NEEDS_DEVICE


class _Planted:
    """A pickle of this writes a file when it is run."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


class MethodContract:
    """The tests; of a subclass pytest runs them all.

    The package has ``train(config, dataset)`` in its module ``train``, and ``main(words)`` in ``__main__``.
    """

    package: ClassVar[str]
    """Import name."""
    view: ClassVar[Literal["vector", "image"]] = "vector"
    """Which view of `digits` the method takes."""
    coherent: ClassVar[bool] = True
    """Whether no class exceeds its parent in the probabilities."""

    @classmethod
    def config(cls, folder: Path, **options: object) -> TrainOptions:
        """Options of a run of seconds on `digits` in a run folder, with a checkpoint after every epoch."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> HierarchicalDataset:
        return load_dataset("digits", view=cls.view)

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory, dataset: HierarchicalDataset) -> Path:
        folder = tmp_path_factory.mktemp(cls.package) / "run"
        cls.module("train").train(cls.config(folder), dataset)
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, folder: Path) -> Run:
        return load_run(folder)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, folder: Path) -> HierarchicalModel:
        return load_model(folder)

    @classmethod
    def module(cls, name: str) -> ModuleType:
        return import_module(f"{cls.package}.{name}")

    def inputs(self, dataset: HierarchicalDataset, count: int) -> Tensor:
        """Raw inputs of the test split; of vectors, one value is missing."""
        assert isinstance(dataset.test.inputs, Tensor)
        inputs = dataset.test.inputs[:count].clone()
        if inputs.ndim == 2:
            inputs[0, 3] = torch.nan
        return inputs

    # The run folder

    def test_a_run_leaves_a_complete_folder(self, run: Run, dataset: HierarchicalDataset) -> None:
        assert run.scores.shape == (len(dataset.test), len(dataset.hierarchy))
        assert np.isfinite(run.scores).all()
        assert ((run.probabilities >= 0) & (run.probabilities <= 1)).all()
        assert np.array_equal(run.targets, dataset.test.targets.numpy())
        assert tuple(run.ids) == dataset.test.ids
        assert run.results["dataset"]["checksum"] == dataset.checksum
        assert run.results["package"] in run.results["versions"]
        log = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        assert [record["epoch"] for record in log] == list(range(run.results["epochs"]))

    def test_the_run_keeps_its_predictions_of_validation_rows(
        self, run: Run, model: HierarchicalModel, dataset: HierarchicalDataset
    ) -> None:
        held_out = load_predictions(run.path / VALIDATION, dataset.hierarchy)
        assert tuple(held_out["ids"]) == dataset.validation.ids
        assert np.array_equal(held_out["targets"], dataset.validation.targets.numpy())
        expected = model.to_scores(score_split(model, dataset.validation)).numpy()
        np.testing.assert_allclose(held_out["scores"], expected, rtol=1e-4, atol=1e-4)

    def test_the_stored_metrics_are_those_of_the_predictions(self, folder: Path) -> None:
        assert score_run(folder).notes == ()

    def test_the_same_seed_gives_the_same_bits_and_another_others(
        self, run: Run, dataset: HierarchicalDataset, tmp_path: Path
    ) -> None:
        for seed in (0, 1):
            self.module("train").train(self.config(tmp_path / str(seed), seed=seed), dataset)
        assert np.array_equal(load_run(tmp_path / "0").scores, run.scores)
        assert not np.array_equal(load_run(tmp_path / "1").scores, run.scores)

    # Going on

    def test_a_trial_leaves_the_test_split_alone_and_may_become_a_run(
        self, run: Run, dataset: HierarchicalDataset, tmp_path: Path
    ) -> None:
        train, folder = self.module("train").train, tmp_path / "trial"
        assert train(self.config(folder, test=False), dataset) is None
        trial = read_json(folder / "validation.json")
        assert trial["validation"] == run.results["validation"] is not None
        assert not any((folder / name).exists() for name in ("predictions.npz", "results.json", "model"))
        train(self.config(folder, resume=True), dataset)
        assert np.array_equal(load_run(folder).scores, run.scores)

    @pytest.mark.parametrize("tolerance", [0.0, pytest.param(1e-2, marks=[pytest.mark.cuda, NEEDS_DEVICE])])
    def test_a_killed_run_comes_back_with_the_same_bits_on_a_gpu_almost(
        self,
        run: Run,
        dataset: HierarchicalDataset,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        tolerance: float,
    ) -> None:
        log_epoch = RunFolder.log_epoch

        def stop(folder: RunFolder, record: dict[str, object]) -> None:
            log_epoch(folder, record)
            if record["epoch"] == 1:  # the first epoch has its checkpoint, the second has none
                raise KeyboardInterrupt

        train = self.module("train").train
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "log_epoch", stop)
            with pytest.raises(KeyboardInterrupt):
                train(self.config(tmp_path), dataset)
        assert not (tmp_path / "results.json").exists()
        train(self.config(tmp_path, resume=True), dataset)
        scores = load_run(tmp_path).scores
        np.testing.assert_allclose(scores, run.scores, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("epoch", [0, 1])
    def test_a_run_stopped_within_an_epoch_comes_back_with_the_same_bits(
        self,
        run: Run,
        dataset: HierarchicalDataset,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        epoch: int,
    ) -> None:
        after_step = Checkpoints.after_step

        def after_step_with_signal(checkpoints: Checkpoints) -> None:
            if (checkpoints.progress.epoch, checkpoints.progress.step) == (epoch, 2):
                STOP.number = signal.SIGTERM
            after_step(checkpoints)

        train = self.module("train").train
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "after_step", after_step_with_signal)
            with pytest.raises(Stopped, match=f"SIGTERM after step 2 of epoch {epoch + 1}"):
                train(self.config(tmp_path / "run"), dataset)
        train(self.config(tmp_path / "run", resume=True), dataset)
        assert np.array_equal(load_run(tmp_path / "run").scores, run.scores)

    @pytest.mark.parametrize("damage", ["missing", "empty", "cut", "pickle"])
    def test_a_damaged_checkpoint_is_refused_by_the_name_of_its_file(
        self, folder: Path, dataset: HierarchicalDataset, tmp_path: Path, damage: str
    ) -> None:
        names = [path.name for path in last_checkpoint(folder / "checkpoints").iterdir()]  # type: ignore[union-attr]
        assert {"checkpoint.json", "progress.pt", "process-0.pt"} < set(names)
        for name in names:
            shutil.copytree(folder, tmp_path / name)
            damaged = last_checkpoint(tmp_path / name / "checkpoints") / name  # type: ignore[operator]
            content, canary = damaged.read_bytes(), tmp_path / "ran"
            damaged.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
            if damage == "missing":
                damaged.unlink()
            if damage == "pickle":
                damaged.write_bytes(pickle.dumps(_Planted(canary)))
            with pytest.raises(ValueError, match=f"{re.escape(str(damaged))}.*Delete"):
                self.module("train").train(self.config(tmp_path / name, resume=True), dataset)
            assert not canary.exists()

    def test_a_folder_in_use_is_refused(self, folder: Path, dataset: HierarchicalDataset) -> None:
        train = self.module("train").train
        with pytest.raises(ValueError, match="is not empty: pass --resume"):
            train(self.config(folder), dataset)
        with pytest.raises(ValueError, match=r"`--resume` should keep the options.*`seed`"):
            train(self.config(folder, resume=True, seed=7), dataset)

    # On a GPU: equal up to the order of sums

    @NEEDS_DEVICE
    @pytest.mark.cuda
    @pytest.mark.parametrize("precision", ["no", "bf16"])
    def test_the_cpu_predicts_what_a_gpu_trained(
        self, dataset: HierarchicalDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
    ) -> None:
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # convolutions in float32, as on a CPU
        monkeypatch.setattr("accelerate.state.AcceleratorState._shared_state", {})  # it keeps one precision
        self.module("train").train(self.config(tmp_path, mixed_precision=precision), dataset)
        for device in ("cpu", DEVICE):
            probabilities = load_model(tmp_path).to(device).predict_proba(dataset.test.inputs)
            np.testing.assert_allclose(probabilities, load_run(tmp_path).probabilities, atol=1e-4)

    # The model

    def test_the_package_of_a_model_is_known(self, model: HierarchicalModel) -> None:
        assert model.library == self.package
        named = {method.model.partition(":")[2] for method in installed_methods()}
        assert type(model).__name__ in named or model.method in self.module("build").MODELS

    def test_the_saved_model_gives_what_the_run_stored(
        self, run: Run, model: HierarchicalModel, dataset: HierarchicalDataset
    ) -> None:
        logits = score_split(model, dataset.test)
        assert np.array_equal(model.to_scores(logits).numpy(), run.scores)
        inputs = dataset.test.inputs
        np.testing.assert_allclose(model.predict_proba(inputs), run.probabilities, rtol=1e-5, atol=1e-6)
        assert torch.equal(model.predict(inputs), model.to_labels(model.logits_of(inputs)))

    def test_probabilities_are_coherent(self, run: Run, dataset: HierarchicalDataset) -> None:
        if self.coherent:
            assert incoherent(run.probabilities, dataset.hierarchy) == 0

    def test_rows_are_scored_by_themselves(
        self, model: HierarchicalModel, dataset: HierarchicalDataset
    ) -> None:
        inputs = self.inputs(dataset, 7)
        alone = torch.cat([model.predict_proba(row[None]) for row in inputs])
        torch.testing.assert_close(model.predict_proba(inputs), alone, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("kind", ["torch", "onnx"])
    def test_an_exported_file_gives_the_same_answers(
        self, model: HierarchicalModel, folder: Path, dataset: HierarchicalDataset, tmp_path: Path, kind: str
    ) -> None:
        if kind == "onnx":
            pytest.importorskip("onnxruntime")
        file, inputs = tmp_path / {"torch": "model.pt2", "onnx": "model.onnx"}[kind], self.inputs(dataset, 7)
        export.command(Export(str(folder), **{kind: str(file)}))
        for n in (1, 7):
            answers, content = run_exported(file, inputs[:n])
            expected = model.predict_proba(inputs[:n])
            torch.testing.assert_close(answers["probabilities"], expected, rtol=1e-5, atol=1e-5)
        assert content["classes"] == list(dataset.hierarchy.names)
        assert content["edges"] == dataset.hierarchy.edges.tolist()
        assert torch.equal(decide(answers, content, dataset.hierarchy), model.predict(inputs))

    def test_another_shape_and_infinite_values_are_refused(self, model: HierarchicalModel) -> None:
        with pytest.raises(ValueError, match=r"the inputs should have shape \(n, "):
            model.predict(torch.zeros(2, *model.input_shape, 1))
        infinite = torch.zeros(2, *model.input_shape)
        infinite[1] = torch.inf
        with pytest.raises(ValueError, match="Found inf in row 1"):
            model.predict_proba(infinite)
        assert model.predict_proba(infinite[:0]).shape == (0, len(model.hierarchy))

    # The commands

    def test_evaluate_repeats_the_metrics(
        self, run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.module("__main__").main(["evaluate", str(folder), "--json"])
        metrics = json.loads(capsys.readouterr().out)
        assert metrics == pytest.approx(run.results["metrics"], abs=1e-9, nan_ok=True)

    def test_predict_writes_what_the_model_says(
        self, model: HierarchicalModel, folder: Path, dataset: HierarchicalDataset, tmp_path: Path
    ) -> None:
        inputs = self.inputs(dataset, 5)
        np.save(tmp_path / "raw.npy", inputs.numpy())
        output = tmp_path / "out.json"
        words = ["predict", str(folder), str(tmp_path / "raw.npy"), "--output", str(output)]
        self.module("__main__").main(words)
        records = json.loads(output.read_text(encoding="utf-8"))
        written = [list(record["probabilities"].values()) for record in records]
        np.testing.assert_allclose(written, model.predict_proba(inputs), atol=1e-6)
        specific = model.hierarchy.most_specific(model.predict(inputs))
        for record, row in zip(records, specific, strict=True):
            names = [model.hierarchy.names[i] for i in row.nonzero().flatten().tolist()]
            assert [answer["class"] for answer in record["answer"]] == names

    def test_help_version_and_a_missing_data_set_import_no_torch(self) -> None:
        code = (
            "import sys\n"
            f"from {self.package}.__main__ import COMMANDS, main\n"
            "for words in ([], ['--help'], ['--version'], *[[name, '--help'] for name in COMMANDS]):\n"
            "    try:\n        main(words)\n"
            "    except SystemExit as stop:\n        assert not stop.code, stop.code\n"
            "try:\n    main(['train', '--dataset', 'table:gone.csv'])\n"
            "except SystemExit as stop:\n    assert stop.code == 2, stop.code\n"
            "assert not {'torch', 'accelerate', 'numpy'} & sys.modules.keys()\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("usage") >= 5
        assert "error: table:gone.csv: there is no such file or folder." in done.stderr
        assert not any(word in done.stdout for word in ("STR [STR", "None"))

    def test_resolved_options_read_back(self, tmp_path: Path) -> None:
        config = self.config(tmp_path / "run")
        (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        words = ["--config", str(tmp_path / "config.yaml")]
        again = parse(type(config), words, prog="train", package=self.package)
        assert asdict(again) == asdict(config) | {"config": words[1]}  # type: ignore[call-overload]

    @pytest.mark.distributed
    def test_accelerate_launches_it_by_the_command_that_is_kept(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text(to_yaml(self.config(tmp_path / "run")), encoding="utf-8")
        typed = f"accelerate launch --cpu --num_processes 1 -m {self.package}.train --config config.yaml"
        subprocess.run(typed, shell=True, cwd=tmp_path, check=True)
        assert load_run(tmp_path / "run").results["command"] == typed
        np.testing.assert_allclose(load_run(tmp_path / "run").scores, run.scores, rtol=1e-3, atol=1e-3)

    # Studies

    def test_shipped_plans_are_what_the_commands_take(self) -> None:
        package = Path(str(files(self.package)))
        paths = [path for path in shipped_plans().values() if path.is_relative_to(package)]
        plans = [read_plan(str(path)) for path in paths]
        if not plans:
            pytest.skip(f"{self.package} ships no plan")
        config = self.module("config").Config
        commands: dict[tuple[str, ...], tuple[str, ...]] = {}
        for plan in plans:
            assert plan.about
            assert not plan.missing
            for run in plan.runs:  # the values of a grid, and names of data sets, have been checked by now
                options = tuple(word.partition("=")[0] for word in run.words if word.startswith("--"))
                assert len(set(options)) == len(options), run.words
                commands[run.method, *options] = run.words
        for words in commands.values():
            if words[0] == "hmc":  # such as `hmc blend`, which is no method of the package
                continue
            assert parse(config, words[2:], prog="train", package=self.package).dataset in words

    def test_the_spaces_of_a_search_fit_every_configuration(self) -> None:
        pytest.importorskip("optuna")
        from hmc_shared.study.spaces import FILE, load_space

        package = Path(str(files(self.package)))
        if not (package / FILE).is_file():
            pytest.skip(f"{self.package} ships no {FILE}")
        labels = {method.label: shlex.split(method.command) for method in self.module("methods").METHODS}
        assert set(read_yaml(package / FILE)) <= {"metric", "common", *labels}
        for words in labels.values():
            for path in sorted((package / "configs").glob("*.yaml")):
                load_space((*words, "--dataset", path.stem))  # which says what does not fit

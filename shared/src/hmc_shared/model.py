"""The base of every model: from raw inputs to probabilities and labels; saving and loading."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from inspect import signature
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor, nn

from hmc_shared.cli.train_options import ThresholdBy
from hmc_shared.constraints import max_over_descendants
from hmc_shared.data.dataset import HierarchicalDataset
from hmc_shared.embed.embedder import ARRAYS, Embedder, load_embedder
from hmc_shared.embed.embedder import FILE as EMBEDDER
from hmc_shared.hierarchy import Hierarchy
from hmc_shared.messages import reason, shown
from hmc_shared.methods import GROUP
from hmc_shared.network_files import bounded_network, refuse_not_finite
from hmc_shared.object_files import read_json
from hmc_shared.partial_labels import NEVER
from hmc_shared.predict.calibration import Calibration
from hmc_shared.predict.decision import FILE as DECISION
from hmc_shared.predict.decision import Decision, confident_labels, load_decision
from hmc_shared.predict.threshold import best_threshold, thresholds_of_classes
from hmc_shared.resizing import Resize
from hmc_shared.vision.statistics import PixelStatistics, input_statistics

Model = TypeVar("Model", bound="HierarchicalModel")

LARGEST_INPUT = 2**28
"""Numbers of one sample: a gigabyte."""


def model_card(library: str, text: str, tags: Sequence[str]) -> dict[str, Any]:
    """What a package's model classes give to ``PyTorchModelHubMixin``: ``class M(..., **CARD)``."""
    return {
        "library_name": library,
        "model_card_template": "---\n{{ card_data }}\n---\n\n" + text,
        "tags": list(tags),
        "coders": {Hierarchy: (Hierarchy.to_json, Hierarchy.from_json)},
    }


class HierarchicalModel(nn.Module, PyTorchModelHubMixin):
    """A network with all that turns raw inputs into probabilities and labels.

    ``forward`` takes normalised inputs (B, ...) and returns what the losses need; :meth:`logits` are
    what the network says of each class. From these come three things: :meth:`to_scores`, by which metrics
    rank and decide; :meth:`to_probabilities`, calibrated; and :meth:`to_labels`, the decisions.

    Args:
        hierarchy: the C classes; without edges, plain labels.
        input_shape: (F,) of vectors, or (channels, height, width) of images.
        coherent: score a class by the best of itself and its descendants, so that none exceeds its parent.
        resize: how an image of any size becomes the square that a prediction looks at.
    """

    library: ClassVar[str]
    """Name of the package that the model is of, as its entry point ``hmc.methods`` has it."""
    method: ClassVar[str]
    batch_size: int = 512
    """Rows that are scored at a time."""
    input_mean: Tensor
    """(F,) float64 of vectors, (channels, 1, 1) float32 of images."""
    input_scale: Tensor
    frozen: Sequence[nn.Module] = ()
    """Parts that are not trained: see :func:`hmc_shared.vision.stages.freeze`."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        input_shape: Sequence[int],
        *,
        coherent: bool = True,
        resize: Resize = "crop",
    ) -> None:
        super().__init__()
        if min(input_shape, default=0) < 1 or math.prod(input_shape) > LARGEST_INPUT:
            raise ValueError(f"`input_shape` should be of 1 to {LARGEST_INPUT} numbers. Found {input_shape}.")
        if resize not in get_args(Resize):
            raise ValueError(
                f"`resize` should be one of {', '.join(get_args(Resize))}. Found {shown(resize)}."
            )
        self.hierarchy = hierarchy
        self.input_shape = tuple(input_shape)
        self.resize: Resize = resize
        self.is_constrained = coherent and hierarchy.num_levels > 1
        shape = (self.input_shape[0], *[1] * (len(self.input_shape) - 1))  # a feature's or a channel's
        # In float32 a feature would lose digits twice, once in its mean; pixels have three digits.
        kind = torch.float32 if self.takes_images else torch.float64
        self.register_buffer("input_mean", torch.zeros(shape, dtype=kind))
        self.register_buffer("input_scale", torch.ones(shape, dtype=kind))
        self.calibration: nn.Module = Calibration(hierarchy.num_levels)
        self.decision = Decision()
        self.embedder: Embedder | None = None

    @property
    def takes_images(self) -> bool:
        return len(self.input_shape) == 3

    @property
    def device(self) -> torch.device:
        return self.input_mean.device

    # From raw inputs to logits

    def train(self, mode: bool = True) -> Self:
        """As of any module; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def learn_statistics(self, dataset: HierarchicalDataset) -> None:
        """Take over what the data set says of its inputs.

        Mean and scale, names of columns, kind of paths, and what made vectors of images or texts.
        """
        self.embedder = dataset.embedder
        if statistics := input_statistics(dataset):
            for buffer, values in zip((self.input_mean, self.input_scale), statistics, strict=True):
                buffer.copy_(values.view_as(buffer))
        self.decision = replace(
            self.decision,
            single_path=dataset.is_single_path,
            features=dataset.feature_names,
            window=getattr(dataset.train.inputs, "window", None),
        )

    def normalize_by(self, pixels: PixelStatistics) -> None:
        """Normalise images by these statistics of three colours; grey ones by the mean of the three."""
        for buffer, values in zip((self.input_mean, self.input_scale), pixels, strict=True):
            buffer.copy_((values if len(buffer) == 3 else values.mean(0, keepdim=True)).view_as(buffer))

    def normalize(self, raw: Tensor) -> Tensor:
        """To what ``forward`` takes, from images with values 0 to 255, or raw vectors, NaN where missing."""
        standardised = ((raw.to(self.input_mean.dtype) - self.input_mean) / self.input_scale).float()
        if self.takes_images:
            # Channels last is what convolutions are fastest in, on CPU and GPU alike.
            return standardised.contiguous(memory_format=torch.channels_last)
        return standardised.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)

    def logits(self, inputs: Tensor) -> Tensor:
        """What the network says of normalised inputs (B, ...), (B, C) float32, not calibrated.

        In evaluation mode each row is scored by itself: the result does not depend on the rest of the batch.
        """
        raise NotImplementedError

    def constrained(self, logits: Tensor) -> Tensor:
        """No class above its parent, if the model is coherent."""
        return max_over_descendants(logits, self.hierarchy) if self.is_constrained else logits

    # From logits to answers

    def to_scores(self, logits: Tensor) -> Tensor:
        """By which classes are ranked and thresholds applied, (n, C): uncalibrated log-odds, 0 for 1/2."""
        return logits

    def to_probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities (n, C) of logits; no class above its parent if the model is coherent."""
        return self.constrained(self.calibration(logits, self.hierarchy)).sigmoid()

    def to_labels(self, logits: Tensor, min_confidence: float | None = None) -> Tensor:
        """The predicted classes (n, C) bool of logits (n, C), ancestors included.

        With ``min_confidence`` see :func:`hmc_shared.predict.decision.confident_labels`, without it
        :meth:`hmc_shared.predict.decision.Decision.labels`.
        """
        probabilities, hierarchy = self.to_probabilities(logits), self.hierarchy.to(logits.device)
        if min_confidence is not None:
            return confident_labels(
                probabilities, hierarchy, min_confidence, single_path=self.decision.single_path
            )
        return self.decision.labels(self.to_scores(logits), probabilities, hierarchy)

    def rule(self) -> dict[str, Any]:
        """How :meth:`to_labels` decides: see :meth:`hmc_shared.predict.decision.Decision.rule`."""
        return self.decision.rule()

    def calibrate(self, logits: Tensor, targets: Tensor, evaluated: Tensor | None = None) -> None:
        """Fit the calibration on logits (n, C) and targets (n, C) bool of held-out samples."""
        self.calibration.fit(logits, targets, self.hierarchy, evaluated)  # type: ignore[operator]

    def choose_threshold(
        self, logits: Tensor, targets: Tensor, evaluated: Tensor, by: ThresholdBy = "all"
    ) -> None:
        """Decide by the best threshold for held-out samples, over the ``evaluated`` classes (C,) bool.

        ``by`` "class": by one for each class, :func:`hmc_shared.predict.threshold.thresholds_of_classes`.
        Entries whose logit is :data:`hmc_shared.partial_labels.NEVER` are unknown, and left out.
        """
        scores, labels = logits.numpy(), targets.numpy()
        choose = thresholds_of_classes if by == "class" else best_threshold
        threshold = choose(scores, labels, (scores > NEVER) & evaluated.numpy())
        self.decision = replace(self.decision, threshold=threshold)

    # From raw inputs to answers

    def predict_proba(self, inputs: Any, batch_size: int | None = None) -> Tensor:
        """Calibrated probabilities (n, C) float32 on the CPU of raw inputs (n, ...).

        They are what ``normalize`` takes. Raises ValueError for another shape, or an infinite value.
        """
        return self.to_probabilities(self.logits_of(inputs, batch_size))

    def predict(self, inputs: Any, batch_size: int | None = None) -> Tensor:
        """The predicted classes (n, C) bool of raw inputs, as the command ``predict`` gives them."""
        return self.to_labels(self.logits_of(inputs, batch_size))

    @torch.no_grad()
    def logits_of(self, inputs: Any, batch_size: int | None = None) -> Tensor:
        """Logits (n, C) float32 on the CPU of raw inputs (n, ...), in evaluation mode, in batches.

        Raises ValueError for another shape, or an infinite value.
        """
        raw = check_inputs(inputs, self.input_shape)
        was_training = self.training
        self.eval()
        try:
            parts = raw.split(batch_size or self.batch_size)
            logits = [self.logits(self.normalize(rows.to(self.device))).cpu() for rows in parts]
        finally:
            self.train(was_training)
        return torch.cat(logits)

    # Saving and loading

    def save_pretrained(
        self, save_directory: str | Path, *, config: object = None, **options: Any
    ) -> str | None:
        """Write what :func:`load_model` reads: config.json, model.safetensors, decision.json, README.md."""
        arguments: Any = self._hub_mixin_config or {}  # which `config`, as push_to_hub passes it, repeats
        content = {**arguments, "library": self.library, "method": self.method}
        try:
            return super().save_pretrained(save_directory, config=content, **options)
        except SafetensorError as error:  # such as a full disk
            raise OSError(f"{save_directory}: the model could not be written: {error}") from error

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        self.decision.save(save_directory)
        if self.embedder is not None:
            self.embedder.save(save_directory)

    @classmethod
    def _from_pretrained(cls: type[Model], *, model_id: str, **options: Any) -> Model:
        options["strict"] = True  # a weight that is missing would stay random
        with redirect_stdout(StringIO()):  # huggingface_hub prints "Loading weights from local directory"
            model = super()._from_pretrained(model_id=model_id, **options)
        folder = Path(model_id)
        if not folder.is_dir():
            names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            where = {name: options[name] for name in names if name in options}
            for name in (DECISION, EMBEDDER, ARRAYS):
                with suppress(EntryNotFoundError):
                    folder = Path(hf_hub_download(repo_id=model_id, filename=name, **where)).parent
        decision = load_decision(folder, len(model.hierarchy))
        model.decision, model.embedder = decision, load_embedder(folder)
        return model


def check_inputs(raw: Any, shape: tuple[int, ...]) -> Tensor:
    """Raw inputs ``(n, *shape)`` as a tensor, floating-point ones in float32, as data sets have them.

    Raises ValueError for another shape, an infinite value, and what is no array of numbers.
    """
    try:
        raw = torch.as_tensor(raw)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the inputs should be an array of numbers: {error}") from error
    if raw.shape[1:] != shape:
        expected = ", ".join(map(str, ("n", *shape)))
        raise ValueError(f"the inputs should have shape ({expected}). Found {tuple(raw.shape)}.")
    if raw.is_floating_point() and raw.isinf().any():
        row = int(raw.isinf().flatten(1).any(1).int().argmax())
        raise ValueError(f"the inputs should be finite, or NaN where missing. Found inf in row {row}.")
    return raw.float() if raw.is_floating_point() else raw


def load_pretrained(folder: str | Path, models: Mapping[str, type[Model]]) -> Model:
    """The model that ``save_pretrained`` wrote, of the class in ``models`` that its config.json names.

    Raises ValueError, naming the file, if it does not say which of them it is, and for weights that are
    damaged, do not fit or are not finite.
    """
    path = Path(folder) / "config.json"
    content = read_json(path)
    weights = Path(folder) / "model.safetensors"
    try:
        model_type = models[content["method"]]
        check_arguments(model_type, content)
    except (KeyError, TypeError) as error:
        raise _unfit(path, error) from error
    try:
        with bounded_network(weights):
            model = model_type.from_pretrained(folder)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{weights} does not hold the weights of this model: {reason(error)}") from error
    except Exception as error:  # of a constructor that is given anything
        raise _unfit(path, error) from error
    refuse_not_finite(model, weights)
    return model


def check_arguments(model_type: type, content: Mapping[str, Any]) -> None:
    """Raise TypeError, naming it, for an argument of a constructor that is not of the type it is said to be.

    ``content`` holds arguments as JSON does; what is missing in it is not asked for.
    """
    for name, parameter in signature(model_type.__init__).parameters.items():
        hint = parameter.annotation
        if name in content and not _is_of(content[name], hint):
            kind = getattr(hint, "__name__", hint)
            raise TypeError(f"`{name}` should be of the type {kind}. Found {shown(content[name])}.")


def _is_of(value: Any, hint: Any) -> bool:
    """Whether JSON's value is of a type; of types that are not JSON's any is."""
    kind, of = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in of
    if kind in (Union, UnionType):
        return any(_is_of(value, one) for one in of)
    if kind in (Sequence, list):
        return isinstance(value, list) and all(_is_of(item, of[0]) for item in value)
    if hint is float:
        return type(value) in (int, float) and abs(value) < math.inf
    if hint is Hierarchy:
        return isinstance(value, str)
    return type(value) is hint or hint not in (int, str, bool, type(None))


def _unfit(path: Path, error: Exception) -> ValueError:  # an error that names a file of the folder stays
    said, unfit = reason(error), f"{path} is not the configuration of a model of this package: "
    return ValueError(said if said.startswith(str(path.parent / "_")[:-1]) else unfit + said)


def load_model(folder: str | Path) -> HierarchicalModel:
    """The model of a run folder or of its folder ``model``, by the package that its config.json names.

    Raises ValueError, naming the file, if there is no model, or its package is not installed.
    """
    folder = Path(folder)
    path = next((p for p in (folder, folder / "model") if (p / "config.json").is_file()), None)
    if path is None:
        raise ValueError(f"{folder} has no trained model (no config.json in it or in its folder model).")
    library = read_json(path / "config.json").get("library")
    if not isinstance(library, str):
        raise ValueError(
            f"{path / 'config.json'} is not the configuration of a model: it names no `library`."
        )
    if library == "hmc_shared":
        return import_module("hmc_shared.blend").load(path)
    installed = {point.name for point in entry_points(group=GROUP)}
    if library not in installed:
        names = ", ".join(sorted(installed)) or "none"
        raise ValueError(f"{path} is a model of the package {shown(library)}. Installed packages: {names}.")
    return import_module(library).load_model(path)


def load_model_of(
    library: str | None, run: str, command: str, device: str | None = "cpu"
) -> HierarchicalModel:
    """The model of a run folder, or of the folder of a saved model, on a device; None: the GPU, if there is.

    Raises ValueError as :func:`load_model` does; for a model of another package than ``library``, if that is
    named, with the ``command`` that takes it; and for a device that is not there.
    """
    model = load_model(run)
    if library is not None and model.library != library:
        program = "hmc" if model.library == "hmc_shared" else model.library.replace("_", "-")
        raise ValueError(f"{run} is a model of {program}: `{program} {command} {run}` takes it.")
    return model.to(device_of(device))


def device_of(name: str | None) -> torch.device:
    """The device of this name, by default the GPU, if there is one. ValueError for one that is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        found = "cpu and cuda" if torch.cuda.is_available() else "cpu"
        raise ValueError(f"`--device` should be there. Found {found}, not {name!r}.") from error
    return device

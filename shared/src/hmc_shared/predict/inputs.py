"""What ``predict`` of every method is given: a table, an array, image files. Read, checked, scored."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet
from torch import Tensor
from tqdm import tqdm

from hmc_shared.cli.bounds import check_output
from hmc_shared.cli.commands import PredictOptions
from hmc_shared.data.formats.cells import Column
from hmc_shared.data.formats.features import Rows, feature_blocks, texts_of
from hmc_shared.data.formats.table_file import SUFFIXES, read_array, table_blocks
from hmc_shared.embed.embedder import VECTOR
from hmc_shared.messages import shown
from hmc_shared.model import HierarchicalModel, load_model_of
from hmc_shared.predict.layout import Predictions
from hmc_shared.predict.rollup import rule_of_run
from hmc_shared.predict.score import IMAGES
from hmc_shared.predict.write import write_predictions

TABLES = (*SUFFIXES, ".npy")

BLOCK_ROWS = 2**14
"""Rows that are read, scored and written at a time at most."""
BLOCK_VALUES = 2**24
"""Inputs and scores of a block at most, where there are many features, pixels or classes."""


def predict(config: PredictOptions) -> Predictions:
    """The predictions of a saved model for files, all at once.

    Images that cannot be decoded are left out, unless that are all. Raises ValueError, naming the file, for
    what cannot be read or does not fit the model.
    """
    blocks = list(predict_blocks(config, []))
    kept = {name: pa.chunked_array([*chain(*(b.kept[name].chunks for b in blocks))]) for name in config.keep}
    return Predictions(
        [name for block in blocks for name in block.ids],
        blocks[0].hierarchy,
        torch.cat([block.probabilities for block in blocks]),
        torch.cat([block.labels for block in blocks]),
        kept,
    )


def predict_blocks(
    config: PredictOptions, left_out: list[str], bar: tqdm[Any] | None = None
) -> Iterator[Predictions]:
    """What :func:`predict` gives, block by block in the order of the inputs, at least one.

    Of each image that is left out, a message is added to ``left_out``; the ``bar`` counts rows.
    """
    model = load_model_of(config.library, config.run, "predict", config.device)
    config.apply_to(model)
    labels_of = _decision(config, model)
    with real_inputs(config.inputs, is_of_files(model)) as inputs:
        for ids, logits, kept in logit_blocks(model, inputs, config.run, left_out, bar, config.keep):
            probabilities = model.to_probabilities(logits)
            yield Predictions(ids, model.hierarchy, probabilities, labels_of(logits, probabilities), kept)


def _decision(config: PredictOptions, model: HierarchicalModel) -> Callable[[Tensor, Tensor], Tensor]:
    """What makes labels (b, C) bool of logits and probabilities (b, C), as the options say."""
    hierarchy = model.hierarchy
    if config.target_error is not None:
        rule = rule_of_run(config, config.run, hierarchy)
        print(rule.promise, file=sys.stderr)
        return lambda logits, p: rule.labels(p, hierarchy)
    if (threshold := config.threshold) is not None:
        return lambda logits, p: hierarchy.add_ancestors(p.double() >= threshold)
    return lambda logits, p: model.to_labels(logits, config.min_confidence)


def command(config: PredictOptions) -> None:
    """Write what :func:`predict` gives, in the memory that one block takes.

    Raises OSError at the end, for the exit code, if an image was left out.
    """
    check_output(config.output)
    left_out: list[str] = []
    written = 0
    # Not where the table itself goes to the terminal; tqdm is quiet where there is none.
    quiet = True if config.output is None and sys.stdout.isatty() else None
    with tqdm(desc="predict", unit=" rows", disable=quiet) as bar:

        def counted() -> Iterator[Predictions]:
            nonlocal written
            for block in predict_blocks(config, left_out, bar):
                written += len(block.ids)
                yield block

        write_predictions(config.output, counted(), layout=config.layout, top_k=config.top_k)
    for message in left_out:
        print(f"left out: {message}", file=sys.stderr)
    if left_out:
        raise OSError(f"{len(left_out)} of {len(left_out) + written} images were left out")


def is_of_files(model: HierarchicalModel) -> bool:
    """Whether a model looks at image files, itself or by its embedder."""
    return model.takes_images or (model.embedder is not None and model.embedder.takes == "images")


STDIN = "-"


@contextmanager
def real_inputs(inputs: Sequence[str], of_files: bool) -> Generator[Sequence[str], None, None]:
    """The inputs, where "-" stands for what comes by standard input: of a table or an array a copy.

    For a model ``of_files`` text is names of image files, one a line. What is wrong with the copy is said of
    standard input.
    """
    if STDIN not in inputs:
        yield inputs
        return
    if len(inputs) > 1:
        raise ValueError(f"standard input, {STDIN!r}, should be the only input. Found {len(inputs)} inputs.")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        with path.open("rb") as file:
            start = file.read(6)
        suffix = ".npy" if start == b"\x93NUMPY" else ".parquet" if start[:4] == b"PAR1" else ".csv"
        try:
            if suffix == ".csv" and of_files:
                yield [name for name in path.read_text(encoding="utf-8").splitlines() if name.strip()]
            else:
                yield [str(path.rename(path.with_suffix(suffix)))]
        except UnicodeDecodeError as error:
            raise ValueError("standard input should be names of image files, one a line.") from error
        except ValueError as error:
            raise ValueError(str(error).replace(f"{path}{suffix}", "standard input")) from error


def rows_of_block(model: HierarchicalModel) -> int:
    """A multiple of the model's batch, so that blocks are scored in the batches of all rows at once."""
    values = max(len(model.hierarchy), math.prod(model.input_shape))
    rows = min(BLOCK_ROWS, BLOCK_VALUES // values)
    return model.batch_size * max(1, rows // model.batch_size)


Scored = tuple[list[str], Tensor, dict[str, Column]]
"""Names of samples, their logits (b, C), and the columns of their table that the result has, too."""


def logit_blocks(
    model: HierarchicalModel,
    inputs: Sequence[str],
    run: str,
    left_out: list[str],
    bar: tqdm[Any] | None = None,
    keep: Sequence[str] = (),
) -> Iterator[Scored]:
    """Of one table or array, or of image files and folders.

    And in ``left_out`` a message for each image that cannot be decoded; the ``bar`` counts rows.
    """
    if not inputs:
        raise ValueError("the inputs should be a table, an array, or images. Found none.")
    bar = tqdm(disable=True) if bar is None else bar
    first = Path(inputs[0])
    if keep and first.suffix.lower() not in SUFFIXES:
        raise ValueError(f"`--keep` should come with a .csv, .tsv or .parquet file. Found {first}.")
    if first.suffix.lower() in TABLES:
        if len(inputs) > 1:
            raise ValueError(f"one {first.suffix} file can be read at a time. Found {len(inputs)} inputs.")
        yield from _of_table(model, first, bar, keep)
        return
    if not is_of_files(model):
        what = "vectors" if model.embedder is None else "texts or vectors"
        raise ValueError(f"{run} takes {what}, so a .csv, .tsv, .parquet or .npy file. Found {first}.")
    yield from _of_images(model, inputs, left_out, bar)


def _of_table(model: HierarchicalModel, path: Path, bar: tqdm[Any], keep: Sequence[str]) -> Iterator[Scored]:
    seen = Names()
    bar.total = rows_of(path)
    warned = False
    for ids, raw, kept in _row_blocks(model, path, keep):
        if not warned and (repeated := seen.add(ids)) is not None:
            note = f"{path} names several rows {shown(repeated)}"
            print(f"warning: {note}; results are in the order of the rows.", file=sys.stderr)
            warned = True
        try:
            logits = model.logits_of(raw)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        bar.update(len(ids))
        yield ids, logits, kept


def rows_of(path: Path) -> int | None:
    """The rows of a table or an array, where its header tells."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return parquet.read_metadata(path).num_rows
        return len(read_array(path)) if suffix == ".npy" and path.is_file() else None
    except (OSError, pa.ArrowException):  # which the reader says better
        return None


def _row_blocks(model: HierarchicalModel, path: Path, keep: Sequence[str]) -> Iterator[Rows]:
    """Names and features (b, F) float32 of rows: of texts, where the model embeds them and has no vectors."""
    rows, embedder = rows_of_block(model), model.embedder
    if embedder is None or embedder.takes != "texts" or path.suffix.lower() == ".npy":
        yield from feature_blocks(path, model.decision.features, rows, keep)
        return
    if VECTOR in next(table_blocks(path, 1)).columns:
        yield from feature_blocks(path, model.decision.features, rows, keep)
        return
    start = 0
    for table in table_blocks(path, rows):
        if not len(table):
            raise ValueError(f"{path} should have rows. Found none.")
        vectors = embedder.of_texts(texts_of(table, embedder.columns))
        yield Rows(table.ids(start), vectors.astype(np.float32), table.columns_of(keep))
        start += len(table)


def _of_images(
    model: HierarchicalModel, inputs: Sequence[str], left_out: list[str], bar: tqdm[Any]
) -> Iterator[Scored]:
    from hmc_shared.vision.image_files import find_images, read_batches  # torchvision: only for images

    ids: list[str] = []
    logits: list[Tensor] = []
    is_empty = True
    embedder = None if model.takes_images else model.embedder
    shape, resize, window = model.input_shape, model.resize, model.decision.window
    if embedder is not None:
        shape, resize, window = embedder.image_shape, embedder.resize, embedder.window
    files = find_images(inputs)
    bar.total = len(files)
    size = min(model.batch_size, IMAGES)
    for read, images in read_batches(files, shape, resize, left_out, size, window):
        bar.update(min(size, len(files) - bar.n))
        ids += map(str, read)
        logits.append(model.logits_of(images if embedder is None else embedder.of_images(images)))
        if len(ids) >= rows_of_block(model):
            yield ids, torch.cat(logits), {}
            ids, logits, is_empty = [], [], False
    if ids:
        yield ids, torch.cat(logits), {}
    elif is_empty:
        raise ValueError(left_out[0])


class Names:
    """Names that were seen, by their hashes: 8 bytes each, of the first ``MOST`` rows."""

    MOST = 2**18

    def __init__(self) -> None:
        self.seen = np.empty(0, np.int64)

    def add(self, names: Sequence[str]) -> str | None:
        """Take the names in; one of them that was there before, or stands there twice."""
        hashes = np.fromiter(map(hash, names), np.int64, len(names))
        ordered, first = np.unique(hashes, return_index=True)
        is_again = np.ones(len(names), dtype=bool)
        is_again[first] = False
        if len(self.seen):
            places = np.searchsorted(self.seen, ordered).clip(max=len(self.seen) - 1)
            is_again[first] |= self.seen[places] == ordered
        if len(self.seen) < self.MOST:
            self.seen = np.concatenate([self.seen, ordered])
            self.seen.sort(kind="stable")  # which merges the two in one pass
        return names[int(is_again.argmax())] if is_again.any() else None

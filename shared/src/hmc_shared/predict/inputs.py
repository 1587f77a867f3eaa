"""What ``predict`` of every method is given: a table, an array, image files. Read, checked, scored."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmc_shared.cli.commands import PredictOptions
from hmc_shared.data.formats.features import feature_blocks, texts_of
from hmc_shared.data.formats.table_file import table_blocks
from hmc_shared.embed.embedder import VECTOR
from hmc_shared.messages import shown
from hmc_shared.model import HierarchicalModel, load_model_of
from hmc_shared.predict.rollup import rule_of_run
from hmc_shared.predict.write import Predictions, write_predictions
from hmc_shared.runs.read import open_run

TABLES = (".csv", ".tsv", ".npy", ".parquet")


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
    return Predictions(
        [name for block in blocks for name in block.ids],
        blocks[0].hierarchy,
        torch.cat([block.probabilities for block in blocks]),
        torch.cat([block.labels for block in blocks]),
    )


def predict_blocks(config: PredictOptions, left_out: list[str]) -> Iterator[Predictions]:
    """What :func:`predict` gives, block by block in the order of the inputs, at least one.

    Of each image that is left out, a message is added to ``left_out``.
    """
    model = load_model_of(config.library, open_run(config.run)[0])
    config.apply_to(model)
    rule = None
    if config.target_error is not None:
        rule = rule_of_run(config, config.run, model.hierarchy)
        print(rule.promise, file=sys.stderr)
    for ids, logits in logit_blocks(model, config.inputs, config.run, left_out):
        probabilities = model.to_probabilities(logits)
        if rule is None:
            labels = model.to_labels(logits, config.min_confidence)
        else:
            labels = rule.labels(probabilities, model.hierarchy)
        yield Predictions(ids, model.hierarchy, probabilities, labels)


def write(config: PredictOptions, blocks: Iterable[Predictions]) -> None:
    """Write predictions to a file or to standard output, as :func:`write_predictions` does."""
    write_predictions(config.output, blocks, as_json=config.json)


def command(
    config: PredictOptions, write: Callable[[PredictOptions, Iterable[Predictions]], None] = write
) -> None:
    """Write what :func:`predict` gives, in the memory that one block takes.

    Raises OSError at the end, for the exit code, if an image was left out.
    """
    left_out: list[str] = []
    written = 0

    def counted() -> Iterator[Predictions]:
        nonlocal written
        for block in predict_blocks(config, left_out):
            written += len(block.ids)
            yield block

    write(config, counted())
    for message in left_out:
        print(f"left out: {message}", file=sys.stderr)
    if left_out:
        raise OSError(f"{len(left_out)} of {len(left_out) + written} images were left out")


def rows_of_block(model: HierarchicalModel) -> int:
    """A multiple of the model's batch, so that blocks are scored in the batches of all rows at once."""
    values = max(len(model.hierarchy), math.prod(model.input_shape))
    rows = min(BLOCK_ROWS, BLOCK_VALUES // values)
    return model.batch_size * max(1, rows // model.batch_size)


def logit_blocks(
    model: HierarchicalModel, inputs: Sequence[str], run: str, left_out: list[str]
) -> Iterator[tuple[list[str], Tensor]]:
    """Of one table or array, or of image files and folders: names of the samples, and their logits (b, C).

    And in ``left_out`` a message for each image that cannot be decoded.
    """
    if not inputs:
        raise ValueError("the inputs should be a table, an array, or images. Found none.")
    first = Path(inputs[0])
    if first.suffix.lower() in TABLES:
        if len(inputs) > 1:
            raise ValueError(f"one {first.suffix} file can be read at a time. Found {len(inputs)} inputs.")
        yield from _of_table(model, first)
        return
    embedder = model.embedder
    if not model.takes_images and (embedder is None or embedder.takes != "images"):
        what = "vectors" if embedder is None else "texts or vectors"
        raise ValueError(f"{run} takes {what}, so a .csv, .tsv, .parquet or .npy file. Found {first}.")
    yield from _of_images(model, inputs, left_out)


def _of_table(model: HierarchicalModel, path: Path) -> Iterator[tuple[list[str], Tensor]]:
    seen = Names()
    warned = False
    for ids, raw in _row_blocks(model, path):
        if not warned and (repeated := seen.add(ids)) is not None:
            note = f"{path} names several rows {shown(repeated)}"
            print(f"warning: {note}; results are in the order of the rows.", file=sys.stderr)
            warned = True
        try:
            logits = model.logits_of(raw)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        yield ids, logits


def _row_blocks(model: HierarchicalModel, path: Path) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names and features (b, F) float32 of rows: of texts, where the model embeds them and has no vectors."""
    rows, embedder = rows_of_block(model), model.embedder
    if embedder is None or embedder.takes != "texts" or path.suffix.lower() == ".npy":
        yield from feature_blocks(path, model.decision.features, rows)
        return
    if VECTOR in next(table_blocks(path, 1)).columns:
        yield from feature_blocks(path, model.decision.features, rows)
        return
    start = 0
    for table in table_blocks(path, rows):
        if not len(table):
            raise ValueError(f"{path} should have rows. Found none.")
        vectors = embedder.of_texts(texts_of(table, embedder.columns))
        yield table.ids(start), vectors.astype(np.float32)
        start += len(table)


def _of_images(
    model: HierarchicalModel, inputs: Sequence[str], left_out: list[str]
) -> Iterator[tuple[list[str], Tensor]]:
    from hmc_shared.vision.image_files import find_images, read_batches  # torchvision: only for images

    ids: list[str] = []
    logits: list[Tensor] = []
    is_empty = True
    embedder = None if model.takes_images else model.embedder
    shape, resize = model.input_shape, model.resize
    if embedder is not None:
        shape, resize = embedder.image_shape, embedder.resize
    for read, images in read_batches(find_images(inputs), shape, resize, left_out):
        ids += map(str, read)
        logits.append(model.logits_of(images if embedder is None else embedder.of_images(images)))
        if len(ids) >= rows_of_block(model):
            yield ids, torch.cat(logits)
            ids, logits, is_empty = [], [], False
    if ids:
        yield ids, torch.cat(logits)
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

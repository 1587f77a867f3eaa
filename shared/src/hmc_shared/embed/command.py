"""The command ``hmc embed``: a data set to a table of vectors."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hmc_shared.cli.embed import Embed
from hmc_shared.compare.output import wrote
from hmc_shared.data.choice import parse_window
from hmc_shared.data.image_batches import image_batches
from hmc_shared.embed.embedder import Embedder, to_float16
from hmc_shared.embed.folder import TABLE, EmbeddingFolder, digest_of
from hmc_shared.embed.networks import Takes, check_encoder, open_network
from hmc_shared.embed.sources import Source, open_source
from hmc_shared.embed.texts import fit_texts
from hmc_shared.resizing import Resize

TEXTS, IMAGES = "tfidf", "lite0"
"""The encoders that are taken by default."""


def command(config: Embed) -> None:
    """Write the folder, and say how fast it went."""
    started = time.perf_counter()
    folder = EmbeddingFolder(config.output, resume=config.resume, overwrite=config.overwrite)
    takes, name = encoder_of(config)
    if not (config.array or (name == TEXTS and config.text) or folder.embedder):
        check_encoder(name, takes, str(config.weights or ""))
    source = open_source(config)
    for note in source.notes:
        print(f"note: {note}", file=sys.stderr)
    embed(config, source, folder)
    wrote([config.output])
    seconds = time.perf_counter() - started
    print(f"{len(source.ids)} rows in {seconds:.0f} s; train with --dataset table:{config.output}")


def embed(config: Embed, source: Source, folder: EmbeddingFolder) -> Path:
    """Write what is missing of a folder, perhaps nothing; returns the path of its table.

    Raises ValueError for an encoder that cannot be had, numbers that float16 does not hold, and if the
    folder holds the beginning of another embedding.
    """
    state = {**asdict(config), "digest": source.digest, "rows": digest_of(source.ids)}
    embedder = None
    if not isinstance(source.inputs, np.ndarray):
        embedder = folder.embedder or make_embedder(config, source)
    folder.begin(state, free=config.free_on_resume())
    if folder.is_complete:
        return folder.path / TABLE
    missing = folder.missing_parts(len(source.ids))
    if embedder is None:
        parts = _of_array(source.inputs, missing, str(config.array))
    else:
        embedder.save(folder.path)
        of_rows = _of_texts if embedder.takes == "texts" else image_vectors
        parts = of_rows(embedder, source.inputs, missing, config)
    with tqdm(total=sum(map(len, missing)), unit=" rows", disable=None) as progress:  # None: in no terminal
        for rows, vectors in zip(missing, parts, strict=True):
            folder.write_part(rows.start, vectors)
            progress.update(len(rows))
    return folder.finish(source)


def encoder_of(config: Embed) -> tuple[Takes, str]:
    """What the encoder takes, and its name."""
    return ("texts", config.encoder or TEXTS) if config.text else ("images", config.encoder or IMAGES)


def make_embedder(config: Embed, source: Source) -> Embedder:
    """The encoder that the options name; fitted to the texts of the training rows where it learns."""
    takes, name = encoder_of(config)
    if name == TEXTS and config.text:
        texts: Any = source.inputs
        fit = fit_texts([text for row in source.training_rows if (text := texts[row])], config.size)
        return Embedder(name, "texts", len(fit), config.text, fit=fit)
    file = str(config.weights.resolve()) if config.weights else ""
    network = open_network(name, takes, config.image_size, file)
    return Embedder(
        name,
        takes,
        network.width,
        config.text,
        image_size=network.image_size,
        resize=network.resize,
        window=None if config.window is None else parse_window(config.window),
        weights=network.weights,
        file=file,
    )


def _of_array(vectors: Any, missing: list[range], origin: str) -> Iterator[np.ndarray]:
    for rows in missing:
        yield to_float16(vectors[rows.start : rows.stop], origin, rows.start)


def _of_texts(embedder: Embedder, texts: Any, missing: list[range], config: Embed) -> Iterator[np.ndarray]:
    for rows in missing:
        size = config.batch_size if embedder.fit is None else len(rows)
        batches = [texts[start : min(start + size, rows.stop)] for start in rows[::size]]
        yield np.concatenate([embedder.of_texts(batch) for batch in batches])


def image_vectors(
    embedder: Embedder, images: Any, missing: list[range], config: Embed
) -> Iterator[np.ndarray]:
    """The vectors of each range of rows; workers decode and resize images ahead of the network."""
    from hmc_shared.vision.pixels import resize_and_crop  # torchvision: only for images

    transform = partial(_prepared, to=resize_and_crop, shape=embedder.image_shape, resize=embedder.resize)
    order = [batch for rows in missing for batch in torch.tensor([*rows]).split(config.batch_size)]
    batches = image_batches(images, order, transform, seed=0, epoch=0, workers=config.workers)
    for rows in missing:
        count = -(-len(rows) // config.batch_size)
        yield np.concatenate([embedder.of_images(next(batches)) for _ in range(count)])


def _prepared(image: Tensor, to: Any, shape: tuple[int, ...], resize: Resize) -> Tensor:
    """An image as an encoder takes it: grey ones in three equal channels."""
    return to(image.expand(3, -1, -1), shape, resize)

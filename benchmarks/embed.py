"""Images per second of `hmc embed` beside the bare network, in one run.

    python benchmarks/embed.py [--encoder lite0] [--images 256] [--batch 16] [--threads 1] [--workers 1]

Embed: JPEGs of 348 x 348 pixels, decoded and brought to size in worker processes, through the network to
float16. Bare: the same network on batches that lie ready. The contenders take turns; times are medians, the
ratio is the median of each round's, and the last column is the processor time of the main process alone,
which is what counts where the workers have cores of their own.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

# This folder last: there, other files may hide packages of the same name.
sys.path.sort(key=lambda folder: Path(folder) == Path(__file__).parent)

from common import hardware, take_turns

from hmc_shared.cli.embed import Embed
from hmc_shared.data.image_table import ImageTable, write_images
from hmc_shared.embed.command import image_vectors
from hmc_shared.embed.embedder import Embedder
from hmc_shared.embed.networks import open_network


def photographs(folder: Path, count: int) -> ImageTable:
    """JPEGs as smooth as photographs."""
    rng = np.random.default_rng(0)

    def rows():
        for i in range(count):
            small = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
            file = io.BytesIO()
            small.resize((348, 348), Image.Resampling.BICUBIC).save(file, "jpeg", quality=90)
            yield {"id": f"{i}.jpg", "image": file.getvalue()}

    write_images(folder / "images.arrow", rows())
    return ImageTable([folder / "images.arrow"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--encoder", default="lite0")
    numbers = {"images": 256, "batch": 16, "threads": 1, "workers": 1, "rounds": 3}
    for name, number in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = open_network(options.encoder, "images")
    config = Embed("images", Path(), batch_size=options.batch, workers=options.workers)
    embedder = Embedder(
        options.encoder, "images", network.width, (), network.image_size, network.resize, network.weights
    )
    ready = torch.randint(256, (options.batch, *embedder.image_shape), dtype=torch.uint8)
    own: dict[str, list[float]] = {"bare": [], "embed": []}
    with tempfile.TemporaryDirectory() as folder:
        table = photographs(Path(folder), options.images)

        def bare() -> None:
            start = time.process_time()
            for _ in range(0, options.images, options.batch):
                network.encode(ready)
            own["bare"].append(time.process_time() - start)

        def embed() -> None:
            start = time.process_time()
            for _ in image_vectors(embedder, table, [range(options.images)], config):
                pass
            own["embed"].append(time.process_time() - start)

        times = take_turns([bare, embed], torch.device("cpu"), options.rounds)
    print(f"{options.encoder}, {hardware(torch.device('cpu'))}, {options.workers} workers\n")
    print("| | images/s | to bare | images per second of the main process |\n|---|---|---|---|")
    for at, name in enumerate(own):
        rate, ratio = options.images / np.median(times[:, at]), np.median(times[:, 0] / times[:, at])
        print(f"| {name} | {rate:.1f} | {ratio:.2f} | {options.images / np.median(own[name][1:]):.1f} |")


if __name__ == "__main__":
    main()

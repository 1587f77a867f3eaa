"""Train a small CLIP on scenes that are composed anew for every step, and on their captions.

With ``--output`` alone it makes the tiny CLIP that comes with hp-dval: of scenes as in `digit-scenes`, made
of the training scans of `digits` only, in about ten minutes of one CPU core. For `cifar-scenes`, whose CLIP
sees the half of the training photographs that the scenes are not made of, on a GPU:

    python train_tiny_clip.py --scenes cifar-scenes --data-dir DIR --config cifar-clip.json --device cuda
        --steps 40000 --batch-size 512 --output cifar-clip.safetensors

A caption names all things of its scene or, more often, one of them: if it always named all, prompts of one
class would stand for pictures of one thing. A thing is called by its class or one above it, with its size and
place or without. The first scenes show one thing each. The loss is open_clip's ClipLoss.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from open_clip.loss import ClipLoss
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.data.benchmarks import cifar_scenes, digit_scenes, digits
from hmc_shared.data.benchmarks.scenes import PLACES, enumerate_things
from hmc_shared.metrics import average_precision
from hp_dval.class_texts import class_names
from hp_dval.clip import Clip
from hp_dval.clip_files import load_clip

# These digits are drawn 32 times as rarely as the others. In the training split of digit-scenes the first two
# are head classes, nine is a medium and five a tail class: in each group something is left to learn.
RARE = ("three", "seven", "nine", "five")
TICKETS, RARE_TICKETS = 32, 1
TEMPLATES = ("a scene with {}", "a photo of {}", "a picture of {}", "{}")  # and the same with a full stop
PROMPT = "a scene with a {}"
THING = re.compile(r"a (?P<size>small|large) (?P<name>[a-z -]+?) at the (?P<place>[a-z]+ [a-z]+)")
ONE, ALL, ABOVE, SIZE, PLACE = 0.7, 0.5, 0.2, 0.2, 0.2  # probabilities, see `reword`
ALONE = 0.4  # the share of the steps whose scenes show one thing
SEED = 0
LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 7e-4, 0.05, 0.05
SCALE, MAXIMUM_SCALE = 20.0, 100.0

Compose = Callable[[int, np.random.Generator], tuple[Tensor, tuple[str, ...]]]
Things = list[dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    assets = Path(__file__).resolve().parents[1] / "src" / "hp_dval" / "assets"
    parser.add_argument("--scenes", choices=("digit-scenes", "cifar-scenes"), default="digit-scenes")
    parser.add_argument(
        "--data-dir", default=os.environ.get("HMC_DATA"), help="folder of cifar-100-python; default: HMC_DATA"
    )
    parser.add_argument("--config", default=str(assets / "tiny-clip.json"), help="model, as open_clip has it")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", required=True, help="file of the weights, .safetensors")
    options = parser.parse_args()

    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    dataset = load_dataset(options.scenes, options.data_dir, view="image")
    compose = digit_composer() if options.scenes == "digit-scenes" else cifar_composer(options.data_dir)
    clip = load_clip(options.config)
    start(clip)
    clip.to(options.device)
    train(clip, compose, dataset.hierarchy, options.steps, options.batch_size, rng)

    # Rounded before they are measured: the figures are those of the file.
    weights = {name: value.half().cpu().contiguous() for name, value in clip.model.state_dict().items()}
    clip.model.load_state_dict(weights)
    save_file(weights, options.output)
    report(clip, dataset)


def digit_composer() -> Compose:
    """Scenes (n, 1, 32, 32) uint8 of training scans, and captions; six digits are equally frequent."""
    scans, labels = digits.read_scans()
    rows = digits.split_rows(labels)["train"]
    scans_of = [scans[rows][labels[rows] == digit] for digit in range(10)]
    tickets = np.array([RARE_TICKETS if digit in RARE else TICKETS for digit in digits.DIGITS])

    def compose(size: int, rng: np.random.Generator) -> tuple[Tensor, tuple[str, ...]]:
        images, _, captions = digit_scenes.compose(size, scans_of, tickets, rng)
        return torch.from_numpy(images)[:, None], captions

    return compose


def cifar_composer(data_dir: str | None) -> Compose:
    """Scenes (n, 3, 64, 64) uint8 of the photographs for captions, all classes equally frequent."""
    photographs = cifar_scenes.read_photographs(data_dir or ".")
    tickets = np.ones(len(photographs.names), dtype=np.int64)

    def compose(size: int, rng: np.random.Generator) -> tuple[Tensor, tuple[str, ...]]:
        parts = photographs.parts["captions"]
        images, _, captions = cifar_scenes.compose(size, parts, photographs.names, tickets, rng)
        return torch.from_numpy(images).permute(0, 3, 1, 2), captions

    return compose


def start(clip: Clip) -> None:
    """Unfreeze all weights; let the token embeddings start as signs.

    Most of the 49,408 tokens are in no caption, and their embeddings stay as they start. Random signs are as
    good as normal noise of the same variance, and make a file that compresses to a sixth.
    """
    clip.requires_grad_(True)
    with torch.no_grad():
        tokens = clip.text.token_embedding.weight
        tokens.copy_(0.02 * torch.randint(0, 2, tokens.shape).mul(2).sub(1))
        clip.model.logit_scale.fill_(np.log(SCALE))


def train(
    clip: Clip, compose: Compose, hierarchy: Hierarchy, steps: int, batch_size: int, rng: np.random.Generator
) -> None:
    """AdamW, with half a cosine after the warm-up; vectors and token embeddings do not decay."""
    clip.train()
    named = list(clip.model.named_parameters())
    kept = [p for name, p in named if p.ndim < 2 or "token_embedding" in name]
    decayed = [p for name, p in named if not (p.ndim < 2 or "token_embedding" in name)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": kept, "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=max(WARM_UP, 2 / steps), cycle_momentum=False
    )
    loss_of, scale, above = ClipLoss(), clip.model.logit_scale, names_above(hierarchy)
    total, begin = 0.0, time.perf_counter()
    for step in range(1, steps + 1):
        images, captions = compose(batch_size, rng)
        scenes = [parse(caption) for caption in captions]
        if step <= ALONE * steps:
            images = images.clone()
            scenes = [leave_one(image, things, rng) for image, things in zip(images, scenes, strict=True)]
        texts = [reword(things, above, rng) for things in scenes]
        image_features = F.normalize(clip.encode_image(clip.preprocess(images.to(scale.device))), dim=1)
        text_features = F.normalize(clip.encode_text(texts), dim=1)
        loss = loss_of(image_features, text_features, scale.exp())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            scale.clamp_(0, np.log(MAXIMUM_SCALE))
        total += loss.item()
        if step % 100 == 0:
            seconds = time.perf_counter() - begin
            print(f"step {step}: loss {total / 100:.3f}, {seconds:.0f} s", flush=True)
            total = 0.0
    clip.eval()


def parse(caption: str) -> Things:
    """Size, name and place of each thing that the caption of a composed scene names."""
    return [match.groupdict() for match in re.finditer(THING, caption)]


def leave_one(image: Tensor, things: Things, rng: np.random.Generator) -> Things:
    """Blank all quarters of ``image`` but one with a thing, in place; what is left of ``things``."""
    left = things[rng.integers(len(things))]
    half = image.shape[1] // 2
    background = 0 if len(image) == 1 else cifar_scenes.GREY
    for place, (y, x) in PLACES.items():
        if place != left["place"]:
            image[:, y * half : (y + 1) * half, x * half : (x + 1) * half] = background
    return [left]


def spoken(hierarchy: Hierarchy) -> list[str]:
    """The names of classes as captions say them, "loop and tail": the shipped CLIP has learned these."""
    return [name.replace("-", " ") for name in class_names(hierarchy)]


def names_above(hierarchy: Hierarchy) -> dict[str, list[str]]:
    """Of each class, in words, those above it."""
    words = spoken(hierarchy)
    return {
        words[i]: [words[j] for j in row.nonzero().flatten().tolist() if j != i]
        for i, row in enumerate(hierarchy.ancestors)
    }


def reword(things: Things, above: dict[str, list[str]], rng: np.random.Generator) -> str:
    """A caption of one of the things, or else of all or some of them, in one of the templates."""
    if rng.random() < ONE:
        things = [things[rng.integers(len(things))]]
    elif rng.random() > ALL:
        things = [things[i] for i in rng.permutation(len(things))[: rng.integers(1, len(things) + 1)]]
    with_size, with_place = rng.random() < SIZE, rng.random() < PLACE
    said = []
    for thing in things:
        name = thing["name"]
        if above[name] and rng.random() < ABOVE:
            name = above[name][rng.integers(len(above[name]))]
        size, place = f"{thing['size']} " * with_size, f" at the {thing['place']}" * with_place
        said.append(f"a {size}{name}{place}")
    return TEMPLATES[rng.integers(len(TEMPLATES))].format(enumerate_things(said)) + "." * int(rng.integers(2))


def report(clip: Clip, dataset: HierarchicalDataset) -> None:
    """Print the zero-shot average precision of each class on validation, in percent, and the mean."""
    ap = 100 * zero_shot(clip, dataset.validation, dataset.hierarchy)
    for name, value in zip(dataset.hierarchy.names, ap, strict=True):
        print(f"{name:16} {value:6.2f}")
    for depth, level in enumerate(dataset.hierarchy.levels):
        print(f"mean, level {depth}    {ap[level.start : level.stop].mean():6.2f}")
    print(f"mean             {ap.mean():6.2f}")


@torch.no_grad()
def zero_shot(clip: Clip, split: Split, hierarchy: Hierarchy) -> np.ndarray:
    """(C,) average precision of each class, by the cosines of images and prompts."""
    texts = clip.encode_text([PROMPT.format(name) for name in spoken(hierarchy)])
    images = torch.stack([split.inputs[row] for row in range(len(split))]).to(texts.device)
    features = torch.cat([clip.encode_image(clip.preprocess(batch)) for batch in images.split(256)])
    scores = F.normalize(features, dim=1) @ F.normalize(texts, dim=1).T
    return average_precision(scores.cpu(), split.targets)


if __name__ == "__main__":
    main()

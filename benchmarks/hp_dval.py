"""HP-DVAL at the size of CLIP ViT-B/16 with random weights: what a step and a prediction cost, in one run.

    python benchmarks/hp_dval.py [--threads 2] [--rounds 3]
    python benchmarks/hp_dval.py --device cuda --mixed-precision bf16 --rounds 20 --alignment

1. Prompt tuning (stage 2), 80 classes, batch 32. Ours: tokens that were computed before, prompts cut at the
   longest name; the operations of the block "Train" of hp_dval/train.py. Naive: the same loss, with the ViT's
   forward pass on the images of each batch and 77 tokens for each prompt.
2. Prediction of one image and of a batch beside the same ViT's forward pass alone.
3. With --alignment, stage 1: images a second beside the bare forward and backward pass of the same student,
   one linear layer on its class token, with the teacher's forward pass; same precision and optimiser. The
   second row begins with uint8 images that lie on the device, and changes them at random.
4. Parameters of the set-up as Table VII counts them: CLIP, embedding layer and learned vectors.

Pixels, labels and weights are random. The contenders take turns; the first round is the warm-up. Times are
medians of the rounds, ratios the median of each round's ratio. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# This folder last: there, this file hides the package of the same name.
sys.path.sort(key=lambda folder: Path(folder) == Path(__file__).parent)

from common import hardware, take_turns

from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset, Split
from hmc_shared.data.batches import sampled_batches
from hp_dval.batches import training_batches
from hp_dval.build import (
    build_model,
    build_prompter,
    classification_loss,
    consistency_loss,
    distillation_loss,
    teacher_features,
)
from hp_dval.clip import Clip
from hp_dval.clip_files import load_clip
from hp_dval.config import Config

BATCH, CLASSES = 32, 80
STEP_BAR, PREDICTION_BAR, ALIGNMENT_BAR = 10, 1.05, 0.9
PAPER_MILLIONS = 150.28  # Table VII
COCO = """person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign
parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie
suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard
tennis_racket bottle wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog
pizza donut cake chair couch potted_plant bed dining_table toilet tv laptop mouse remote keyboard cell_phone
microwave oven toaster sink refrigerator book clock vase scissors teddy_bear hair_drier toothbrush"""
NAMES = COCO.split()


class NaivePrompts:
    """Eq. (6) and (7) on sequences of the full context length."""

    def __init__(self, clip: Clip, names: list[str], length: int) -> None:
        self.clip = clip
        tokens = clip.tokenizer([f"{'X ' * length}{name.replace('_', ' ')}." for name in names])
        tokens = tokens.to(clip.device)
        self.embeddings, self.tokens, self.length = clip.embed(tokens), tokens, length

    def __call__(self, contexts: Tensor) -> Tensor:
        texts = []
        for context in contexts:
            learned = context.expand(len(self.embeddings), -1, -1)
            parts = [self.embeddings[:, :1], learned, self.embeddings[:, 1 + self.length :]]
            texts.append(
                F.normalize(self.clip.encode_embeddings(torch.cat(parts, 1), self.tokens).float(), dim=1)
            )
        return torch.stack(texts)


def random_images(n: int, size: int) -> HierarchicalDataset:
    """COCO's classes, n random square images with about three labels each."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
    targets = torch.rand(n, CLASSES, generator=generator) < 3 / CLASSES
    split = Split(images, targets, tuple(map(str, range(n))))
    hierarchy = Hierarchy.from_edges([], nodes=NAMES)
    return HierarchicalDataset(
        "random", hierarchy, torch.ones(CLASSES, dtype=torch.bool), "image", split, split, split
    )


def verdict(holds: bool, bar: str) -> str:
    return f"{bar}: {'met' if holds else 'NOT MET'}"


class Bench:
    """Model, CLIP and a batch on a device."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.rounds, self.device = args.rounds, torch.device(args.device)
        self.bf16 = args.mixed_precision == "bf16"
        self.config = Config(clip=args.clip, student=args.student, batch_size=BATCH, workers=0)
        self.dataset = random_images(2 * BATCH, args.size)
        self.clip = load_clip(args.clip).to(self.device)
        self.model = build_model(self.config, self.dataset, self.clip).to(self.device)
        self.inputs = self.dataset.train.inputs.to(self.device)  # type: ignore[union-attr]
        self.raw = self.inputs[:BATCH]
        targets = self.dataset.train.targets
        self.labels = targets[:BATCH].to(self.device)
        every = torch.ones(CLASSES, dtype=torch.bool, device=self.device)
        self.loss_of = classification_loss(self.config, targets, every)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def prompt_step(
        self, inputs: Callable[[], Tensor], prompter: Callable[[Tensor], Tensor]
    ) -> Callable[[], None]:
        optimizer = torch.optim.AdamW([self.model.contexts], lr=0.0)

        def step() -> None:
            with self.autocast():
                outputs = self.model(inputs(), prompter)
            loss = self.loss_of(outputs.logits, self.labels).mean()
            loss = loss + consistency_loss(outputs.text, self.model.fixed_text)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    def prompts(self) -> None:
        """Stage 2."""
        self.model.eval()
        with torch.no_grad():
            tokens = self.model.tokens(self.model.normalize(self.raw))

        @torch.no_grad()
        def forward() -> Tensor:
            return self.model.tokens(self.model.normalize(self.raw))

        ours, naive = build_prompter(self.config, self.model, self.clip), NaivePrompts(self.clip, NAMES, 4)
        with torch.no_grad():
            difference = float((ours(self.model.contexts) - naive(self.model.contexts)).abs().max())
        seconds = take_turns(
            [self.prompt_step(lambda: tokens, ours), self.prompt_step(forward, naive)],
            self.device,
            self.rounds,
        )
        ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
        mine, theirs = 1e3 * np.median(seconds, axis=0)
        print("Prompt tuning, one step of batch 32 with 80 classes\n")
        print("| cached tokens, cut texts | ViT forward, 77 tokens | ratio | bar | texts differ by |")
        print("|---" * 5 + "|")
        bar = verdict(ratio >= STEP_BAR, f">= {STEP_BAR}")
        print(f"| {mine:,.1f} ms | {theirs:,.1f} ms | {ratio:.1f} | {bar} | {difference:.0e} |\n", flush=True)

    @torch.no_grad()
    def prediction(self) -> None:
        """From raw images to probabilities, beside normalisation and the ViT alone."""
        self.model.eval()
        print("Prediction\n\n| images | HP-DVAL | ViT alone | ratio | bar |\n" + "|---" * 5 + "|")
        for size in (1, BATCH):
            raw = self.raw[:size]
            seconds = take_turns(
                [
                    lambda raw=raw: self.model.predict_proba(raw),
                    lambda raw=raw: self.model.student(self.model.normalize(raw)),  # type: ignore[operator]
                ],
                self.device,
                3 * self.rounds,
            )
            ratio = float(np.median(seconds[:, 0] / seconds[:, 1]))
            ours, bare = 1e3 / size * np.median(seconds, axis=0)
            bar = verdict(ratio <= PREDICTION_BAR, f"<= {PREDICTION_BAR}")
            print(f"| {size} | {ours:.2f} ms an image | {bare:.2f} ms | {ratio:.3f} | {bar} |", flush=True)
        print()

    def alignment(self) -> None:
        """Stage 1."""
        student = build_model(self.config, self.dataset, self.clip).student.to(self.device)
        images = self.model.normalize(self.raw)
        with torch.no_grad():
            width = student(images[:1]).shape[-1]
        head = nn.Linear(width, CLASSES).to(self.device)
        bare_optimizer = torch.optim.AdamW([*student.parameters(), *head.parameters()], lr=1e-5, fused=True)
        teacher_images = self.clip.preprocess(self.raw)
        optimizer = torch.optim.AdamW(self.model.alignment_parameters(), lr=1e-5, fused=True)
        generator, targets = torch.Generator(self.device), self.dataset.train.targets.to(self.device)

        def bare() -> None:
            with self.autocast():
                with torch.no_grad():
                    self.clip.encode_image(teacher_images)
                logits = head(student(images)[:, 0])
            F.binary_cross_entropy_with_logits(logits.float(), self.labels.float()).backward()
            bare_optimizer.step()
            bare_optimizer.zero_grad()

        def ours(raw: Tensor) -> None:
            with self.autocast():
                outputs = self.model(self.model.normalize(raw))
                with torch.no_grad():
                    f_clip = teacher_features(self.clip, raw)
            loss = self.loss_of(outputs.logits, self.labels).mean()
            (loss + distillation_loss(outputs, f_clip).mean()).backward()
            optimizer.step()
            optimizer.zero_grad()

        def piped() -> None:
            order = sampled_batches(
                self.dataset.train.targets, self.config.batch_size, "random", seed=0, epoch=0
            )[:1]
            for batch in training_batches(
                self.model,
                self.inputs,
                targets,
                order,
                self.config,
                0,
                0,
                generator,
                aligns=True,
                rank=0,
                world=1,
            ):
                ours(batch.inputs)

        self.model.train()
        seconds = take_turns([bare, lambda: ours(self.raw), piped], self.device, self.rounds)
        print(
            "Alignment, batch 32, images a second\n\n| inputs | HP-DVAL | bare | ratio | bar |\n"
            + "|---" * 5
            + "|"
        )
        rates = BATCH / np.median(seconds, axis=0)
        for column, inputs in ((1, "ready"), (2, "changed at random")):
            ratio = float(np.median(seconds[:, 0] / seconds[:, column]))
            bar = verdict(ratio >= ALIGNMENT_BAR, f">= {ALIGNMENT_BAR}")
            print(f"| {inputs} | {rates[column]:.1f} | {rates[0]:.1f} | {ratio:.3f} | {bar} |")
        print()

    def parameters(self) -> None:
        parts = {
            f"CLIP {self.config.clip}": self.clip.model.parameters(),
            "embedding layer": self.model.embedding.parameters(),  # type: ignore[union-attr]
            "learned vectors": [self.model.contexts],
            "student, in predictions instead of CLIP's image tower": self.model.student.parameters(),
        }
        counts = {name: sum(p.numel() for p in of) for name, of in parts.items()}
        print("Parameters\n\n| part | number |\n|---|---|")
        for name, number in counts.items():
            print(f"| {name} | {number:,} |")
        total = sum(list(counts.values())[:3]) / 1e6
        met = verdict(round(total, 2) == PAPER_MILLIONS, f"{PAPER_MILLIONS} M")
        print(f"| as Table VII counts, the first three | {total:.3f} M ({met}) |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--mixed-precision", choices=["no", "bf16"], default="no")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clip", default="ViT-B-16", help="as in hp-dval train; tiny, to see that it works")
    parser.add_argument("--size", type=int, default=224, help="of the images, in pixels")
    parser.add_argument("--student", default="vit_b_16", help="as in hp-dval train; small goes with tiny")
    parser.add_argument("--alignment", action="store_true", help="also stage 1, which is for a GPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    machine = hardware(torch.device(args.device))
    print(f"HP-DVAL; torch {torch.__version__}, {machine}, mixed precision {args.mixed_precision}\n")
    bench = Bench(args)
    bench.prompts()
    bench.prediction()
    if args.alignment:
        bench.alignment()
    bench.parameters()


if __name__ == "__main__":
    main()

"""The CLIP that comes with the package, and the script that trains it."""

import re
import runpy
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score
from torch.nn import functional as F

import hp_dval
from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from hmc_shared.data.benchmarks import digit_scenes
from hmc_shared.data.benchmarks.digits import DIGITS, SHAPES
from hp_dval.clip_files import load_clip

FILE = Path(hp_dval.__file__).parent / "assets" / "tiny-clip.safetensors"
SCRIPT = Path(__file__).parents[1] / "tools" / "train_tiny_clip.py"
QUARTERS = {"top left": (0, 0), "top right": (0, 16), "bottom left": (16, 0), "bottom right": (16, 16)}


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(SCRIPT), run_name="script"))


def test_the_file_is_small_and_compresses_well() -> None:
    content = FILE.read_bytes()
    assert len(content) <= 8e6
    assert len(zlib.compress(content)) < 3e6
    weights = load_file(FILE)
    assert {str(value.dtype) for value in weights.values()} == {"torch.float16"}
    assert all(value.isfinite().all() for value in weights.values())
    tokens = weights["token_embedding.weight"].float()
    untouched = (tokens.abs() - 0.02).abs().max(1).values < 1e-4
    assert 20 < (~untouched).sum() < 100  # the words of the captions
    assert len(tokens.sign().unique(dim=0)) == len(tokens)  # no two texts are the same


def test_it_knows_the_digits_without_training() -> None:
    clip, split = load_clip("tiny"), load_dataset("digit-scenes", view="image").validation
    hierarchy = Hierarchy.from_parents(SHAPES)
    with torch.no_grad():
        texts = F.normalize(clip.encode_text([f"a scene with a {name}" for name in hierarchy.names]), dim=1)
        images = F.normalize(clip.encode_image(clip.preprocess(split.inputs)), dim=1)
    ap = average_precision_score(split.targets, images @ texts.T, average=None)
    digits = ap[[hierarchy.index[name] for name in DIGITS]]
    assert digits.mean() > 0.6  # 0.25 at random
    assert ap.mean() > 0.6
    assert 0.3 < digits.min() < digits.max() - 0.2  # something is left to learn


@pytest.mark.parametrize("seed", range(20))
def test_captions_tell_the_truth(script: SimpleNamespace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scans_of = [np.full((2, 8, 8), 10 * digit + 5, dtype=np.uint8) for digit in range(10)]
    images, present, captions = digit_scenes.compose(1, scans_of, np.ones(10, dtype=np.int64), rng)
    things = script.parse(captions[0])
    assert {thing["name"] for thing in things} == {DIGITS[i] for i in present[0].nonzero()[0]}
    hierarchy = Hierarchy.from_parents(SHAPES)
    above = script.names_above(hierarchy)
    assert above["nine"] == ["closed", "loop and tail"]
    for _ in range(30):
        text = script.reword(things, above, rng)
        text = re.sub("^a (scene|photo|picture) (with|of) ", "", text).removesuffix(".")
        for said in re.split(", | and (?!tail)", text):
            match = re.fullmatch(r"a (small |large |)(.+?)(?: at the (\w+ \w+))?", said)
            size, name, place = match.groups() if match else ("", "", "")
            assert any(
                name in (thing["name"], *above[thing["name"]])
                and size.strip() in ("", thing["size"])
                and place in (None, thing["place"])
                for thing in things
            )
    image = torch.from_numpy(images)
    before = image.clone()
    (left,) = script.leave_one(image, things, rng)
    y, x = QUARTERS[left["place"]]
    quarter = np.s_[:, y : y + 16, x : x + 16]
    assert set(image.unique().tolist()) <= {0, 10 * DIGITS.index(left["name"]) + 5}
    assert image[quarter].equal(before[quarter])
    assert image[quarter].any()


def test_captions_of_one_thing_come_whatever_the_others_are(script: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    things = [
        {"size": "small", "name": name, "place": place}
        for name, place in zip(("one", "two", "six", "nine"), QUARTERS, strict=True)
    ]
    above = script.names_above(Hierarchy.from_parents(SHAPES))
    texts = [script.reword(things, above, rng) for _ in range(2000)]
    alone = [text for text in texts if " and " not in text.replace("loop and tail", "")]
    assert abs(len(alone) / len(texts) - 0.7 - 0.15 / 4) < 0.04
    four = sum(text.count(",") == 2 for text in texts)
    assert abs(four / len(texts) - 0.15 - 0.15 / 4) < 0.04
    plain = sum(bool(re.search("one|two|six|nine", text)) for text in alone)
    assert abs(plain / len(alone) - 0.8) < 0.05


def test_the_script_writes_what_load_clip_reads(
    script: SimpleNamespace, clip_json: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    options = ["--config", clip_json, "--steps", "3", "--batch-size", "8", "--output", str(path)]
    monkeypatch.setattr(sys, "argv", ["train_tiny_clip.py", *options])
    script.main()
    clip = load_clip(clip_json, str(path))
    assert 0 < clip.logit_scale < 100
    content = path.read_bytes()
    script.main()
    assert path.read_bytes() == content

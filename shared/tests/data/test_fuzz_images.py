"""Any labels.json and classes.json, and any bytes that begin as an image, are read or refused in one line.

Mutations of valid files are in tests/fuzz of the repository. HMC_FUZZ sets the number of inputs of each test.
"""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hmc_shared.data.formats import labels_json
from hmc_shared.data.image_table import decode, image_size

MANY = settings(
    max_examples=int(os.environ.get("HMC_FUZZ", "100")),
    deadline=None,
    derandomize="HMC_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
IMAGES = [f"{number}.png" for number in range(6)]


def saved(pixels: np.ndarray, suffix: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix)
    return file.getvalue()


PIXELS = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
STARTS = [saved(PIXELS, suffix)[:12] for suffix in ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")]


def read_or_refusal(read: Callable[[], Any]) -> tuple[Any, str]:
    """What a function returns, and the one line of its documented error, "" if there is none."""
    try:
        return read(), ""
    except ValueError as error:
        message = str(error)
    assert 0 < len(message) < 1000
    assert len(message.splitlines()) == 1
    return None, message


@MANY
@given(st.binary(max_size=200), st.sampled_from([b"", b"P5\n3 2\n4095\n", *STARTS]))
def test_bytes_that_begin_as_an_image(content: bytes, start: bytes) -> None:
    size, message = read_or_refusal(lambda: image_size(start + content))
    pixels, other = read_or_refusal(lambda: decode(start + content))
    for text in filter(None, (message, other)):
        assert text.startswith(("is not an image that Pillow can read: ", "cannot be decoded: "))
    if pixels is not None:
        assert size in (pixels.shape[1::-1], pixels.shape[:2])  # turned by its EXIF orientation


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz") / "things"
    (root / "train").mkdir(parents=True)
    for below in ("", "train/"):
        for number, name in enumerate(IMAGES):
            (root / below / name).write_bytes(saved(PIXELS[:, : 3 + number], "PNG"))
    return root


TEXTS = st.text(max_size=4) | st.sampled_from(
    [
        *IMAGES,
        "train",
        "val",
        "test",
        "ant",
        "../0.png",
        "/etc/passwd",
        "./0.png",
        ".\\1.png",
        "a/b",
        "\0",
        "\ud800",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 4)
    | st.sampled_from([10**11, -(10**20), 2**63, 1e300, float("nan"), float("inf")])
    | st.floats()
    | TEXTS
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
LABELS = st.lists(st.integers(-1, 4) | st.sampled_from(["ant", "bee", "0"]), max_size=4) | ANYTHING
PER_IMAGE = st.dictionaries(st.sampled_from(IMAGES) | TEXTS, LABELS, max_size=6)
PLAIN = st.dictionaries(
    st.sampled_from(IMAGES), st.lists(st.integers(0, 3), unique=True, max_size=3), min_size=5
)
SPLITS = st.dictionaries(
    st.sampled_from(["train", "val", "test", "Train", "unlabeled", "x"]) | TEXTS, PER_IMAGE
)
CLASSES = (
    st.none()
    | st.lists(st.sampled_from(["ant", "bee", "cow", ""]) | TEXTS, max_size=6)
    | st.dictionaries(st.sampled_from(["0", "1", "2", "ant"]), st.integers(0, 3) | TEXTS)
    | ANYTHING
)


@MANY
@given(labels=PLAIN | PER_IMAGE | SPLITS | ANYTHING, classes=CLASSES)
def test_json_of_any_shape(root: Path, labels: Any, classes: Any) -> None:
    (root / "labels.json").write_text(json.dumps(labels))
    (root / "classes.json").unlink(missing_ok=True)
    if classes is not None:
        (root / "classes.json").write_text(json.dumps(classes))
    dataset, message = read_or_refusal(lambda: labels_json.load(str(root)))
    if dataset is None:
        assert root.name in message
        return
    listed = labels.values() if isinstance(next(iter(labels.values())), dict) else [labels]
    assert sum(map(len, dataset.splits.values())) <= sum(map(len, listed))
    assert all(name.rpartition("/")[2] in IMAGES for split in dataset.splits.values() for name in split.ids)

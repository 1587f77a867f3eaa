"""Any labels.json, classes.json or bytes of an image are read, or refused by the one documented error.

HMC_FUZZ is the number of inputs of each kind; a few hundred by default.
"""

import io
import json
import os
import resource
import time
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

fuzz = settings(
    max_examples=int(os.environ.get("HMC_FUZZ", "200")),
    suppress_health_check=list(HealthCheck),
    deadline=None,  # see refusal: a busy machine must not fail
    database=None,
)
IMAGES = [f"{number}.png" for number in range(6)]


@pytest.fixture(scope="module", autouse=True)
def few_gigabytes():
    """No input may take a gigabyte more than what is in use before."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    memory = Path("/proc/self/statm")
    if memory.exists():
        limit = int(memory.read_text().split()[0]) * resource.getpagesize() + 2**30
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# Bytes of images


def saved(pixels: np.ndarray, suffix: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, suffix, **options)
    return file.getvalue()


def seeds() -> list[bytes]:
    """Valid images of all formats, small, so that a change hits what matters."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    plain = [saved(pixels, suffix) for suffix in ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")]
    modes = [saved(pixels, "PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA")]
    deep = [saved(rng.random((5, 7)).astype(np.float32), "TIFF")]
    deep += [saved(rng.integers(0, 65536, (5, 7)).astype(kind), "TIFF") for kind in (np.uint16, np.int32)]
    packed = [saved(pixels, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
    more = [
        saved(pixels, "JPEG", progressive=True, exif=exif),
        saved(pixels, "JPEG", "CMYK"),
        saved(pixels, "PNG", exif=exif),
        saved(pixels, "GIF", save_all=True, append_images=[Image.new("L", (11, 9))] * 2),
        saved(pixels, "WEBP", save_all=True, append_images=[Image.new("L", (11, 9))] * 2),
        b"P5\n3 2\n4095\n" + bytes(range(12)),
    ]
    return [*plain, *modes, *deep, *packed, *more]


SEEDS = seeds()


@st.composite
def mutated(draw: st.DrawFn, contents: list[bytes]) -> bytes:
    """A valid file with bytes changed, cut out, doubled, or numbers of it made huge."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.sampled_from([1, 2, 4, 16]))
        match draw(st.sampled_from(["change", "cut", "double", "extreme", "end", "mix"])):
            case "change":
                content[place : place + length] = draw(st.binary(min_size=length, max_size=length))
            case "cut":
                del content[place : place + length]
            case "double":
                content[place:place] = content[place : place + length]
            case "extreme":
                content[place : place + length] = draw(st.sampled_from([b"\0", b"\xff", b"\x7f"])) * length
            case "end":
                del content[place:]
            case _:
                other = draw(st.sampled_from(contents))
                content[place:] = other[draw(st.integers(0, len(other) - 1)) :]
    return bytes(content)


def refusal(function: Callable[[], Any]) -> tuple[Any, str]:
    """What a function returns within 5 s, and the line of its one documented error, "" if there is none."""
    started = time.process_time()
    try:
        return function(), ""
    except ValueError as error:
        return None, str(error)
    finally:
        assert time.process_time() - started < 5


def check_image(content: bytes) -> None:
    size, message = refusal(lambda: image_size(content))
    pixels, other = refusal(lambda: decode(content))
    for text in filter(None, (message, other)):
        assert text.startswith(("is not an image that Pillow can read: ", "cannot be decoded: "))
        assert "\n" not in text
    if size and pixels is not None:
        assert size in (pixels.shape[1::-1], pixels.shape[:2])  # turned by its EXIF orientation


def test_valid_images_are_read() -> None:
    messages = [refusal(lambda content=content: decode(content))[1] for content in SEEDS]
    assert all(message == "" or message.endswith("convert it to 8 bits") for message in messages)
    assert messages.count("") >= len(SEEDS) - 1  # integers of 32 bits reach beyond 65535 or not


@fuzz
@given(mutated(SEEDS))
def test_changed_images(content: bytes) -> None:
    check_image(content)


@fuzz
@given(st.binary(max_size=200), st.sampled_from([b"", *(content[:12] for content in SEEDS)]))
def test_bytes_that_begin_as_an_image(content: bytes, start: bytes) -> None:
    check_image(start + content)


# labels.json and classes.json


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz") / "things"
    (root / "train").mkdir(parents=True)
    for below in ("", "train/"):
        for number, name in enumerate(IMAGES):
            (root / below / name).write_bytes(saved(np.full((3, 3 + number), 9, np.uint8), "PNG"))
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


def check_labels(root: Path, labels: bytes, classes: bytes | None) -> None:
    (root / "labels.json").write_bytes(labels)
    (root / "classes.json").unlink(missing_ok=True)
    if classes is not None:
        (root / "classes.json").write_bytes(classes)
    dataset, message = refusal(lambda: labels_json.load(str(root)))
    if dataset is None:
        assert "\n" not in message
        assert root.name in message
        return
    content = json.loads(labels)
    listed = content.values() if isinstance(next(iter(content.values())), dict) else [content]
    assert sum(map(len, dataset.splits.values())) <= sum(map(len, listed))
    assert all(name.rpartition("/")[2] in IMAGES for split in dataset.splits.values() for name in split.ids)


@fuzz
@given(labels=PLAIN | PER_IMAGE | SPLITS | ANYTHING, classes=CLASSES)
def test_json_of_any_shape(root: Path, labels: Any, classes: Any) -> None:
    check_labels(root, json.dumps(labels).encode(), None if classes is None else json.dumps(classes).encode())


VALID = [
    json.dumps({name: ["ant", "bee"][: 1 + number % 2] for number, name in enumerate(IMAGES)}).encode(),
    json.dumps({"train": {name: [number % 3] for number, name in enumerate(IMAGES)}, "test": {}}).encode(),
    b"[" * 100_000,
    b'{"0.png": [' + b"9" * 5000 + b"]}",
    json.dumps({"0.png": ["\u00e9"]}).encode("utf-16"),
]


@fuzz
@given(mutated(VALID), st.none() | mutated([b'["ant", "bee", "cow"]', b'{"0": "ant", "1": "bee"}']))
def test_changed_json(root: Path, labels: bytes, classes: bytes | None) -> None:
    check_labels(root, labels, classes)


def test_what_is_far_too_deep_is_one_line(root: Path) -> None:
    with pytest.raises(ValueError, match=r"labels\.json is nested too deeply\."):
        labels_json.load(str(write(root, b"[" * 1_000_000)))
    with pytest.raises(ValueError, match=r"labels\.json: Exceeds the limit"):
        labels_json.load(str(write(root, VALID[3])))


def write(root: Path, labels: bytes) -> Path:
    (root / "labels.json").write_bytes(labels)
    return root

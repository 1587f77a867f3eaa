"""Tables of encoded images: what decoding gives, what is kept on disk, what is noticed."""

import io
import pickle
import random
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.functional import pil_to_tensor

from hmc_shared.data.image_table import ImageTable, decode, image_size
from hmc_shared.data.storage.cache import cached_images

Encode = Callable[..., bytes]
Build = Callable[..., tuple[ImageTable, str]]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(image: Image.Image, suffix: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return file.getvalue()


@pytest.fixture
def contents(encode: Encode) -> dict[str, bytes]:
    return {f"{i}.png": encode(noise(4 + i, 9 - i, 3, seed=i)) for i in range(5)}


@pytest.fixture
def build(tmp_path: Path, contents: dict[str, bytes]) -> Build:
    """A function that writes the contents as files and makes their table, from the cache if it is there."""
    folder = tmp_path / "pictures"

    def make(contents: dict[str, bytes] = contents, reader: str = "toy 1") -> tuple[ImageTable, str]:
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            if not (folder / name).is_file() or (folder / name).read_bytes() != content:
                (folder / name).write_bytes(content)
        paths = [folder / name for name in contents]
        return cached_images(
            reader, folder, list(contents), paths, lambda: (path.read_bytes() for path in paths)
        )

    return make


def test_rows_are_the_decoded_images(build: Build, contents: dict[str, bytes]) -> None:
    table, _ = build()
    assert len(table) == 5
    for row, content in enumerate(contents.values()):
        image = table[row]
        assert (image.dtype, image.shape) == (torch.uint8, (3, 4 + row, 9 - row))
        assert image.is_contiguous()
        assert image.equal(torch.from_numpy(noise(4 + row, 9 - row, 3, seed=row)).permute(2, 0, 1))
        assert image.equal(pil_to_tensor(Image.open(io.BytesIO(content))))
        assert table.encoded(row) == content
        assert table.sizes[row].tolist() == [9 - row, 4 + row]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_decoded_to_rgb(mode: str) -> None:
    ramp = np.linspace(20, 220, 24 * 33).reshape(24, 33)
    image = Image.fromarray(np.stack([ramp, ramp, 255 - ramp], axis=2).astype(np.uint8)).convert(mode)
    pixels = decode(saved(image, "jpeg", quality=95))
    assert pixels.shape == (24, 33, 3)
    difference = pixels.astype(int) - np.asarray(image.convert("RGB"))
    assert np.abs(difference).max() <= 10


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(noise(6, 5, 3)).convert(mode)
    pixels = decode(saved(image, "tiff" if mode == "CMYK" else "png"))
    assert (pixels.shape, pixels.dtype) == ((6, 5, 3), np.uint8)
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_transparency_is_dropped(encode: Encode) -> None:
    pixels = noise(3, 4, 4)
    np.testing.assert_array_equal(decode(encode(pixels)), pixels[..., :3])
    palette = Image.fromarray(noise(3, 4, 3)).convert("P")
    with_transparency = saved(palette, "png", transparency=bytes(range(200)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode(with_transparency), np.asarray(palette.convert("RGB")))


def test_16_bit_images_keep_their_range(encode: Encode) -> None:
    pixels = np.linspace(0, 65535, 12).astype(np.uint16).reshape(3, 4)
    expected = (pixels >> 8).astype(np.uint8)
    np.testing.assert_array_equal(decode(encode(pixels)), np.repeat(expected[..., None], 3, axis=2))


GREY = np.linspace(0, 1, 64).reshape(8, 8)


def tiff(numbers: np.ndarray) -> bytes:
    return saved(Image.fromarray(numbers), "TIFF")


@pytest.mark.parametrize(
    ("most", "content"),
    [
        (65535, saved(Image.fromarray((GREY * 65535).astype(np.uint16)), "PNG")),
        (65535, tiff((GREY * 65535).astype(np.uint16))),
        (65535, saved(Image.frombytes("I;16B", (8, 8), (GREY * 65535).astype(">u2").tobytes()), "TIFF")),
        (65535, tiff((GREY * 65535).astype(np.int32))),
        (1, tiff(GREY.astype(np.float32))),
        (4095, b"P5\n8 8\n4095\n" + (GREY * 4095).astype(">u2").tobytes()),  # whose header says so
        (255, b"P5\n8 8\n255\n" + (GREY * 255).astype(np.uint8).tobytes()),
    ],
)
def test_deep_images_are_scaled_by_their_type(most: int, content: bytes) -> None:
    """Black to white of the type is 0 to 255, and all between evenly."""
    pixels = decode(content)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    assert (pixels == pixels[..., :1]).all()
    assert np.abs(pixels[..., 0] - GREY * 255).max() <= 1 + 255 / most
    assert (pixels[0, 0, 0], pixels[-1, -1, 0]) == (0, 255)


def test_the_scale_is_not_that_of_the_image() -> None:
    light = (GREY * 65535).astype(np.uint16)
    dark = light // 4
    np.testing.assert_array_equal(decode(tiff(dark)), decode(tiff(light)) // 4)


def png16(pixels: np.ndarray) -> bytes:
    """An RGB image (height, width, 3) uint16, which Pillow reads but does not write."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    )


COLOURS = np.stack([GREY, 1 - GREY, GREY.T], axis=2)


def test_16_bits_a_channel_keep_the_upper_8() -> None:
    pixels = (COLOURS * 65535).astype(np.uint16)
    np.testing.assert_array_equal(decode(png16(pixels)), pixels >> 8)


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray((GREY * 4095).astype(np.uint16)), "PNG"),
        tiff((GREY * 255).astype(np.uint16)),
        tiff((GREY * 255).astype(np.int32)),
        tiff((GREY * 65536).astype(np.int32)),
        tiff((GREY * 65535 - 1).astype(np.int32)),
        tiff((GREY * 65535).astype(np.float32)),
        tiff((GREY * 2 - 1).astype(np.float32)),
        tiff(np.where(GREY > 0.9, np.nan, GREY).astype(np.float32)),
        tiff(np.where(GREY > 0.9, np.inf, GREY).astype(np.float32)),
        png16((COLOURS * 4095).astype(np.uint16)),
    ],
)
def test_what_would_be_black_or_white_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^cannot be decoded: .*: convert it to 8 bits$"):
        decode(content)


def test_only_images_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would start Ghostscript for an EPS file, whatever its suffix."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)
    content = saved(Image.fromarray(noise(4, 4, 3)), "EPS")
    Image.open(io.BytesIO(content))
    for function in (decode, image_size):
        with pytest.raises(ValueError, match="none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"):
            function(content)


@pytest.mark.parametrize("mode", ["RGB", "P", "I;16", "F"])
def test_large_images_are_converted_in_bands(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(noise(37, 20, 3)).convert("RGB" if mode == "RGB" else "P" if mode == "P" else "L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image) / np.float32(255))
    content = saved(image, "TIFF")
    whole = decode(content)
    monkeypatch.setattr("hmc_shared.data.image_table.BAND", 100)
    np.testing.assert_array_equal(decode(content), whole)
    np.testing.assert_array_equal(decode(content, np.array([3, 4, 18, 30])), whole[4:30, 3:18])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation: int) -> None:
    image = Image.fromarray(noise(4, 6, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(saved(image, "png", exif=exif))
    assert pixels.shape == ((4, 6, 3) if orientation < 5 else (6, 4, 3))
    rotations = {1: 0, 3: 2, 6: 3, 8: 1}  # quarter turns to the left
    if orientation in rotations:
        np.testing.assert_array_equal(pixels, np.rot90(np.asarray(image), rotations[orientation]))
    else:
        mirrored = {2: 0, 4: 2, 5: 1, 7: 3}[orientation]
        np.testing.assert_array_equal(pixels, np.rot90(np.asarray(ImageOps.mirror(image)), mirrored))


def test_boxes_are_cut_out_before_the_orientation() -> None:
    pixels = noise(8, 9, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.fromarray(pixels), "png", exif=exif)
    box = np.array([1, 2, 6, 5])
    np.testing.assert_array_equal(decode(content, box), np.rot90(pixels[2:5, 1:6], 3))


def test_a_box_outside_is_no_picture_of_gigabytes() -> None:
    content = saved(Image.fromarray(noise(8, 9, 3)), "png")
    for box in ([0, 0, 10, 8], [-1, 0, 9, 8], [3, 3, 3, 5], [0, 0, 10**6, 10**6]):
        with pytest.raises(ValueError, match=r"cannot be decoded: the box \[.*\] lies outside its 9 x 8"):
            decode(content, np.array(box))


def test_selecting_joining_and_cropping(build: Build) -> None:
    table, _ = build()
    boxes = np.array([[1, 0, 3, 2], [5, 1, 9, 4]], dtype=np.int32)
    some = table.select(np.array([3, 0])).crop(boxes)
    assert some.sizes.tolist() == [[2, 2], [4, 3]]
    assert some[0].equal(table[3][:, 0:2, 1:3])
    assert some.select(np.array([1]))[0].equal(table[0][:, 1:4, 5:9])
    other, _ = build({"x.png": table.encoded(4)}, "other 1")
    for joined in (table + some, some + other, table + other + table):
        assert len(joined.sizes) == len(joined)
    both = some + other + table
    assert len(both) == 8
    expected = [some[0], some[1], table[4], *(table[row] for row in range(5))]
    assert all(both[row].equal(image) for row, image in enumerate(expected))
    assert both.sizes.tolist() == [[*image.shape[:0:-1]] for image in expected]


@pytest.mark.parametrize("box", [[0, 0, 9, 5], [-1, 0, 5, 4], [2, 2, 2, 3], [0, 3, 4, 3], [3, 0, 1, 4]])
def test_a_box_outside_its_image_is_refused(build: Build, box: list[int]) -> None:
    boxes = np.array([[0, 0, 8, 5], box])
    with pytest.raises(ValueError, match=r"`boxes` should lie in .*: '0.png' has 9 x 4 pixels. Found \["):
        build()[0].select(np.array([1, 0])).crop(boxes)


def first_pixels(table: ImageTable) -> list[int]:
    return [int(table[row][0, 0, 0]) for row in range(len(table))]


def test_only_paths_and_rows_are_pickled(build: Build) -> None:
    table = build()[0].select(np.array([4, 1]))
    expected = first_pixels(table)  # now its file is open
    pickled = pickle.dumps(table)
    assert not any(table.encoded(row) in pickled for row in range(2))
    assert first_pixels(pickle.loads(pickled)) == expected


def test_an_entry_is_a_folder_of_images_that_datasets_reads(build: Build, contents: dict[str, bytes]) -> None:
    table, _ = build()
    rows = datasets.load_from_disk(str(table.files[0].parent))
    assert rows["id"] == list(contents)
    assert isinstance(rows.features["image"], datasets.Image)
    np.testing.assert_array_equal(np.asarray(rows[2]["image"]), table[2].permute(1, 2, 0))


def refuse() -> Iterator[bytes]:
    raise AssertionError("read although cached")


def test_the_second_time_no_image_is_read(build: Build, tmp_path: Path, contents: dict[str, bytes]) -> None:
    table, digest = build()
    folder = tmp_path / "pictures"
    paths = [folder / name for name in contents]
    again, same = cached_images("toy 1", folder, list(contents), paths, refuse)
    assert (again.files, same) == (table.files, digest)
    for reader, names, sources in [
        ("toy 2", list(contents), paths),
        ("toy 1", list(contents)[::-1], paths),
        ("toy 1", list(contents), paths[::-1]),
    ]:
        with pytest.raises(AssertionError, match="read although"):
            cached_images(reader, folder, names, sources, refuse)


def test_a_changed_source_is_read_again(build: Build, contents: dict[str, bytes], encode: Encode) -> None:
    table, digest = build()
    changed = contents | {"2.png": encode(255 - noise(6, 7, 3, seed=2))}
    other, other_digest = build(changed)
    assert other.encoded(2) == changed["2.png"] != table.encoded(2)
    assert other_digest != digest
    assert build(contents)[1] == digest  # of the content, whatever the times of change


def test_every_damage_of_an_entry_is_repaired(build: Build) -> None:
    table, digest = build()
    (arrow,) = table.files
    index = arrow.parent / "index.json"
    rng = random.Random(0)
    for path in (arrow, index):
        content = path.read_bytes()
        somewhere = rng.randrange(len(content))
        flipped = content[:somewhere] + bytes([content[somewhere] ^ 1]) + content[somewhere + 1 :]
        for damage in (b"", content[: len(content) // 2], flipped, None):
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            again, same = build()
            assert same == digest
            assert again.files == table.files
            assert first_pixels(again) == first_pixels(table)
    assert len(list(arrow.parent.parent.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_file_that_is_no_image_is_named(build: Build, contents: dict[str, bytes], content: bytes) -> None:
    table, _ = build(contents | {"3.png": content})
    assert table.sizes[3].tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"pictures: '3.png' is not an image that Pillow can read: \S"):
        table[3]


def test_an_image_beyond_the_limit_of_pillow_is_refused(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = build()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 35)  # beyond it, Pillow warns
    with pytest.raises(ValueError, match=r"'0.png' is not an image that Pillow can read: .*exceeds limit"):
        table[0]
    with pytest.raises(ValueError, match="exceeds limit"):
        image_size(table.encoded(0))


def test_a_truncated_image_is_named_when_it_is_decoded(build: Build, contents: dict[str, bytes]) -> None:
    name = "4.png"
    table, _ = build(contents | {name: contents[name][:-60]})
    assert table[3].shape == (3, 7, 6)
    with pytest.raises(ValueError, match=rf"pictures: '{name}' cannot be decoded: .*truncated"):
        table[4]


def test_a_missing_source_is_named(build: Build, tmp_path: Path, contents: dict[str, bytes]) -> None:
    build()
    (tmp_path / "pictures" / "1.png").unlink()
    paths = [tmp_path / "pictures" / name for name in contents]
    with pytest.raises(ValueError, match=r"1\.png is missing"):
        cached_images("toy 1", tmp_path, list(contents), paths, refuse)


def test_a_cache_that_cannot_be_written_is_named(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HMC_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="cannot be written, set HMC_CACHE to another place"):
        build()


def test_an_entry_that_another_process_made_meanwhile_stays(
    build: Build, tmp_path: Path, contents: dict[str, bytes]
) -> None:
    inner: list[float] = []

    def read() -> Iterator[bytes]:
        table, _ = build()  # another process is faster
        inner.append(table.files[0].stat().st_mtime_ns)
        yield from contents.values()

    build(contents, "first 0")
    folder = tmp_path / "pictures"
    table, _ = cached_images("toy 1", folder, list(contents), [folder / name for name in contents], read)
    assert table.files[0].stat().st_mtime_ns == inner[0]
    assert first_pixels(table) == first_pixels(build()[0])

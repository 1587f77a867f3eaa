"""Pictures of samples: from archives of thumbnails, and from nowhere outside the folder asked for."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from matplotlib.image import imread

from hmc_shared.compare.comparison import ComparisonTable, compare
from hmc_shared.compare.html.pictures import (
    Pictures,
    check_place,
    data_uri,
    open_thumbnails,
    png,
    shade,
    take_pictures,
    thumbnail,
)
from hmc_shared.compare.html.report import confusions, worst
from hmc_shared.compare.inspection import inspect
from hmc_shared.runs.read import load_run

PICTURES = {b"\xff\xd8\xff\xe0": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"RIFF\n\x00\x00\x00WEBP": "webp"}


@pytest.fixture
def table(make_run) -> ComparisonTable:
    return compare([make_run(noise=1.6)]).tables[0]


@pytest.fixture
def archive(tmp_path) -> Path:
    """Thumbnails of the 60 samples of the data set toy, of each kind, in the folder of pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    with ZipFile(folder / "toy-thumbnails.zip", "w") as file:
        for row in range(60):
            file.writestr(f"sample-{row}", picture(row))
    return folder / "toy-thumbnails.zip"


def picture(row: int) -> bytes:
    return list(PICTURES)[row % 3] + bytes([row])


def uri(row: int) -> str:
    return data_uri(picture(row), f"image/{list(PICTURES.values())[row % 3]}")


def test_samples_and_confused_classes_have_the_pictures_of_the_archive(table, archive):
    inspection = inspect(table)
    pictures = take_pictures(table, inspection, archive.parent)
    assert pictures.missing == ""
    ids = [sample.id for sample in inspection.samples]
    assert pictures.samples == {sample: uri(int(sample.removeprefix("sample-"))) for sample in ids}
    targets = load_run(table.rows[0].runs[0].path).targets
    confused = [node for pair in inspection.confusions for node in (pair.true, pair.other)]
    assert pictures.classes == {node: uri(int(targets[:, node].argmax())) for node in confused}
    text = confusions(table, inspection, pictures)
    assert text.count("<img") == len(confused)
    assert worst(table, inspection, pictures).count("<img") == len(ids) == 12


def test_without_pictures_there_are_none(table, tmp_path):
    inspection = inspect(table)
    assert "<img" not in confusions(table, inspection, Pictures(missing="why"))
    assert "No pictures: why" in worst(table, inspection, Pictures(missing="why"))
    assert "pass `--pictures`" in take_pictures(table, inspection, None).missing
    assert "'toy'" in take_pictures(table, inspection, tmp_path).missing


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no readable 'sample-"),
        (b"<script>", "should be a JPEG, PNG or WebP of at most 64 KiB"),
        (picture(0) + bytes(2**16), "should be a JPEG, PNG or WebP of at most 64 KiB"),
    ],
)
def test_what_is_no_small_picture_is_not_shown(table, archive, content, said):
    with ZipFile(archive, "w") as file:
        for row in range(60) if content else ():
            file.writestr(f"sample-{row}", content)
    pictures = take_pictures(table, inspect(table), archive.parent)
    assert pictures.missing.startswith(str(archive))
    assert said in pictures.missing
    assert pictures.samples == pictures.classes == {}


def test_a_damaged_archive_is_told(table, archive):
    archive.write_bytes(archive.read_bytes()[:-10])
    missing = take_pictures(table, inspect(table), archive.parent).missing
    assert missing.startswith(f"{archive} is not readable")


@pytest.mark.parametrize("name", ["../pictures/toy", "link"])
def test_an_archive_outside_the_folder_is_not_opened(archive, tmp_path, name):
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "link-thumbnails.zip").symlink_to(archive)
    with pytest.raises(ValueError, match="does not lie in"):
        open_thumbnails(name, tmp_path / "asked")


@pytest.mark.parametrize(
    "name",
    [
        "folder:/etc",
        "labels:../secret",
        "table:~/t.csv",
        "hf:/",
        "hf:../../x",
        "../toy",
        "/etc",
        "folder:in/../..",
    ],
)
def test_a_run_cannot_name_a_place_outside_the_folder_of_pictures(tmp_path, name):
    (tmp_path / "data" / "in").mkdir(parents=True)
    with pytest.raises(ValueError, match="does not lie in"):
        check_place(name, tmp_path / "data")


@pytest.mark.parametrize("name", ["hf:owner/name", "folder:in/none"])  # relative to where the command runs
def test_nothing_is_downloaded_for_pictures(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not a folder on this machine"):
        check_place(name, tmp_path)


def test_what_lies_in_the_folder_of_pictures_may_be_read(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("digits", "grocery", f"folder:{tmp_path / 'in'}"):
        check_place(name, tmp_path)


def test_png_is_what_went_in():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 5), dtype=np.uint8)
    back = imread(BytesIO(base64.b64decode(png(pixels).split(",")[1])))
    np.testing.assert_array_equal((back[..., 0] * 255).round(), pixels)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 8, 8), (8, 8)),
        ((3, 300, 200), (150, 100, 3)),
        ((3, 161, 10), (80, 5, 3)),
        ((1, 2000, 2), (1000, 1)),
    ],
)
def test_thumbnails_are_small(shape, expected):
    small = thumbnail(np.full(shape, 7, dtype=np.uint8))
    assert small.shape == expected
    assert (small == 7).all()


def test_a_picture_of_a_class_is_smaller_than_one_of_a_sample():
    assert thumbnail(np.zeros((3, 128, 96), dtype=np.uint8), 48).shape == (42, 32, 3)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colours", ["viridis", "Oranges"])
def test_text_is_legible_on_every_colour(colours):
    for value in [*np.linspace(0, 1, 50), np.nan]:
        dark, light = sorted(map(luminance, shade(value, 0, 1, colours)))
        assert (light + 0.05) / (dark + 0.05) > 4.5  # for text, by WCAG

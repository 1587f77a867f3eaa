"""Pictures of the report: of the data set or of an archive of thumbnails, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from hmc_shared.compare.html.pictures import check_place, data_uri, open_thumbnails
from hmc_shared.compare.html.report import to_html
from hmc_shared.compare.inspection import inspect
from hmc_shared.runs.read import load_run


def test_a_data_set_that_is_not_there_leaves_the_samples_without_pictures(comparison, tmp_path, read_page):
    page = read_page(to_html(comparison, tmp_path))
    assert "No pictures:" in page.text
    assert "'toy'" in page.text.split("No pictures:")[1][:80]
    assert page.text.count("sample-") == len(inspect(comparison.tables[0]).samples)


def test_no_file_is_read_that_was_not_asked_for(comparison, monkeypatch, read_page):
    monkeypatch.setattr("hmc_shared.compare.html.pictures.load_dataset", pytest.fail)
    page = read_page(to_html(comparison))
    assert "No pictures: pass `--pictures` with the folder of 'toy' to show its images" in page.text


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


@pytest.fixture
def thumbnails(tmp_path) -> Path:
    """The folder of pictures, with one of each kind for the 60 samples of the data set toy."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    with ZipFile(folder / "toy-thumbnails.zip", "w") as archive:
        for row in range(60):
            archive.writestr(f"sample-{row}", PICTURES[row % 3] + bytes([row]))
    return folder


PICTURES = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\n\x00\x00\x00WEBP")


def test_samples_and_confused_classes_have_the_pictures_of_the_archive(comparison, thumbnails, read_page):
    inspection, page = inspect(comparison.tables[0]), read_page(to_html(comparison, thumbnails))
    run = load_run(comparison.tables[0].rows[0].runs[0].path)
    confused = [node for pair in inspection.confusions for node in (pair.true, pair.other)]
    rows = [run.targets[:, node].argmax() for node in confused]
    rows += [int(sample.id.removeprefix("sample-")) for sample in inspection.samples]
    kinds = ("jpeg", "png", "webp")
    expected = [data_uri(PICTURES[row % 3] + bytes([row]), f"image/{kinds[row % 3]}") for row in rows]
    assert [image for image in page.images if "svg" not in image] == expected
    assert "No pictures" not in page.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no readable 'sample-"),
        (b"<script>", "should be a JPEG, PNG or WebP of at most 64 KiB"),
        (PICTURES[0] + bytes(2**16), "should be a JPEG, PNG or WebP of at most 64 KiB"),
    ],
)
def test_what_is_no_small_picture_is_not_shown(comparison, thumbnails, content, said, read_page):
    with ZipFile(thumbnails / "toy-thumbnails.zip", "w") as archive:
        for row in range(60) if content else ():
            archive.writestr(f"sample-{row}", content)
    page = read_page(to_html(comparison, thumbnails))
    assert f"No pictures: {thumbnails / 'toy-thumbnails.zip'}" in page.text
    assert said in page.text
    assert all("svg" in image for image in page.images)


def test_a_damaged_archive_is_told(comparison, thumbnails, read_page):
    path = thumbnails / "toy-thumbnails.zip"
    path.write_bytes(path.read_bytes()[:-10])
    assert f"No pictures: {path} is not readable" in read_page(to_html(comparison, thumbnails)).text


@pytest.mark.parametrize("name", ["../pictures/toy", "link"])
def test_an_archive_outside_the_folder_is_not_opened(comparison, thumbnails, tmp_path, name):
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "link-thumbnails.zip").symlink_to(thumbnails / "toy-thumbnails.zip")
    with pytest.raises(ValueError, match="does not lie in"):
        open_thumbnails(name, tmp_path / "asked")

"""The listing, the description and its picture."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib import _pylab_helpers

from hmc_shared.data import load_dataset
from hmc_shared.data.describe import describe
from hmc_shared.data.plot_description import plot_description
from hmc_shared.data.presence import available

Writer = Callable[..., dict[str, Path]]
GO = "root/GO0003674,GO0003674/a,GO0003674/b,a/b"
ROWS = {
    "train": ["1,?,red,4,a", "2,0,red,4,a"],
    "valid": ["1,1,red,4,b"],
    "test": ["1,1,red,4,b", "2,2,red,4,a", "2,2,red,4,a"],
}


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_available_lists_the_known_and_the_found(
    write_set: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HMC_DATA", raising=False)
    assert available()[:2] == [("digits", "embedded", "built in"), ("digit-scenes", "embedded", "built in")]
    assert ("Enron", "CLUS", "") in available()
    assert ("yeast", "Mulan", "") in available()
    images = (
        *("cifar100", "cifar-scenes", "coco2014", "coco2014-tree", "coco2017", "coco2017-tree", "coco-lt"),
        *("fgvc-aircraft", "fgvc-aircraft-boxes"),
        *("fgvc-aircraft-families", "fgvc-aircraft-families-boxes"),
        *("grocery", "mirflickr", "nuswide", "nuswide21"),
        *("voc2007", "voc2012", "voc-lt"),
    )
    assert [row for row in available() if row[1] == "images"] == [(name, "images", "") for name in images]
    assert len(available()) == 46
    write_set("enron", folder=tmp_path / "a")
    write_set("mine", folder=tmp_path / "b")["test"].unlink()
    (tmp_path / "c" / "cifar-100-python").mkdir(parents=True)
    (tmp_path / "c" / "cifar-100-python" / "meta").touch()
    monkeypatch.setenv("HMC_DATA", str(tmp_path))
    rows = {name: where for name, _, where in available()}
    assert rows["enron"] == str(tmp_path / "a")
    assert "Enron" not in rows
    assert rows["mine"].startswith("incomplete: ")
    assert rows["spo_GO"] == rows["grocery"] == ""
    assert rows["cifar100"].startswith("incomplete: ")
    assert "train of cifar100 is missing" in rows["cifar100"]
    for name in ("train", "test"):
        (tmp_path / "c" / "cifar-100-python" / name).touch()
    assert ("cifar100", "images", str(tmp_path / "c" / "cifar-100-python")) in available()
    assert len(rows) == 47
    with pytest.raises(ValueError, match="`data_dir` should be a folder"):
        available(tmp_path / "nowhere")


def test_description_counts_evaluated_classes(write_set: Writer, tmp_path: Path) -> None:
    write_set(rows=ROWS, classes=GO)
    table = cells(describe(load_dataset("toy", tmp_path)))
    assert ["DAG", "of", "3", "classes,", "3", "edges,", "3", "levels"] in table
    assert ["classes", "left", "out", "of", "the", "evaluation:", "1"] in table
    # split, samples, labels per sample, density, classes without positives
    assert ["train", "2", "1.00", "0.5000", "1"] in table
    assert ["test", "3", "1.33", "0.6667", "0"] in table
    # depth, classes, leaves, labels per training sample
    assert [row for row in table if row[:1] == ["0"]] == [["0", "1", "0", "0.00"]]
    assert [row for row in table if row[:1] == ["2"]] == [["2", "1", "1", "0.00"]]
    assert ["tail", "(1", "to", "19)", "1", "0"] in table
    assert ["none", "1", "0"] in table


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_picture_is_written_without_global_state(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"digits{suffix}"
    plot_description(load_dataset("digits"), path)
    assert path.stat().st_size > 5000
    assert _pylab_helpers.Gcf.get_all_fig_managers() == []
    with pytest.raises(ValueError, match="not supported"):
        plot_description(load_dataset("digits"), tmp_path / "digits.txt")


def test_picture_shows_classes_without_samples(write_set: Writer, tmp_path: Path) -> None:
    write_set(rows=ROWS, classes=GO)
    plot_description(load_dataset("toy", tmp_path), tmp_path / "toy.svg")
    assert "<!-- 1 without -->" in (tmp_path / "toy.svg").read_text()  # words are paths, told in comments
    plot_description(load_dataset("digits"), tmp_path / "digits.svg")
    assert "without -->" not in (tmp_path / "digits.svg").read_text()


def test_image_sizes_are_described_and_plotted(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    sizes = [(4, 8), (4, 8), (6, 7), (9, 5), (4, 8)]
    for name in ("a", "b"):
        (tmp_path / "toy" / name).mkdir(parents=True)
        for number, size in enumerate(sizes):
            (tmp_path / "toy" / name / f"{number}.png").write_bytes(encode(size))
    dataset = load_dataset(f"folder:{tmp_path / 'toy'}")
    text = describe(dataset)
    assert text.splitlines()[0] == "toy: images 5 to 8 pixels wide, 4 to 9 high, median 8 x 4"
    assert ["train", "6", "1.00", "0.5000", "0"] in cells(text)
    for name in ("with.svg", "without.svg"):
        plot_description(dataset if name == "with.svg" else load_dataset("digits"), tmp_path / name)
    assert [("image sizes" in (tmp_path / name).read_text()) for name in ("with.svg", "without.svg")] == [
        True,
        False,
    ]

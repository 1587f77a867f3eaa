"""The sets of MEKA: the name of the relation counts the labels, and there is no XML."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from hmc_shared.data import load_dataset
from hmc_shared.data.presence import available

LABELS = "@attribute sun {0,1}\n@attribute rain{1,0}\n"
ROWS = [f"{i % 2},{int(i % 3 > 0)},{i}" for i in range(60)]


def text(
    rows: list[str], relation: str = "'toy: -C 2'", attributes: str = LABELS + "@attribute x real\n"
) -> str:
    return f"% of MEKA\n@relation {relation}\n\n{attributes}@data\n" + "\n".join(rows) + "\n"


def turned(rows: list[str]) -> list[str]:
    """The features first."""
    return [",".join((row.split(",")[2], *row.split(",")[:2])) for row in rows]


@pytest.mark.parametrize("place", [".", "inner"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("last", [False, True])
def test_all_rows_in_one_file(tmp_path: Path, place: str, suffix: str, last: bool) -> None:
    content = text(ROWS)
    if last:
        content = text(turned(ROWS), "'toy: -C -2 -split-number 40'", "@attribute x real\n" + LABELS)
    path = tmp_path / place / f"Toy.arff{suffix}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((gzip.compress if suffix else bytes)(content.encode()))
    assert ("Toy", "Mulan", str(path.parent)) in available(tmp_path)
    dataset = load_dataset("toy", tmp_path)
    assert (dataset.name, dataset.hierarchy.names, dataset.num_features) == ("Toy", ("sun", "rain"), 1)
    assert [len(split) for split in dataset.splits.values()] == [36, 12, 12]
    assert dataset.sources.keys() == {"Toy.arff"}
    for split in dataset.splits.values():
        rows = split.inputs[:, 0].int().numpy()
        np.testing.assert_array_equal(split.targets, np.stack([rows % 2 > 0, rows % 3 > 0], axis=1))


def test_a_training_and_a_test_file(tmp_path: Path) -> None:
    for part, rows in (("train", ROWS), ("test", ["{0 1, 2 3}", "{1 0}"])):
        (tmp_path / f"toy-{part}.arff").write_text(text(rows, '"toy: -C 2"'))
    dataset = load_dataset("toy", tmp_path)
    assert (len(dataset.train), len(dataset.validation)) == (48, 12)
    # The first value of rain, 1, is what a sparse row leaves out.
    assert dataset.test.targets.tolist() == [[True, True], [False, False]]
    assert dataset.sources.keys() == {"toy-train.arff", "toy-test.arff"}
    (tmp_path / "toy-train.arff").unlink()
    with pytest.raises(ValueError, match="the train file of toy is missing"):
        load_dataset("toy", tmp_path)


def test_an_xml_beside_it_comes_first(tmp_path: Path) -> None:
    (tmp_path / "toy.arff").write_text(text(ROWS))
    (tmp_path / "toy.xml").write_text('<labels><label name="rain"/></labels>')
    assert load_dataset("toy", tmp_path).hierarchy.names == ("rain",)


@pytest.mark.parametrize("count", ["0", "3", "-3", "999999999"])
def test_a_count_that_leaves_no_label_or_no_feature_is_refused(tmp_path: Path, count: str) -> None:
    (tmp_path / "toy.arff").write_text(text(ROWS, f"'toy: -C {count}'"))
    message = re.escape(
        f"-C should count labels among the 3 attributes, found the relation 'toy: -C {count}'."
    )
    with pytest.raises(ValueError, match=rf"toy\.arff:\d+: {message}"):
        load_dataset("toy", tmp_path)


def test_a_label_of_other_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "toy.arff").write_text(
        text(ROWS, "'toy: -C 2'", LABELS.replace("1,0", "0,1,2") + "@attribute x real\n")
    )
    with pytest.raises(ValueError, match=r"toy\.arff:\d+: the label 'rain' is not 0 or 1"):
        load_dataset("toy", tmp_path)


def test_a_file_without_count_and_xml_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "toy.arff").write_text(text(ROWS, "toy"))
    assert "toy" not in [name for name, _, _ in available(tmp_path)]
    with pytest.raises(
        ValueError, match=r"toy\.arff: .* toy\.xml beside it \(Mulan\), or by -C and their number"
    ):
        load_dataset("toy", tmp_path)
    (tmp_path / "toy.arff").rename(tmp_path / "toy.arff.gz")  # damaged
    with pytest.raises(ValueError, match=r"toy\.arff\.gz: .* toy\.xml beside it"):
        load_dataset("toy", tmp_path)

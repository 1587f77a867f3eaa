"""The classes that every reader fills."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy
from hmc_shared.data import HierarchicalDataset, Split
from hmc_shared.data.dataset import some

TREE = Hierarchy.from_paths(["a/b", "a/c", "d"])  # ids: a 0, d 1, a/b 2, a/c 3


def split(*rows: list[int]) -> Split:
    targets = torch.zeros(len(rows), len(TREE), dtype=torch.bool)
    for target, row in zip(targets, rows, strict=True):
        target[row] = True
    return Split(torch.zeros(len(rows), 2, 3), targets, tuple(map(str, range(len(rows)))))


@pytest.fixture
def dataset() -> HierarchicalDataset:
    one_path = split([0, 2], [0, 3], [1])
    evaluated = torch.ones(4, dtype=torch.bool)
    return HierarchicalDataset(
        "toy", TREE, evaluated, "image", one_path, one_path, one_path, {"f": "1", "g": "2"}
    )


def test_properties(dataset: HierarchicalDataset) -> None:
    assert len(dataset.train) == 3
    assert dataset.num_features == 6
    assert dataset.train_counts.tolist() == [2, 1, 1, 1]
    assert list(dataset.splits) == ["train", "validation", "test"]


def test_rows_are_set_aside_once_and_not_trained_on(dataset: HierarchicalDataset) -> None:
    rows = Split(torch.arange(20.0)[:, None], torch.ones(20, 4) == 1, tuple(f"v{i}" for i in range(20)))
    whole = replace(dataset, validation=rows, train=replace(rows, ids=tuple(map(str, range(20)))))
    apart, other = whole.set_aside(0.3), whole.set_aside(0.3, seed=1)
    assert apart.reserved is not None
    assert other.reserved is not None
    assert (len(apart.validation), len(apart.reserved)) == (14, 6)
    assert {*apart.validation.ids, *apart.reserved.ids} == {*rows.ids}
    assert all(row == f"v{int(x)}" for row, x in zip(apart.reserved.ids, apart.reserved.inputs, strict=True))
    assert list(apart.splits) == ["train", "validation", "test", "reserved"]
    for protocol in ("default", "refit", "paper"):
        assert not {*apart.reserved.ids} & {*apart.training_split(protocol).ids}
    assert apart.reserved.ids != other.reserved.ids
    assert whole.set_aside(0.0) is whole
    assert "set aside: 6 of 20 validation rows, seed 0" in apart.notes
    for share in (0.01, 0.99):
        with pytest.raises(ValueError, match=f"should leave validation rows and take some. Found {share}"):
            whole.set_aside(share)
    with pytest.raises(ValueError, match="`--set-aside` is for validation rows, which 'toy' has not of its"):
        dataset.set_aside(0.5)


def test_published_counts_tell_the_groups(dataset: HierarchicalDataset) -> None:
    assert replace(dataset, published_counts=torch.tensor([9, 8, 7, 6])).train_counts.tolist() == [9, 8, 7, 6]
    with pytest.raises(ValueError, match=r"`published_counts` should have shape \(4,\)\. Found \(3,\)\."):
        replace(dataset, published_counts=torch.tensor([9, 8, 7]))


@pytest.mark.parametrize("row", [[0, 1], [0, 2, 3], [0, 1, 2]])
@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_one_row_with_two_classes_of_a_level_is_not_single_path(
    dataset: HierarchicalDataset, name: str, row: list[int]
) -> None:
    assert dataset.is_single_path
    assert not replace(dataset, **{name: split([0, 2], row)}).is_single_path


def test_a_path_that_may_go_on_is_one_path_and_one_beside_it_is_not(dataset: HierarchicalDataset) -> None:
    for name, goes_on in (("a/b", True), ("d", False)):
        train = split([0], [1])
        unknown = torch.zeros_like(train.targets)
        unknown[0, TREE.index[name]] = True
        assert replace(dataset, train=replace(train, unknown=unknown)).is_single_path == goes_on


def test_labels_that_end_early_are_unknown_below_but_in_the_test_split(dataset: HierarchicalDataset) -> None:
    maybe = torch.tensor([[False] * 4, [False, False, True, True]])  # of the second row all is unsure but d
    train = replace(split([0], [0]), unknown=maybe & torch.tensor([False, False, True, False]))
    partial = replace(dataset, train=train, validation=split([1], [0])).with_partial_labels()
    assert partial.train.unknown is not None
    assert partial.train.unknown.tolist() == [[False, False, True, True]] * 2
    assert partial.validation.unknown is not None
    assert partial.validation.unknown.tolist() == [[False] * 4, [False, False, True, True]]
    assert partial.test.unknown is None


def test_the_checksum_depends_on_name_sources_and_hierarchy(dataset: HierarchicalDataset) -> None:
    assert dataset.checksum == replace(dataset, kind="vector", sources={"g": "2", "f": "1"}).checksum
    other_tree = Hierarchy.from_paths(["a/b", "a/c", "e"])
    others = [
        {"name": "toys"},
        {"sources": {"f": "1"}},
        {"sources": {"f": "2", "g": "1"}},
        {"hierarchy": other_tree},
    ]
    checksums = {replace(dataset, **change).checksum for change in others}
    assert len(checksums | {dataset.checksum}) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": torch.zeros(2, 5)}, "`inputs` should have length 3 as `targets`. Found 2"),
        ({"ids": ("0", "1")}, "`ids` should have length 3 as `targets`. Found 2"),
        ({"captions": ("one",)}, "`captions` should have length 3 as `targets`. Found 1"),
        (
            {"targets": torch.zeros(3, 4)},
            "`targets` should be a bool tensor of shape (n, C). Found (3, 4) torch.float32",
        ),
        ({"targets": torch.zeros(3, dtype=torch.bool)}, "Found (3,) torch.bool"),
    ],
)
def test_splits_check_their_shapes(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(split([0], [1], [0, 2]), **change)


def test_rows_are_selected_in_their_order(dataset: HierarchicalDataset) -> None:
    captioned = replace(dataset.train, inputs=torch.arange(3), captions=("x", "y", "z"))
    rows = captioned.select(np.array([2, 0, 2]))
    assert rows.inputs.tolist() == [2, 0, 2]
    assert torch.equal(rows.targets, captioned.targets[[2, 0, 2]])
    assert (rows.ids, rows.captions) == (("2", "0", "2"), ("z", "x", "z"))
    assert dataset.train.select(np.array([1])).captions == ()
    assert len(captioned.select(np.array([], dtype=np.int64))) == 0


def test_splits_are_concatenated_in_their_order() -> None:
    one = replace(split([0], [1]), captions=("x", "y"))
    two = replace(split([0, 2]), inputs=torch.ones(1, 2, 3), ids=("9",), captions=("z",))
    both = one.concatenate(two)
    assert both.inputs.flatten(1).sum(1).tolist() == [0, 0, 6]
    assert torch.equal(both.targets, torch.cat([one.targets, two.targets]))
    assert (both.ids, both.captions) == (("0", "1", "9"), ("x", "y", "z"))


def test_missing_values_stay_where_they_are() -> None:
    raw = replace(split([0], [1]), inputs=torch.tensor([[1.0, torch.nan], [torch.nan, 2.0]]))
    both = raw.select(np.array([1])).concatenate(raw)
    assert both.inputs.isnan().tolist() == [[True, False], [False, True], [True, False]]


def test_the_training_split_of_a_protocol(dataset: HierarchicalDataset) -> None:
    other = replace(dataset, validation=replace(split([0], [1]), ids=("v0", "v1")))
    assert other.training_split("default") is other.train
    assert other.training_split("paper").ids == ("0", "1", "2", "v0", "v1")
    assert dataset.training_split("paper") is dataset.train  # the validation split is the training split


def test_data_sets_check_their_shapes(dataset: HierarchicalDataset) -> None:
    with pytest.raises(ValueError, match=re.escape("`evaluated` should have shape (4,). Found (3,)")):
        replace(dataset, evaluated=torch.ones(3, dtype=torch.bool))
    narrow = Split(torch.zeros(1, 2), torch.zeros(1, 3, dtype=torch.bool), ("0",))
    with pytest.raises(
        ValueError, match=re.escape("`test.targets` should have 4 columns as the hierarchy. Found 3")
    ):
        replace(dataset, test=narrow)


class TestGaps:
    """What is missing in the splits is said, whoever made the data set."""

    NAMES = ("a", "b", "Cat", "cat")

    def make(self, **targets: list[list[int]]) -> HierarchicalDataset:
        splits = {}
        for part in ("train", "validation", "test"):
            rows = torch.tensor(targets.get(part, [[1, 1, 1, 1]]), dtype=torch.bool)
            ids = tuple(f"{part}-{row}" for row in range(len(rows)))
            splits[part] = Split(torch.zeros(len(rows), 2), rows, ids)
        hierarchy = Hierarchy.from_edges([], nodes=self.NAMES)
        return HierarchicalDataset("toy", hierarchy, torch.ones(4, dtype=torch.bool), "vector", **splits)

    def test_a_training_split_without_labels_is_refused(self) -> None:
        with pytest.raises(
            ValueError, match=r"toy: the training split should have labels\. Found none in 2 rows"
        ):
            self.make(train=[[0] * 4] * 2)

    def test_notes(self) -> None:
        alike = "classes that differ only in the case of letters: Cat, cat"
        assert self.make().notes == (alike,)
        dataset = self.make(train=[[1, 0, 0, 1]], test=[[0] * 4] * 2, validation=[[0] * 4])
        assert dataset.notes == (
            "validation: no sample has a label, so its metrics are undefined",
            "test: no sample has a label, so its metrics are undefined",
            "classes without training samples: b, Cat",
            alike,
        )
        assert replace(dataset, name="again").notes == dataset.notes

    def test_only_evaluated_classes_are_named(self) -> None:
        dataset = self.make(train=[[1, 0, 0, 1]])
        dataset = replace(dataset, evaluated=torch.tensor([True, True, False, True]), notes=())
        assert dataset.notes[0] == "classes without training samples: b"

    def test_long_lists_are_cut(self) -> None:
        assert some("abcdefg") == "a, b, c, d, e and 2 more"
        assert some("abcde") == "a, b, c, d, e"

"""The CLUS sets: found by their file names, joined, and refused where the files disagree."""

import gzip
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.benchmarks.clus import build_hierarchy, read_set
from hmc_shared.data.storage.find import find_files, find_sets

Writer = Callable[..., dict[str, Path]]
GO = (
    "root/GO0003674,root/GO0005575,root/GO0008150,root/other,GO0003674/a,GO0005575/a,a/b,GO0008150/b,"
    "GO0008150/c,GO0008150/c"
)
PATHS = "01,01/02,02,02/01"
REMEDY = "write root where none is true, or leave out a row whose classes are unknown"


def positives(dataset: HierarchicalDataset, split: str) -> list[set[str]]:
    names = np.array(dataset.hierarchy.names)
    return [set(names[row]) for row in dataset.splits[split].targets.numpy()]


# Finding


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("{name}.{part}.arff", ("train", "valid", "test")),
        ("{name}.{part}.arff.gz", ("train", "valid", "test")),
        ("{name}_{part}.arff", ("train", "test")),
        ("{name}_{part}.ARFF".lower(), ("train", "valid", "test")),
        ("{name}_corr_{part}.arff.gz", ("train", "test")),
    ],
)
@pytest.mark.parametrize("place", [".", "inner", "hmc", "hmc/inner"])
def test_sets_are_found_by_pattern_and_place(
    write_set: Writer, tmp_path: Path, pattern: str, parts: tuple[str, ...], place: str
) -> None:
    files = write_set("My.Set_2", parts=parts, pattern=pattern, folder=tmp_path / place)
    name, by_part = find_files("my.set_2", tmp_path)
    assert name == "My.Set_2"
    assert sorted(by_part.values()) == sorted(files.values())
    dataset = load_dataset("MY.SET_2", tmp_path)
    assert dataset.name == "My.Set_2"
    total = 3 + 2 * ("valid" in parts)
    assert len(dataset.train) + len(dataset.validation) == total


@pytest.mark.parametrize("train", ["Train", "TRAIN", "trainvalid", "corr_trainvalid"])
def test_spellings_of_the_training_file(write_set: Writer, tmp_path: Path, train: str) -> None:
    files = write_set(parts=("train", "test"), pattern="{name}_{part}.arff")
    files["train"].rename(tmp_path / f"toy_{train}.arff")
    assert list(find_sets(tmp_path)) == ["toy"]
    assert set(find_files("toy", tmp_path)[1]) == {"train", "test"}


def test_plain_files_come_before_compressed_ones(write_set: Writer, tmp_path: Path) -> None:
    write_set(pattern="{name}.{part}.arff.gz")
    plain = write_set()
    assert set(find_files("toy", tmp_path)[1].values()) == set(plain.values())


def test_other_files_are_no_sets(tmp_path: Path) -> None:
    for name in ("readme.txt", "train.arff", "a.train.arff.zip", "x.arff"):
        (tmp_path / name).write_text("")
    assert find_sets(tmp_path) == {}


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_missing_file_is_named(write_set: Writer, tmp_path: Path, own_cache: Path, part: str) -> None:
    write_set()[part].unlink()
    part = {"valid": "validation"}.get(part, part)
    with pytest.raises(ValueError, match=f"the {part} file of toy is missing"):
        load_dataset("toy", tmp_path)
    assert not own_cache.exists()


def test_names_that_are_unknown_or_ambiguous_are_refused(write_set: Writer, tmp_path: Path) -> None:
    write_set("Toy", folder=tmp_path / "a")
    write_set("toy", folder=tmp_path / "b")
    assert load_dataset("toy", tmp_path).name == "toy"
    with pytest.raises(ValueError, match=r"'TOY' stands for several sets under .*: Toy, toy"):
        load_dataset("TOY", tmp_path)
    with pytest.raises(
        ValueError, match=r"Unknown data set 'boy'.*: digits, digit-scenes, products, Toy, toy"
    ):
        load_dataset("boy", tmp_path)
    with pytest.raises(ValueError, match=r"`data_dir` should be a folder. Found '.*nowhere'"):
        load_dataset("toy", tmp_path / "nowhere")
    write_set("toy", folder=tmp_path / "c")
    with pytest.raises(ValueError, match=r"toy has two files for its \w+ part: .*b.*c"):
        load_dataset("toy", tmp_path)


def test_the_folder_comes_from_the_environment(
    write_set: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HMC_DATA", raising=False)
    with pytest.raises(
        ValueError, match=r"'toy' is not an embedded data set \(digits, digit-scenes, products\): .*HMC_DATA"
    ):
        load_dataset("toy")
    write_set()
    monkeypatch.setenv("HMC_DATA", str(tmp_path))
    assert len(load_dataset("toy").test) == 2


@pytest.mark.parametrize(("option", "value"), [("view", "sound"), ("protocol", "papers")])
def test_options_are_checked(write_set: Writer, tmp_path: Path, option: str, value: str) -> None:
    write_set()
    with pytest.raises(ValueError, match=f"`{option}` should be .*Found '{value}'"):
        load_dataset("toy", tmp_path, **{option: value})


def test_vectors_have_no_view_of_images(write_set: Writer, tmp_path: Path) -> None:
    write_set()
    with pytest.raises(
        ValueError, match=r"`--dataset` should have images\. Found the feature vectors of 'toy'"
    ):
        load_dataset("toy", tmp_path, view="image")


# Content


def test_targets_have_ancestors_and_ids_are_unique(write_set: Writer, tmp_path: Path) -> None:
    write_set()
    dataset = load_dataset("toy", tmp_path)
    assert dataset.hierarchy.names == ("01", "02", "01/02", "02/01", "01/02/03")
    assert positives(dataset, "train") == [{"01", "01/02", "01/02/03"}, {"02", "02/01", "01"}, {"02"}]
    assert positives(dataset, "test") == [{"01", "02"}, {"01", "01/02", "01/02/03"}]
    assert dataset.train.ids == ("train-0", "train-1", "train-2")
    assert dataset.evaluated.all()
    assert dataset.num_features == 6
    assert dataset.train_counts.tolist() == [2, 2, 1, 1, 1]
    assert not dataset.is_single_path
    assert {split.inputs.dtype for split in dataset.splits.values()} == {torch.float32}
    assert not any(split.inputs.isinf().any() for split in dataset.splits.values())


def test_edges_give_a_dag_without_its_virtual_root(write_set: Writer, tmp_path: Path) -> None:
    rows = {part: ["1,1,red,1,b", "2,2,red,2,c@other"] for part in ("train", "valid", "test")}
    write_set(rows=rows, classes=GO)
    dataset = load_dataset("toy", tmp_path)
    names = dataset.hierarchy.names
    assert names == ("GO0003674", "GO0005575", "GO0008150", "other", "a", "c", "b")
    kept = {name for name, kept in zip(names, dataset.evaluated.tolist(), strict=True) if kept}
    assert kept == {"other", "a", "b", "c"}
    assert positives(dataset, "train") == [
        {"b", "a", "GO0003674", "GO0005575", "GO0008150"},
        {"c", "GO0008150", "other"},
    ]


def test_edges_without_the_virtual_root_are_told_from_paths_by_the_rows(
    write_set: Writer, tmp_path: Path
) -> None:
    edges = "GO1/GO2,GO1/GO3,GO2/GO4,GO3/GO4"
    for row, names, target in (
        ("GO4", ("GO1", "GO2", "GO3", "GO4"), {"GO1", "GO2", "GO3", "GO4"}),
        ("GO2/GO4", ("GO1", "GO2", "GO3", "GO1/GO2", "GO1/GO3", "GO2/GO4", "GO3/GO4"), {"GO2", "GO2/GO4"}),
    ):
        rows = {part: [f"1,1,red,1,{row}"] for part in ("train", "valid", "test")}
        write_set(rows=rows, classes=edges)
        dataset = load_dataset("toy", tmp_path)
        assert dataset.hierarchy.names == names
        assert positives(dataset, "train") == [target]
    files = write_set(
        rows={"train": ["1,1,red,1,GO4", "1,1,red,1,GO9"], "valid": [], "test": []}, classes=edges
    )
    with pytest.raises(ValueError, match=r":11: the class 'GO9' is not in the class list of the header"):
        read_set({"train": files["train"]}, {"train": files["train"].read_bytes()})


@pytest.mark.parametrize("classes", [PATHS, GO])
def test_a_row_of_the_virtual_root_has_no_label(write_set: Writer, tmp_path: Path, classes: str) -> None:
    known = classes.split(",")[-1].split("/")[-1] if classes == GO else "02/01"
    rows = [f"1,1,red,1,{known}", "1,1,red,1,root", f"1,1,red,1,root@{known}"]
    write_set(rows={part: rows for part in ("train", "valid", "test")}, classes=classes)
    targets = load_dataset("toy", tmp_path).train.targets
    assert targets[0].any()
    assert not targets[1].any()
    assert targets[2].equal(targets[0])


def test_sparse_rows_and_left_out_columns(write_set: Writer, tmp_path: Path, own_cache: Path) -> None:
    rows = ["{0 7,2 blue,4 02}", "{4 01@02}", "0,0,?,0,01"]
    files = write_set(rows={part: rows for part in ("train", "valid", "test")})
    for path in files.values():
        path.write_text(path.read_text().replace("constant\tnumeric", "gene string"))
    for _ in range(2):  # parsed, and from the cache
        dataset = load_dataset("toy", tmp_path)
        nothing = [0, 0, 1, 0, 0]  # the first value of the colours
        assert dataset.train.inputs.tolist() == [[7, 0, 0, 1, 0], nothing, [0, 0, 0, 0, 0]]
        assert positives(dataset, "train") == [{"02"}, {"01", "02"}, {"01"}]
        assert dataset.notes[0] == "left out, neither numbers nor categories: gene"
    assert own_cache.exists()


def test_deep_class_paths_are_refused_and_deep_edges_read() -> None:
    parts = [f"a{i}" for i in range(20000)]
    with pytest.raises(ValueError, match=r"at most 100 parts\. Found 20000: a0/a1/a2/a3/a4/\.\.\.") as caught:
        build_hierarchy(["/".join(parts)])
    assert len(str(caught.value)) < 200
    assert build_hierarchy(["/".join(parts[:100])]).num_levels == 100
    edges = [f"{a}/{b}" for a, b in pairwise(["root", *parts[:2000]])]
    assert build_hierarchy(edges).num_levels == 2000


def test_repeated_paths_and_undeclared_prefixes_are_tolerated() -> None:
    assert build_hierarchy(["1/2", "3", "1/2", "1"]).names == ("1", "3", "1/2")
    assert build_hierarchy(["000/00", "000", "19", "19/026/0"]).names[:2] == ("000", "19")


def test_the_checksum_follows_content_not_compression_view_or_place(
    write_set: Writer, tmp_path: Path
) -> None:
    write_set(folder=tmp_path / "plain")
    write_set(folder=tmp_path / "packed", pattern="{name}.{part}.arff.gz")
    write_set(folder=tmp_path / "other", rows={"test": ["5,1,blue,4,01"]})
    plain, packed, other = (load_dataset("toy", tmp_path / place) for place in ("plain", "packed", "other"))
    assert plain.checksum == packed.checksum != other.checksum
    assert plain.sources.keys() == {"toy.train.arff", "toy.valid.arff", "toy.test.arff"}


def test_a_sampled_validation_split_is_recorded_and_repeatable(write_set: Writer, tmp_path: Path) -> None:
    rows = [f"{i},{i},red,4,{('01', '02/01')[i % 2]}" for i in range(40)]
    write_set(rows={"train": rows}, parts=("train", "test"), pattern="{name}_{part}.arff")
    dataset, again = load_dataset("toy", tmp_path), load_dataset("toy", tmp_path)
    assert dataset.validation.ids == again.validation.ids
    assert (len(dataset.train), len(dataset.validation)) == (28, 12)
    assert set(dataset.train.ids) | set(dataset.validation.ids) == {f"train-{i}" for i in range(40)}
    assert "validation: 30% of the training file" in dataset.notes[0]
    # A row keeps its inputs and targets together: the label is the parity of the only varying feature.
    for split in (dataset.train, dataset.validation):
        odd = torch.tensor([int(name.removeprefix("train-")) % 2 == 1 for name in split.ids])
        assert torch.equal(split.targets[:, dataset.hierarchy.index["02"]], odd)
        order = split.inputs[:, 0].argsort()
        assert order.tolist() == sorted(
            range(len(split)), key=lambda i: int(split.ids[i].removeprefix("train-"))
        )


# Errors


@pytest.mark.parametrize(
    ("part", "row", "message"),
    [
        ("train", "1,1,red,4,03", "the class '03' is not in the class list of the header"),
        ("test", "1,1,red,4,01@01/02/04", "the class '01/02/04' is not in the class list of the header"),
        ("valid", "1,1,red,4,01@", "the class '' is not in the class list of the header"),
        ("valid", "1,1,red,4,", f"the row has no class: {REMEDY}"),
        ("train", "1,1,red,4,?", f"the row has no class: {REMEDY}"),
        ("valid", "1,1,red,01", "expected 5 fields, found 4"),
        ("test", "1,1,red,4,4,01", "expected 5 fields, found 6"),
        ("test", "1,l,red,4,01", "'l' is not a number (attribute 'the second')"),
        ("train", "1,1,pink,4,01", "'pink' is not a value of the nominal attribute 'colour'"),
    ],
)
@pytest.mark.parametrize("pattern", ["{name}.{part}.arff", "{name}.{part}.arff.gz"])
def test_a_bad_row_is_one_line_with_file_and_line_and_nothing_is_cached(
    write_set: Writer, tmp_path: Path, own_cache: Path, pattern: str, part: str, row: str, message: str
) -> None:
    files = write_set(rows={part: ["1,1,red,4,01", row]}, pattern=pattern)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_dataset("toy", tmp_path)
    assert str(caught.value) == f"{files[part]}:11: {message}."
    assert not own_cache.exists()


def test_a_truncated_file_is_refused_and_nothing_is_cached(
    write_set: Writer, tmp_path: Path, own_cache: Path
) -> None:
    packed = write_set(pattern="{name}.{part}.arff.gz")["valid"]
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=rf"{packed}:\d+: the gzip file is truncated"):
        load_dataset("toy", tmp_path)
    packed.write_bytes(gzip.compress(gzip.decompress(whole)[:-7]))  # inside the last row
    with pytest.raises(ValueError, match=rf"{packed}:11: expected 5 fields, found 4"):
        load_dataset("toy", tmp_path)
    assert not own_cache.exists()
    packed.write_bytes(whole)
    assert len(load_dataset("toy", tmp_path).validation) == 2


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("root/a,a/b,b/a", "cycle"),
        (",".join(["root/a0", *(f"a{i}/a{(i + 1) % 2000}" for i in range(2000))]), "cycle"),
        ("root/a,a/b/c", "An edge should be written parent/child. Found 'a/b/c'"),
        ("root/a,b", "An edge should be written parent/child. Found 'b'"),
        ("01,01//02", "01//02"),
        ("", "empty"),
    ],
)
def test_a_class_list_that_is_no_hierarchy_is_refused(
    write_set: Writer, tmp_path: Path, classes: str, message: str
) -> None:
    files = write_set(classes=classes)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_dataset("toy", tmp_path)
    assert str(caught.value).startswith(f"{files['train']}:7: ")
    assert len(str(caught.value)) < 800


def test_files_with_other_headers_are_refused(write_set: Writer, tmp_path: Path) -> None:
    files = write_set()
    text = files["test"].read_text()
    files["test"].write_text(text.replace("blue,green", "green,blue"))
    with pytest.raises(ValueError, match=r"test\.arff:7: other attributes than in toy\.train\.arff"):
        load_dataset("toy", tmp_path)
    files["test"].write_text(text.replace("02,02/01", "02,02/01,05"))
    with pytest.raises(ValueError, match=r"test\.arff:7: another class list than in toy\.train\.arff"):
        load_dataset("toy", tmp_path)


def test_a_class_list_in_another_order_is_the_same(write_set: Writer) -> None:
    files = write_set()
    contents = {part: path.read_bytes() for part, path in files.items()}
    contents["test"] = contents["test"].replace(b"01,01/02,01/02/03,02,02/01", b"02/01,02,01/02/03,01/02,01")
    same = read_set(files, {part: path.read_bytes() for part, path in files.items()})
    assert read_set(files, contents).digest() == same.digest()

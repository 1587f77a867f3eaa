"""`labels:PATH` of tables: paths of images with labels, or with a column of 0 and 1 for each class."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared.data import HierarchicalDataset, load_dataset
from hmc_shared.data.formats.beside import Beside
from hmc_shared.data.formats.hf_export import export
from hmc_shared.data.formats.image_rows import indicator_labels
from hmc_shared.data.formats.table_file import open_table
from hmc_shared.hierarchy import Hierarchy

Encode = Callable[..., bytes]
Write = Callable[..., Path]
EDGES = "parent,child\nLung Opacity,Edema\nLung Opacity,Pneumonia\n,Fracture\n"


@pytest.fixture
def write(tmp_path: Path, encode: Encode) -> Write:
    """A function that writes a table of images, these images, and an edge list."""

    def write_files(text: str, images: list[str], edges: str = "", name: str = "chest.csv") -> Path:
        root = tmp_path / "xray"
        for number, image in enumerate(images, start=1):
            (root / image).parent.mkdir(parents=True, exist_ok=True)
            (root / image).write_bytes(encode((number, 4), "png"))
        if edges:
            (root / "edges.csv").write_text(edges)
        (root / name).write_text(text)
        return root / name

    return write_files


def labels_of(dataset: HierarchicalDataset) -> dict[str, set[str]]:
    """Image to the names of its classes."""
    names = dataset.hierarchy.names
    return {
        image: {names[node] for node in row.nonzero().flatten().tolist()}
        for split in dataset.splits.values()
        for image, row in zip(split.ids, split.targets, strict=True)
    }


def rows(columns: str, lines: list[str]) -> str:
    return "\n".join([columns, *lines, ""])


SPLITS = ["train", "train", "val", "test"]
FOUR = ["a.png", "b.png", "c.png", "d.png"]


def test_chest_xray14_is_read_as_it_is_published(write):
    """`Image Index`, `Finding Labels` with "|", and images in folders that the table does not name."""
    lines = ["a.png,Edema|Fracture,1,58", "b.png,Pneumonia,2,58", "c.png,Edema,3,58", "d.png,,4,58"]
    lines = [f"{line},{split}" for line, split in zip(lines, SPLITS, strict=True)]
    text = rows("Image Index,Finding Labels,Follow-up #,Patient Age,split", lines)
    places = ["images_001/images/a.png", "images_001/images/b.png", "images_002/images/c.png", "d.png"]
    dataset = load_dataset(f"labels:{write(text, places, EDGES)}")
    assert labels_of(dataset) == {
        "images_001/images/a.png": {"Lung Opacity", "Edema", "Fracture"},
        "images_001/images/b.png": {"Lung Opacity", "Pneumonia"},
        "images_002/images/c.png": {"Lung Opacity", "Edema"},
        "d.png": set(),
    }
    assert dataset.train.ids == tuple(places[:2])
    assert dataset.test.ids == ("d.png",)
    image = dataset.train.inputs[1]
    assert image.shape == (3, 2, 4)  # that of the row: heights count the images


def test_the_folder_of_one_table_and_other_names_of_columns_do(write):
    text = rows("ID;File;Labels;Split", [f"7;{i};ant|bee;{s}" for i, s in zip(FOUR, SPLITS, strict=True)])
    file = write(text, FOUR)
    dataset = load_dataset(f"labels:{file.parent}")
    assert dataset.hierarchy.names == ("ant", "bee")
    assert labels_of(dataset)["a.png"] == {"ant", "bee"}


def test_levels_spell_out_a_tree(write):
    lines = [f"{image},lung,edema,{split}" for image, split in zip(FOUR, SPLITS, strict=True)]
    file = write(rows("path,organ,finding,split", lines), FOUR)
    dataset = load_dataset(f"labels:{file}", levels="organ,finding")
    assert labels_of(dataset)["d.png"] == {"lung", "edema"}
    with pytest.raises(ValueError, match=r"`--blank` is for columns of 0 and 1\. .* in organ, finding of"):
        load_dataset(f"labels:{file}", levels="organ,finding", blank="unknown")


CHEXPERT = rows(
    "Path,Sex,Age,Edema,Pneumonia,Fracture,split",
    [
        "xray/train/p1/view1.jpg,F,68,1.0,,,train",
        "xray/train/p2/view1.jpg,M,0,-1.0,0.0,1.0,train",
        "xray/train/p3/view1.jpg,M,1,0.0,1.0,,val",
        "xray/train/p4/view1.jpg,F,44,,-1.0,,test",
    ],
)
PATIENTS = [f"train/p{n}/view1.jpg" for n in range(1, 5)]


@pytest.mark.parametrize("uncertain", ["positive", "negative"])
@pytest.mark.parametrize("edges", ["", EDGES])
def test_chexpert_is_read_by_what_is_said_of_uncertain_and_empty_cells(write, uncertain, edges):
    """Paths begin with the folder's own name; Age, which holds 0 and 1, too, is no class."""
    file = write(CHEXPERT, PATIENTS, edges)
    found = labels_of(load_dataset(f"labels:{file}", uncertain=uncertain, blank="negative"))
    expected = {
        PATIENTS[0]: {"Edema"},
        PATIENTS[1]: {"Fracture"} | ({"Edema"} if uncertain == "positive" else set()),
        PATIENTS[2]: {"Pneumonia"},
        PATIENTS[3]: {"Pneumonia"} if uncertain == "positive" else set(),
    }
    if edges:
        for names in expected.values():
            names |= {"Lung Opacity"} if names & {"Edema", "Pneumonia"} else set()
    assert found == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blank": "negative"}, r"chest.csv, line 3: .*'Edema'.* Found -1: `--uncertain"),
        ({"uncertain": "negative"}, r"chest.csv, line 5: .*'Edema'.* Found an empty cell: `--blank"),
        ({}, r"chest.csv, line 3: .*Found -1"),
    ],
)
def test_what_is_not_known_is_refused_unless_it_is_said_what_it_is(write, options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(f"labels:{write(CHEXPERT, PATIENTS)}", **options)


@pytest.mark.parametrize(
    ("text", "edges", "message"),
    [
        ("path,ant\na.png,1\nb.png,2\nc.png,0\n", "", r"line 3: .*'ant' should hold 0 and 1. Found 2"),
        ("path,ant\na.png,1\nb.png,yes\n", "parent,child\n,ant\n", r"line 3: 'yes' is not a number.*'ant'"),
        ("path,ant\na.png,1\ne.png,0\n", "", r"line 3: there is no image 'e.png'"),
        ("path,ant\na.png,1\n../b.png,0\n", "", r"line 3: an image should lie inside the folder"),
        ("path,ant\na.png,1\n,0\n", "", r"line 3: the column 'path' should name an image"),
        ("path,ant\na.png,1\n\nb.png,1\na.png,0\n", "", r"line 5: the image 'a.png' stands in line 2, too"),
        ("photo,ant\na.png,1\n", "", r"should have a column with the paths of the images, named path"),
        ("path,age\na.png,51\nb.png,1\n", "", r"a column 'labels', or a column of 0 and 1 for each class"),
        ("path,labels\na.png,wasp\n", "parent,child\n,ant\n", r"line 2: 'wasp' is not a class of edges.csv"),
        ("path,ant,split\na.png,1,fold1\n", "", r"line 2: the split should be train"),
    ],
)
def test_faults_are_named_with_their_line(write, text, edges, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(f"labels:{write(text, FOUR, edges)}")


def test_a_name_that_fits_two_files_is_refused_and_the_end_of_a_path_decides(write):
    text = "path,ant\nview.png,1\n"
    file = write(text, ["p1/view.png", "p2/view.png"])
    with pytest.raises(ValueError, match=r"line 2: .* could be any of p1/view.png, p2/view.png"):
        load_dataset(f"labels:{file}")
    names = [f"q{n}/view" for n in range(1, 4)]  # without a suffix
    text = rows(
        "path,ant,split", [f"{n},1,{s}" for n, s in zip(names, ["train", "val", "test"], strict=True)]
    )
    file = write(text, [f"deep/{name}.png" for name in names])
    assert load_dataset(f"labels:{file}").test.ids == ("deep/q3/view.png",)


def test_the_options_are_for_such_tables_alone(tmp_path, write):
    with pytest.raises(ValueError, match="`--uncertain` is for labels:PATH only"):
        load_dataset("digits", uncertain="positive")
    (tmp_path / "xray").mkdir()
    file = write("{}", [], name="labels.json")
    with pytest.raises(ValueError, match="`--blank` is for tables"):
        load_dataset(f"labels:{file.parent}", blank="negative")


def test_unknown_cells_are_neither_and_leave_their_ancestors_open(write, tmp_path):
    dataset = load_dataset(
        f"labels:{write(CHEXPERT, PATIENTS, EDGES)}", uncertain="unknown", blank="negative"
    )
    names = dataset.hierarchy.names
    open_classes = {
        image: {names[node] for node in row.nonzero().flatten().tolist()}
        for split in dataset.splits.values()
        for image, row in zip(split.ids, split.unknown, strict=True)
    }
    assert open_classes == {
        PATIENTS[0]: set(),
        PATIENTS[1]: {"Edema", "Lung Opacity"},
        PATIENTS[2]: set(),
        PATIENTS[3]: {"Pneumonia", "Lung Opacity"},
    }
    assert labels_of(dataset)[PATIENTS[1]] == {"Fracture"}
    both = dataset.test.concatenate(dataset.train).unknown
    assert both.sum(1).tolist() == [2, 0, 2]
    assert dataset.train.select(np.array([1, 1])).unknown.sum() == 4
    assert not dataset.is_single_path
    with pytest.raises(ValueError, match="hmc datasets export cannot leave out labels that are unknown"):
        export(dataset, tmp_path / "out")


@given(
    cells=st.lists(
        st.tuples(*[st.sampled_from(["1", "0", "-1", "", "NA", "1.0"])] * 3), min_size=1, max_size=6
    ),
    uncertain=st.sampled_from(["positive", "negative"]),
)
def test_labels_are_those_of_the_cells(tmp_path_factory, cells, uncertain):
    names = ["x", "y", "z"]
    file = tmp_path_factory.mktemp("cells") / "t.csv"
    file.write_text(rows("path,x,y,z", [",".join([f"{i}.png", *row]) for i, row in enumerate(cells)]))
    edges = file.parent / "edges.csv"
    edges.write_text("parent,child\n,x\n,y\n,z\n")
    of_rows = indicator_labels(open_table(file), names, Beside(edges=edges), uncertain, "negative")
    positive = {"1", "1.0"} | ({"-1"} if uncertain == "positive" else set())
    assert of_rows.hierarchy == Hierarchy.from_edges([], nodes=names)
    assert [[of_rows.hierarchy.names[i] for i in ids] for ids in of_rows.labels] == [
        [name for name, cell in zip(names, row, strict=True) if cell in positive] for row in cells
    ]

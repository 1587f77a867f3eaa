"""``hmc rollup``: scores in tables and archives, hierarchies in three forms, what is refused."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch

from hmc_shared import Hierarchy
from hmc_shared.cli.commands import CertainOptions
from hmc_shared.predict.layout import Predictions
from hmc_shared.predict.leaf_scores import hierarchy_of, read_scores
from hmc_shared.predict.rollup import choose_rule
from hmc_shared.predict.write import write_predictions

TREE = Hierarchy.from_levels([["animal", "cat"], ["animal", "dog"], ["plant", "tree"]])
LEAVES = ["cat", "dog", "tree"]


def rows_of(seed: int, n: int = 300) -> tuple[np.ndarray, list[str]]:
    """Probabilities of the leaves, and classes drawn by them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([0.2] * 3, size=n).round(6)
    p[:, 2] = (1 - p[:, 0] - p[:, 1]).clip(0)
    return p, [LEAVES[rng.choice(3, p=row / row.sum())] for row in p]


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def files(tmp_path):
    """Scores, calibration and hierarchy, as tables and as archives."""
    known, labels = rows_of(0)
    asked, _ = rows_of(1, 20)
    both = zip(known, labels, strict=True)
    write_csv(
        tmp_path / "known.csv", ["file", *LEAVES, "label"], [["x.jpg", *row, name] for row, name in both]
    )
    write_csv(tmp_path / "asked.csv", ["id", *LEAVES], [[f"a{i}", *row] for i, row in enumerate(asked)])
    np.savez(tmp_path / "known.npz", scores=known, classes=np.array(LEAVES), labels=np.array(labels))
    np.savez(tmp_path / "asked.npz", scores=asked, classes=LEAVES, ids=[f"a{i}" for i in range(20)])
    (tmp_path / "tree.json").write_text(TREE.to_json())
    edges = [[TREE.names[a], TREE.names[b]] for a, b in TREE.edges.tolist()]
    write_csv(tmp_path / "edges.csv", ["parent", "child"], edges)
    paths = [["animal", "cat"], ["animal", "dog"], ["plant", "tree"]]
    write_csv(tmp_path / "taxa.csv", ["kingdom", "species"], paths)
    return tmp_path


def words(folder, kind="csv", hierarchy="tree.json", *more):
    asked, known = (folder / f"{name}.{kind}" for name in ("asked", "known"))
    return ["rollup", asked, "--calibration", known, "--hierarchy", folder / hierarchy, *more]


def labels_in(text):
    return [row["labels"] for row in csv.DictReader(io.StringIO(text))]


@pytest.mark.parametrize("kind", ["csv", "npz"])
@pytest.mark.parametrize(
    "form", [["tree.json"], ["edges.csv"], ["taxa.csv", "--levels", "kingdom,species"]], ids=lambda f: f[0]
)
def test_answers_are_those_of_the_rule(files, hmc, capsys, kind, form):
    assert hmc(*words(files, kind, *form, "--target-error", "0.2")) == 0
    out, err = capsys.readouterr()
    h = hierarchy_of(str(files / form[0]), form[2] if len(form) > 1 else None)
    assert set(h.names) == set(TREE.names)
    known, labels = rows_of(0)
    own = h.ancestors_of(torch.tensor([h.index[name] for name in LEAVES])).double()
    targets = h.ancestors_of(torch.tensor([h.index[name] for name in labels]))
    rule = choose_rule(CertainOptions(target_error=0.2), torch.from_numpy(known) @ own, targets, h, "")
    expected = rule.labels(torch.from_numpy(rows_of(1, 20)[0]) @ own, h)
    names = [";".join(h.names[i] for i in row.nonzero().flatten().tolist()) for row in expected]
    assert labels_in(out) == names
    assert {"", "animal"} & set(names)  # not all are leaves
    assert [row["id"] for row in csv.DictReader(io.StringIO(out))] == [f"a{i}" for i in range(20)]
    assert err.startswith(f"{rule.promise}\non these rows: ")
    assert "with the fixed threshold 0.65: " in err


def test_json_sets_and_the_curve(files, hmc, capsys):
    assert (
        hmc(*words(files, "npz", "tree.json", "--sets", "--format", "json", "--curve", files / "c.csv")) == 0
    )
    records, err = capsys.readouterr()
    sets = json.loads(records)
    assert len(sets) == 20
    assert max(len(row["answer"]) for row in sets) > 1
    assert "at most 5 % of the sets lack a true class" in err
    with (files / "c.csv").open() as file:
        curve = list(csv.DictReader(file))
    assert list(curve[0]) == ["threshold", "answered", "error", "levels"]
    assert (curve[-1]["threshold"], curve[-1]["answered"], curve[-1]["levels"]) == ("0.0", "1.0", "2.0")


def test_logits(files, hmc, capsys):
    assert hmc(*words(files, "npz", "tree.json", "--target-error", "0.2")) == 0
    expected = labels_in(capsys.readouterr().out)
    for name in ("asked", "known"):
        with np.load(files / f"{name}.npz") as archive:
            arrays = dict(archive)
        arrays["scores"] = np.log(arrays["scores"] + 1e-9) + 3.0
        np.savez(files / f"{name}.npz", **arrays)
    assert hmc(*words(files, "npz")) == 2
    assert "`--softmax` takes logits" in capsys.readouterr().err
    assert hmc(*words(files, "npz", "tree.json", "--softmax", "--target-error", "0.2")) == 0
    assert labels_in(capsys.readouterr().out) == expected


def test_probabilities_are_summed_up_and_inner_classes_keep_their_own(tmp_path):
    write_csv(tmp_path / "t.csv", ["cat", "dog", "animal"], [["0.5", "0.2", "0.1"]])
    scored = read_scores(str(tmp_path / "t.csv"), TREE)
    by_name = dict(zip(TREE.names, scored.probabilities[0].tolist(), strict=True))
    assert by_name == pytest.approx({"animal": 0.8, "plant": 0, "cat": 0.5, "dog": 0.2, "tree": 0})
    assert scored.ids == ["0"]


def test_what_predict_has_written_is_taken_as_it_is(tmp_path):
    p = torch.tensor([[0.7, 0.4, 0.6, 0.5, 0.3], [0.2, 0.9, 0.2, 0.1, 0.9]])  # of a sigmoid for each class
    labels = TREE.add_ancestors(p >= 0.5)
    write_predictions(str(tmp_path / "t.csv"), [Predictions(["a", "b"], TREE, p, labels)])
    scored = read_scores(str(tmp_path / "t.csv"), TREE)
    torch.testing.assert_close(scored.probabilities, p.double())
    with pytest.raises(ValueError, match="should have a column 'label'"):  # the predicted "labels" are not it
        read_scores(str(tmp_path / "t.csv"), TREE, labelled=True)


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (LEAVES, [0.5, 0.2, 7], r"line 2: 'tree' should be a probability, from 0 to 1 .*Found 7"),
        (LEAVES, [0.5, "", 0.1], r"line 2: 'dog' should be a probability.*Found nan"),
        (LEAVES, [0.5, "x", 0.1], r"line 2: 'x' is not a number \(column 'dog'\)"),
        (LEAVES, [0.9, 0.9, 0.1], "line 2: probabilities should add up to 1 at most. Found 1.9"),
        (
            ["a", "b"],
            [0, 0],
            "should have scores of classes such as animal, plant, cat, and 2 more. Found no",
        ),
    ],
)
def test_what_is_no_probability_is_named(tmp_path, header, row, message):
    with pytest.raises(ValueError, match=message):
        read_scores(str(write_csv(tmp_path / "t.csv", header, [row])), TREE)


def test_rows_and_labels_are_needed(tmp_path):
    empty = write_csv(tmp_path / "e.csv", LEAVES, [])
    with pytest.raises(ValueError, match=r"should have rows\. Found none"):
        read_scores(str(empty), TREE)
    for label, message in (("", "a row to choose on should have a label"), ("cow", "'cow' is not a class")):
        path = write_csv(tmp_path / "k.csv", [*LEAVES, "label"], [[1, 0, 0, label]])
        with pytest.raises(ValueError, match=f"line 2: {message}"):
            read_scores(str(path), TREE, labelled=True)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"classes": LEAVES}, "has no array 'scores'"),
        ({"scores": np.zeros((2, 3))}, "has no array 'classes'"),
        ({"scores": np.zeros(3), "classes": LEAVES}, r"`scores` should be floats of shape \(n, k\)"),
        (
            {"scores": np.zeros((2, 3), int), "classes": LEAVES},
            r"`scores` should be floats of .* Found int64 of shape \(2, 3\)",
        ),
        ({"scores": np.zeros((2, 3)), "classes": LEAVES[:2]}, r"`classes` should be texts of shape \(3,\)"),
        ({"scores": np.zeros((2, 3)), "classes": ["cat", "cat", "dog"]}, "should name each class once"),
        ({"scores": np.zeros((2, 3)), "classes": ["cat", "dog", "cow"]}, "'cow' in `classes` is no class"),
        ({"scores": np.zeros((1, 3)), "classes": LEAVES, "labels": ["cow"]}, "row 1: 'cow' in `labels`"),
        ({"scores": np.zeros((1, 3)), "classes": LEAVES, "labels": [""]}, "row 1: a row to choose on"),
    ],
)
def test_archives_are_checked(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_scores(str(tmp_path / "a.npz"), TREE, labelled=True)

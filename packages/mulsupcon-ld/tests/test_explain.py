"""mulsupcon-ld explain: recovered label distributions beside logical labels."""

import csv
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import entropy

from hmc_shared import Hierarchy
from hmc_shared.data import load_dataset
from mulsupcon_ld.__main__ import main
from mulsupcon_ld.build import load_model
from mulsupcon_ld.config import Config, ExplainConfig
from mulsupcon_ld.drawing import draw_maps, draw_samples
from mulsupcon_ld.explain import explain, write
from mulsupcon_ld.explanation import Explanation, summarize, to_text
from mulsupcon_ld.train import train

TREE = Hierarchy.from_paths(["a/b", "a/c", "d"])  # levels a, d and a/b, a/c


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The model is pre-trained for so long that the distributions are far from even."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    quick = {"width": 32, "dim": 16, "pretrain_epochs": 4, "pretrain_learning_rate": 5e-3, "epochs": 1}
    train(Config(output_dir=str(folder), **quick))
    return folder


@pytest.fixture
def written_by_hand():
    """Three samples; one without labels."""
    labels = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
    degrees = np.array([[0.5, 0.1, 0.3, 0.1], [0.4, 0.3, 0.2, 0.1], [0.25] * 4], dtype=np.float32)
    return Explanation(("x", "y", "z"), TREE, labels, degrees)


def test_the_distributions_are_those_of_the_pretrained_model_on_raw_inputs(run, digits):
    explanation = explain(ExplainConfig(str(run)))
    raw = digits.test.inputs
    expected = load_model(run / "pretrained").distributions(raw).numpy()
    np.testing.assert_allclose(explanation.degrees, expected, atol=1e-5)
    np.testing.assert_array_equal(explanation.labels, digits.test.targets.numpy())
    assert explanation.ids == digits.test.ids
    after = load_model(run / "model").distributions(raw).numpy()  # fine-tuned: no label distributions
    assert np.abs(after - expected).max() > 0.05


def test_samples_by_id_or_number(run, digits):
    every = explain(ExplainConfig(str(run), split="validation"))
    ids = (every.ids[7], every.ids[2])
    chosen = explain(ExplainConfig(str(run), split="validation", samples=ids))
    assert chosen.ids == ids
    np.testing.assert_allclose(chosen.degrees, every.degrees[[7, 2]], atol=1e-6)
    np.testing.assert_array_equal(chosen.labels, every.labels[[7, 2]])
    five = explain(ExplainConfig(str(run), samples=("5",)))
    assert len(set(five.ids)) == 5
    assert five.ids == explain(ExplainConfig(str(run), samples=("5",))).ids
    numbered = replace(digits.test, ids=tuple(map(str, range(len(digits.test)))))
    by_id = explain(ExplainConfig(str(run), samples=("5",)), replace(digits, test=numbered))
    assert by_id.ids == ("5",)
    with pytest.raises(ValueError, match=r"ids such as 'scan-\d+', or a number\. Found 'nobody'"):
        explain(ExplainConfig(str(run), split="validation", samples=(every.ids[0], "nobody")))


def test_the_summary_by_hand(written_by_hand):
    found = summarize(written_by_hand)
    assert found["samples"] == 3
    assert found["mass_on_labels"] == pytest.approx((0.8 + 0.3) / 2)
    assert found["mass_if_even"] == pytest.approx((0.5 + 0.25) / 2)
    assert found["top_is_label"] == 0.5
    assert found["entropy"] == pytest.approx(np.mean([entropy(d) for d in written_by_hand.degrees]), abs=1e-6)
    assert found["entropy_at_most"] == pytest.approx(entropy([0.25] * 4))
    levels = [[TREE.index[name] for name in level] for level in (("a", "d"), ("a/b", "a/c"))]
    for depth, nodes in enumerate(levels):
        mass = written_by_hand.degrees[:, nodes].sum(1).mean()
        assert found[f"mass_level_{depth}"] == pytest.approx(mass, abs=1e-6)


def test_the_summary_of_even_and_of_certain_distributions():
    flat = Hierarchy.from_edges([], nodes="abcd")
    labels = np.eye(4, dtype=bool)
    even = summarize(Explanation(tuple("wxyz"), flat, labels, np.full((4, 4), 0.25, np.float32)))
    assert even["mass_on_labels"] == even["mass_if_even"]
    assert even["entropy"] == pytest.approx(even["entropy_at_most"])
    assert not any(name.startswith("mass_level") for name in even)
    certain = summarize(Explanation(tuple("wxyz"), flat, labels, labels.astype(np.float32)))
    assert (certain["mass_on_labels"], certain["top_is_label"], certain["entropy"]) == (1, 1, 0)


def test_the_text_shows_own_labels_and_the_highest_others():
    flat = Hierarchy.from_edges([], nodes="abcdefgh")
    degrees = np.array([[0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.04, 0.01]], dtype=np.float32)
    labels = np.array([[0, 1, 0, 0, 0, 0, 0, 1]], dtype=bool)
    text = to_text(Explanation(("s",), flat, labels, degrees), each=True).split("\n\n")[0]
    lines = [line.split() for line in text.splitlines()]
    assert lines == [
        ["s"],
        ["a", "0.3000"],
        ["*", "b", "0.2000"],
        ["c", "0.1500"],
        ["d", "0.1200"],
        ["e", "0.1000"],
        ["*", "h", "0.0100"],
        ["2", "more", "0.1200"],
    ]


def test_a_hierarchy_adds_the_mass_of_each_level(written_by_hand):
    first = to_text(written_by_hand, each=True).split("\n\n")[0].splitlines()
    mass = written_by_hand.level_mass()
    assert [line.split() for line in first[-2:]] == [
        ["level", "0", f"{mass[0, 0]:.4f}"],
        ["level", "1", f"{mass[0, 1]:.4f}"],
    ]
    np.testing.assert_allclose(mass.sum(1), 1, atol=1e-6)
    assert to_text(written_by_hand, each=False).startswith("samples")


def test_all_degrees_as_csv(written_by_hand, tmp_path):
    write(written_by_hand, tmp_path / "d.csv", "title")
    with (tmp_path / "d.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 4
    for number, row in enumerate(rows):
        sample, label = divmod(number, 4)
        assert (row["id"], row["label"]) == ("xyz"[sample], TREE.names[label])
        assert int(row["depth"]) == (1 if "/" in row["label"] else 0)
        assert int(row["logical"]) == written_by_hand.labels[sample, label]
        assert float(row["degree"]) == pytest.approx(written_by_hand.degrees[sample, label])


def test_the_bars_are_the_degrees(written_by_hand):
    figure = draw_samples(written_by_hand)
    assert len(figure.axes) == 3
    for row, axes in enumerate(figure.axes):
        names = [text.get_text() for text in axes.get_yticklabels()]
        for name, text, bar in zip(names, axes.get_yticklabels(), axes.patches, strict=True):
            label = TREE.index[name]
            assert bar.get_width() == pytest.approx(written_by_hand.degrees[row, label])
            own = written_by_hand.labels[row, label]
            assert (text.get_color() != "black") == own
        assert names[::-1] == [TREE.names[label] for label in written_by_hand.shown_labels(row)]


def test_the_maps_hold_every_sample(run):
    explanation = explain(ExplainConfig(str(run)))
    figure = draw_maps(explanation)
    labels, degrees = (axes.get_images()[0].get_array() for axes in figure.axes[:2])
    assert labels.shape == degrees.shape == explanation.labels.shape
    for name, shown in (("labels", labels), ("degrees", degrees)):
        given = getattr(explanation, name)
        np.testing.assert_allclose(sorted(map(tuple, shown)), sorted(map(tuple, given)), atol=1e-6)
    # Lines of both maps belong together, and those of one set of labels stand together.
    np.testing.assert_allclose(
        (labels * degrees).sum(), (explanation.labels * explanation.degrees).sum(), rtol=1e-5
    )
    changes = (labels[1:] != labels[:-1]).any(1).sum()
    assert changes == len(np.unique(explanation.labels, axis=0)) - 1
    bars = [bar.get_height() for bar in figure.axes[2].patches]
    np.testing.assert_allclose(bars, explanation.level_mass().mean(0), atol=1e-6)


def test_long_maps_are_means_of_neighbours():
    rng = np.random.default_rng(0)
    flat = Hierarchy.from_edges([], nodes="ab")
    degrees = rng.dirichlet([1, 1], 1500).astype(np.float32)
    ids = tuple(map(str, range(1500)))
    figure = draw_maps(Explanation(ids, flat, degrees > 0.5, degrees))
    lines = figure.axes[1].get_images()[0].get_array()
    assert lines.shape == (500, 2)
    np.testing.assert_allclose(lines.mean(0), degrees.mean(0), atol=1e-5)
    assert len(figure.axes) == 3  # two maps and the scale of colours


def test_the_command(run, tmp_path, capsys):
    main(["explain", str(run), "--samples", "2", "--output", str(tmp_path / "two.svg")])
    text = capsys.readouterr().out
    assert text.count("scan-") == 2
    assert "mass_on_labels" in text
    ElementTree.fromstring((tmp_path / "two.svg").read_bytes())
    main(["explain", str(run), "--output", str(tmp_path / "all.png")])
    assert "scan-" not in capsys.readouterr().out
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_explained_is_refused(run, tmp_path):
    rule = r"`run` should be a run of --loss cld or rld that has finished its pre-training\."
    with pytest.raises(ValueError, match=rf"{rule} Found no such run in {run}/model"):
        explain(ExplainConfig(str(run / "model")))
    bce = tmp_path / "bce"
    train(Config(output_dir=str(bce), loss="bce", epochs=1, width=8, dim=4))
    with pytest.raises(ValueError, match=rf"{rule} Found --loss bce"):
        explain(ExplainConfig(str(bce)))
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_text("dataset: digits\nmethod: hlstm\n")
    with pytest.raises(ValueError, match=rf"{rule} Found no such run in {other}"):
        explain(ExplainConfig(str(other)))
    with pytest.raises(ValueError, match=r"`--samples` should be ids such as '.*', or a number\. Found '0'"):
        explain(ExplainConfig(str(run), samples=("0",)))
    with pytest.raises(ValueError, match=r"`--output` should end in one of \.csv, .* Found 'x\.txt'"):
        ExplainConfig(str(run), output="x.txt")

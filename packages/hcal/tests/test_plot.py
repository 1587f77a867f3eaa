"""hcal plot: the start is the untrained network, and every point is drawn in its place and colour."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
import yaml
from matplotlib.colors import rgb_to_hsv, to_rgba
from matplotlib.figure import Figure
from PIL import Image

from hcal import plot as module
from hcal.__main__ import main
from hcal.build import load_model
from hcal.config import Config, PlotConfig
from hcal.drawing import NO_CLASS, draw_features, level_colours
from hcal.plot import embed, features, first_model, plot
from hcal.train import train
from hmc_shared import Hierarchy
from hmc_shared.cli.parse import to_yaml
from hmc_shared.data import HierarchicalDataset, Split, load_dataset
from hmc_shared.metrics import level_targets

SMALL = {"encoder": "mlp", "width": 16, "dim": 8, "epochs": 2, "seed": 3}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(Config(output_dir=str(folder), **SMALL))
    return folder


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that the functions under test save."""
    found = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (found.append(f), save(f, *a, **k))[1])
    return found


def finished(folder, **chosen):
    """What a finished run looks like to `hcal plot` at first."""
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(Config(**chosen)))
    (folder / "results.json").write_text("{}")
    return str(folder)


def test_the_start_is_the_network_before_the_first_step(tmp_path, digits):
    config = Config(output_dir=str(tmp_path / "run"), learning_rate=0, prototype_learning_rate=0, **SMALL)
    train(config)
    before = torch.get_rng_state()
    first = first_model(config, digits)
    assert torch.equal(before, torch.get_rng_state()), "the caller's random state has changed"
    last = load_model(tmp_path / "run" / "model")
    moved = {"calibration.temperature"}  # fitted at the end
    for name, value in last.state_dict().items():
        assert torch.equal(value, first.state_dict()[name]) or name in moved, name
    inputs = digits.test
    assert torch.equal(features(first, inputs), features(last, inputs))
    other = first_model(Config(**{**SMALL, "seed": 4}), digits)
    assert not torch.equal(features(first, inputs), features(other, inputs))


def test_the_start_of_a_convolutional_network_has_the_same_weights(tmp_path):
    images = load_dataset("digits", view="image")
    options = {**SMALL, "encoder": "resnet8", "width": 4, "epochs": 1}
    config = Config(output_dir=str(tmp_path / "run"), learning_rate=0, prototype_learning_rate=0, **options)
    train(config)
    last = dict(load_model(tmp_path / "run" / "model").named_parameters())
    for name, value in first_model(config, images).named_parameters():
        assert torch.equal(value, last[name]), name


def test_features_are_those_of_the_network_in_evaluation_mode(run, digits):
    model = load_model(run / "model")
    rows = features(model, digits.test)
    with torch.no_grad():
        expected = torch.cat([model.eval()(model.normalize(row[None])) for row in digits.test.inputs])
    assert rows.shape == (len(digits.test), 8)
    torch.testing.assert_close(rows, expected)


def test_each_sample_is_drawn_at_its_place_in_the_colour_of_its_class(run, digits, figures, monkeypatch):
    # Instead of t-SNE: a map that tells which sample a point is.
    monkeypatch.setattr(module, "embed", lambda found, stars: (found[:, :2].numpy(), stars[:, :2].numpy()))
    plot(PlotConfig(run=str(run), split="validation", samples=100, output=str(run / "tagged")))
    config = Config(**yaml.safe_load((run / "config.yaml").read_text()))
    networks = [first_model(config, digits), load_model(run / "model")]
    places = [features(network, digits.validation)[:, :2].numpy() for network in networks]
    paths = level_targets(digits.validation.targets, digits.hierarchy)
    levels, adjacent = figures[0], figures[2]
    assert (len(levels.axes), len(adjacent.axes)) == (3 * 2, 2 * 2)
    drawn = set()
    coloured_by = [2, 2, 1, 1, 0, 0, 1, 1, 0, 0]  # depth, panel by panel
    for number, (axes, depth) in enumerate(zip(levels.axes + adjacent.axes, coloured_by, strict=True)):
        points, stars = axes.collections[:2]
        stage = number % 2
        offsets = points.get_offsets().data
        distances = np.abs(offsets[:, None] - places[stage][None]).sum(2)  # (drawn, samples)
        rows = distances.argmin(1)
        assert distances.min(1).max() == 0
        assert len(rows) == len(set(rows)) == 100
        drawn.add(tuple(rows))
        classes, colours = paths[rows, depth], [tuple(colour[:3]) for colour in points.get_facecolors()]
        pairs = set(zip(classes, colours, strict=True))
        assert len(pairs) == len(set(classes)) == len(set(colours)), "one class, one colour"
        star_depth = depth + 1 if number >= 6 else depth
        level = digits.hierarchy.levels[star_depth]
        expected = torch.cat(list(networks[stage].prototypes)).detach().numpy()[level, :2]
        np.testing.assert_array_equal(stars.get_offsets(), expected)
        for node, colour in zip(level, stars.get_facecolors(), strict=True):
            ancestor = node if star_depth == depth else digits.hierarchy.parents(node)[0]
            assert (ancestor, tuple(colour[:3])) in pairs
        if number >= 6:
            circles = axes.collections[2]
            assert len(circles.get_offsets()) == len(digits.hierarchy.levels[depth])
            assert len(circles.get_paths()[0]) != len(stars.get_paths()[0])
    assert len(drawn) == 1, "all panels show the same samples"


def test_figures_are_written_and_the_same_again(run, tmp_path, capsys):
    main(["plot", str(run), "--samples", "40", "--output", str(tmp_path / "one")])
    written = capsys.readouterr().out.split()
    names = ["adjacent-levels.png", "adjacent-levels.svg", "levels.png", "levels.svg"]
    assert sorted(written) == [str(tmp_path / "one" / name) for name in names]
    main(["plot", str(run), "--samples", "40", "--output", str(tmp_path / "two")])
    for name in names:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        if name.endswith(".svg"):
            ElementTree.fromstring(content)
        else:
            assert content.startswith(b"\x89PNG")


def test_neighbours_by_cosine_stay_neighbours():
    generator = torch.Generator().manual_seed(0)
    directions = torch.eye(6)[:4]
    labels = torch.arange(80) % 4
    lengths = 10 ** torch.randn(80, 1, generator=generator)  # without meaning for the cosine
    vectors = lengths * (directions[labels] + 0.05 * torch.randn(80, 6, generator=generator))
    points, stars = embed(vectors, 0.01 * directions)
    assert points.shape == (80, 2)
    centres = np.stack([points[labels == label].mean(0) for label in range(4)])
    distances = np.linalg.norm(stars[:, None] - centres, axis=2)
    assert distances.argmin(1).tolist() == [0, 1, 2, 3]


def flat_dataset(paths):
    """Vectors with a class each, ``paths`` in turn."""
    hierarchy = Hierarchy.from_paths(paths)
    targets = torch.zeros(60, len(hierarchy), dtype=torch.bool)
    targets[torch.arange(60), [hierarchy.index[paths[i % len(paths)]] for i in range(60)]] = True
    inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    parts = {
        name: Split(inputs, hierarchy.add_ancestors(targets), tuple(f"{name}-{i}" for i in range(60)))
        for name in ("train", "validation", "test")
    }
    evaluated = torch.ones(len(hierarchy), dtype=torch.bool)
    return HierarchicalDataset("made", hierarchy, evaluated, "vector", **parts)


@pytest.mark.parametrize(
    ("paths", "rows"), [(["a", "b", "c"], 0), (["a/x/1", "a/x/2", "a/y", "b"], 2)], ids=["flat", "unbalanced"]
)
def test_any_number_of_levels(tmp_path, figures, paths, rows):
    dataset = flat_dataset(paths)
    train(Config(output_dir=str(tmp_path / "run"), **{**SMALL, "epochs": 1}), dataset)
    written = plot(PlotConfig(run=str(tmp_path / "run"), samples=25), dataset)
    assert all(path.parent == tmp_path / "run" / "figures" and path.is_file() for path in written)
    assert [len(figure.axes) for figure in figures[::2]] == [2 * (rows + 1)] + ([2 * rows] if rows else [])
    for axes in figures[0].axes:
        assert len(axes.collections[0].get_offsets()) == 25


def test_tables_of_images(tmp_path, figures):
    rng = np.random.default_rng(0)
    for name in (f"{label}/{i}.png" for label in ("a/x", "a/y", "b/z") for i in range(12)):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(file)
    options = {**SMALL, "encoder": "resnet8", "width": 4, "epochs": 1, "image_size": 16, "workers": 0}
    run = str(tmp_path / "run")
    train(Config(dataset=f"folder:{tmp_path / 'images'}", output_dir=run, **options))
    plot(PlotConfig(run=run, split="train", samples=10))
    assert [len(axes.collections[0].get_offsets()) for axes in figures[0].axes] == [10] * 4


def test_samples_that_end_above_a_level_are_grey():
    hierarchy = Hierarchy.from_paths(["a/x", "a/y", "b"])
    paths = np.array([[0, 2], [0, 3], [1, -1]])
    places = np.arange(6.0).reshape(3, 2), np.zeros((4, 2))
    figure = draw_features({"only": places}, paths, hierarchy, [{1: "*"}, {0: "*"}])
    lower, higher = (axes.collections[0].get_facecolors()[:, :3].tolist() for axes in figure.axes)
    assert lower[2] == pytest.approx(to_rgba(NO_CLASS)[:3])
    assert len({tuple(colour) for colour in lower}) == 3
    assert higher[0] == higher[1] != higher[2]
    names = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    assert names == [["a/x", "a/y"], ["a", "b"]]


@pytest.mark.parametrize(("parents", "size"), [(1, 20), (20, 100)])
def test_colours_differ_and_siblings_lie_together(parents, size):
    names = [f"p{i % parents}/c{i}" for i in range(size)]
    hierarchy = Hierarchy.from_paths(names)
    colours = level_colours(hierarchy, 1)
    assert len({tuple(colour) for colour in colours}) == size
    places = np.zeros((1, 2)), np.zeros((len(hierarchy), 2))
    figure = draw_features({"only": places}, np.array([[0, parents]]), hierarchy, [{1: "*"}])
    assert (figure.axes[0].get_legend() is None) == (size > 20)
    if size > 20:
        parent = np.array([hierarchy.parents(node)[0] for node in hierarchy.levels[1]])
        around = parent[rgb_to_hsv(colours[:, :3])[:, 0].argsort()]  # the circle of hues
        assert (around != np.roll(around, 1)).sum() == parents


@pytest.mark.parametrize(
    ("chosen", "found"), [({"method": "flat"}, "--method flat"), ({"task": "single"}, "--task single")]
)
def test_runs_without_common_prototypes_are_refused(tmp_path, chosen, found):
    with pytest.raises(ValueError, match=f"one network with prototypes. Found .*{found}") as error:
        plot(PlotConfig(run=finished(tmp_path / "run", **chosen)))
    assert "\n" not in str(error.value)


def test_other_bad_input_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="`run` should be the folder of a finished run"):
        plot(PlotConfig(run=str(tmp_path)))
    unfinished = tmp_path / "unfinished"
    finished(unfinished)
    (unfinished / "results.json").unlink()
    with pytest.raises(ValueError, match="`run` should be the folder of a finished run"):
        plot(PlotConfig(run=str(unfinished)))
    with pytest.raises(ValueError, match="`--samples` should be at least 1"):
        PlotConfig(run=str(run), samples=0)
    with pytest.raises(ValueError, match="trained on another hierarchy than that of 'made'"):
        plot(PlotConfig(run=str(run)), flat_dataset(["a", "b"]))
    assert json.loads((run / "results.json").read_text())["method"] == "hcal"

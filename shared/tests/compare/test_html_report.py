"""The report: valid, complete by itself, the numbers of the comparison, and bounded however many classes."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html import unescape
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from hmc_shared import Hierarchy
from hmc_shared.compare import plots
from hmc_shared.compare import text as report
from hmc_shared.compare.comparison import compare
from hmc_shared.compare.html import report as html_report
from hmc_shared.compare.html.pictures import png, shade, thumbnail
from hmc_shared.compare.html.report import to_html
from hmc_shared.compare.html.tree import choose_nodes, draw_tree
from hmc_shared.compare.inspection import inspect
from hmc_shared.data import load_dataset


def svgs(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(part) for part in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def wide_run(make_run, classes: int = 2000, n: int = 150):
    """A DAG as wide and as deep as an ontology: up to three parents, some classes without positives."""
    rng = np.random.default_rng(0)
    names = [f"GO:{i:07d} a long name of some biological process" for i in range(classes)]
    edges = [
        [int(p), i] for i in range(3, classes) for p in set(rng.integers(0, (i + 1) // 2, rng.integers(1, 4)))
    ]
    hierarchy = Hierarchy.from_edges([(names[a], names[b]) for a, b in edges], names)
    targets = hierarchy.add_ancestors(rng.random((n, classes)) < 3 / classes)
    scores = (targets + rng.normal(size=targets.shape)).astype(np.float32)
    folder = make_run(
        "wide",
        n=n,
        arrays={
            "scores": scores,
            "targets": targets,
            "evaluated": np.ones(classes, dtype=bool),
            "train_counts": None,
        },
    )
    (folder / "hierarchy.json").write_text(hierarchy.to_json())
    return folder, hierarchy


def test_numbers_are_those_of_the_comparison(comparison, read_page):
    page, table = read_page(to_html(comparison)), comparison.tables[0]
    header, *rows = page.tables["scores"]
    assert [name.replace(" ", "_") for name in header[2:6]] == list(table.metrics[:4])
    assert len(rows) == len(table.rows) == 2
    for shown, row in zip(rows, table.rows, strict=True):
        label, *values = report.cells(table, row)
        assert shown == [f"{label}{label} train", *values]  # below the label the command
    everything = {name: values for name, *values in page.tables["all-metrics"][1:]}
    content = json.loads(report.to_json(comparison))["tables"][0]["rows"]
    for name in table.all_metrics:
        for shown, row in zip(everything[name], content, strict=True):
            assert shown == "-" or float(shown.split()[0]) == pytest.approx(
                row["metrics"][name]["mean"], abs=5e-5
            )


def test_the_best_are_bold(comparison):
    table = comparison.tables[0]
    bold = re.findall(r"<b>(.*?)</b>", to_html(comparison).split("<details>")[0])
    expected = [
        report.mean_sd(row.metric(name), name).replace("± ", "±\xa0")  # stays together
        for row in table.rows
        for name in table.metrics
        if (row.label, name) in table.best
    ]
    assert bold == expected != []


def test_nothing_outside_the_file_is_referenced(comparison, read_page):
    text = to_html(comparison)
    page = read_page(text)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert page.links
    assert all(image.startswith("data:image/") for image in page.images)
    assert not re.search(r"https?:|url\(|@import", text)


def test_plots_inside_are_those_of_compare(comparison, tmp_path, read_page):
    images = [image for image in read_page(to_html(comparison)).images if "svg" in image][:2]
    for plot, image in zip((plots.precision_recall, plots.metric_by_level), images[:2], strict=True):
        plot(comparison.tables[0], tmp_path / "plot.svg")
        assert base64.b64decode(image.split(",")[1]) == (tmp_path / "plot.svg").read_bytes()


def test_every_section_is_there_and_one_more_is_one_entry(comparison, monkeypatch, read_page):
    more = ("more", "More", lambda table, *_: f"<p>{len(table.rows)} rows</p>")
    nothing = ("nothing", "Nothing", lambda *_: "")
    monkeypatch.setattr(html_report, "SECTIONS", (*html_report.SECTIONS, more, nothing))
    page = read_page(to_html(comparison))
    sections = [name.removeprefix("toy-protocol-default-") for name in page.ids[1:]]
    assert sections == [name for name, _, _ in html_report.SECTIONS if name not in ("grids", "nothing")]
    assert "2 rows" in page.text


def test_tree_draws_the_ap_of_every_class(comparison):
    inspection = inspect(comparison.tables[0])
    (svg,) = svgs(to_html(comparison))
    texts = [node.text for node in svg.iter("text")]
    for node, name in enumerate(inspection.hierarchy.names):
        assert name in texts
        for row, label in enumerate(("good", "poor")):
            title = f"{name}, {label}: AUROC {inspection.auroc[row, node]:.3f}"
            (group,) = [g for g in svg.iter("g") if g.find("title").text == title]
            assert group.find("text").text == f"{inspection.ap[row, node]:.3f}"
    assert len(svg.findall(".//path")) == 4  # an edge each
    # Every child stands below its parent and further to the right.
    at = {g.find("text").text: g.find("circle") for g in svg.iter("g") if g.find("circle") is not None}
    for parent, child in (("animal", "cat"), ("dog", "poodle"), ("plant", "tree")):
        assert float(at[parent].get("cy")) < float(at[child].get("cy"))
        assert float(at[parent].get("cx")) < float(at[child].get("cx"))


def test_confusions_are_those_counted(comparison, read_page):
    inspection = inspect(comparison.tables[0])
    rows = read_page(to_html(comparison)).tables["confusions"][1:]
    names = inspection.hierarchy.names
    assert rows == [
        [names[p.true], names[p.other], str(p.samples), *(f"{count:.3g}" for count in p.counts)]
        for p in inspection.confusions
    ]


def test_missing_rows_and_commands_are_lines(comparison, read_page):
    table = replace(comparison.tables[0], missing=(("other", "not installed: pip install <other>"),))
    comparison = replace(comparison, tables=(table,), notes=("a <note>",))
    page = read_page(to_html(comparison))
    assert page.tables["scores"][-1] == ["other", "not installed: pip install <other>"]
    assert page.tables["commands"][1:] == [
        [row.label, "0, 1, 2", f"{row.label} train --seed 0"] for row in table.rows
    ]
    assert [row[:3] for row in page.tables["runs"][1:]] == [
        [row.label, str(seed), f"{row.label} train --seed {seed}"] for row in table.rows for seed in row.seeds
    ]
    assert "a <note>" in page.text


def test_the_report_says_when_by_what_and_on_what_runs_were_trained(make_run, read_page):
    about = {"device": "A Processor 3000", "versions": {"python": "3.13", "torch": "2.9"}}
    for method, seed, day in (("a", 0, "02"), ("a", 1, "04"), ("b", 0, "03")):
        origin = about | {"finished": f"2026-01-{day}T12:00:00+00:00", "git_commit": "c0ffee" * 7}
        root = make_run(method, seed, results=origin).parents[1]
    processor, versions, commit = "A Processor 3000", "python 3.13, torch 2.9", "c0ffeec0ff"
    same = read_page(to_html(compare([root])))
    days = "2026-01-02 to 2026-01-04"
    assert same.tables["origins"][1:] == [["all", days, processor, versions, commit]]
    make_run("b", 1, results={"device": "another"})
    lines = read_page(to_html(compare([root]))).tables["origins"][1:]
    lines = sorted([sorted(line[0].split(", ")), *line[1:]] for line in lines)
    assert lines == [
        [["a", "b"], days, processor, versions, commit],
        [["b"], "-", "another", "python 3.13", "-"],
    ]
    assert re.search(r"Written on 20\d\d-\d\d-\d\d \d\d:\d\d UTC, hmc-shared \S+\.", same.text)


def test_every_metric_of_the_table_has_its_meaning(comparison, read_page):
    rows = read_page(to_html(comparison)).tables["glossary"][1:]
    assert [name for name, _ in rows] == list(comparison.tables[0].all_metrics)
    assert all(text for _, text in rows)


def test_right_and_wrong_are_told_by_a_mark_with_probabilities(comparison, read_page):
    text = to_html(comparison)
    page = read_page(text)
    for sample in inspect(comparison.tables[0]).samples:
        for answer in sample.answers:
            for name, ok, p in zip(answer.predicted, answer.right, answer.probability, strict=True):
                mark = "✓" if ok else "✗"
                assert re.search(rf"{mark} {re.escape(name)} [\d., ]*{p:.2f}", page.text)
    for kind, mark in (("right", "✓"), ("wrong", "✗")):
        assert all(shown == mark for shown in re.findall(rf'<span class="{kind}">(.)', text))


def test_what_others_wrote_is_escaped(make_run, read_page):
    evil = "<script>alert('x')</script>&amp;"
    folder = make_run(
        evil.replace("/", ""), arrays={"ids": np.array([f"{evil}{i}" for i in range(60)])}, noise=3.0
    )
    content = json.loads((folder / "results.json").read_text())
    content["dataset"]["name"] = content["command"] = content["device"] = content["git_commit"] = evil
    (folder / "results.json").write_text(json.dumps(content))
    tree = json.loads((folder / "hierarchy.json").read_text())
    tree["nodes"] = [f"{evil}{name}" for name in tree["nodes"]]
    (folder / "hierarchy.json").write_text(json.dumps(tree))
    text = to_html(compare([folder]))
    read_page(text)  # fails on a script
    assert evil in unescape(text)
    svgs(text)


def test_worst_samples_are_the_pictures_of_the_data_set(make_run, read_page):
    digits = load_dataset("digits", view="image")
    rng = np.random.default_rng(0)
    targets = digits.test.targets.numpy()
    folder = make_run(
        n=len(targets),
        dataset="digits",
        arrays={
            "scores": (targets + 0.4 * rng.normal(size=targets.shape)).astype(np.float32),
            "targets": targets,
            "ids": np.array(digits.test.ids),
            "evaluated": np.ones(16, dtype=bool),
            "train_counts": digits.train_counts.numpy(),
        },
        results={"dataset": {"name": "digits", "checksum": digits.checksum}},
    )
    (folder / "hierarchy.json").write_text(digits.hierarchy.to_json())
    comparison = compare([folder])
    inspection = inspect(comparison.tables[0])
    images = [image for image in read_page(to_html(comparison)).images if "png" in image]
    confused = [node for pair in inspection.confusions for node in (pair.true, pair.other)]
    assert len(inspection.samples) == 12
    rows = [targets[:, node].argmax() for node in confused]  # the first of each class
    rows += [digits.test.ids.index(sample.id) for sample in inspection.samples]
    assert images == [png(digits.test.inputs[row][0].numpy()) for row in rows]

    content = json.loads((folder / "results.json").read_text())
    content["dataset"]["checksum"] = "another"
    (folder / "results.json").write_text(json.dumps(content))
    page = read_page(to_html(compare([folder])))
    assert not [image for image in page.images if "png" in image]
    assert "No pictures: 'digits' is not the data set of the runs" in page.text


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


def test_a_wide_hierarchy_stays_bounded(make_run, read_page):
    folder, hierarchy = wide_run(make_run)
    comparison = compare([folder])
    text = to_html(comparison)
    assert len(text.encode()) < 400_000
    page = read_page(text)
    assert "80 of 2,000 classes are drawn" in page.text
    assert len(page.tables["confusions"]) == 21
    (svg,) = svgs(text)
    assert len(svg.findall(".//circle")) == 80
    assert float(svg.get("height")) < 2500
    assert float(svg.get("width")) < 1200
    ap = inspect(comparison.tables[0]).ap[0]
    shown = [g.find("title").text.split(";")[0] for g in svg.iter("g") if g.find("circle") is not None]
    worst = [hierarchy.names[i] for i in np.argsort(ap)[:5]]
    assert set(worst) <= set(shown)


@pytest.mark.parametrize("limit", [1, 2, 7, 40])
def test_chosen_classes_hang_together(limit):
    rng = np.random.default_rng(limit)
    for _ in range(20):
        edges = [(f"{p}", f"{i}") for i in range(4, 60) for p in set(rng.integers(0, i, 2).tolist())]
        hierarchy = Hierarchy.from_edges(edges, [f"{i}" for i in range(60)])
        ap = np.where(rng.random(60) < 0.2, np.nan, rng.random(60))
        nodes = choose_nodes(hierarchy, ap, limit)
        assert len(nodes) == limit
        assert all(hierarchy.parents(node)[0] in nodes for node in nodes if hierarchy.parents(node))
    assert choose_nodes(hierarchy, ap, 60) == list(range(60))


def test_many_runs_make_the_report_neither_wider_nor_longer(make_run, monkeypatch, read_page):
    monkeypatch.setattr(html_report, "LINES", 20)
    sizes = []
    for numbers in (range(14), range(14, 40)):
        roots = [make_run(f"method-{n:02d}", noise=0.5 + n / 100, n=30).parents[1] for n in numbers]
        page = read_page(text := to_html(compare(roots[:1])))
        sizes.append(len(text))
        assert f"{numbers[-1] - 11} more rows are not shown below: it is of the 12 best." in page.text
        assert len(page.tables["confusions"][0]) == 3 + 12
        assert len(page.tables["all-metrics"][0]) == len(page.tables["calibration"]) == 1 + 12
        assert len(page.tables["scores"]) == len(page.tables["commands"]) == 1 + min(numbers[-1] + 1, 20)
    assert "20 more rows are in compare.csv." in page.text
    assert "20 more runs are in compare.md." in page.text
    assert sizes[1] < 1.2 * sizes[0]


def test_tree_names_the_other_parents(make_run):
    hierarchy = Hierarchy.from_edges([("a", "c"), ("b", "c"), ("a", "a/d")])
    inspection = inspect(compare([make_run()]).tables[0])
    some = replace(
        inspection,
        hierarchy=hierarchy,
        ap=np.array([[0.5, 1.0, np.nan, 0.25]]),
        positives=np.array([4, 3, 0, 1]),
    )
    svg = ElementTree.fromstring(draw_tree(some, ["m"])[0])
    (both,) = [g for g in svg.iter("g") if "parents: a, b" in g.find("title").text]
    assert both.find("text").text == "c *"
    assert "d" in [text.text for text in svg.iter("text")]
    (undefined,) = [g for g in svg.iter("g") if g.find("title").text.startswith(f"{hierarchy.names[2]}, m:")]
    assert undefined.find("text").text == "-"

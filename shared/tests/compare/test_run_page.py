"""The page of one run: its numbers, its epochs, what it is; nothing of a comparison; for any run folder."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from hmc_shared.compare import learning_curves
from hmc_shared.compare.html.run_page import run_to_html
from hmc_shared.compare.learning_curves import losses, read_epochs, validation_metrics
from hmc_shared.compare.scoring import score_run
from hmc_shared.metrics.glossary import GLOSSARY, meaning

EPOCHS = [
    {"epoch": 0, "train_loss": 1.5, "seconds": 1.0, "loss_level_0": 0.5, "validation/au_prc": 0.25},
    {"epoch": 1, "train_loss": 0.5, "seconds": 2.0, "loss_level_0": None, "validation/au_prc": 0.75},
]
ORIGIN = {
    "command": "toy train --rate '1<2'",
    "finished": "2026-01-31T12:00:00+00:00",
    "device": "A Processor 3000",
    "versions": {"python": "3.13", "torch": "2.9"},
    "best_epoch": 2,
}


@pytest.fixture
def run(make_run):
    folder = make_run("toy", threshold=0.2, results=ORIGIN)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in EPOCHS))
    return folder


def test_metrics_are_those_of_the_run_each_with_its_meaning(run, read_page):
    page = read_page(run_to_html(run))
    head, *rows = page.tables["glossary"]
    assert head == ["metric", "value", "meaning"]
    expected = score_run(run).evaluation.metrics
    assert [name for name, *_ in rows] == list(expected)
    for name, value, text in rows:
        assert (value == "-" and np.isnan(expected[name])) or float(value) == pytest.approx(
            expected[name], abs=5e-5
        )
        assert text


def test_what_it_is_when_where_and_how_to_repeat_it(run, read_page):
    page = read_page(run_to_html(run))
    lines = dict(line for line in page.tables["appendix"] if line[0])
    assert lines["processor"] == "A Processor 3000"
    assert lines["trained"] == "2026-01-31T12:00:00+00:00"
    assert lines["versions"] == "python 3.13, torch 2.9"
    assert lines["samples"] == "400 train, 90 validation, 60 test"
    assert "To repeat it: toy train --rate '1<2'" in page.text


def test_no_part_compares_or_is_empty(run, read_page):
    text = run_to_html(run)
    page = read_page(text)
    for word in ("Comparison", "over seeds", "over methods", "standard deviation", "Best of the column"):
        assert word not in page.text
    assert {"about", "metrics", "learning", "curves", "calibration", "tree"} <= {*page.ids}
    assert {f"#{name}" for name in page.ids if name != "notes"} == {*page.links}
    assert not re.search(r"<h2[^>]*>[^<]*</h2>\s*<h2", text)


def test_curves_have_a_point_for_each_epoch(run, tmp_path, monkeypatch):
    epochs, figures = read_epochs(run), []
    assert losses(epochs) == ["train_loss", "loss_level_0"]
    assert validation_metrics(epochs) == ["validation/au_prc"]
    monkeypatch.setattr(learning_curves, "save", lambda figure, path: figures.append(figure))
    learning_curves.plot_epochs(epochs, losses(epochs), "loss", tmp_path / "loss.svg", kept=2)
    train, of_level, kept = figures[0].axes[0].lines
    assert train.get_xydata().tolist() == [[1, 1.5], [2, 0.5]]
    assert of_level.get_xydata().tolist() == [[1, 0.5]]  # null is no point
    assert kept.get_xdata() == [2, 2]


def test_a_run_without_epochs_and_origin_has_no_such_parts(make_run, read_page):
    page = read_page(run_to_html(make_run("hiclass")))  # as of another program
    assert "learning" not in page.ids
    assert "processes" not in dict(line for line in page.tables["appendix"] if line[0])
    assert "config.yaml has all options" in page.text


def test_the_parts_of_a_blend_are_named(make_run, read_page):
    blend = {"runs/a": {"weight": 0.75, "validation": 0.9}, "runs/b": {"weight": 0.25, "validation": 0.8}}
    page = read_page(run_to_html(make_run("blend", results={"blend": blend})))
    assert (
        dict(line for line in page.tables["appendix"] if line[0])["mix of"] == "runs/a (0.75), runs/b (0.25)"
    )


def test_the_command_writes_the_page_into_the_run(run, hmc, capsys, read_page):
    assert hmc("report", run) == 0
    assert capsys.readouterr().err == f"wrote {run / 'report.html'}\n"
    read_page((run / "report.html").read_text(encoding="utf-8"))
    assert hmc("report", run.parent) == 2
    assert "results.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "says"), [("results.json", r"end in \.html"), ("no/a.html", "no folder"), ("", "the folder")]
)
def test_a_page_takes_the_place_of_no_file_of_the_run(run, hmc, capsys, name, says):
    before = (run / "results.json").read_bytes()
    assert hmc("report", run, "--output", run / name) == 2
    assert re.search(rf"`--output` should .*{says}", " ".join(capsys.readouterr().err.split()))
    assert (run / "results.json").read_bytes() == before


def test_every_metric_has_its_sentence_and_every_sentence_a_metric(make_run):
    several = score_run(make_run("several", several=True)).evaluation.metrics
    arrays = {"information": np.ones(6), "train_counts": np.array([300, 50, 50, 10, 10, 5])}
    evaluated = {"evaluated": np.array([False, True, True, True, True, True])}
    one = score_run(make_run("one", arrays=arrays | evaluated)).evaluation.metrics
    found = {*several, *one}
    assert all(meaning(name) for name in found)
    matched = {text for name in found if (text := meaning(name))}
    assert {*GLOSSARY.values()} - matched <= {GLOSSARY["map_head"]}  # no such class here
    assert meaning("of somebody") == ""

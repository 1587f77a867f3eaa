"""The report in a real browser: it fits a screen and a telephone, and the console stays silent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest

from hmc_shared.compare.comparison import compare
from hmc_shared.compare.html.report import to_html
from hmc_shared.compare.plots import SMALLEST, WIDTH

WIDTHS = (1280, 390)
METRICS = ["au_prc", "map", "f1_*", "accuracy_*", "hvr", "hierarchical_f1"]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
]
MEASURE = """<script>
const errors = [];
addEventListener("error", event => errors.push(event.message || event.target.outerHTML.slice(0, 99)), true);
addEventListener("load", () => {
  const page = document.documentElement, scores = document.querySelector(".scores").parentElement;
  const place = element => element.getBoundingClientRect();
  scores.scrollLeft = 10000;
  document.querySelectorAll("details").forEach(part => part.open = true);
  const pairs = [...document.querySelectorAll(".pair")].map(pair => [...pair.children].map(place));
  const widths = [...document.querySelectorAll("img.plot")].map(plot => place(plot).width);
  parent.postMessage({
    width: innerWidth, page: page.scrollWidth,
    scores: [scores.scrollWidth, scores.clientWidth],
    method: place(scores.querySelector("tbody th")).left - place(scores).left,
    abreast: pairs.map(([one, other]) => one.top === other.top),
    plot: Math.min(...widths),
    empty: [...document.images].filter(image => !image.naturalWidth).length, errors: errors,
  }, "*");
});
</script>"""
FRAMES = """<body><pre id="found"></pre><script>
const found = [];
addEventListener("message", event => {
  found.push(event.data);
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>"""


@pytest.fixture
def measure(tmp_path):
    """From a page to what a browser finds at each of :data:`WIDTHS`, and the lines of its console."""
    if CHROMIUM is None:
        pytest.skip("Needs Chromium.")

    def measure(text: str) -> tuple[dict[int, dict], list[str]]:
        (tmp_path / "report.html").write_text(text.replace("<head>", f"<head>{MEASURE}", 1), encoding="utf-8")
        frames = [
            f'<iframe src="report.html" width="{width}" height="800" frameborder="0">' for width in WIDTHS
        ]
        (tmp_path / "frames.html").write_text(FRAMES + "</iframe>".join([*frames, ""]), encoding="utf-8")
        place = (tmp_path / "frames.html").as_uri()
        options = ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", place]
        done = subprocess.run([CHROMIUM, *QUIET, *options], capture_output=True, text=True, timeout=120)
        found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout)
        assert found, done.stderr
        console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return {page["width"]: page for page in json.loads(unescape(found[1]))}, console

    return measure


def test_a_comparison_fits_a_screen_and_a_telephone(make_run, measure):
    for method, noise in {"good": 0.7, "a-method-with-a-long-name (learning_rate=0.001)": 1.6}.items():
        for seed in range(2):
            command = f"{method} train --output-dir /{'folder' * 50}"
            ids = {"ids": np.array([f"{'a_long_name_' * 9}{i}.jpg" for i in range(60)])}
            run = make_run(method, seed, noise=noise, arrays=ids, results={"command": command})
    found, console = measure(to_html(compare([run.parents[1]], METRICS)))
    assert {*found} == {*WIDTHS}
    assert console == []
    for width, page in found.items():
        assert page["errors"] == []
        assert page["empty"] == 0
        assert page["page"] <= width, page
        assert page["plot"] * SMALLEST / (WIDTH * 72) > 9  # pixels of a letter
        assert page["method"] == pytest.approx(0, abs=1)  # stays where it is as the scores are scrolled
        assert page["abreast"] == [width == 1280] * 3  # curves, calibration, confusions
    content, box = found[1280]["scores"]
    assert content <= box
    content, box = found[390]["scores"]
    assert content > box  # which is why it matters that the methods stay

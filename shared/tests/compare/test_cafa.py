"""`hmc evaluate` of the files of CAFA: the numbers of `cafaeval`, and what its options and messages are."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from hmc_shared import __main__ as command
from hmc_shared.compare.cafa import evaluate_files
from hmc_shared.compare.scoring import score_run
from hmc_shared.metrics import fmax, smin

NAMESPACES = {"biological_process": 0.6, "molecular_function": 0.3, "cellular_component": 0.1}


def write_challenge(folder: Path, terms: int, targets: int, seed: int = 0) -> tuple[Path, Path, Path, Path]:
    """Ontologies like GO, the truth, predictions in a folder, and information; files as CAFA has them.

    1.5 parents a term, some by part_of or in another namespace; alternative and obsolete ids. About 10 true
    and 40 predicted terms a target, without ancestors; scores with three decimals.
    """
    rng = np.random.default_rng(seed)
    names = [f"GO:{at:07d}" for at in range(terms)]
    spaces = np.sort(rng.choice(len(NAMESPACES), terms, p=list(NAMESPACES.values())))
    spaces[: len(NAMESPACES)] = np.arange(len(NAMESPACES))  # the roots
    members: list[list[int]] = [[] for _ in NAMESPACES]
    obo = ["format-version: 1.2", ""]
    for term, space in enumerate(spaces.tolist()):
        obo += ["[Term]", f"id: {names[term]}", f"name: term {term}", f"namespace: {list(NAMESPACES)[space]}"]
        obo += [f"alt_id: ALT:{term:07d}"] * (term % 50 == 7)
        above = members[space]
        for number in range(1 + int(rng.integers(2)) if above else 0):
            parent = names[above[int(len(above) * rng.random() ** 1.5)]]
            tag = "is_a:" if number == 0 else "relationship: part_of"
            obo += [f"{tag} {parent} ! its parent"] * (f"is_a: {parent} ! its parent" not in obo[-2:])
        if term % 40 == 11 and members[1 - min(space, 1)]:
            obo.append(f"relationship: part_of {names[members[1 - min(space, 1)][0]]} ! of another namespace")
        obo.append("")
        members[space].append(term)
    obo += ["[Term]", "id: OLD:0000001", "name: obsolete", "is_obsolete: true", ""]
    truth, predictions = [], []
    for target in range(targets):
        true = rng.integers(terms, size=10)
        ids = [names[term] if term % 50 != 7 else f"ALT:{term:07d}" for term in true.tolist()]
        truth += [f"T{target}\t{name}" for name in ids]
        guesses = np.concatenate([true[rng.random(10) < 0.4], rng.integers(terms, size=36)])
        scores = np.round(rng.random(len(guesses)) ** 2, 3)
        predictions += [
            f"T{target}\t{names[term]}\t{score:.3f}" for term, score in zip(guesses, scores, strict=True)
        ]
    predictions += [f"U{target}\t{names[0]}\t0.5" for target in range(5)]  # unknown targets
    bits = [
        f"{name}\t{value:.6f}"
        for name, value in zip(names, rng.gamma(1.0, 2.0, terms) * (rng.random(terms) < 0.8), strict=True)
    ]
    (folder / "predictions").mkdir(parents=True)
    files = (folder / "go.obo", folder / "truth.tsv", folder / "predictions" / "mine.tsv", folder / "ia.tsv")
    for file, lines in zip(files, (obo, truth, predictions, bits), strict=True):
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def cafaeval(files: tuple[Path, Path, Path, Path], step: float, roots: bool) -> dict[str, dict[str, float]]:
    """By namespace: best values, and where they are."""
    from cafaeval.evaluation import cafa_eval

    obo, truth, predictions, ia = map(str, files)
    folder = str(Path(predictions).parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about itself
        table, _ = cafa_eval(obo, folder, truth, ia=ia, no_orphans=not roots, th_step=step, n_cpu=1)
    found = {}
    for namespace, rows in table.reset_index().groupby("ns"):
        best, weighted, least = rows["f"].idxmax(), rows["f_w"].idxmax(), rows["s_w"].idxmin()
        found[str(namespace)] = {
            "coverage": rows["cov"].max(),
            "fmax": rows["f"][best],
            "precision": rows["pr"][best],
            "recall": rows["rc"][best],
            "fmax_weighted": rows["f_w"][weighted],
            "smin": rows["s_w"][least],
        }
    return found


def ours(files: tuple[Path, Path, Path, Path], **options: object) -> dict[str, dict[str, float]]:
    obo, truth, predictions, ia = files
    found, _ = evaluate_files(predictions, truth, obo, ia=ia, **options)
    return {
        one.namespace: {
            "coverage": one.coverage,
            "fmax": one.fmax.value,
            "precision": one.precision,
            "recall": one.recall,
            "fmax_weighted": one.fmax_weighted.value,
            "smin": one.smin.value,
        }
        for one in found
    }


@pytest.mark.parametrize("roots", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("step", [0.01, 0.001])
def test_a_grid_gives_the_numbers_of_cafaeval(tmp_path, seed, step, roots):
    files = write_challenge(tmp_path, terms=400, targets=30, seed=seed)
    expected, found = cafaeval(files, step, roots), ours(files, step=step, roots=roots)
    assert found.keys() == expected.keys() == NAMESPACES.keys()
    for namespace, values in expected.items():
        assert found[namespace] == pytest.approx(values, abs=1e-6), namespace


def test_all_thresholds_are_at_least_as_good_as_a_grid(tmp_path):
    files = write_challenge(tmp_path, terms=300, targets=20)
    exact, grid = ours(files), ours(files, step=0.05)
    for namespace in NAMESPACES:
        better, worse = exact[namespace], grid[namespace]
        assert better["fmax"] >= worse["fmax"] - 1e-12
        assert better["fmax_weighted"] >= worse["fmax_weighted"] - 1e-12
        assert better["smin"] <= worse["smin"] + 1e-12
    assert ours(files, step=0.0005) == {name: pytest.approx(of, abs=1e-12) for name, of in exact.items()}


OBO = """format-version: 1.2

[Term]
id: X:1
name: root
namespace: x

[Term]
id: X:2
name: left
namespace: x
alt_id: X:22
is_a: X:1 ! root

[Term]
id: X:3
name: right
namespace: x
is_a: X:1 ! root

[Term]
id: X:4
name: both
namespace: x
is_a: X:2 ! left
relationship: part_of X:3 ! right

[Term]
id: X:5
name: gone
is_obsolete: true
replaced_by: X:4

[Term]
id: X:6
name: gone for good
is_obsolete: true
consider: X:3
"""
TRUTH = "a\tX:5\nb\tX:22\n"
PREDICTIONS = "a\tX:4\t0.9\nb\tX:3\t0.8\nb\tX:2\t0.4\nstranger\tX:2\t1\n"
TRAIN = "p\tX:4\nq\tX:2\nr\tX:3\ns\tX:1\n"  # X:2 and X:3 twice of 4, X:4 once of the one that has both


@pytest.fixture
def files(tmp_path):
    for name, text in (("go.obo", OBO), ("t.tsv", TRUTH), ("p.tsv", PREDICTIONS), ("train.tsv", TRAIN)):
        (tmp_path / name).write_text(text)
    return tmp_path


def evaluate(monkeypatch, capsys, folder: Path, *words: object) -> tuple[int, str, str]:
    """Exit code, output and errors of `hmc evaluate p.tsv --truth t.tsv --obo go.obo ...`."""
    options = ["--truth", folder / "t.tsv", "--obo", folder / "go.obo", *words]
    monkeypatch.setattr(sys, "argv", ["hmc", "evaluate", str(folder / "p.tsv"), *map(str, options)])
    try:
        command.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_by_hand(monkeypatch, capsys, files):
    code, out, err = evaluate(
        monkeypatch, capsys, files, "--train-annotations", files / "train.tsv", "--json"
    )
    assert code == 0
    found = json.loads(out)["x"]
    # Without the root a has 2, 3 and 4, b has 2. At .4 both are predicted: b with 3 beside it.
    assert (found["targets"], found["terms"], found["coverage"]) == (2, 3, 1.0)
    assert found["fmax"] == {"value": pytest.approx(2 * 0.75 / 1.75), "threshold": 0.4}
    # Information: 1 bit each of 2 and 3, none of 4. At .4 one bit too much of two targets.
    assert found["smin"] == {"value": 0.5, "threshold": 0.4}
    assert found["fmax_weighted"]["value"] == pytest.approx(2 * 0.75 / 1.75)
    assert "t.tsv: alternative or replaced ids: X:" in err
    assert evaluate(monkeypatch, capsys, files)[1].splitlines() == [
        "ontology  targets  terms  coverage    fmax      at  precision  recall",
        "x               2      3    1.0000  0.8571  0.4000     0.7500  1.0000",
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.tsv", "a\tX:9\t1\n", "p.tsv:1: 'X:9' is not a term of go.obo."),
        (
            "p.tsv",
            "a\tX:2\t1\nb\tX:6\t1\n",
            "p.tsv:2: the term 'X:6' is obsolete in go.obo, without a replace",
        ),
        (
            "t.tsv",
            "\na X:6\n",
            "t.tsv:2: the term 'X:6' is obsolete in go.obo, without a replacement: consider",
        ),
        ("p.tsv", "a\tX:2\t1.5\n", "p.tsv:1: a score should be a number from 0 to 1. Found '1.5'."),
        ("p.tsv", "a\tX:2\tnan\n", "p.tsv:1: a score should be a number from 0 to 1. Found 'nan'."),
        (
            "p.tsv",
            "a\tX:2\t1\nb\tX:2\n",
            "p.tsv:2: a line should hold target, term and score, with tabs. Found",
        ),
        ("p.tsv", "A\tX:4\t1\n", "p.tsv should be of targets of t.tsv, a, b. Found A."),
        ("p.tsv", "", "p.tsv should hold lines of 3 columns. Found none."),
        ("t.tsv", "a\tX:2\nb\n", "t.tsv:2: a line should hold target and term, with tabs. Found 'b'."),
        ("t.tsv", "a\tX:2\n\xff\n", "t.tsv:2: not UTF-8 text."),
        (
            "go.obo",
            OBO.replace("is_a: X:2", "is_a: X:9"),
            "go.obo:21: 'X:9' is not a term of go.obo, but a par",
        ),
    ],
)
def test_a_wrong_line_is_named(monkeypatch, capsys, files, name, text, message):
    (files / name).write_text(text, encoding="latin-1")
    code, out, err = evaluate(monkeypatch, capsys, files)
    assert (code, out) == (2, "")
    assert message in err.replace(f"{files}/", "")
    assert len(err.splitlines()) == 1


def test_what_is_not_predicted_is_undefined(monkeypatch, capsys, files):
    (files / "go.obo").write_text(OBO + "\n[Term]\nid: Y:1\nname: other\nnamespace: y\n")
    (files / "t.tsv").write_text(TRUTH + "a\tY:1\n")
    found = json.loads(evaluate(monkeypatch, capsys, files, "--json", "--roots")[1])["y"]
    assert (found["targets"], found["terms"], found["coverage"]) == (1, 1, 0.0)
    assert found["fmax"] == {"value": None, "threshold": None}
    line = evaluate(monkeypatch, capsys, files)[1].splitlines()[2]
    assert line.split() == ["y", "1", "0", "0.0000", "-", "-", "-", "-"]


def test_evidence_counts_in_gaf_files_alone(monkeypatch, capsys, files):
    cells = [
        ["DB", name, "", "", term, "", code, *[""] * 10]
        for name, term, code in (("a", "X:4", "EXP"), ("b", "X:2", "IC"), ("b", "X:3", "IEA"))
    ]
    (files / "t.gaf").write_text("\n".join("\t".join(line) for line in cells))
    words = [
        "--truth",
        files / "t.gaf",
        "--train-annotations",
        files / "train.tsv",
        "--evidence",
        "EXP",
        "IC",
        "TAS",
    ]
    code, out, err = evaluate(monkeypatch, capsys, files, *words)
    assert code == 0, err
    assert out.splitlines()[1].split()[4] == "0.8571"
    assert evaluate(monkeypatch, capsys, files, *words[:-1], "XYZ")[0] == 2


def test_terms_that_the_ontology_lacks_are_left_out_on_demand(monkeypatch, capsys, files):
    (files / "p.tsv").write_text(PREDICTIONS + "b\tX:6\t1\nb\tX:9\t1\n")
    code, out, err = evaluate(monkeypatch, capsys, files, "--on-error", "skip")
    assert code == 0
    assert out.splitlines()[1].split()[4] == "0.8571"
    assert "p.tsv: left out, no terms of go.obo: X:6, X:9" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--step", "1"], "`--step` should lie between 0 and 1. Found 1.0."),
        (["--threshold", "0"], "`--threshold` is for runs and .npz files. Found it with `--truth`."),
        (["--evidence", "EXP"], "`--evidence` is for .gaf files. Found none among"),
        (["--ia", "x", "--train-annotations", "y"], "Information is taken from"),
    ],
)
def test_options_that_do_not_fit_are_refused(monkeypatch, capsys, files, options, message):
    code, _, err = evaluate(monkeypatch, capsys, files, *options)
    assert code == 2
    assert message in err


def test_options_of_cafa_need_the_truth(monkeypatch, capsys, files):
    monkeypatch.setattr(sys, "argv", ["hmc", "evaluate", str(files / "p.tsv"), "--obo", "go.obo"])
    with pytest.raises(SystemExit):
        command.main()
    assert "`--obo` should come with `--truth`" in capsys.readouterr().err


def test_the_information_of_a_run_gives_its_weighted_metrics(make_run):
    bits = np.array([0, 0, 1, 0.5, 2, 1])
    folder = make_run("with", arrays={"information": bits})
    with np.load(folder / "predictions.npz") as arrays:
        expected = [metric(arrays["scores"], arrays["targets"], bits) for metric in (fmax, smin)]
    metrics = score_run(folder).evaluation.metrics
    assert [metrics["fmax_weighted"], metrics["smin"]] == expected
    assert not {"smin", "fmax_weighted"} & set(score_run(make_run("without")).evaluation.metrics)
    damaged = make_run("damaged", arrays={"information": np.full(6, np.nan)})
    with pytest.raises(ValueError, match=r"predictions.npz: `information` should be finite and at least 0"):
        score_run(damaged)

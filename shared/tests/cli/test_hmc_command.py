"""The command `hmc` as a user meets it: output, one-line errors, exit codes, and help without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hmc_shared
from hmc_shared import __main__ as command
from hmc_shared.compare.scoring import score_run

SOURCE = Path(hmc_shared.__file__).parents[1]


def hmc(monkeypatch, *words: object) -> int:
    """Run the command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["hmc", *map(str, words)])
    try:
        command.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def in_a_process(code: str) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["demo", "-h"],
        ["compare", "--help"],
        ["evaluate", "-h"],
        ["report", "--help"],
        ["export", "--help"],
        ["push", "--help"],
        ["predict", "--help"],
        ["embed", "--help"],
        ["rollup", "--help"],
        ["peer", "--help"],
        ["datasets", "-h"],
        ["datasets", "export", "-h"],
    ],
)
def test_help_imports_nothing_slow(words):
    done = in_a_process(
        "import sys\n"
        "from hmc_shared import __main__ as command\n"
        f"sys.argv = ['hmc', *{words}]\n"
        "try: command.main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "slow = {'torch', 'numpy', 'matplotlib', 'datasets', 'sklearn', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else code)"
    )
    assert done.returncode == 0, done.stderr
    assert "usage: hmc" in done.stdout
    assert "[STR" not in done.stdout  # lists are named by what they hold
    assert "None" not in done.stdout  # and what has no value by what it takes


@pytest.mark.parametrize(
    "words",
    [
        ["embed", "folder:gone", "--output", "vectors"],
        ["peer", "--dataset", "gone"],
        ["datasets", "hf:me/gone"],
        ["datasets", "export", "hf:me/gone", "copy", "--levels", "kind"],
    ],
)
def test_a_data_set_that_is_not_there_is_told_before_torch_is_imported(words, tmp_path):
    done = in_a_process(
        "import os, sys\n"
        "os.environ.update(HF_HUB_OFFLINE='1', HMC_DATA='.')\n"
        "from hmc_shared import __main__ as command\n"
        f"sys.argv = ['hmc', *{words}]\n"
        "try: command.main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "sys.exit('imported torch' if 'torch' in sys.modules else code)"
    )
    assert done.returncode == 2, done.stderr
    assert "gone" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["compar"], ["compare", "--no-such-option"], ["evaluate"]])
def test_wrong_usage_is_exit_code_2(monkeypatch, capsys, words):
    assert hmc(monkeypatch, *words) == 2


def test_compare_prints_the_table(monkeypatch, capsys, make_run):
    for seed in range(2):
        root = make_run(seed=seed).parents[2]
    assert hmc(monkeypatch, "compare", root, "--metrics", "test/au_prc", "hvr") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "toy, protocol default: 60 test samples, 6 evaluated classes"
    assert out.splitlines()[1].split()[:4] == ["method", "seeds", "au_prc", "hvr"]
    assert err == ""


def test_compare_writes_reports_and_plots(monkeypatch, capsys, make_run, tmp_path):
    folder = make_run(results={"dataset": {"name": "hf:my/set", "checksum": "c0ffee"}})
    out = tmp_path / "deep" / "report"
    assert hmc(monkeypatch, "compare", folder, "--output", out) == 0
    names = {"report.html", "compare.md", "compare.csv", "compare.json"}
    figures = {"hf-my-set-default-precision-recall.svg", "hf-my-set-default-levels.svg"}
    assert {path.name for path in out.iterdir()} == names | figures
    text = (out / "compare.md").read_text(encoding="utf-8")
    assert all(f"]({figure})" in text for figure in figures)
    assert json.loads((out / "compare.json").read_text())["schema"] == 1
    assert hmc(monkeypatch, "compare", folder, "--output", out) == 0  # its own files may be replaced


def test_warnings_go_to_stderr_in_one_line_each(monkeypatch, capsys, make_run):
    folder = make_run(results={"metrics": {"test/au_prc": 1.0}})
    killed = folder.parent / "seed-1"
    killed.mkdir()
    (killed / "config.yaml").write_text("")
    assert hmc(monkeypatch, "compare", folder.parent) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"hmc: warning: {killed} is not finished (no results.json): skipped."
    assert lines[1].startswith(f"hmc: warning: {folder / 'results.json'}: test/au_prc is stored as 1.0")


@pytest.mark.parametrize("action", ["compare", "evaluate"])
def test_damaged_predictions_are_one_line_and_exit_code_2(monkeypatch, capsys, make_run, action):
    folder = make_run()
    (folder / "predictions.npz").write_bytes(b"PK\x03\x04 not a zip")
    assert hmc(monkeypatch, action, folder) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"hmc: error: {folder / 'predictions.npz'} is not readable as")
    assert err.count("\n") == 1


def test_pickled_predictions_are_refused_unread(monkeypatch, capsys, make_run, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    folder = make_run(arrays={"ids": np.array([Trap()] * 60, dtype=object)})
    assert hmc(monkeypatch, "evaluate", folder) == 2
    assert "allow_pickle=False" in capsys.readouterr().err
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "/no/where"],
        ["compare"],
        ["compare", "--metrics", "au_prc", "runs"],
        ["evaluate", "/no/where.npz"],
        ["evaluate", SOURCE],
        ["datasets", "no-such-set"],
        ["datasets", "--plot", "x.svg"],
        ["datasets", "digits", "--plot", "x.bmp"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(monkeypatch, capsys, words):
    monkeypatch.delenv("HMC_DATA", raising=False)
    assert hmc(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("hmc: error: ")
    assert err.count("\n") == 1


def test_output_that_is_a_file_is_refused(monkeypatch, capsys, make_run, tmp_path):
    (tmp_path / "file").touch()
    assert hmc(monkeypatch, "compare", make_run(), "--output", tmp_path / "file") == 2
    assert "`--output` should be a folder" in capsys.readouterr().err


def test_evaluate_prints_all_metrics_levels_and_groups(monkeypatch, capsys, make_run):
    folder = make_run()
    assert hmc(monkeypatch, "evaluate", folder) == 0
    out = capsys.readouterr().out
    about, metrics, levels, groups = out.strip().split("\n\n")
    assert about == "60 samples, 6 evaluated classes, threshold 0"
    printed = dict(line.split() for line in metrics.splitlines())
    expected = score_run(folder).evaluation.metrics
    assert printed.keys() == expected.keys()
    assert all(float(printed[name]) == round(value, 4) for name, value in expected.items())
    assert [line.split()[0] for line in levels.splitlines()] == ["depth", "0", "1", "2"]
    assert [line.split()[0] for line in groups.splitlines()] == ["group", "head", "medium", "tail"]


def test_evaluate_json_of_any_predictions_with_a_hierarchy(monkeypatch, capsys, make_run, tmp_path):
    folder = make_run()
    with np.load(folder / "predictions.npz") as archive:
        np.savez(tmp_path / "mine.npz", scores=archive["scores"], targets=archive["targets"].astype(int))
    tree = tmp_path / "tree.json"
    tree.write_text((folder / "hierarchy.json").read_text())
    words = ["evaluate", tmp_path / "mine.npz", "--hierarchy", tree, "--threshold", 0.25, "--json"]
    assert hmc(monkeypatch, *words) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    expected = score_run(folder).evaluation.metrics
    assert content["threshold"] == 0.25
    assert content["metrics"]["au_prc"] == pytest.approx(expected["au_prc"], abs=1e-12)
    assert content["metrics"]["f1_micro"] != expected["f1_micro"]
    assert content["groups"] == []  # no training counts, no groups
    assert err == ""


def test_evaluate_needs_the_hierarchy(monkeypatch, capsys, make_run):
    folder = make_run()
    (folder / "hierarchy.json").unlink()
    assert hmc(monkeypatch, "evaluate", folder / "predictions.npz") == 2
    assert "hierarchy.json" in capsys.readouterr().err


def test_datasets_lists_describes_draws_and_exports(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("HMC_DATA", raising=False)
    assert hmc(monkeypatch, "datasets") == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].split() == ["name", "kind", "where"]
    assert any(line.split() == ["cellcycle_FUN", "CLUS", "not", "found"] for line in listed)
    assert hmc(monkeypatch, "datasets", "digits", "--plot", tmp_path / "digits.svg") == 0
    assert capsys.readouterr().out.startswith("digits")
    assert (tmp_path / "digits.svg").stat().st_size > 1000
    assert hmc(monkeypatch, "datasets", "export", "digits", tmp_path / "folder") == 0
    assert (tmp_path / "folder" / "hierarchy.json").is_file()

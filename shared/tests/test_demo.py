"""The demo: its plan, runs in processes of their own, interruption, and lines for what is missing."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import hmc_shared
from hmc_shared import __main__ as command
from hmc_shared import demo
from hmc_shared.methods import Method

SOURCE = Path(hmc_shared.__file__).parents[1]

# A method that needs no torch: three steps of progress, then the run folder that a fixture made before.
# It remembers its steps, as a checkpoint does.
METHOD = """#!{python}
import pathlib, shutil, sys, time
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
folder, seed = pathlib.Path(options["--output-dir"]), options["--seed"]
template = pathlib.Path("{templates}", "{name}", f"seed-{{seed}}")
if options.get("--mode") == "broken":
    sys.exit("{name}: error: no such option")
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yaml").touch()
state = folder / "steps"
done = int(state.read_text()) if state.exists() else 0
print(f"from step {{done}}", flush=True)
for step in range(done, 3):
    print(f"\\r{name} step {{step + 1}}/3", end="", file=sys.stderr, flush=True)
    time.sleep({seconds})
    state.write_text(str(step + 1))
print("\\n{name}: all metrics")
shutil.copytree(template, folder, dirs_exist_ok=True)
"""


@pytest.fixture
def fakes(make_run, tmp_path, monkeypatch):
    """Two methods whose programs are on the PATH, ``quick`` and ``slow``; a third is not installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, seconds in {"quick": 0.01, "slow": 0.4}.items():
        for seed in range(3):
            template = make_run(name, seed, folder=tmp_path / "templates" / name / f"seed-{seed}")
            content = json.loads((template / "results.json").read_text())
            content["command"] = f"{name} train --seed {seed}"
            (template / "results.json").write_text(json.dumps(content))
        program = folder / name
        program.write_text(
            METHOD.format(python=sys.executable, templates=tmp_path / "templates", name=name, seconds=seconds)
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    methods = [
        Method("quick", "quick train", "quick:Model", demo="", demo_minutes=0.1),
        Method("left-out", "quick train", "quick:Model"),
        Method("slow", "slow train", "slow:Model", demo="--mode fine", demo_minutes=2),
    ]
    monkeypatch.setattr(demo, "installed_methods", lambda: methods)
    monkeypatch.setattr(demo, "PUBLISHED", ("quick", "no-such-method"))
    return methods


def hmc(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hmc", *map(str, words)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process is pytest's
    try:
        command.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_plan(tmp_path, monkeypatch):
    """The longest first, those without demo options left out, and lines for what is not there."""
    methods = [
        Method("short", "one train", "one:Short", demo="--dataset digits", demo_minutes=0.5),
        Method("default", "one train", "one:Default", demo="--dataset digits"),  # a minute
        Method("never", "one train", "one:Never"),
        Method("long", "two train --method 'the long'", "two:Long", demo="--epochs 3", demo_minutes=9),
        Method("lost", "three train", "three:Lost", demo=""),
    ]
    monkeypatch.setattr(demo, "installed_methods", lambda: methods)
    monkeypatch.setattr(demo, "PUBLISHED", ("one", "two", "hp-dval"))
    monkeypatch.setattr(demo, "find_program", lambda name: {"one": "/bin/one", "two": "/bin/two"}.get(name))
    jobs, missing = demo.plan(tmp_path, (0, 7))
    assert missing == {
        "hp-dval": "not installed: pip install hp-dval",
        "lost": "the program three is not on the PATH",
    }
    labels = ["long", "default", "short"]
    assert [(job.seed, job.label) for job in jobs] == [(seed, label) for seed in (0, 7) for label in labels]
    folder = tmp_path / "digits" / "long" / "seed-7"
    assert jobs[3].folder == folder
    expected = ["/bin/two", "train", "--method", "the long", "--epochs", "3", "--seed", "7", "--output-dir"]
    assert jobs[3].words == [*expected, str(folder), "--resume"]


def test_a_program_beside_python_comes_first(tmp_path, monkeypatch):
    for folder in ("env", "elsewhere"):
        (tmp_path / folder).mkdir()
        for name in ("python", "some-method"):
            (tmp_path / folder / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "env" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    assert demo.find_program("some-method") == str(tmp_path / "env" / "some-method")
    (tmp_path / "env" / "some-method").unlink()
    assert demo.find_program("some-method") == str(tmp_path / "elsewhere" / "some-method")
    assert demo.find_program("other-method") is None


@pytest.mark.usefixtures("fakes")
def test_all_runs_one_table_and_a_line_for_what_is_missing(monkeypatch, capsys, tmp_path):
    output = tmp_path / "demo"
    assert hmc(monkeypatch, "demo", "--output", output, "--jobs", 2) == 0
    out, err = capsys.readouterr()
    assert sorted(path.parent.parent.name for path in output.glob("digits/*/*/results.json")) == [
        *["quick"] * 3,
        *["slow"] * 3,
    ]
    lines = out.splitlines()
    assert lines[0] == "toy, protocol default: 60 test samples, 6 evaluated classes"
    header = lines[1].split()
    levels = [f"accuracy_level_{depth}" for depth in range(3)]
    metrics = ["au_prc", "map", "f1_micro", "f1_macro", *levels, "hvr", "incoherent"]
    assert header == ["method", "seeds", *metrics, "parameters", "train", "s", "peak", "MiB"]
    assert {lines[2].split()[0], lines[3].split()[0]} == {"quick", "slow"}
    assert lines[4].split(maxsplit=1) == ["no-such-method", "not installed: pip install no-such-method"]
    assert any(" ".join(line.split()) == "quick quick train --seed 0 (seeds 0, 1, 2)" for line in lines)
    ended = [line for line in err.splitlines() if line.startswith("[")]
    assert [line.split("]")[0] for line in ended] == [f"[{number}/6" for number in range(1, 7)]
    assert all(": done in " in line for line in ended)
    assert (output / "logs" / "slow-seed-2.log").read_text().startswith("from step 0\n")
    assert "pip install no-such-method" in (output / "report.html").read_text()

    # Once more: nothing runs again.
    before = {path: path.stat().st_mtime_ns for path in output.glob("digits/*/*/*")}
    assert hmc(monkeypatch, "demo", "--output", output) == 0
    again, err = capsys.readouterr()
    assert again == out
    assert "done in" not in err
    assert before == {path: path.stat().st_mtime_ns for path in output.glob("digits/*/*/*")}


def test_a_failed_run_is_told_and_the_others_are_compared(fakes, monkeypatch, capsys, tmp_path):
    fakes[2] = replace(fakes[2], demo="--mode broken")
    assert hmc(monkeypatch, "demo", "--output", tmp_path / "demo", "--seeds", 0, 1) == 1
    out, err = capsys.readouterr()
    log = tmp_path / "demo" / "logs" / "slow-seed-0.log"
    assert f"slow, seed 0: failed with exit code 1: slow: error: no such option (see {log})" in err
    (line,) = [line for line in out.splitlines() if line.startswith("slow")]
    assert f"seed 0 failed with exit code 1: see {log}; seed 1 failed" in line
    assert ["quick", "2"] in [line.split()[:2] for line in out.splitlines()]


def test_nothing_at_all_is_one_line(fakes, monkeypatch, capsys, tmp_path):
    fakes.clear()
    assert hmc(monkeypatch, "demo", "--output", tmp_path / "demo") == 2
    err = capsys.readouterr().err
    assert "no finished run to compare: no-such-method not installed: pip install no-such-method." in err


@pytest.mark.parametrize("words", [["--seeds", 1, 1], ["--jobs", 0]])
def test_wrong_numbers_are_refused(monkeypatch, capsys, words):
    assert hmc(monkeypatch, "demo", *words) == 2
    assert f"`{words[0]}` should be" in capsys.readouterr().err


def test_the_last_line_is_the_newest_state_of_a_bar(tmp_path):
    job = demo.Job("method", 0, ("method",), tmp_path, tmp_path / "log")
    assert job.last_line == ""
    job.log.write_bytes(b"first\nbar 1/3\r  bar 2/3")
    assert job.last_line == "bar 2/3"
    job.log.write_bytes(b"x" * 10_000 + b"\r bar 3/3 \xe2\x96\x88\n\n")
    assert job.last_line == "bar 3/3 \N{FULL BLOCK}"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_killed_it_leaves_what_is_done_and_goes_on(fakes, monkeypatch, capsys, tmp_path, sent, code):
    output = tmp_path / "demo"
    start = (
        "import sys\nfrom hmc_shared import __main__ as command, demo\n"
        "from hmc_shared.methods import Method\n"
        f"demo.installed_methods = lambda: {fakes!r}\n"
        "demo.PUBLISHED = ()\n"
        f"sys.argv = ['hmc', 'demo', '--output', {str(output)!r}, '--seeds', '0', '1', '--jobs', '1']\n"
        "command.main()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    first = subprocess.Popen(
        [sys.executable, "-c", start],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # As a terminal starts it: of what runs in the background, a shell lets SIGINT be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    running = output / "digits" / "slow" / "seed-1"
    deadline = time.monotonic() + 60
    while not (running / "steps").exists():  # slow 0 and quick 0 are done
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(sent)
    _, err = first.communicate(timeout=60)
    assert first.returncode == code
    if sent == signal.SIGINT:
        assert "2 of 4 runs are finished; the same command goes on from there" in err
    steps = (running / "steps").read_text()
    time.sleep(1)  # a run that was left behind would go on
    assert (running / "steps").read_text() == steps < "3"
    kept = {path: path.stat().st_mtime_ns for path in output.glob("digits/*/seed-0/*")}
    assert len(kept) > 4

    assert hmc(monkeypatch, "demo", "--output", output, "--seeds", 0, 1, "--jobs", 1) == 0
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("[")] == [
        "[3/4] slow, seed 1",
        "[4/4] quick, seed 1",
    ]
    assert (output / "logs" / "slow-seed-1.log").read_text().startswith(f"from step {steps}\n")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert out.startswith("toy, protocol default")

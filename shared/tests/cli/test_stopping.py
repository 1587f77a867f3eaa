"""Signals: a command ends at once, a loop that is ready for it when its step is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys, time
from hmc_shared.cli.commands import exit_codes
from hmc_shared.cli.stopping import STOP, Stopped

def work():
    STOP.is_awaited = {awaited}
    print("ready", flush=True)
    for step in range(300):
        time.sleep(0.1)
        if STOP.number:
            raise Stopped(STOP.number, f"stopped; go on with this")
    print("done", flush=True)

exit_codes(work, "toy")
"""


def start(awaited: bool, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(awaited=awaited)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_ends_at_once_in_one_line(number, code):
    process = start(awaited=False)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("", "toy: interrupted\n", code)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_loop_ends_by_itself_and_says_how_to_go_on(number, code):
    process = start(awaited=True)
    process.send_signal(number)
    process.send_signal(number)  # as from a terminal and from a launcher
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert out == ""
    lines = err.split("\n")
    assert lines[1] == "stopping after this step, with a checkpoint; once more to stop at once"
    assert lines[2:] == ["toy: stopped; go on with this", ""]


def test_who_asks_again_is_not_kept_waiting():
    program = PROGRAM.replace("if STOP.number:", "if False:")
    process = subprocess.Popen(
        [sys.executable, "-c", program.format(awaited=True)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(1.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.endswith(b"toy: interrupted\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_a_process_ends_with_the_one_that_started_it():
    starter = (
        "import os, subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE, "
        "env={**os.environ, 'HMC_PARENT': str(os.getpid())}); "
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, PROGRAM.format(awaited=False)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 20
    while is_running(child) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_running(child)


def is_running(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().split(")")[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False

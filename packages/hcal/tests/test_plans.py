"""The plans of the paper's tables: the rows that they name are the paper's."""

from dataclasses import replace

import pytest

from hcal.config import Config
from hmc_shared.cli.parse import parse
from hmc_shared.study.plan import read_plan


def configurations(plan):
    """Label to the options of its run."""
    runs = read_plan(plan).runs
    return {run.label: parse(Config, run.words[2:], prog="hcal", package="hcal") for run in runs}


def test_the_plan_of_table_1_runs_every_method():
    found = {label: (config.method, config.decode) for label, config in configurations("hcal-table1").items()}
    methods = ("hcal", "flat", "mmoe", "cmt", "dmt", "cagrad", "imtl-g", "nash-mtl")
    assert found == {name: (name, "independent") for name in methods} | {"hcal-path": ("hcal", "path")}


def test_the_plan_of_table_2_runs_its_eight_rows():
    on = [
        (c.task == "multi", c.aggregation, c.epsilon > 0, c.weighting == "adaptive")  # MTL, FA, PP, AWA
        for c in configurations("hcal-table2").values()
    ]
    paper = ["0110", "1100", "1010", "1001", "1011", "1101", "1110", "1111"]
    assert ["".join(str(int(switch)) for switch in row) for row in on] == paper


def test_the_plan_of_figure_5_varies_one_option_at_a_time():
    found = [(c.gamma, c.epsilon) for c in configurations("hcal-figure5").values()]
    gammas, epsilons = (0.1, 0.2, 0.5, 1.0, 2.0), (0.001, 0.01, 0.05, 0.1, 0.2)
    assert found == [(g, 0.1) for g in gammas] + [(0.5, e) for e in epsilons]


@pytest.mark.parametrize("method", ["hcal", "mmoe"])
@pytest.mark.parametrize("levels", ["", "-families"])
def test_both_names_of_aircraft_have_the_papers_settings(levels, method):
    found = []
    for end in ("", "-boxes"):
        words = ["--dataset", f"fgvc-aircraft{levels}{end}", "--protocol", "paper", "--method", method]
        config = parse(Config, words, prog="hcal", package="hcal")
        found.append(replace(config, dataset=""))
    assert found[0] == found[1]
    assert not found[0].validation_rows
    assert (found[0].learning_rate, found[0].epochs) == ((1e-3, 100) if method == "mmoe" else (0.01, 1000))

"""The comparison believes predictions only, never mixes what differs, and says the same in every format."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from hmc_shared.compare import text as report
from hmc_shared.compare.comparison import DEFAULT_METRICS, Statistic, compare, find_runs
from hmc_shared.compare.scoring import evaluate_path, score_run


def predictions(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "predictions.npz") as archive:
        return dict(archive)


def edit_results(folder: Path, **changes) -> None:
    content = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(content | changes))


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_statistic_is_numpys_mean_and_sample_deviation(values):
    statistic = Statistic(tuple(values))
    assert statistic.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert statistic.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)


def test_one_seed_has_no_deviation():
    assert np.isnan(Statistic((0.5,)).sd)


def test_an_undefined_value_makes_the_mean_undefined():
    assert np.isnan(Statistic((0.5, float("nan"))).mean)


class TestRecomputed:
    def test_metrics_are_those_of_scikit_learn_on_the_predictions(self, make_run):
        folders = [make_run(seed=seed) for seed in range(3)]
        expected = []
        for folder in folders:
            arrays = predictions(folder)
            expected.append(average_precision_score(arrays["targets"], arrays["scores"], average="micro"))
        statistic = compare(folders).tables[0].rows[0].metric("au_prc")
        assert statistic.values == pytest.approx(expected, abs=1e-12)
        assert statistic.mean == pytest.approx(np.mean(expected), abs=1e-12)
        assert statistic.sd == pytest.approx(np.std(expected, ddof=1), abs=1e-12)

    def test_a_tampered_metric_is_ignored_and_told(self, make_run):
        folder = make_run()
        honest = score_run(folder).evaluation.metrics
        edit_results(folder, metrics={f"test/{name}": value for name, value in honest.items()})
        assert compare([folder]).notes == ()
        edit_results(folder, metrics={"test/au_prc": 0.999, "test/map": honest["map"] + 9e-7})
        comparison = compare([folder])
        assert comparison.tables[0].rows[0].metric("au_prc").values == (honest["au_prc"],)
        (note,) = comparison.notes
        assert "results.json: test/au_prc is stored as 0.999," in note

    @pytest.mark.parametrize("stored", [None, float("nan")])
    def test_a_stored_metric_that_is_no_number_is_told(self, make_run, stored):
        folder = make_run(results={"metrics": {"test/au_prc": stored}})
        assert len(compare([folder]).notes) == 1

    def test_a_stored_metric_that_is_text_is_refused(self, make_run):
        with pytest.raises(
            ValueError, match=r"results\.json: `metrics.test/au_prc` should be a number or null"
        ):
            compare([make_run(results={"metrics": {"test/au_prc": "0.9"}})])

    def test_undefined_is_stored_as_nan(self, make_run):
        undefined = {"metrics": {"test/hierarchical_precision": float("nan")}}
        folder = make_run(threshold=1e6, results=undefined)  # nothing is predicted
        assert compare([folder]).notes == ()

    def test_the_threshold_is_the_one_stored_with_the_model(self, make_run):
        low, high = make_run("low"), make_run("high", threshold=0.7)
        assert score_run(high).evaluation.threshold == 0.7
        again, _ = evaluate_path(low, threshold=0.7)
        assert again.metrics["f1_micro"] != score_run(low).evaluation.metrics["f1_micro"]
        assert evaluate_path(high)[0].threshold == 0.7

    def test_only_evaluated_classes_count(self, make_run):
        evaluated = np.array([False, False, True, True, True, True])
        folder = make_run(arrays={"evaluated": evaluated})
        arrays = predictions(folder)
        expected = average_precision_score(arrays["targets"][:, 2:], arrays["scores"][:, 2:], average="micro")
        evaluation = score_run(folder).evaluation
        assert evaluation.metrics["au_prc"] == pytest.approx(expected, abs=1e-12)
        assert evaluation.classes == 4
        assert [level.depth for level in evaluation.levels] == [1, 2]

    def test_levels_and_groups_split_the_classes(self, make_run):
        folder = make_run(several=True)
        arrays = predictions(folder)
        evaluation = score_run(folder).evaluation
        for level, ids in zip(evaluation.levels, [[0, 1], [2, 3, 4], [5]], strict=True):
            scores, targets = arrays["scores"][:, ids], arrays["targets"][:, ids]
            assert level.au_prc == pytest.approx(average_precision_score(targets, scores, average="micro"))
            assert level.map == pytest.approx(average_precision_score(targets, scores, average="macro"))
            assert np.isnan(level.accuracy)  # several classes in a level: there is no single path
        for group in evaluation.groups:
            assert group.map == pytest.approx(evaluation.metrics[f"map_{group.name}"])
        assert [group.classes for group in evaluation.groups] == [3, 2, 1]

    def test_single_paths_give_accuracy_by_level(self, make_run):
        arrays = predictions(folder := make_run(noise=2.0))
        true, predicted = arrays["targets"][:, :2].argmax(1), arrays["scores"][:, :2].argmax(1)
        assert score_run(folder).evaluation.levels[0].accuracy == pytest.approx(np.mean(true == predicted))

    def test_unknown_training_counts_make_no_tail(self, make_run):
        evaluation = score_run(make_run(arrays={"train_counts": None})).evaluation
        assert evaluation.groups == ()
        assert not {name for name in evaluation.metrics if name.startswith("map_tail")}


class TestGrouping:
    def test_protocols_and_data_sets_stay_apart(self, make_run):
        for protocol in ("default", "paper"):
            make_run(protocol=protocol)
        root = make_run(dataset="other").parents[3]
        comparison = compare([root])
        titles = [table.title for table in comparison.tables]
        assert titles == ["other, protocol default", "toy, protocol default", "toy, protocol paper"]
        assert all(len(table.rows) == len(table.rows[0].runs) == 1 for table in comparison.tables)
        text = report.to_text(comparison)
        assert all(f"{title}: 60 test samples" in text for title in titles)

    def test_rows_are_ordered_by_the_first_column(self, make_run):
        for method, noise in {"fair": 1.5, "good": 0.5, "poor": 4.0}.items():
            root = make_run(method, noise=noise).parents[1]
        assert [row.label for row in compare([root]).tables[0].rows] == ["good", "fair", "poor"]
        by_violations = compare([root], ["hvr_levels"]).tables[0].rows
        means = [row.metric("hvr_levels").mean for row in by_violations]
        assert means == sorted(means)

    def test_best_is_low_for_violations_and_high_for_scores(self, make_run):
        root = make_run("good", noise=0.5).parents[1]
        make_run("poor", noise=4.0)
        table = compare([root], ["au_prc", "hvr_levels", "incoherent", "map_classes"]).tables[0]
        assert table.best == {("good", "au_prc"), ("good", "hvr_levels")}  # no difference in the others

    def test_equal_methods_have_no_best(self, make_run):
        one = make_run("one")
        other = make_run("other", arrays=predictions(one))
        assert compare([one, other]).tables[0].best == frozenset()

    def test_other_options_are_another_row(self, make_run):
        for seed in range(2):
            make_run(seed=seed)
        wide = make_run(seed=7, results={"config": {"learning_rate": 1e-3, "hidden_size": 9, "seed": 7}})
        rows = compare([wide.parent]).tables[0].rows
        assert {(row.label, row.seeds) for row in rows} == {
            ("hlstm (hidden_size=9)", (7,)),
            ("hlstm (other options not set)", (0, 1)),
        }

    def test_options_that_change_no_number_are_no_other_row(self, make_run):
        for seed, workers in enumerate((2, 8)):
            options = {"seed": seed, "workers": workers, "cache_gib": workers, "data_dir": f"/{seed}"}
            root = make_run(seed=seed, results={"config": options}).parent
        assert [row.seeds for row in compare([root]).tables[0].rows] == [(0, 1)]

    def test_a_seed_twice_is_refused(self, make_run, tmp_path):
        one, other = make_run(), make_run(folder=tmp_path / "copy")
        with pytest.raises(ValueError, match=r"Seed 0 of 'hlstm' on 'toy' .* should be there once"):
            compare([one, other])

    def test_a_run_given_twice_counts_once(self, make_run):
        folder = make_run()
        comparison = compare([folder, folder.parent, folder / "results.json", str(folder.parents[1] / "*")])
        assert comparison.tables[0].rows[0].seeds == (0,)

    def test_metrics_are_chosen_with_or_without_prefix(self, make_run):
        table = compare([make_run()], ["test/map_tail", "au_prc"]).tables[0]
        assert table.metrics == ("map_tail", "au_prc")

    def test_a_pattern_stands_for_all_metrics_that_it_matches(self, make_run):
        table = compare([make_run()], ["hvr", "accuracy_level_*", "accuracy_l*"]).tables[0]
        levels = tuple(
            f"accuracy_level_{depth}" for depth in range(len(table.rows[0].runs[0].evaluation.levels))
        )
        assert table.metrics == ("hvr", *levels, "accuracy_leaf")
        with pytest.raises(ValueError, match=r"Found 'accuracy_depth_\*'"):
            compare([make_run(seed=1)], ["accuracy_depth_*"])

    def test_unknown_metric_is_refused_with_the_known_ones(self, make_run):
        with pytest.raises(ValueError, match=r"`--metrics` should be among au_prc, .*Found 'f2'"):
            compare([make_run()], ["f2"])

    def test_level_metrics_are_left_out_where_paths_are_several(self, make_run):
        table = compare([make_run(several=True)]).tables[0]
        assert table.metrics == tuple(m for m in DEFAULT_METRICS if m not in {"accuracy_leaf", "hvr"})


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"results": {"dataset": {"name": "toy", "checksum": "other"}}}, "dataset checksum"),
            ({"arrays": {"ids": np.array([f"row {i}" for i in range(60)])}}, "test ids"),
            ({"arrays": {"evaluated": np.arange(6) > 0}}, "evaluated classes"),
            ({"arrays": {"train_counts": np.arange(6)}}, "training counts"),
            ({"several": True}, "test targets"),
        ],
    )
    def test_runs_on_other_data(self, make_run, changes, what):
        one, other = make_run("one"), make_run("other", **changes)
        with pytest.raises(ValueError, match=f"'toy' should share their {what}.*{one}.*{other}"):
            compare([one, other])

    def test_runs_on_another_hierarchy(self, make_run):
        one, other = make_run("one"), make_run("other")
        tree = json.loads((other / "hierarchy.json").read_text())
        tree["nodes"][5] = "puppy"
        (other / "hierarchy.json").write_text(json.dumps(tree))
        with pytest.raises(ValueError, match="should share their hierarchy"):
            compare([one, other])

    def test_other_data_under_another_protocol(self, make_run):
        make_run("one")
        root = make_run("other", protocol="paper", several=True).parents[2]
        with pytest.raises(ValueError, match="test targets"):
            compare([root])

    def test_a_protocol_may_have_its_own_training_counts(self, make_run):
        make_run("one")
        root = make_run("one", protocol="paper", arrays={"train_counts": np.full(6, 500)}).parents[2]
        assert len(compare([root]).tables) == 2

    def test_no_run_at_all(self, tmp_path):
        with pytest.raises(ValueError, match="no finished run"):
            compare([tmp_path])
        with pytest.raises(ValueError, match="no run folder '/no/where'"):
            compare(["/no/where"])
        with pytest.raises(ValueError, match="name run folders, before any option"):
            compare([])

    def test_unfinished_runs_are_told_and_skipped(self, make_run):
        folder = make_run()
        killed = folder.parent / "seed-1"
        (killed / "checkpoints" / "epoch-1").mkdir(parents=True)
        (killed / "config.yaml").write_text("seed: 1\n")
        comparison = compare([folder.parent])
        assert comparison.tables[0].rows[0].seeds == (0,)
        assert comparison.notes == (f"{killed} is not finished (no results.json): skipped.",)

    def test_nothing_inside_a_run_is_a_run(self, make_run):
        folder = make_run()
        (folder / "model").mkdir()
        (folder / "model" / "results.json").write_text("{}")
        assert find_runs([folder]) == ([folder], [])

    def test_a_config_above_runs_is_no_unfinished_run(self, make_run):
        folder = make_run()
        (folder.parent / "config.yaml").write_text("")
        assert find_runs([folder.parent]) == ([folder], [])


class TestReports:
    @pytest.fixture
    def comparison(self, make_run):
        for method, noise in {"hlstm": 0.8, "a|b": 1.5}.items():
            for seed in range(3):
                root = make_run(method, seed, noise=noise).parents[3]
                make_run(method, seed, noise=noise, dataset="multi", several=True)
        make_run(protocol="paper", threshold=1e6)
        return compare([root])

    def test_json_gives_back_every_value(self, comparison):
        tables = json.loads(report.to_json(comparison))["tables"]
        assert [(t["dataset"], t["protocol"]) for t in tables] == [
            (t.dataset, t.protocol) for t in comparison.tables
        ]
        for read, table in zip(tables, comparison.tables, strict=True):
            for read_row, row in zip(read["rows"], table.rows, strict=True):
                assert read_row["method"] == row.method
                for name in table.all_metrics:
                    values = [float("nan") if v is None else v for v in read_row["metrics"][name]["values"]]
                    assert np.array_equal(values, row.metric(name).values, equal_nan=True)
                assert [run["seed"] for run in read_row["runs"]] == list(row.seeds)

    def test_json_has_null_where_undefined(self, comparison):
        paper = json.loads(report.to_json(comparison))["tables"][-1]["rows"][0]["metrics"]
        assert paper["hierarchical_precision"] == {"mean": None, "sd": None, "values": [None]}

    def test_csv_gives_back_means_and_deviations(self, comparison):
        rows = list(csv.DictReader(io.StringIO(report.to_csv(comparison))))
        expected = [(table, row) for table in comparison.tables for row in table.rows]
        assert len(rows) == len(expected)
        for read, (table, row) in zip(rows, expected, strict=True):
            assert (read["dataset"], read["protocol"], read["method"]) == (
                table.dataset,
                table.protocol,
                row.label,
            )
            assert int(read["seeds"]) == len(row.runs)
            for name in table.metrics:
                assert float(read[name]) == row.metric(name).mean
                sd = row.metric(name).sd
                assert read[f"{name}_sd"] == ("" if np.isnan(sd) else repr(sd))
        assert rows[0]["hvr"] == ""  # multi has several paths

    def test_markdown_gives_back_four_digits_and_marks_the_best(self, comparison):
        text = report.to_markdown(comparison)
        for table in comparison.tables:
            section = text.split(f"## {table.title}\n")[1].split("\n## ")[0]
            header, _, *body = [
                [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                for line in section.splitlines()
                if line.startswith("|")
            ]
            assert header[2 : 2 + len(table.metrics)] == list(table.metrics)
            for cells, row in zip(body, table.rows, strict=True):
                assert cells[0].replace("\\|", "|") == row.label
                for name, cell in zip(table.metrics, cells[2:], strict=False):
                    assert cell.startswith("**") == ((row.label, name) in table.best)
                    mean, _, sd = cell.strip("*").partition(" ± ")
                    assert float(mean) == round(row.metric(name).mean, 4)
                    assert float(sd or 0) == pytest.approx(np.nan_to_num(row.metric(name).sd), abs=5e-5)

    def test_markdown_names_every_run(self, comparison):
        text = report.to_markdown(comparison)
        for table in comparison.tables:
            for row in table.rows:
                assert all(f"`{run.path}`" in text.replace("\\|", "|") for run in row.runs)

    def test_text_columns_are_aligned(self, comparison):
        _, header, *body = report.to_text(comparison).split("\n\n")[0].splitlines()
        ends = [match.end() for match in re.finditer(r"\S+( \w+)?", header)]
        assert len(ends) > 5
        for line in body:
            assert all(line[end - 2 : end].strip() and not line[end : end + 2].strip() for end in ends[1:])

    def test_text_marks_the_best(self, comparison):
        lines = report.to_text(comparison).splitlines()
        assert sum("*" in line for line in lines if line.startswith("hlstm")) == 2
        assert not any("*" in line for line in lines if line.startswith("a|b"))

    def test_costs_are_as_reported_or_a_dash(self, make_run):
        folder = make_run(results={"parameters": None, "seconds": None})
        row = report.to_text(compare([folder])).splitlines()[2]
        assert row.split()[-3:] == ["-", "-", "512"]


def test_a_row_that_is_missing_is_a_line_of_every_format(make_run):
    comparison = compare([make_run()])
    missing = (("other", "not installed: pip install other"),)
    comparison = replace(comparison, tables=(replace(comparison.tables[0], missing=missing),))
    assert "\nother  not installed: pip install other\n" in report.to_text(comparison)
    assert "\n| other | not installed: pip install other | " in report.to_markdown(comparison)
    (told,) = json.loads(report.to_json(comparison))["tables"][0]["missing"]
    assert told == {"label": "other", "reason": "not installed: pip install other"}


@pytest.mark.parametrize("width", [1, 40, 70, 100, 1000])
def test_wide_tables_go_on_below(make_run, width):
    for method in ("one", "another"):
        root = make_run(method).parents[1]
    comparison = compare([root], ["au_prc", "map", "hvr", "accuracy_*"])
    wide, narrow = (report.to_text(comparison, limit).split("\n\n")[:-1] for limit in (None, width))
    narrow[0] = narrow[0].partition("\n")[2]
    _, header, *rows = wide[0].splitlines()
    blocks = [[line.split() for line in block.splitlines()] for block in narrow]
    for number, line in enumerate([header, *rows]):
        assert all(block[number][0] == line.split()[0] for block in blocks)
        joined = [word for block in blocks for word in block[number][1:]]
        assert joined == line.split()[1:]
    longest = max(len(line) for block in narrow for line in block.splitlines())
    assert longest <= max(width, len("another  accuracy_balanced"))
    assert len(blocks) > 1 or width >= 100


def test_commands_stand_with_the_runs(make_run):
    comparison = compare([make_run(results={"command": "hlstm train --seed 0"}), make_run(seed=1)])
    lines = report.to_markdown(comparison).splitlines()
    assert lines[-2].endswith("| `hlstm train --seed 0` |")
    assert lines[-1].endswith("| - |")
    runs = json.loads(report.to_json(comparison))["tables"][0]["rows"][0]["runs"]
    assert [run["command"] for run in runs] == ["hlstm train --seed 0", None]

"""Ranks and tests against Demsar's worked example and scipy; bootstrap intervals against their definition."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata
from sklearn.metrics import average_precision_score

from hmc_shared.compare.comparison import Comparison, compare
from hmc_shared.compare.significance import (
    critical_difference_diagram,
    paired_bootstrap,
    rank_methods,
    to_text,
)

# Demsar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006, Table 6: AUC of C4.5,
# its parameters m and cf set or not. Its ranks are of unrounded values: in the last row but one, one
# 0.975 beats the other.
METHODS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
AUC = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.97501, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


# Qi and Chelmis, "Hybrid loss for hierarchical multi-label classification network", Table II: AU(PRC) of
# C-HMCNN, HMCN-R, HMCN-F, HMC-LMLP, CLUS-Ens, HMCN-CHMC and HLSTM on 20 data sets. HMC-LMLP lacks four.
AU_PRC = np.array(
    [
        [0.255, 0.247, 0.252, 0.207, 0.227, 0.263, 0.267],
        [0.195, 0.189, 0.193, 0.182, 0.187, 0.253, 0.199],
        [0.306, 0.298, 0.298, 0.245, 0.286, 0.224, 0.289],
        [0.302, 0.300, 0.301, 0.242, 0.271, 0.278, 0.288],
        [0.286, 0.283, 0.284, 0.235, 0.267, 0.304, 0.349],
        [0.258, 0.249, 0.254, 0.211, 0.231, 0.281, 0.328],
        [0.292, 0.290, 0.291, 0.236, 0.284, 0.301, 0.311],
        [0.215, 0.210, 0.211, 0.186, 0.211, 0.246, 0.272],
        [0.413, 0.395, 0.400, 0.361, 0.387, 0.420, 0.452],
        [0.370, 0.368, 0.369, 0.343, 0.361, 0.395, 0.454],
        [0.455, 0.435, 0.440, 0.406, 0.433, 0.412, 0.487],
        [0.447, 0.450, 0.452, 0.373, 0.422, 0.379, 0.457],
        [0.436, 0.416, 0.428, 0.380, 0.415, 0.428, 0.479],
        [0.414, 0.463, 0.465, 0.371, 0.395, 0.437, 0.474],
        [0.446, 0.443, 0.447, 0.370, 0.438, 0.473, 0.491],
        [0.382, 0.375, 0.376, 0.342, 0.371, 0.410, 0.450],
        [0.758, 0.514, 0.530, math.nan, 0.501, 0.719, 0.776],
        [0.756, 0.710, 0.724, math.nan, 0.696, 0.764, 0.781],
        [0.956, 0.904, 0.950, math.nan, 0.803, 0.681, 0.932],
        [0.927, 0.897, 0.920, math.nan, 0.881, 0.872, 0.926],
    ]
)


def comparison_of(values, methods, metric="map", protocol="default") -> Comparison:
    """Tables of one row a method; NaN is a row that is not there."""
    tables = [
        SimpleNamespace(
            dataset=f"set {number}",
            protocol=protocol,
            all_metrics=(metric,),
            rows=[
                SimpleNamespace(
                    label=name, method=name, metric=lambda _, value=value: SimpleNamespace(mean=value)
                )
                for name, value in zip(methods, row, strict=True)
                if not math.isnan(value)
            ],
        )
        for number, row in enumerate(values)
    ]
    return Comparison(tuple(tables), ())  # type: ignore[arg-type]


class TestRanks:
    def test_demsars_example(self):
        ranks = rank_methods(comparison_of(AUC, METHODS), "test/map")
        assert ranks.average == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
        assert ranks.critical_difference(0.05) == pytest.approx(1.25, abs=5e-3)
        assert ranks.critical_difference(0.10) == pytest.approx(1.12, abs=5e-3)
        # 9.28 in the paper, which does not correct for ties.
        n, k = AUC.shape
        uncorrected = 12 * n / (k * (k + 1)) * (np.sum(ranks.average**2) - k * (k + 1) ** 2 / 4)
        assert uncorrected == pytest.approx(9.28, abs=5e-3)
        assert ranks.friedman >= uncorrected
        assert (ranks.friedman, ranks.friedman_p) == pytest.approx(tuple(friedmanchisquare(*AUC.T)))

    def test_pairs_differ_where_their_ranks_are_a_critical_difference_apart(self):
        rng = np.random.default_rng(0)
        ranks = rank_methods(comparison_of(rng.normal(size=(30, 5)) + np.arange(5) / 3, "abcde"), "map")
        for alpha in (0.01, 0.05, 0.3):
            apart = np.abs(ranks.average[:, None] - ranks.average) > ranks.critical_difference(alpha)
            assert np.array_equal(apart, ranks.nemenyi_p < alpha)
            assert apart.any()

    def test_of_errors_the_least_is_best(self):
        values = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.1]]
        up, down = (rank_methods(comparison_of(values, "ab", name), name) for name in ("map", "hvr"))
        assert up.ranks.tolist() == rankdata(-np.array(values), axis=1).tolist()
        assert (up.ranks + down.ranks == 3).all()
        assert math.isnan(up.friedman)

    def test_sets_without_a_method_are_left_out_and_named(self):
        values = [[0.1, 0.2, 0.3], [0.2, 0.1, math.nan], [0.3, 0.1, 0.2]]
        ranks = rank_methods(comparison_of(values, "abc"), "map")
        assert ranks.datasets == ("set 0", "set 2")
        assert ranks.notes == ("set 1 is left out: it has no map of c.",)
        assert rank_methods(comparison_of(values, "abc"), "map", ["b", "a"]).ranks.tolist() == [
            [1, 2],
            [2, 1],
            [2, 1],
        ]

    def test_what_is_missing_comes_last_in_the_hlstm_paper(self):
        comparison = comparison_of(AU_PRC, "abcdefg")
        ranks = rank_methods(comparison, "map", missing="last")
        # Printed with two digits: 2.65, 4.47, 3.37, 6.95, 5.67, 3.37, 1.50, and 2.01.
        assert ranks.average.tolist() == [2.65, 4.475, 3.375, 6.95, 5.675, 3.375, 1.5]
        assert ranks.critical_difference() == pytest.approx(2.01, abs=5e-3)
        # "with statistical significance", says the paper, but not from the three next ones.
        assert (ranks.nemenyi_p[6] < 0.05).tolist() == [False, True, False, True, True, False, False]
        assert len(ranks.notes) == 4
        assert ranks.notes[-1].endswith(" has no map of d: ranked last.")
        assert "- (7)" in to_text(ranks)
        assert len(rank_methods(comparison, "map").datasets) == 16

    def test_several_that_are_missing_share_the_last_ranks(self):
        values = [[0.1, math.nan, math.nan], [0.1, 0.2, 0.3], [math.nan] * 3]
        for metric, full in (("map", [3, 2, 1]), ("hvr", [1, 2, 3])):
            ranks = rank_methods(comparison_of(values, "abc", metric), metric, missing="last")
            assert ranks.ranks.tolist() == [[1, 2.5, 2.5], full]
            assert ranks.notes[-1] == f"set 2 is left out: it has no {metric} of a, b, c."

    def test_rows_of_one_method_are_not_mixed(self):
        comparison = comparison_of(AUC, METHODS)
        comparison.tables[3].rows[0].method = "C4.5+m"
        comparison.tables[3].rows[0].label = "C4.5+m (lr=1)"
        with pytest.raises(ValueError, match=r"Found on set 3: C4.5\+m \(lr=1\), C4.5\+m, "):
            rank_methods(comparison, "map")

    @pytest.mark.parametrize(
        ("comparison", "metric", "methods", "message"),
        [
            (comparison_of(AUC, METHODS), "mapp", (), "`--metric` should be one that the runs have"),
            (comparison_of(AUC, METHODS), "map", ("C5",), "`--methods` should be among C4.5, .* Found 'C5'"),
            (comparison_of(AUC, METHODS), "map", ("C4.5",), "Found 1 method on 14 data sets"),
            (comparison_of(AUC[:1], METHODS), "map", (), "Found 4 methods on 1 data set"),
            (
                Comparison(
                    (
                        *comparison_of(AUC, METHODS).tables,
                        *comparison_of(AUC, METHODS, protocol="paper").tables,
                    ),
                    (),
                ),
                "map",
                (),
                "one protocol. Found default, paper",
            ),
        ],
        ids=["metric", "method", "one method", "one data set", "protocols"],
    )
    def test_what_cannot_be_ranked(self, comparison, metric, methods, message):
        with pytest.raises(ValueError, match=message):
            rank_methods(comparison, metric, methods)

    def test_without_the_extra_one_line_says_how_to_get_it(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "scikit_posthocs", None)
        with pytest.raises(ValueError, match=r"pip install 'hmc-shared\[stats\]'"):
            rank_methods(comparison_of(AUC, METHODS), "map")

    def test_the_diagram_names_every_method(self, tmp_path):
        path = tmp_path / "ranks.svg"
        ranks = rank_methods(comparison_of(AUC, METHODS), "map")
        critical_difference_diagram(ranks, path)
        text = path.read_text()  # matplotlib draws words as paths, and says in a comment what they are
        for name, rank in zip(METHODS, ranks.average, strict=True):
            assert f"<!-- {name} ({rank:.2f}) -->" in text or f"<!-- ({rank:.2f}) {name} -->" in text
        assert "critical difference 1.25 -->" in text

    def test_of_run_folders(self, make_run):
        for dataset in ("toy", "other toy"):
            for seed in (0, 1):
                root = make_run("good", seed=seed, dataset=dataset, noise=0.1).parents[3]
                make_run("bad", seed=seed, dataset=dataset, noise=3)
        ranks = rank_methods(compare([root]), "au_prc")
        assert dict(zip(ranks.methods, ranks.average, strict=True)) == {"good": 1, "bad": 2}
        text = to_text(ranks)
        assert "average rank" in text
        assert text.endswith("differ at level 0.05: none do")  # two data sets say nothing
        assert float(text.split("ranks ")[1].split()[0]) == pytest.approx(1.96 / 2**0.5, abs=0.005)


class TestBootstrap:
    def test_the_difference_is_that_of_scikit_learn_and_the_interval_is_around_it(self, make_run):
        one, other = make_run("one", seed=0), make_run("other", seed=1)
        difference = paired_bootstrap(one, other, "test/au_prc", resamples=200)
        expected = []
        for folder in (one, other):
            with np.load(folder / "predictions.npz") as file:
                expected.append(average_precision_score(file["targets"], file["scores"], average="micro"))
        assert (difference.first, difference.second) == pytest.approx(tuple(expected), abs=1e-12)
        assert difference.low < difference.difference < difference.high
        assert difference == paired_bootstrap(one, other, "au_prc", resamples=200)
        assert difference != paired_bootstrap(one, other, "au_prc", resamples=200, seed=1)
        back = paired_bootstrap(other, one, "au_prc", resamples=200)
        assert (back.low, back.high) == pytest.approx((-difference.high, -difference.low))

    def test_a_run_does_not_differ_from_itself(self, make_run, capfd):
        run = make_run()
        difference = paired_bootstrap(run, run, "map", resamples=20, progress=True)
        assert not capfd.readouterr().err  # a bar is for a terminal
        assert (difference.difference, difference.low, difference.high) == (0, 0, 0)

    def test_the_interval_of_a_mean_is_the_one_of_theory(self, make_run):
        """Hamming accuracy is a mean over samples: its bootstrap has the standard error of the difference."""
        one, other = make_run("one", seed=0), make_run("other", seed=1)
        difference = paired_bootstrap(one, other, "hamming_accuracy", resamples=2000)
        right = []
        for folder in (one, other):
            with np.load(folder / "predictions.npz") as file:
                right.append(((file["scores"] >= 0) == file["targets"].astype(bool)).mean(1))
        differences = right[0] - right[1]
        error = differences.std() / math.sqrt(len(differences))
        assert difference.high - difference.low == pytest.approx(2 * 1.96 * error, rel=0.1)

    def test_other_data_and_unknown_metrics_are_refused(self, make_run):
        one, other = make_run("one"), make_run("other")
        with pytest.raises(ValueError, match=r"`--metric` should be among au_prc, .* Found 'auc'"):
            paired_bootstrap(one, other, "auc")
        with pytest.raises(ValueError, match="`level` should lie in"):
            paired_bootstrap(one, other, "map", level=1.0)
        unknown = make_run("unknown", arrays={"train_counts": None})
        with pytest.raises(ValueError, match=r"`--metric` should be among .* Found 'map_tail'"):
            paired_bootstrap(one, unknown, "map_tail")
        with np.load(other / "predictions.npz") as file:
            arrays = dict(file)
        arrays["targets"] = np.roll(arrays["targets"], 1, axis=0)
        np.savez(other / "predictions.npz", **arrays)
        with pytest.raises(ValueError, match="should share test samples"):
            paired_bootstrap(one, other, "map")


def test_results_are_not_read(make_run):
    """Whatever a run reports of itself, the interval is that of its predictions."""
    one, other = make_run("one", seed=0), make_run("other", seed=1)
    before = paired_bootstrap(one, other, "map", resamples=10)
    content = json.loads((one / "results.json").read_text())
    content["metrics"]["test/map"] = 1.0
    (one / "results.json").write_text(json.dumps(content))
    assert paired_bootstrap(one, other, "map", resamples=10) == before

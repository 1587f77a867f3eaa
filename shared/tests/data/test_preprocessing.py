"""Statistics, imputation and sampled splits, beside scikit-learn and by their properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from hmc_shared.data.preprocessing import (
    Protocol,
    column_means,
    divide,
    impute,
    prepare,
    sample_splits,
    shuffled,
    stratified_sample,
)


@pytest.fixture
def files() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    files = {name: rng.normal(3, 5, (n, 6)) for name, n in (("train", 50), ("validation", 20), ("test", 30))}
    for x in files.values():
        x[rng.random(x.shape) < 0.2] = np.nan
        x[:, 2] *= 1e6
        x[:, 3] = 0.1  # constant; its deviation is not exactly 0 in floating point
    files["test"][:, 3] = 7.0
    return files


def standardised(
    files: dict[str, np.ndarray], protocol: Protocol, drawn: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What a model makes of the inputs: (x - mean) / scale, and 0 where x is missing."""
    inputs, mean, scale = prepare(files, protocol, drawn)
    return {name: np.nan_to_num((x - mean) / scale, nan=0.0) for name, x in inputs.items()}


@pytest.mark.parametrize("protocol", ["default", "paper"])
def test_inputs_are_raw_and_statistics_are_float64(files: dict[str, np.ndarray], protocol: Protocol) -> None:
    inputs, mean, scale = prepare(files, protocol)
    assert mean.dtype == scale.dtype == np.float64
    for name, x in files.items():
        assert inputs[name].dtype == np.float32
        expected = x if protocol == "default" else SimpleImputer().fit_transform(x)
        np.testing.assert_allclose(inputs[name], expected, rtol=1e-6)
        if protocol == "default":
            np.testing.assert_array_equal(inputs[name], x.astype(np.float32))


def test_default_uses_the_training_rows_only(files: dict[str, np.ndarray]) -> None:
    prepared = standardised(files, "default")
    imputer = SimpleImputer().fit(files["train"])
    scaler = StandardScaler().fit(imputer.transform(files["train"]))
    _, mean, scale = prepare(files, "default")
    np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-12)
    assert np.isinf(scale).tolist() == [False, False, False, True, False, False]
    np.testing.assert_allclose(np.delete(scale, 3), np.delete(scaler.scale_, 3), rtol=1e-12)
    for name, x in files.items():
        expected = scaler.transform(imputer.transform(x))
        expected[:, 3] = 0  # nothing can be learnt from a column that never varied
        np.testing.assert_allclose(prepared[name], expected, rtol=1e-5, atol=1e-6)


def test_paper_imputes_each_file_and_scales_by_training_and_validation(files: dict[str, np.ndarray]) -> None:
    prepared = standardised(files, "paper")
    imputed = {name: SimpleImputer().fit_transform(x) for name, x in files.items()}
    scaler = StandardScaler().fit(np.concatenate([imputed["train"], imputed["validation"]]))
    for name, x in imputed.items():
        np.testing.assert_allclose(prepared[name], scaler.transform(x), rtol=1e-5, atol=1e-6)
    assert np.abs(prepared["test"][:, 3] - 6.9).max() < 1e-5


def test_paper_imputes_a_file_before_it_is_divided(files: dict[str, np.ndarray]) -> None:
    drawn = np.arange(50) % 3 == 0
    prepared = standardised({"train": files["train"], "test": files["test"]}, "paper", drawn)
    scaled = StandardScaler().fit_transform(SimpleImputer().fit_transform(files["train"]))
    np.testing.assert_allclose(prepared["train"], scaled[~drawn], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prepared["validation"], scaled[drawn], rtol=1e-5, atol=1e-6)


def test_default_never_sees_the_drawn_rows(files: dict[str, np.ndarray]) -> None:
    drawn = np.arange(50) % 3 == 0
    changed = files["train"].copy()
    changed[drawn] *= 100
    one, other = (
        standardised({"train": x, "test": files["test"]}, "default", drawn) for x in (files["train"], changed)
    )
    np.testing.assert_array_equal(one["train"], other["train"])
    np.testing.assert_array_equal(one["test"], other["test"])
    assert not np.array_equal(one["validation"], other["validation"])


def test_a_column_without_any_value_becomes_zero(files: dict[str, np.ndarray]) -> None:
    files["train"][:, 0] = np.nan
    assert not any(x[:, 0].any() for x in standardised(files, "default").values())


def test_means_of_what_is_there_take_the_place_of_what_is_not() -> None:
    x = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    assert column_means(x).tolist() == [2, 5, 0]
    assert impute(x, np.array([7.0, 8.0, 9.0])).tolist() == [[1, 8, 9], [3, 5, 9]]


def test_drawn_rows_leave_the_training_file() -> None:
    files = {"train": np.arange(5), "test": np.arange(2)}
    parts = divide(files, np.array([False, True, False, False, True]))
    assert {name: rows.tolist() for name, rows in parts.items()} == {
        "train": [0, 2, 3],
        "validation": [1, 4],
        "test": [0, 1],
    }
    assert divide(files, None) is files


def test_sampled_splits_are_a_partition_with_the_share_of_every_class() -> None:
    targets = np.eye(4, dtype=bool)[np.repeat(np.arange(4), [100, 50, 25, 10])]
    rows = sample_splits(targets, 0)
    assert sorted(np.concatenate([*rows.values()])) == list(range(185))
    assert all((np.diff(of_split) > 0).all() for of_split in rows.values())
    counts = {name: targets[of_split].sum(0).tolist() for name, of_split in rows.items()}
    assert counts == {"train": [60, 30, 15, 6], "validation": [20, 10, 5, 2], "test": [20, 10, 5, 2]}


@given(st.integers(0, 200), st.integers(0, 2**32))
def test_shuffled_is_a_permutation(n: int, seed: int) -> None:
    order = shuffled(n, seed)
    assert sorted(order) == list(range(n))
    np.testing.assert_array_equal(order, shuffled(n, seed))


def test_draw_keeps_the_share_of_every_class() -> None:
    rng = np.random.default_rng(1)
    rates = np.geomspace(0.5, 0.004, 30)  # a long tail: about 1000 to 8 rows
    targets = rng.random((2000, 30)) < rates
    drawn = stratified_sample(targets, 0.3, 0)
    counts, kept = targets.sum(0), targets[drawn].sum(0)
    assert abs(drawn.mean() - 0.3) < 0.01
    assert np.all(np.abs(kept - 0.3 * counts) <= np.maximum(1, 0.02 * counts))
    # A plain random draw is far from that: the test would notice one.
    plain = targets[shuffled(2000, 0)[:600]].sum(0)
    assert np.any(np.abs(plain - 0.3 * counts) > np.maximum(1, 0.02 * counts))


@given(st.integers(1, 30), st.integers(1, 5), st.floats(0.1, 0.5), st.integers(0, 5))
def test_draw_is_repeatable_and_of_about_the_right_size(
    n: int, classes: int, share: float, seed: int
) -> None:
    targets = np.random.default_rng(seed).random((n, classes)) < 0.3
    drawn = stratified_sample(targets, share, seed)
    assert drawn.dtype == bool
    assert abs(drawn.sum() - share * n) <= classes + 1
    np.testing.assert_array_equal(drawn, stratified_sample(targets, share, seed))


def test_one_class_a_row_gives_exact_shares() -> None:
    targets = np.eye(4, dtype=bool)[np.repeat(np.arange(4), [100, 50, 20, 10])]
    assert targets[stratified_sample(targets, 0.3, 0)].sum(0).tolist() == [30, 15, 6, 3]

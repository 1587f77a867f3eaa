"""Images and weights as users of scikit-learn have them."""

import numpy as np
import pandas  # comes with datasets
import pytest

from hmc_shared.estimator.inputs import column_of_words, is_images, read_images, read_weights

COLOURED = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)


def test_images_become_channels_first():
    assert np.array_equal(read_images(COLOURED), COLOURED.transpose(0, 3, 1, 2))
    assert np.array_equal(read_images(list(COLOURED)), COLOURED.transpose(0, 3, 1, 2))
    assert np.array_equal(read_images(COLOURED.astype(np.int64)), COLOURED.transpose(0, 3, 1, 2))
    grey = COLOURED[..., 0]
    for given in (grey, grey[..., None]):
        assert np.array_equal(read_images(given), grey[:, None])


def test_images_are_told_from_vectors():
    assert is_images(COLOURED)
    assert is_images(list(COLOURED))
    assert not any(map(is_images, (COLOURED[0, 0], COLOURED[0, 0].tolist(), [], None)))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 5)), r"\(n, height, width, 3\).*Found the shape \(2, 5\)"),
        (np.zeros((2, 3, 8, 8), dtype=np.uint8), r"Found the shape \(2, 3, 8, 8\)"),
        (np.full((2, 4, 4, 3), 0.5), "whole numbers from 0 to 255.*float64 values from 0.5 to 0.5"),
        (np.full((2, 4, 4, 3), 256), "from 256 to 256"),
        ([COLOURED[0], COLOURED[0, :2]], "images of one size"),
    ],
    ids=["vectors", "channels first", "floats", "large", "sizes"],
)
def test_what_are_no_images_is_refused(X, message):
    with pytest.raises(ValueError, match=message):
        read_images(X)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], r"shape \(3,\)\. Found \(2,\)"),
        (np.ones((3, 1)), r"shape \(3,\)"),
        ([1.0, -0.5, 1.0], r"negative\. Found -0\.5"),
        ([0.0, 0.0, 1.0], "zero for all rows, or for all but one"),
        ([1.0, np.nan, 1.0], "sample_weight contains NaN"),
        (2.0, r"shape \(3,\)\. Found \(\)"),
        (["a", "b", "c"], r"`sample_weight` should hold numbers\. Found \['a'"),
    ],
    ids=["rows", "columns", "negative", "zero", "NaN", "scalar", "words"],
)
def test_what_are_no_weights_is_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        read_weights(weights, 3)


def test_one_weight_is_enough_for_a_score():
    assert read_weights([0, 0, 3], 3, least=1).tolist() == [0, 0, 3]
    with pytest.raises(ValueError, match=r"zero for all rows\."):
        read_weights([0, 0, 0], 3, least=1)


def test_the_column_of_a_frame_that_holds_no_numbers_is_found():
    numbers = pandas.DataFrame({"a": [1, 2], "b": pandas.array([1, None], dtype="Int64"), "c": ["1.5", None]})
    assert column_of_words(numbers) is None
    assert column_of_words(np.array([["a"]])) is None
    days = pandas.to_datetime(["2020-01-01", "2020-01-02"])
    for words in (["1", "grün"], pandas.Categorical([None, "grün"]), days):
        found = column_of_words(numbers.assign(**{"Länge cm": words}))
        assert found is not None
        assert found[0] == "Länge cm"
        assert found[1] in ("grün", days[0])

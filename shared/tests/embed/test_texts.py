"""TF-IDF and singular vectors: the formula, the training rows alone, arrays instead of a pickle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmc_shared.embed.embedder import ARRAYS, FILE, Embedder, load_embedder, to_float16
from hmc_shared.embed.texts import TextFit, fit_texts

TEXTS = ["red kettle", "blue kettle", "Red spade", "blue spade", "a rake", "häck saw"]


def embedder(size=4):
    fit = fit_texts(TEXTS, size)
    return Embedder("tfidf", "texts", len(fit), ("title",), fit=fit)


def test_a_vector_is_what_the_formula_says():
    fit = fit_texts(TEXTS, 4)
    index = {term: at for at, term in enumerate(fit.terms)}
    weights = np.zeros(len(fit.terms))
    pieces = [
        f" {word} "[i : i + n] for word in ("red", "red", "zzz") for n in (2, 3, 4) for i in range(6 - n)
    ]
    for piece in {*pieces} & index.keys():
        weights[index[piece]] = (1 + np.log(pieces.count(piece))) * fit.idf[index[piece]]
    expected = fit.components.astype(np.float64) @ (weights / np.linalg.norm(weights))
    np.testing.assert_allclose(fit(["Red réd zzz"])[0], expected, atol=1e-5)


def test_components_are_orthogonal_and_sized():
    fit = fit_texts(TEXTS, 4)
    components = fit.components.astype(np.float64)
    np.testing.assert_allclose(components @ components.T, np.eye(4), atol=2e-3)
    assert len(fit_texts(TEXTS, 999)) == len(TEXTS)  # no more than there are texts


def test_unknown_words_are_zero_and_missing_texts_nan():
    vectors = embedder().of_texts(["qqq", None, "kettle"])
    assert vectors.dtype == np.float16
    assert not vectors[0].any()
    assert np.isnan(vectors[1]).all()
    assert vectors[2].any()


@given(st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=5))
def test_what_was_saved_embeds_alike(tmp_path_factory, texts):
    one, folder = embedder(), tmp_path_factory.mktemp("embedder")
    one.save(folder)
    other = load_embedder(folder)
    assert other is not None
    assert other.features == one.features == ("vector[0]", "vector[1]", "vector[2]", "vector[3]")
    np.testing.assert_array_equal(other.of_texts(texts), one.of_texts(texts))
    assert sorted(path.name for path in folder.iterdir()) == [FILE, ARRAYS]
    for path in folder.iterdir():
        assert not path.read_bytes().startswith((b"\x80", b"PK"))  # neither a pickle nor an archive of one


def test_texts_without_a_word():
    with pytest.raises(ValueError, match=r"the training texts should have words\. Found none\."):
        fit_texts(["", " "], 4)


def test_no_file_is_no_embedder(tmp_path):
    assert load_embedder(tmp_path) is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"width": 4', '"width": 5', "`width` should be 4. Found 5."),
        ('"width": 4', '"width": true', "`width` should not be True"),
        ('"resize": "crop"', '"resize": "cut"', "`resize` should not be 'cut'"),
        ('"takes": "texts"', '"takes": "sounds"', "`takes` should not be 'sounds'"),
        ('"columns": ["title"]', '"columns": []', "`columns` should not be []"),
        ('"columns": ["title"]', '"columns": "title"', "`columns` should be a list of names"),
        ('"terms": [', '"terms": ["more", ', "terms, idf and components should be V"),
        ('"terms": [', '"words": [', "'terms'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, old, new, says):
    embedder().save(tmp_path)
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / FILE).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=f"{FILE} does not say how to embed") as error:
        load_embedder(tmp_path)
    assert says in str(error.value)


def test_terms_given_twice_and_numbers_that_are_none():
    fit = fit_texts(TEXTS, 2)
    with pytest.raises(ValueError, match="each term should stand once"):
        TextFit(("a", *fit.terms[:-2], "a"), fit.idf, fit.components)
    with pytest.raises(ValueError, match="should be finite"):
        TextFit(fit.terms, fit.idf * np.float32(np.nan), fit.components)


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda _: b"", lambda _: None])
def test_damaged_arrays_are_named(tmp_path, damage):
    embedder().save(tmp_path)
    content = damage((tmp_path / ARRAYS).read_bytes())
    if content is None:
        (tmp_path / ARRAYS).unlink()
    else:
        (tmp_path / ARRAYS).write_bytes(content)
    with pytest.raises(ValueError, match="does not say how to embed"):
        load_embedder(tmp_path)


def test_numbers_that_float16_does_not_hold():
    with pytest.raises(ValueError, match=r"x\.npy, row 12: .* at most 65504, .* Found 70000: divide them\."):
        to_float16(np.array([[1.0], [70000.0]]), "x.npy", 10)

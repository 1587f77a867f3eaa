"""`hmc embed`: from a set to a table that is read alike, resumed to the same bytes, predicted raw."""

import csv
import re

import numpy as np
import pytest
import torch

from hmc_shared.cli.commands import PredictOptions
from hmc_shared.cli.embed import Embed
from hmc_shared.data import load_dataset
from hmc_shared.data.formats.hf_export import export
from hmc_shared.embed import command as of_command
from hmc_shared.embed import folder as of_folder
from hmc_shared.embed.command import command
from hmc_shared.model import load_model
from hmc_shared.predict.inputs import predict

PATHS = [("home", "tea", "kettle"), ("home", "tea", "pot"), ("garden", "tools", "spade"), ("garden", "", "")]
COLUMNS = "top,middle,leaf"


@pytest.fixture
def products(tmp_path):
    """A table of 60 titles with columns of levels; one title is missing, and one is a word for that."""
    path = tmp_path / "shop" / "products.csv"
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "maker", *COLUMNS.split(",")])
        for row in range(60):
            levels = PATHS[row % len(PATHS)]
            title = {7: "", 8: "N/A"}.get(row, f"{' '.join(levels)} number {row}")
            writer.writerow([f"p-{row}", title, f"maker {row % 3}", *levels])
    return path


def options(tmp_path, products, **more):
    words = {"levels": COLUMNS, "text": ("title",), "size": 8, "output": tmp_path / "vectors"} | more
    return Embed(f"table:{products}", **words)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def test_splits_labels_ids_and_hierarchy_are_those_of_the_source(tmp_path, products):
    command(options(tmp_path, products))
    # The row number as the only feature: the splits that the table itself would get.
    text = products.read_text().splitlines()
    lines = [f"{text[0]},x", *(f"{line},{row}" for row, line in enumerate(text[1:]))]
    products.write_text("\n".join(lines))
    expected = load_dataset(f"table:{products}", levels=COLUMNS)
    found = load_dataset(f"table:{tmp_path / 'vectors'}")
    assert found.hierarchy == expected.hierarchy
    assert found.feature_names == tuple(f"vector[{i}]" for i in range(8))
    for part, split in expected.splits.items():
        assert found.splits[part].ids == split.ids
        assert torch.equal(found.splits[part].targets, split.targets)
        missing = [name in ("p-7", "p-8") for name in split.ids]
        assert found.splits[part].inputs.isnan().all(1).tolist() == missing


def test_the_fit_sees_training_rows_alone(tmp_path, products):
    command(options(tmp_path, products))
    first = (tmp_path / "vectors" / "embedder.json").read_bytes()
    train = set(load_dataset(f"table:{tmp_path / 'vectors'}").train.ids)
    with products.open(newline="") as file:
        rows = list(csv.reader(file))
    for row in rows[1:]:
        row[1] += "" if row[0] in train else " qqqq"
    with products.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    command(options(tmp_path, products, overwrite=True))
    assert (tmp_path / "vectors" / "embedder.json").read_bytes() == first


def test_several_columns_are_joined(tmp_path, products):
    command(options(tmp_path, products, text=("title", "maker")))
    found = load_dataset(f"table:{tmp_path / 'vectors'}")
    assert not any(split.inputs.isnan().any() for split in found.splits.values())
    assert found.embedder.columns == ("title", "maker")
    assert any("vectors of 'title' and 'maker', by tfidf" in note for note in found.notes)


def test_an_exported_set_keeps_its_embedder(tmp_path, products):
    command(options(tmp_path, products))
    dataset = load_dataset(f"table:{tmp_path / 'vectors'}")
    export(dataset, tmp_path / "exported")
    found = load_dataset(f"hf:{tmp_path / 'exported'}")
    texts = ["kettle", None, "spade number 3"]
    np.testing.assert_array_equal(found.embedder.of_texts(texts), dataset.embedder.of_texts(texts))


def test_resumption_after_a_kill_gives_the_same_bytes(tmp_path, products, monkeypatch):
    monkeypatch.setattr(of_folder, "ROWS", 16)
    command(options(tmp_path, products, output=tmp_path / "whole"))
    write, written = of_folder.EmbeddingFolder.write_part, []

    def stop_at_third(folder, first, vectors):
        written.append(first)
        if len(written) == 3:
            raise KeyboardInterrupt
        write(folder, first, vectors)

    stopped = options(tmp_path, products)
    with monkeypatch.context() as patch:
        patch.setattr(of_folder.EmbeddingFolder, "write_part", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            command(stopped)
    assert written == [0, 16, 32]
    with pytest.raises(ValueError, match="is not empty: pass --resume"):
        command(options(tmp_path, products))
    with pytest.raises(ValueError, match=r"`--resume` should keep .*: `size` is 8 there\. Found 9\."):
        command(options(tmp_path, products, resume=True, size=9))
    seen = []
    monkeypatch.setattr(
        of_folder.EmbeddingFolder,
        "write_part",
        lambda folder, first, vectors: (seen.append(first), write(folder, first, vectors)),
    )
    command(options(tmp_path, products, resume=True))
    assert seen == [32, 48]
    whole, resumed = files(tmp_path / "whole"), files(tmp_path / "vectors")
    del whole["embedding.json"], resumed["embedding.json"]  # the state names the options of that call
    assert whole == resumed


def test_a_finished_folder_is_left_as_it_is(tmp_path, products, monkeypatch):
    command(options(tmp_path, products))
    before = files(tmp_path / "vectors")
    monkeypatch.setattr(of_command, "fit_texts", lambda *_: pytest.fail("nothing is left to do"))
    command(options(tmp_path, products, resume=True))
    assert files(tmp_path / "vectors") == before
    with pytest.raises(ValueError, match=r"`--resume` should keep what .*: `size` is 8 there\. Found 9"):
        command(options(tmp_path, products, resume=True, size=9))
    products.write_text(products.read_text().replace("number 3", "number three"))
    with pytest.raises(ValueError, match="`digest` is"):
        command(options(tmp_path, products, resume=True))
    assert files(tmp_path / "vectors") == before


def test_what_cannot_be_embedded_leaves_a_finished_folder_as_it_is(tmp_path, products):
    command(options(tmp_path, products))
    before = files(tmp_path / "vectors")
    with pytest.raises(ValueError, match=r"Found none at .*typo\.csv"):
        command(options(tmp_path, tmp_path / "typo.csv", overwrite=True))
    with pytest.raises(ValueError, match="the encoder of texts should be"):
        command(options(tmp_path, products, encoder="resnet18", overwrite=True))
    with pytest.raises(
        ValueError, match=r"`--output` should be apart from what is read\. Found .*vectors with"
    ):
        command(options(tmp_path, tmp_path / "vectors", text=("id",), levels=None, overwrite=True))
    assert files(tmp_path / "vectors") == before
    command(options(tmp_path, products, size=3, overwrite=True))
    assert load_dataset(f"table:{tmp_path / 'vectors'}").num_features == 3


def test_only_an_embedding_is_overwritten(tmp_path, products):
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "table.parquet").write_text("mine")
    for option in ("overwrite", "resume"):
        with pytest.raises(ValueError, match=f"holds no embedding .*`--{option}` will not write there"):
            command(options(tmp_path, products, **{option: True}))
    assert (tmp_path / "vectors" / "table.parquet").read_text() == "mine"


def test_vectors_that_are_there_already(tmp_path, products):
    vectors = np.arange(180, dtype=np.float32).reshape(60, 3)
    np.save(tmp_path / "mine.npy", vectors)
    command(options(tmp_path, products, text=(), array=tmp_path / "mine.npy"))
    found = load_dataset(f"table:{tmp_path / 'vectors'}")
    assert found.embedder is None
    for split in found.splits.values():
        rows = [int(name.removeprefix("p-")) for name in split.ids]
        np.testing.assert_array_equal(split.inputs.numpy(), vectors[rows])


@pytest.mark.parametrize("shape", [(59, 3), (60,), (60, 0)])
def test_vectors_have_a_row_for_each_of_the_table(tmp_path, products, shape):
    np.save(tmp_path / "mine.npy", np.zeros(shape))
    with pytest.raises(ValueError, match="should have a vector for each of the 60 rows of"):
        command(options(tmp_path, products, text=(), array=tmp_path / "mine.npy"))


def test_classes_of_any_name_and_several_parents(tmp_path):
    """Names with separators, numbers, words for a missing value; in the order of the hierarchy."""
    edges = ["parent,child", ",na", 'na,"a;b|c"', "na,12", 'none,"a;b|c"', ",zoo", "12,1.5"]
    (tmp_path / "edges.csv").write_text("\n".join(edges))
    rows = [f"r{i},{('12', '1.5', 'zoo', 'a;b|c')[i % 4]},text {i % 4} {i}" for i in range(40)]
    (tmp_path / "t.csv").write_text("id,labels,title\n" + "\n".join(rows))
    command(Embed(f"table:{tmp_path / 't.csv'}", text=("title",), output=tmp_path / "v"))
    found = load_dataset(f"table:{tmp_path / 'v'}")
    assert found.hierarchy.names == ("na", "none", "zoo", "a;b|c", "12", "1.5")
    assert found.hierarchy.parents(3) == [0, 1]
    assert found.train.targets.any(0).sum() == 6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"dataset": "digits"}, "Found 'digits' with it"),
        ({"text": ()}, "without it"),
        ({"array": "x.npy"}, "`--text` and `--array` should not come together"),
        ({"text": (), "array": "x.npy", "encoder": "tfidf"}, "it takes no encoder"),
        ({"size": 0}, "`--size` should"),
        ({"window": "1,99"}, "`--window` is for images. Found it for 'table:t.csv'"),
    ],
)
def test_options_that_do_not_fit(tmp_path, words, says):
    options = {"dataset": "table:t.csv", "output": tmp_path / "v", "text": ("title",)} | words
    with pytest.raises(ValueError, match=re.escape(says)):
        Embed(**options)


def test_an_unknown_encoder_and_column(tmp_path, products, hmc, capsys):
    given = ["embed", f"table:{products}", "--levels", COLUMNS, "--output", tmp_path / "v"]
    assert hmc(*given, "--text", "title", "--encoder", "word2vec") == 2
    assert "the encoder of texts should be tfidf, sentence-transformers:NAME" in capsys.readouterr().err
    assert hmc(*given, "--text", "titel") == 2  # without --overwrite: nothing was begun
    assert "should have a column 'titel'. Found id, title, maker" in capsys.readouterr().err


class TestPrediction:
    @pytest.fixture
    def run(self, tmp_path, products, toy):
        """The folder of a model that was trained, so to say, on the vectors."""
        command(options(tmp_path, products))
        dataset = load_dataset(f"table:{tmp_path / 'vectors'}")
        model = toy.LinearModel(8, dataset.hierarchy)
        model.learn_statistics(dataset)
        model.save_pretrained(tmp_path / "run")
        return tmp_path / "run"

    def test_texts_get_what_their_rows_got(self, tmp_path, products, run):
        of_texts = predict(PredictOptions(str(run), [str(products)], keep=("maker",)))
        of_vectors = predict(PredictOptions(str(run), [str(tmp_path / "vectors" / "table.parquet")]))
        order = [of_vectors.ids.index(name) for name in of_texts.ids]
        assert torch.equal(of_texts.probabilities, of_vectors.probabilities[order])
        assert of_texts.kept["maker"].to_pylist() == [f"maker {row % 3}" for row in range(60)]

    def test_the_model_folder_is_complete_and_holds_no_pickle(self, tmp_path, run):
        (tmp_path / "vectors").rename(tmp_path / "gone")
        (tmp_path / "new.csv").write_text("title\nkettle\n?\n")
        assert predict(PredictOptions(str(run), [str(tmp_path / "new.csv")])).ids == ["0", "1"]
        names = {path.name for path in run.iterdir()}
        assert {"embedder.json", "embedder.safetensors"} < names
        assert not any(name.endswith((".pkl", ".pickle", ".joblib", ".npy", ".pt")) for name in names)
        assert load_model(run).embedder.encoder == "tfidf"

    def test_a_missing_column_and_images_are_refused(self, tmp_path, run):
        (tmp_path / "new.csv").write_text("id,name\n1,kettle\n")
        with pytest.raises(ValueError, match=r"new.csv should have a column 'title'\. Found id, name"):
            predict(PredictOptions(str(run), [str(tmp_path / "new.csv")]))
        with pytest.raises(ValueError, match=r"takes texts or vectors, so a \.csv"):
            predict(PredictOptions(str(run), ["photo.jpg"]))

    def test_another_table_has_no_embedder(self, tmp_path, run):
        vectors = tmp_path / "vectors"
        (vectors / "table.parquet").unlink()
        (vectors / "other.csv").write_text("labels,x\n" + "\n".join(f"kettle,{i}" for i in range(20)))
        dataset = load_dataset(f"table:{vectors}")
        assert dataset.embedder is None
        assert any("is not of these features" in note for note in dataset.notes)

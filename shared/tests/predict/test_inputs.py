"""What the command ``predict`` takes: tables, arrays and images, checked and named where they are wrong."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import csv as pa_csv
from pyarrow import parquet

from hmc_shared import Hierarchy
from hmc_shared.cli.commands import PredictOptions
from hmc_shared.data.formats import table_file
from hmc_shared.data.formats.table_file import open_table
from hmc_shared.predict.decision import Decision
from hmc_shared.predict.inputs import Names, command, logit_blocks, predict, predict_blocks, rows_of_block
from hmc_shared.predict.rollup import choose_rule
from hmc_shared.predict.write import write_table
from hmc_shared.vision.image_files import read_image

TREE = Hierarchy.from_paths(["a/b", "a/c", "d/e"])


@pytest.fixture
def model(toy, tmp_path):
    """A model of three columns with names, saved in the folder "run"."""
    torch.manual_seed(0)
    model = toy.LinearModel(3, TREE)
    model.decision = Decision(threshold=-0.1, features=("x", "y", "z"))
    model.calibration.temperature.fill_(2.0)
    model.calibration.shift.fill_(0.5)
    model.save_pretrained(tmp_path / "run")
    return model.eval()


@pytest.fixture
def image_model(toy, tmp_path):
    torch.manual_seed(0)
    model = toy.ImageModel((3, 8, 8), TREE, resize="imagenet")
    model.save_pretrained(tmp_path / "run")
    return model.eval()


@pytest.fixture
def table(tmp_path):
    """A table with more columns than the model takes, in another order, with a missing value."""
    path = tmp_path / "t.csv"
    path.write_text("z,id,note,x,y\n1,first,n,2,3\n-1,second,n,?,0.5\n")
    return path


ROWS = torch.tensor([[2, 3, 1], [torch.nan, 0.5, -1]])


def read_parquet(path):
    return parquet.read_table(path).to_pydict()


def options(tmp_path, *inputs, **more):
    return PredictOptions(str(tmp_path / "run"), [str(path) for path in inputs], **more)


class TestTables:
    def test_columns_are_taken_by_their_names(self, model, table, tmp_path):
        result = predict(options(tmp_path, table))
        assert result.ids == ["first", "second"]
        assert result.hierarchy == TREE
        assert torch.equal(result.probabilities, model.predict_proba(ROWS))
        assert torch.equal(result.labels, model.predict(ROWS))

    def test_an_array_has_the_columns_in_the_order_of_the_model(self, model, tmp_path):
        np.save(tmp_path / "t.npy", ROWS.numpy())
        result = predict(options(tmp_path, tmp_path / "t.npy"))
        assert result.ids == ["0", "1"]
        assert torch.equal(result.probabilities, model.predict_proba(ROWS))

    def test_without_calibration(self, model, table, tmp_path):
        result = predict(options(tmp_path, table, calibrate=False))
        torch.testing.assert_close(result.probabilities, model.logits_of(ROWS).sigmoid())
        assert torch.equal(result.labels, model.predict(ROWS))  # the threshold is of uncalibrated scores

    def test_with_a_confidence(self, model, table, tmp_path):
        result = predict(options(tmp_path, table, min_confidence=0.6))
        assert torch.equal(result.labels, result.probabilities.double() >= 0.6)
        with pytest.raises(ValueError, match=r"`--min-confidence` should lie in \[0, 1\]"):
            predict(options(tmp_path, table, min_confidence=2.0))

    def test_as_deep_as_is_certain(self, model, table, tmp_path, capsys):
        wanted = options(tmp_path, table, target_error=0.5, confidence=0.5)
        with pytest.raises(ValueError, match=r"run has no reserved.npz, .*train with `--set-aside 0.5`"):
            predict(wanted)
        rows = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        p = model.predict_proba(rows)
        targets = TREE.ancestors_of(TREE.leaves[p[:, TREE.leaves].argmax(1)])
        np.savez(tmp_path / "run" / "reserved.npz", scores=p, probabilities=p, targets=targets)
        rule = choose_rule(wanted, p, targets, TREE, "rows")
        capsys.readouterr()
        result = predict(wanted)
        assert torch.equal(result.labels, rule.labels(result.probabilities, TREE))
        assert rule.promise in capsys.readouterr().err
        targets[0] = True
        np.savez(tmp_path / "run" / "reserved.npz", scores=p, probabilities=p, targets=targets)
        with pytest.raises(ValueError, match=r"Found several classes in a level in .*reserved.npz"):
            predict(wanted)
        sets = predict(replace(wanted, sets=True))
        threshold = float(p.where(targets, 2.0).amin(1).sort().values[99])  # the 100th of 200 + 1 rows
        assert torch.equal(sets.labels, sets.probabilities >= threshold)

    def test_a_run_folder_will_do(self, model, table, tmp_path):
        (tmp_path / "whole").mkdir()
        (tmp_path / "run").rename(tmp_path / "whole" / "model")
        (tmp_path / "whole" / "config.yaml").write_text(yaml.safe_dump({"dataset": "digits"}))
        result = predict(PredictOptions(str(tmp_path / "whole"), [str(table)]))
        assert torch.equal(result.probabilities, model.predict_proba(ROWS))

    def test_the_model_is_of_the_package(self, model, table, tmp_path):
        class OfAnother(PredictOptions):
            library = "another"

        with pytest.raises(ValueError, match=r"is a model of toy: `toy predict .*run` takes it"):
            predict(OfAnother(str(tmp_path / "run"), [str(table)]))

    @pytest.mark.parametrize("suffix", ["csv", "npy", "parquet"])
    def test_one_file_at_a_time(self, model, tmp_path, suffix):
        with pytest.raises(
            ValueError, match=rf"one \.{suffix} file can be read at a time\. Found 2 inputs\."
        ):
            list(logit_blocks(model, [f"a.{suffix}", "b"], "run", []))

    def test_at_least_one_input(self, model, tmp_path):
        with pytest.raises(
            ValueError, match=r"INPUT should be a table, an array, or images, after the run\. Found none\."
        ):
            predict(options(tmp_path))

    def test_what_does_not_fit_is_named_by_its_file(self, model, tmp_path):
        np.save(tmp_path / "wide.npy", np.ones((2, 4)))
        with pytest.raises(ValueError, match=r"wide\.npy: the inputs should have shape \(n, 3\)\. Found"):
            list(logit_blocks(model, [str(tmp_path / "wide.npy")], "run", []))
        np.save(tmp_path / "inf.npy", np.array([[1, 2, 3], [1, np.inf, 3]]))
        with pytest.raises(ValueError, match=r"inf\.npy, row 2: features should be finite"):
            list(logit_blocks(model, [str(tmp_path / "inf.npy")], "run", []))
        (tmp_path / "t.csv").write_text("x,y\n1,2\n")
        with pytest.raises(ValueError, match=r"t\.csv should have a column 'z'\. Found x, y"):
            list(logit_blocks(model, [str(tmp_path / "t.csv")], "run", []))
        with pytest.raises(ValueError, match=r"gone\.csv should be .* Found no file"):
            list(logit_blocks(model, [str(tmp_path / "gone.csv")], "run", []))

    def test_names_of_several_rows_are_said(self, model, tmp_path, capsys):
        (tmp_path / "t.csv").write_text("id,x,y,z\na,1,2,3\nb,1,2,3\na,4,5,6\n")
        assert predict(options(tmp_path, tmp_path / "t.csv")).ids == ["a", "b", "a"]
        assert "names several rows 'a'" in capsys.readouterr().err

    @pytest.mark.parametrize("value", ["inf", "-Infinity", "1e39", "1e400"])
    def test_what_float32_does_not_hold_is_refused_by_line(self, model, tmp_path, value):
        (tmp_path / "t.csv").write_text(f"x,y,z\n1,2,3\n\n1,{value},3\n")
        with pytest.raises(ValueError, match=r"t\.csv, line 4: features should be finite.*column 'y'"):
            predict(options(tmp_path, tmp_path / "t.csv"))

    @pytest.mark.parametrize("kind", ["csv", "parquet", "npy"])
    @pytest.mark.parametrize("written", ["p.csv", "p.parquet", "p.json"])
    def test_blocks_write_what_all_rows_at_once_do(self, model, tmp_path, monkeypatch, kind, written):
        rows = np.random.default_rng(0).normal(size=(72, 3)).astype(np.float32)
        rows[3, 1] = np.nan
        cells = {"id": [f"r{i}" for i in range(72)], **dict(zip("zyx", rows.T, strict=True))}
        if kind == "csv":
            write_table(tmp_path / "t.csv", [*cells], list(zip(*cells.values(), strict=True)))
        elif kind == "parquet":
            parquet.write_table(pa.table(cells), tmp_path / "t.parquet", row_group_size=3)
        else:
            np.save(tmp_path / "t.npy", rows)
        monkeypatch.setattr(type(model), "batch_size", 32)  # whole vector registers: all bits are the same
        found = []
        for limit in (2**16, 32):
            monkeypatch.setattr("hmc_shared.predict.inputs.BLOCK_ROWS", limit)
            config = options(tmp_path, tmp_path / f"t.{kind}", output=str(tmp_path / f"{limit}-{written}"))
            sizes = [len(block.ids) for block in predict_blocks(config, [])]
            assert sizes == ([72] if limit > 72 else [32, 32, 8])
            command(config)
            read = read_parquet if written == "p.parquet" else Path.read_bytes
            found.append(read(tmp_path / f"{limit}-{written}"))
        assert found[0] == found[1]

    def test_a_row_that_is_wrong_in_a_later_block(self, model, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(type(model), "batch_size", 2)
        monkeypatch.setattr("hmc_shared.predict.inputs.BLOCK_ROWS", 2)
        lines = ["x,y,z,id", "1,2,3,a", "", '1,2,3,"b', '"', "1,2,3,a", "4,5,much,c"]
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
        (tmp_path / "p.csv").write_text("of before")
        with pytest.raises(ValueError, match=r"t\.csv, line 7: 'much' is not a number \(column 'z'\)"):
            command(options(tmp_path, tmp_path / "t.csv", output=str(tmp_path / "p.csv")))
        assert (tmp_path / "p.csv").read_text() == "of before"
        assert not list(tmp_path.glob("*.partial"))
        (tmp_path / "t.csv").write_text("\n".join(lines[:-1]) + "\n")
        command(options(tmp_path, tmp_path / "t.csv", output=str(tmp_path / "p.csv")))
        assert "names several rows 'a'" in capsys.readouterr().err  # of two blocks

    def test_blocks_are_bounded_by_classes_and_by_inputs(self, model, image_model):
        assert rows_of_block(model) == 2**14
        model.hierarchy = Hierarchy.from_edges([], nodes=map(str, range(2**15)))
        assert rows_of_block(model) == 512
        image_model.input_shape = (3, 512, 512)
        assert rows_of_block(image_model) == 20  # 21 images have 2^24 values; a batch has 4

    def test_a_model_of_vectors_takes_no_images(self, model, tmp_path):
        Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
        with pytest.raises(
            ValueError,
            match=r"^my-run takes vectors, so a \.csv, \.tsv, \.parquet or \.npy .* Found .*a\.png",
        ):
            list(logit_blocks(model, [str(tmp_path / "a.png")], "my-run", []))


@given(blocks=st.lists(st.lists(st.integers(0, 60).map(str), min_size=1, max_size=8), max_size=12))
def test_names_that_were_seen(blocks):
    names, seen = Names(), set()
    for block in blocks:
        again = {name for name in block if name in seen or block.count(name) > 1}
        found = names.add(block)
        assert found in again if again else found is None
        seen |= {*block}


def test_names_are_kept_of_the_first_rows_only():
    names = Names()
    names.MOST = 4
    assert [names.add(block) for block in (["a", "b", "c"], ["d", "e"], ["f"], ["f"], ["e"])][3:] == [
        None,
        "e",
    ]
    assert len(names.seen) == 5


class TestImages:
    @pytest.fixture
    def pictures(self, tmp_path):
        """70 images, more than are read at a time."""
        folder = tmp_path / "pictures"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for number in range(70):
            pixels = rng.integers(0, 256, (10 + number % 3, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02}.png")
        return folder

    def test_files_and_folders(self, image_model, pictures, tmp_path):
        paths = sorted(pictures.iterdir())
        raw = torch.stack([read_image(path, (3, 8, 8), "imagenet") for path in paths])
        result = predict(options(tmp_path, pictures))
        assert result.ids == list(map(str, paths))
        torch.testing.assert_close(result.probabilities, image_model.predict_proba(raw))
        result = predict(options(tmp_path, paths[3], paths[1]))
        assert result.ids == [str(paths[3]), str(paths[1])]
        torch.testing.assert_close(result.probabilities, image_model.predict_proba(raw[[3, 1]]))

    def test_an_array_of_pixels(self, image_model, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
        np.save(tmp_path / "t.npy", pixels)
        result = predict(options(tmp_path, tmp_path / "t.npy"))
        assert torch.equal(result.probabilities, image_model.predict_proba(torch.from_numpy(pixels)))
        np.save(tmp_path / "t.npy", pixels[:, :1])
        with pytest.raises(ValueError, match=r"t\.npy: the inputs should have shape \(n, 3, 8, 8\)"):
            predict(options(tmp_path, tmp_path / "t.npy"))

    def test_a_damaged_image_is_named(self, image_model, tmp_path):
        (tmp_path / "a.png").write_text("no image")
        with pytest.raises(ValueError, match=r"a\.png is not an image that Pillow can read"):
            predict(options(tmp_path, tmp_path / "a.png"))

    def test_a_damaged_image_among_others_is_left_out(self, image_model, pictures, tmp_path, capsys):
        names = [str(pictures / f"{number:02}.png") for number in range(70)]
        whole = predict(options(tmp_path, pictures))
        for number in (0, 66):  # in either batch
            content = (pictures / f"{number:02}.png").read_bytes()
            (pictures / f"{number:02}.png").write_bytes(content[: len(content) // 2])
        result = predict(options(tmp_path, pictures))
        kept = [number for number in range(70) if number not in (0, 66)]
        assert result.ids == [names[number] for number in kept]
        assert torch.equal(result.labels, whole.labels[kept])
        capsys.readouterr()
        with pytest.raises(OSError, match=r"^2 of 70 images were left out$"):  # exit code 1
            command(options(tmp_path, pictures))
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 69
        assert [line.split(" cannot")[0] for line in err.splitlines()[-2:]] == [
            f"left out: {names[number]}" for number in (0, 66)
        ]


def test_the_command_writes_what_predict_gives(model, table, tmp_path, capsys):
    config = options(tmp_path, table)
    result = predict(config)
    command(config)
    header, *rows = csv.reader(capsys.readouterr().out.splitlines())
    assert header == ["id", "labels", *TREE.names]
    for row, name, labels, p in zip(rows, result.ids, result.labels, result.probabilities, strict=True):
        assert row[0] == name
        assert row[1] == ";".join(TREE.names[i] for i in labels.nonzero().flatten())
        np.testing.assert_allclose([float(cell) for cell in row[2:]], p, atol=1e-6)
    command(replace(config, output=str(tmp_path / "p.json")))
    first, second = json.loads((tmp_path / "p.json").read_text())
    assert (first["id"], second["id"]) == ("first", "second")
    assert first["probabilities"].keys() == set(TREE.names)


@pytest.mark.parametrize("kind", ["csv", "parquet", "npy"])
def test_standard_input_is_read_as_a_file(model, table, tmp_path, monkeypatch, kind):
    if kind == "npy":
        np.save(tmp_path / "t.npy", ROWS.numpy())
    elif kind == "parquet":
        cells = {name: column.combine_chunks() for name, column in open_table(table).columns.items()}
        parquet.write_table(pa.table(cells), tmp_path / "t.parquet")
    expected = predict(options(tmp_path, tmp_path / f"t.{kind}"))
    content = (tmp_path / f"t.{kind}").read_bytes()
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(content)))
    found = predict(options(tmp_path, "-"))
    assert found.ids == expected.ids
    assert torch.equal(found.probabilities, expected.probabilities)
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"x,y,z\n1,much,3\n")))
    with pytest.raises(ValueError, match=r"^standard input, line 2: 'much' is not a number"):
        predict(options(tmp_path, "-"))
    with pytest.raises(ValueError, match=r"'-', should be the only input\. Found 2 inputs"):
        predict(options(tmp_path, "-", table))


def test_standard_input_names_images(image_model, tmp_path, monkeypatch):
    Image.new("RGB", (9, 9)).save(tmp_path / "ä b.png")
    for content in (f"{tmp_path}/ä b.png\n\n".encode(), b"\xff\xd8"):
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(content)))
        if content[0] == 255:
            with pytest.raises(ValueError, match="standard input should be names of image files"):
                predict(options(tmp_path, "-"))
        else:
            assert predict(options(tmp_path, "-")).ids == [f"{tmp_path}/ä b.png"]


@pytest.mark.parametrize("source", ["t.csv", "t.parquet", "-"])
@pytest.mark.parametrize("features", [(), ("x", "y", "z")])
def test_columns_are_kept_block_by_block_in_one_reading(model, tmp_path, monkeypatch, source, features):
    monkeypatch.setattr("hmc_shared.predict.inputs.BLOCK_ROWS", 2)
    model.decision = Decision(features=features)
    model.save_pretrained(tmp_path / "run")
    table = pa.table({"x": range(5), "y": range(5), "z": range(5), "note": list("abcde")})
    parquet.write_table(table, tmp_path / "t.parquet")
    pa_csv.write_csv(table, tmp_path / "t.csv")
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO((tmp_path / "t.csv").read_bytes())))
    reads = []
    for name, read in [(name, getattr(table_file, name)) for name in ("_text_blocks", "_parquet_blocks")]:
        monkeypatch.setattr(table_file, name, lambda *given, read=read: reads.append(1) or read(*given))
    monkeypatch.chdir(tmp_path)
    blocks = list(predict_blocks(options(tmp_path, source, keep=("note",), batch_size=2), []))
    assert len(reads) == 1
    assert ["".join(block.kept["note"].to_pylist()) for block in blocks] == ["ab", "cd", "e"]


def test_columns_are_kept_of_tables_that_have_them(model, table, tmp_path):
    with pytest.raises(ValueError, match=r"t\.csv should have a column 'gone'"):
        predict(options(tmp_path, table, keep=("gone",)))
    with pytest.raises(ValueError, match=r"`--keep` should come with a \.csv, .* Found .*t\.npy"):
        predict(options(tmp_path, tmp_path / "t.npy", keep=("z",)))


def test_options_of_the_model(model, table, tmp_path):
    result = predict(options(tmp_path, table, threshold=0.3, batch_size=1, device="cpu"))
    assert torch.equal(result.labels, TREE.add_ancestors(result.probabilities.double() >= 0.3))
    with pytest.raises(ValueError, match=r"`--device` should be there\. Found .*, not 'abacus'"):
        predict(options(tmp_path, table, device="abacus"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"output": "p.xlsx"}, r"`--output` should end in \.csv"),
        ({"output": "p.csv", "format": "json"}, "`--format` should fit the name of `--output`, p.csv"),
        ({"output": "p.json", "format": "long"}, r"`--format` should fit the name of `--output`, p\.json"),
        ({"format": "levels", "top_k": 2}, "`--top-k` should come without --format levels"),
        ({"min_confidence": 0.0, "threshold": 0.0}, "`--threshold` should come without --min-confidence"),
        ({"top_k": 0}, "`--top-k` should be at least 1"),
    ],
)
def test_options_that_contradict_each_other(tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        options(tmp_path, "t.csv", **more)


def test_a_wrong_output_is_told_before_the_model_is_read(tmp_path):
    for output, message in (("gone/p.csv", "no folder .*gone"), (".", "Found the folder")):
        with pytest.raises(ValueError, match=message):
            command(options(tmp_path, "t.csv", output=str(tmp_path / output)))

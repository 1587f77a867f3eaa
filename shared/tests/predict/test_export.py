"""What a method's trained model must offer, and what it is turned into: see also the tests of the methods."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from hmc_shared import Hierarchy
from hmc_shared.cli.export import Export
from hmc_shared.constraints import max_over_descendants, min_over_parents
from hmc_shared.predict.export import command, export_program, metadata
from hmc_shared.testing_exports import decide, run_exported

DAG = Hierarchy.from_edges([("a", "c"), ("b", "c"), ("a", "d"), ("c", "e"), ("d", "e"), ("d", "f")])


class Model(nn.Module):
    """A convolution whose weights lie in the order that is fastest, dropout, and a constraint."""

    def __init__(self, constraint):
        super().__init__()
        self.constraint = constraint
        self.conv = nn.Conv2d(2, len(DAG), 3).to(memory_format=torch.channels_last)
        self.dropout = nn.Dropout(0.5)

    def normalize(self, raw):
        return raw.float() / 255

    def logits(self, inputs):
        return self.dropout(self.conv(inputs)).mean((2, 3))

    def to_scores(self, logits):
        return logits

    def to_probabilities(self, logits):
        return self.constraint(logits, DAG).sigmoid()


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.randint(0, 256, (9, 2, 5, 5), dtype=torch.uint8)


@pytest.fixture
def saved(toy, tmp_path):
    """A model of vectors with statistics and calibration, decided by a threshold; and its folder."""
    torch.manual_seed(0)
    model = toy.LinearModel(3, DAG)
    model.input_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    model.input_scale.copy_(torch.tensor([4.0, torch.inf, 0.5]))
    model.calibration.temperature.copy_(torch.linspace(0.5, 2, DAG.num_levels))
    model.decision = replace(model.decision, threshold=-0.3, features=("x", "y", "z"))
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"


@pytest.mark.parametrize("constraint", [max_over_descendants, min_over_parents])
def test_a_saved_program_is_the_model_in_evaluation_mode(constraint, images, tmp_path):
    model = Model(constraint)
    torch.export.save(export_program(model, images[:3]), tmp_path / "model.pt2")
    assert model.training
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    program = torch.export.load(tmp_path / "model.pt2").module()
    for n in (1, 2, 9):
        logits = model.eval().logits(model.normalize(images[:n]))
        expected = {"probabilities": model.to_probabilities(logits), "scores": logits}
        torch.testing.assert_close(program(images[:n]), expected, rtol=1e-5, atol=1e-6)
    assert not program(images)["probabilities"].requires_grad


def test_one_sample_is_refused(images):
    with pytest.raises(ValueError, match=r"two samples or more\. Found 1"):
        export_program(Model(max_over_descendants), images[:1])


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_file_of_vectors_is_complete(saved, tmp_path, kind):
    if kind == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    model, folder = saved
    file = tmp_path / {"torch": "model.pt2", "onnx": "model.onnx"}[kind]
    command(Export(str(folder), **{kind: str(file)}))
    raw = 3 * torch.randn(7, 3)
    raw[::2, 0] = torch.nan
    for n in (1, 7):
        answers, content = run_exported(file, raw[:n])
        expected = model.predict_proba(raw[:n])
        torch.testing.assert_close(answers["probabilities"], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(decide(answers, content, DAG), model.predict(raw))
    assert (
        Hierarchy.from_edges(
            [(content["classes"][a], content["classes"][b]) for a, b in content["edges"]], content["classes"]
        )
        == DAG
    )
    assert content["inputs"]["features"] == ["x", "y", "z"]
    assert content["model"]["library"] == "toy"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [file.name]


def test_the_decision_without_a_threshold(saved):
    model, _ = saved
    raw = torch.randn(20, 3)
    for single_path in (True, False):
        model.decision = replace(model.decision, threshold=None, single_path=single_path)
        answers = export_program(model).module()(raw)
        assert torch.equal(decide(answers, metadata(model), DAG), model.predict(raw))


def test_a_model_of_images_takes_bytes(toy, images):
    model = toy.ImageModel((2, 5, 5), DAG)
    model.input_scale.fill_(255)
    program = export_program(model).module()
    expected = model.predict_proba(images)
    torch.testing.assert_close(program(images)["probabilities"], expected, rtol=1e-5, atol=1e-6)
    expected = {"kind": "images", "channels": 2, "height": 5, "width": 5, "dtype": "uint8"}
    assert metadata(model)["inputs"] == expected | {"values": "0 to 255", "resize": "crop", "window": None}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "should come with --onnx FILE or --torch FILE"),
        (["--onnx", "model.pt"], r"`--onnx` should end in \.onnx\. Found 'model\.pt'"),
        (["--torch", "model.pt"], r"`--torch` should end in \.pt2\."),
        (["--torch", "model.pt2"], "nowhere has no trained model"),
        (
            ["--torch", "missing/model.pt2"],
            "`--torch` should be a file in a folder .* Found no folder missing",
        ),
        (
            ["--onnx", "missing/model.onnx"],
            "`--onnx` should be a file in a folder .* Found no folder missing",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(hmc, capsys, words, says):
    assert hmc("export", "nowhere", *words) == 2
    message = re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert re.search(says, message), message

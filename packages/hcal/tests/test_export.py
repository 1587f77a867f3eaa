"""A trained model leaves as a program that gives the same probabilities."""

import onnxruntime
import pytest
import torch

from hcal.build import load_model
from hcal.config import Config
from hcal.train import train
from hmc_shared.data import load_dataset
from hmc_shared.predict.export import export_program


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model as a run saved it, and raw inputs."""
    folder = tmp_path_factory.mktemp("hcal") / "run"
    digits = load_dataset("digits", view="image")
    train(Config(output_dir=str(folder), epochs=1, encoder="resnet20", width=4), digits)
    return load_model(folder / "model"), digits.test.inputs[:50]


def test_a_saved_program_gives_the_same_probabilities(trained, tmp_path):
    model, raw = trained
    torch.export.save(export_program(model, raw[:2]), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    for n in (1, 7, len(raw)):
        torch.testing.assert_close(program(raw[:n]), model.predict_proba(raw[:n]), rtol=1e-5, atol=1e-6)


def test_onnx_gives_the_same_probabilities(trained, tmp_path):
    model, raw = trained
    torch.onnx.export(export_program(model, raw[:2]), dynamo=True, verbose=False).save(
        tmp_path / "model.onnx"
    )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (name,) = [entry.name for entry in session.get_inputs()]
    for n in (1, 7, len(raw)):
        (found,) = session.run(None, {name: raw[:n].numpy()})
        torch.testing.assert_close(
            torch.from_numpy(found), model.predict_proba(raw[:n]), rtol=1e-5, atol=1e-6
        )

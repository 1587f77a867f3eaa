"""A trained model leaves as a program that gives the same probabilities."""

import onnxruntime
import pytest
import torch

from hmc_shared.data import load_dataset
from hmc_shared.predict.export import export_program
from mulsupcon_ld.build import load_model
from mulsupcon_ld.config import Config
from mulsupcon_ld.train import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model as a run saved it, and raw inputs."""
    folder = tmp_path_factory.mktemp("mulsupcon-ld") / "run"
    digits = load_dataset("digits")
    train(
        Config(output_dir=str(folder), dataset="digits", pretrain_epochs=1, epochs=1, queue_size=64), digits
    )
    raw = digits.test.inputs[:50].clone()
    raw[1, 3] = torch.nan
    return load_model(folder / "model"), raw


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

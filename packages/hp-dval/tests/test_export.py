"""A trained model leaves as a program that gives the same probabilities."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from hmc_shared.data import load_dataset
from hmc_shared.predict.export import export_program
from hp_dval.build import load_model
from hp_dval.config import Config
from hp_dval.train import train


@pytest.fixture(scope="module", params=["small", "clip"])
def trained(request, tmp_path_factory, clip_json, clip_file):
    """A model as a run saved it, and raw images: of either kind of student."""
    folder = tmp_path_factory.mktemp("hp-dval") / "run"
    scenes = load_dataset("digit-scenes", view="image")
    first = {
        name: replace(
            split, inputs=split.inputs[:50], targets=split.targets[:50], ids=split.ids[:50], captions=()
        )
        for name, split in scenes.splits.items()
    }
    small = {"clip": clip_json, "pretrained": clip_file, "epochs": 1, "prompt_epochs": 1, "k": 4}
    small |= {"patch_size": 8, "width": 24, "layers": 1, "heads": 2}
    train(
        Config(output_dir=str(folder), dataset="digit-scenes", student=request.param, **small),
        replace(scenes, **first),
    )
    return load_model(folder / "model"), first["test"].inputs


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
        (probabilities,) = session.run(None, {name: raw[:n].numpy()})
        expected = model.predict_proba(raw[:n]).numpy()
        np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-6)

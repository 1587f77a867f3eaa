"""What a method's trained model must offer, and what it is turned into: see also the tests of the methods."""

import pytest
import torch
from torch import nn

from hmc_shared import Hierarchy
from hmc_shared.constraints import max_over_descendants, min_over_parents
from hmc_shared.predict.export import export_program

DAG = Hierarchy.from_edges([("a", "c"), ("b", "c"), ("a", "d"), ("c", "e"), ("d", "e"), ("d", "f")])


class Model(nn.Module):
    """A convolution whose weights lie in the order that is fastest, dropout, and a constraint."""

    def __init__(self, constraint):
        super().__init__()
        self.constraint = constraint
        self.conv = nn.Conv2d(2, len(DAG), 3).to(memory_format=torch.channels_last)
        self.dropout = nn.Dropout(0.5)

    def probabilities(self, raw):
        logits = self.dropout(self.conv(raw.float() / 255)).mean((2, 3))
        return self.constraint(logits, DAG).sigmoid()


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.randint(0, 256, (9, 2, 5, 5), dtype=torch.uint8)


@pytest.mark.parametrize("constraint", [max_over_descendants, min_over_parents])
def test_a_saved_program_is_the_model_in_evaluation_mode(constraint, images, tmp_path):
    model = Model(constraint)
    torch.export.save(export_program(model, images[:3]), tmp_path / "model.pt2")
    assert model.training
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    program = torch.export.load(tmp_path / "model.pt2").module()
    for n in (1, 2, 9):
        expected = model.eval().probabilities(images[:n])
        torch.testing.assert_close(program(images[:n]), expected, rtol=1e-5, atol=1e-6)
    assert not program(images).requires_grad


def test_one_sample_is_refused(images):
    with pytest.raises(ValueError, match=r"two samples or more\. Found 1"):
        export_program(Model(max_over_descendants), images[:1])


def test_statistics_calibration_and_missing_values_are_in_the_program(toy):
    torch.manual_seed(0)
    model = toy.LinearModel(3, DAG)
    model.input_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    model.input_scale.copy_(torch.tensor([4.0, torch.inf, 0.5]))
    model.calibration.temperature.copy_(torch.linspace(0.5, 2, DAG.num_levels))
    raw = 3 * torch.randn(9, 3)
    raw[::2, 0] = torch.nan
    program = export_program(model, raw[:2]).module()
    for n in (1, 9):
        torch.testing.assert_close(program(raw[:n]), model.predict_proba(raw[:n]), rtol=1e-5, atol=1e-6)


def test_a_model_of_images_takes_bytes(toy, images):
    model = toy.ImageModel((2, 5, 5), DAG)
    model.input_scale.fill_(255)
    program = export_program(model, images[:2]).module()
    torch.testing.assert_close(program(images), model.predict_proba(images), rtol=1e-5, atol=1e-6)

import torch

from hmc_shared.testing_marks import pytest_collection_modifyitems, pytest_configure  # noqa: F401

torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other

"""The method, for ``hmc demo`` and lists."""

from hmc_shared.methods import Method

METHODS = (Method("toy-linear", "toy-method train", "toy_method.model:Linear", demo="", demo_minutes=0.1),)

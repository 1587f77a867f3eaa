"""The methods of installed packages, by their entry points."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from hmc_shared import methods
from hmc_shared.methods import GROUP, Method, installed_methods


@pytest.fixture
def install(monkeypatch):
    """``install(name=value, ...)``: these entry points, of whose modules only ``mine`` can be imported."""
    module = ModuleType("mine")
    module.METHODS = (  # type: ignore[attr-defined]
        Method("one", "mine train", "mine:One", demo="--dataset 'my digits' --epochs 3"),
        Method("two", "mine train --method two", "mine:Two"),
    )
    module.MORE = (Method("three", "more train", "more:Three", demo=""),)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine", module)

    def install(**points: str) -> None:
        listed = [EntryPoint(name, value, GROUP) for name, value in points.items()]
        monkeypatch.setattr(methods, "entry_points", lambda group: listed if group == GROUP else [])

    return install


def test_those_of_all_packages_are_listed_by_package(install):
    install(zoo="mine:MORE", ant="mine:METHODS")
    assert [method.label for method in installed_methods()] == ["one", "two", "three"]
    install()
    assert installed_methods() == []


def test_a_demo_has_its_command_line_and_more_options(install):
    install(ant="mine:METHODS", zoo="mine:MORE")
    one, two, three = installed_methods()
    assert one.demo_command == ["mine", "train", "--dataset", "my digits", "--epochs", "3"]
    assert three.demo_command == ["more", "train"]
    assert two.demo is None


@pytest.mark.parametrize("value", ["no_such_module_at_all:METHODS", "mine:NO_SUCH_NAME"])
def test_a_broken_one_is_named(install, value):
    install(ant="mine:METHODS", broken=value)
    with pytest.raises(ValueError, match=rf"^The methods of broken \({value}\) .*\.$"):
        installed_methods()

"""Versions, changelogs and requirements of the packages agree."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / "shared", *sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))]
METHODS = FOLDERS[1:]


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirement(folder: Path, name: str) -> Requirement:
    return next(line for line in map(Requirement, project(folder)["dependencies"]) if line.name == name)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_changelog_begins_with_the_version(folder):
    text = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", text, re.MULTILINE)
    versions = [Version(version) for version, _ in headings]
    assert str(versions[0]) == project(folder)["version"]
    assert versions == sorted(set(versions), reverse=True)
    assert len(headings) == len(re.findall(r"^## ", text, re.MULTILINE))
    assert "unreleased" not in [when for _, when in headings[1:]]


def test_the_citation_names_the_newest_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert Version(citation["version"]) == max(Version(project(folder)["version"]) for folder in FOLDERS)


@pytest.mark.parametrize("folder", METHODS, ids=lambda folder: folder.name)
def test_a_method_takes_the_shared_package_of_this_minor_version(folder):
    shared = Version(project(ROOT / "shared")["version"])
    accepts = requirement(folder, "hmc-shared").specifier
    assert str(shared) in accepts
    assert f"{shared.major}.{shared.minor + 1}" not in accepts  # before 1.0 a minor version may break
    assert f"{shared.major}.{shared.minor}" in accepts


@pytest.mark.parametrize("folder", METHODS, ids=lambda folder: folder.name)
def test_a_method_requires_no_other_method(folder):
    siblings = {project(other)["name"] for other in METHODS}
    assert not siblings & {Requirement(line).name for line in project(folder)["dependencies"]}


def test_one_python_for_all():
    assert {project(folder)["requires-python"] for folder in FOLDERS} == {">=3.11"}


def test_the_pinned_ruff_is_the_same_everywhere():
    files = ["pyproject.toml", ".pre-commit-config.yaml"]
    pins = [re.findall(r"ruff==([\d.]+)", (ROOT / name).read_text(encoding="utf-8")) for name in files]
    assert all(pins)
    assert len({pin for found in pins for pin in found}) == 1

"""The methods have one shape: who knows one train.py finds the way in the others."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {path.parents[2].name: path.parent for path in sorted(ROOT.glob("packages/*/src/*/train.py"))}

BLOCKS = {  # in this order, inner ones indented; the names that a block gives to the ones after it
    "Options": {"started"},
    "Accelerator": {"accelerator", "device", "rank", "world", "folder"},
    "Data": {"dataset", "inputs", "targets"},
    "Model": {"model"},
    "Optimiser": set(),
    "Prepare": {"wrapped", "network", "progress", "checkpoints"},
    "Resume": set(),
    "Epochs": {"bar"},
    "    Train": {"losses", "step_losses"},
    "    Evaluate": {"record"},
    "    Checkpoint": set(),
    "Results": {"results"},
}
CORE = [
    "__init__.py",
    "__main__.py",
    "batches.py",
    "build.py",
    "config.py",
    "configs",
    "losses.py",
    "methods.py",
    "model.py",
    "py.typed",
    "train.py",
]
AROUND = [
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "tests/conftest.py",
    "tests/test_commands.py",
    "tests/test_losses.py",
    "tests/test_model.py",
    "tests/test_train.py",
]


def function(package: str, name: str) -> ast.FunctionDef:
    tree = ast.parse((PACKAGES[package] / "train.py").read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)


def headings(package: str) -> list[tuple[int, str]]:
    """Line and name of each block of ``train``: a comment of one word, or of one word before a colon."""
    train = function(package, "train")
    source = (PACKAGES[package] / "train.py").read_text(encoding="utf-8")
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        heading = re.fullmatch(r"# ([A-Z]\w+)(:.*)?", token.string)
        line, column = token.start
        is_inside = train.lineno < line <= (train.end_lineno or 0)
        if token.type == tokenize.COMMENT and heading and is_inside and not token.line[:column].strip():
            found.append((line, " " * (column - 4) + heading[1]))
    return found


def block(package: str, name: str) -> list[ast.stmt]:
    """The statements of ``train`` that begin between a heading and the next one."""
    places = headings(package)
    at = [heading for _, heading in places].index(name)
    end = places[at + 1][0] if at + 1 < len(places) else 10**6
    statements = [node for node in ast.walk(function(package, "train")) if isinstance(node, ast.stmt)]
    return [node for node in statements if places[at][0] < node.lineno < end]


def assigned(statements: list[ast.stmt]) -> set[str]:
    nodes = (node for statement in statements for node in ast.walk(statement))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def test_the_methods_are_found():
    assert {"hcal", "hlstm", "hp-dval", "mulsupcon-ld"} <= PACKAGES.keys()


@pytest.mark.parametrize("package", PACKAGES)
def test_blocks_come_in_one_order(package):
    assert [name for _, name in headings(package)] == list(BLOCKS)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("package", PACKAGES)
def test_blocks_give_the_same_names(package, name):
    assert assigned(block(package, name)) >= BLOCKS[name]


@pytest.mark.parametrize("package", PACKAGES)
def test_results_keep_answers_and_the_rows_set_aside(package):
    calls = {
        ast.unparse(node.func).rpartition(".")[2]
        for statement in block(package, "Results")
        for node in ast.walk(statement)
        if isinstance(node, ast.Call)
    }
    assert {"use_held_out", "to_labels"} <= calls


@pytest.mark.parametrize("package", PACKAGES)
def test_resuming_is_written_alike(package):
    first = next(iter(PACKAGES))
    assert list(map(ast.unparse, block(package, "Resume"))) == list(map(ast.unparse, block(first, "Resume")))


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("train", "(config: Config, dataset: HierarchicalDataset | None=None) -> Results | None"),
        ("command", "(config: Config) -> None"),
    ],
)
@pytest.mark.parametrize("package", PACKAGES)
def test_functions_take_and_return_the_same(package, name, signature):
    found = function(package, name)
    assert found.returns is not None
    assert f"({ast.unparse(found.args)}) -> {ast.unparse(found.returns)}" == signature


@pytest.mark.parametrize("package", PACKAGES)
def test_the_loop_is_read_in_a_few_minutes(package):
    train = function(package, "train")
    assert (train.end_lineno or 0) - train.lineno < 150


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_the_core_files(package):
    folder = ROOT / "packages" / package
    missing = [name for name in CORE if not (PACKAGES[package] / name).exists()]
    assert missing + [name for name in AROUND if not (folder / name).is_file()] == []

"""No file is longer than 400 lines and no function longer than 60, but for the four training loops."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("shared", "packages", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if not {".nox", "dist", "build"} & set(path.parts)
)
SOURCES = [path for path in FILES if "src" in path.parts]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_long() -> None:
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_no_function_is_long() -> None:
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (path.name, node.name) != ("train.py", "train"):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > 60:
                    found[f"{name(path)}: {node.name}"] = length
    assert found == {}


def imported(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of the project that a file imports when it is imported itself."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names & modules.keys()


@pytest.mark.parametrize(
    "source", sorted({path.parents[-len(ROOT.parts) - 3] for path in SOURCES}, key=str), ids=name
)
def test_no_circle_of_imports(source: Path) -> None:
    modules = {}
    for path in source.rglob("*.py"):
        parts = path.relative_to(source).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {module: imported(path, modules) - {module} for module, path in modules.items()}
    while free := [module for module, needs in graph.items() if not needs & graph.keys()]:
        for module in free:
            del graph[module]
    assert graph == {}, "these import each other"

"""The modules of hmc_shared depend on each other in one direction."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

import hmc_shared

PACKAGE = Path(hmc_shared.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def top_level_imports(path: Path) -> Iterator[str]:
    """What a module names in the imports that run when it is imported; names of modules and of attributes."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    statements: list[ast.stmt] = [*ast.parse(path.read_text(encoding="utf-8")).body]
    while statements:
        match statements.pop():
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package[: len(package) - level + 1] if level else []
                base = ".".join([*above, *([module] if module else [])])
                yield from (f"{base}.{alias.name}" for alias in names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=rest):
                statements += rest
            case ast.If(body=body, orelse=rest):
                statements += [*body, *rest]
            case ast.Try(body=body, handlers=handlers, orelse=rest, finalbody=final):
                statements += [*body, *rest, *final, *(line for handler in handlers for line in handler.body)]


def import_graph(files: list[Path]) -> nx.DiGraph:
    """An edge from a module to each module of ``files`` that it names; ``from a import b`` names a.b or a."""
    modules = {module_name(path): path for path in files}
    graph = nx.DiGraph()
    graph.add_nodes_from(modules)
    for module, path in modules.items():
        for name in top_level_imports(path):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                graph.add_edge(module, target)
    return graph


@pytest.fixture(scope="module")
def graph() -> nx.DiGraph:
    return import_graph(sorted(PACKAGE.rglob("*.py")))


def test_no_module_imports_itself_by_way_of_others(graph: nx.DiGraph) -> None:
    circles = [" -> ".join([*circle, circle[0]]) for circle in nx.simple_cycles(graph)]
    assert not circles, "\n".join(circles)


def test_the_graph_is_that_of_the_modules(graph: nx.DiGraph) -> None:
    assert {"hmc_shared.model", "hmc_shared.data", "hmc_shared.metrics.ranking"} <= set(graph)
    assert graph.has_edge("hmc_shared.model", "hmc_shared.methods")
    assert graph.has_edge("hmc_shared.compare.calibration", "hmc_shared.compare.plots")  # from a import b
    assert graph.has_edge("hmc_shared.metrics", "hmc_shared.metrics.ranking")  # from .b import c
    assert not graph.has_edge("hmc_shared.runs.progress", "hmc_shared.runs.folder")  # TYPE_CHECKING only


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("cli", ["data", "model", "predict", "runs", "compare", "vision", "metrics", "hierarchy"]),
        ("metrics", ["data", "model", "predict", "runs", "compare", "vision"]),
        ("data", ["model", "predict", "runs", "compare", "vision"]),
        ("vision", ["model", "predict", "runs", "compare"]),
        ("predict", ["compare"]),
        ("runs", ["compare"]),
    ],
)
def test_rooms_stand_on_those_below(graph: nx.DiGraph, low: str, high: list[str]) -> None:
    def is_in(module: str, room: str) -> bool:
        return f"{module}.".startswith(f"hmc_shared.{room}.")

    wrong = [f"{a} imports {b}" for a, b in graph.edges if is_in(a, low) and any(is_in(b, r) for r in high)]
    assert not wrong, "\n".join(wrong)


def test_a_circle_would_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toy"
    package.mkdir()
    texts = {
        "__init__": "",
        "a": "from toy import b\n",
        "b": "try:\n    import toy.c\nexcept ImportError:\n    pass\n",
        "c": "from .a import name\n",
        "d": "def f():\n    from toy.e import g\n",
        "e": "if TYPE_CHECKING:\n    import toy.d\nelse:\n    import toy.a\n",
    }
    for name, text in texts.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(f"{__name__}.PACKAGE", package)
    graph = import_graph(sorted(package.glob("*.py")))
    edges = {f"{one}{other}".replace("toy.", "") for one, other in graph.edges}
    assert edges == {"ab", "bc", "ca", "ea"}

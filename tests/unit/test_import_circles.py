"""No module imports itself by way of others: neither when it is loaded, nor for types, nor inside a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import nlcore

ROOT = Path(nlcore.__file__).parents[1]

# Packages with circles that an import inside a function still closes; to be emptied.
DEFERRED_CIRCLES_LEFT = ("nlcore.diagnosis",)

Graph = dict[str, set[str]]


def modules() -> dict[str, Path]:
    """Return the files of nlcore and of the plugins in this tree, by module."""
    packages = [ROOT / "nlcore", *(one.parent for one in ROOT.glob("plugins/*/src/*/__init__.py"))]
    found = {}
    for package in packages:
        for file in package.rglob("*.py"):
            parts = file.relative_to(package.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def statements(tree: ast.AST, *, deferred: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports of a module, those below `TYPE_CHECKING` too; those inside functions if `deferred`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif deferred or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(node, deferred=deferred)


def imported(tree: ast.AST, known: Mapping[str, object], *, deferred: bool) -> set[str]:
    """Return the modules among `known` that a module names in its imports."""
    found: set[str] = set()
    for node in statements(tree, deferred=deferred):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert node.level == 0, "imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return found & known.keys()


def graph_of(files: Mapping[str, Path], *, deferred: bool) -> Graph:
    return {
        module: imported(ast.parse(file.read_text("utf-8"), str(file)), files, deferred=deferred) - {module}
        for module, file in files.items()
    }


def circle(graph: Graph) -> list[str]:
    """Return one circle as a path that ends where it begins, or nothing."""
    finished: set[str] = set()
    path: dict[str, None] = {}

    def search(module: str) -> list[str]:
        if module in path:
            order = list(path)
            return [*order[order.index(module) :], module]
        if module in finished:
            return []
        path[module] = None
        found = next(filter(None, map(search, sorted(graph.get(module, ())))), [])
        del path[module]
        finished.add(module)
        return found

    return next(filter(None, map(search, sorted(graph))), [])


def test_modules_import_each_other_in_no_circle():
    found = circle(graph_of(modules(), deferred=False))
    assert not found, " → ".join(found)


def test_no_import_inside_a_function_closes_a_circle():
    graph = graph_of(modules(), deferred=True)
    left = {one for one in graph if any(f"{one}.".startswith(f"{name}.") for name in DEFERRED_CIRCLES_LEFT)}
    found = circle({module: others - left for module, others in graph.items() if module not in left})
    assert not found, " → ".join(found)


def test_the_graph_holds_every_part():
    files = modules()
    assert {"nlcore", "nlcore.registry.registry", "nlcore.newton.step", "nlcore_sorting"} <= set(files)
    graph = graph_of(files, deferred=False)
    assert "nlcore.registry.plugins" in graph["nlcore.registry.registry"]
    assert "nlcore.config" in graph["nlcore"], "imports for types count"


@pytest.mark.parametrize(
    ("source", "deferred", "found"),
    [
        ("import a.b", False, {"a.b"}),
        ("from a import b, name", False, {"a", "a.b"}),
        ("from a.b import name", False, {"a.b"}),
        ("if TYPE_CHECKING:\n    import a", False, {"a"}),
        ("try:\n    import a\nexcept ImportError:\n    import a.b", False, {"a", "a.b"}),
        ("class C:\n    import a", False, {"a"}),
        ("def f():\n    import a", False, set()),
        ("def f():\n    import a", True, {"a"}),
        ("import other", True, set()),
    ],
)
def test_which_imports_count(source, deferred, found):
    assert imported(ast.parse(source), {"a": None, "a.b": None}, deferred=deferred) == found


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, ["a", "b", "a"]),
        ({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}, ["b", "c", "d", "b"]),
    ],
)
def test_a_circle_is_found_with_its_path(graph, found):
    assert circle(graph) == found

"""Imports run one way, and the registry side never sees torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nlcore

PACKAGE = Path(nlcore.__file__).parent

# What the modules of each part may import from nlcore, anywhere in the file, for more than types.
ALLOWED = {
    "errors": set(),
    "config": {"errors"},
    "inputs": {"errors"},
    "lazy": set(),
    "plugin": {"errors", "lazy", "registry"},
    "constructor": {"errors"},
    "registry": {"constructor", "errors", "registry"},
    "protocol": {"errors"},
    "capabilities": {"errors", "protocol"},
    "arguments": {"capabilities", "errors"},
    "evaluation": {"arguments", "capabilities", "errors"},
    "differences": {"evaluation"},
    "soundness": {"differences", "errors", "evaluation", "soundness"},
    "pullbacks": {"capabilities", "errors"},
    "newton": {"arguments", "capabilities", "errors", "evaluation", "newton", "protocol", "pullbacks", "soundness"},
    "plotting": {"capabilities", "errors", "newton", "plotting", "protocol"},
    "diagnosis": {
        "arguments",
        "capabilities",
        "diagnosis",
        "differences",
        "errors",
        "evaluation",
        "newton",
        "plotting",
        "soundness",
    },
    "tuning": {
        "capabilities",
        "config",
        "diagnosis",
        "errors",
        "evaluation",
        "newton",
        "plotting",
        "registry",
        "tuning",
    },
    "builtin": {"builtin", "config", "errors", "inputs", "plugin", "protocol"},
    "testing": {"capabilities", "config", "constructor", "errors", "newton", "protocol", "pullbacks", "testing"},
}
THIRD_PARTY = {
    "errors": set(),
    "lazy": set(),
    "constructor": set(),
    "config": {"pydantic", "pydantic_core"},
    "plugin": {"pluggy"},
    "registry": {"packaging", "pluggy"},
}


def sources(part: str) -> list[Path]:
    file = PACKAGE / f"{part}.py"
    return [file] if file.exists() else sorted((PACKAGE / part).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield each imported module and whether it is imported inside a function; what is for types only is left out."""
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, nested = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += [(child, nested) for child in node.orelse]
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, nested) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module, nested
            if node.module == "nlcore":
                yield from ((f"nlcore.{alias.name}", nested) for alias in node.names)
        inside = nested or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending += [(child, inside) for child in ast.iter_child_nodes(node)]


def second(module: str) -> str:
    """Return `registry` for `nlcore.registry.spec`, and nothing for `nlcore`."""
    return module.partition(".")[2].partition(".")[0]


def imported(part: str) -> list[tuple[Path, str, bool]]:
    files = sources(part)
    assert files, f"nlcore.{part} has no files"
    return [
        (file, module, nested)
        for file in files
        for module, nested in imports(ast.parse(file.read_text("utf-8"), str(file)))
    ]


def existing_parts() -> list[str]:
    return [part for part in ALLOWED if sources(part)]


@pytest.mark.parametrize("part", existing_parts())
def test_nlcore_is_imported_one_way(part):
    wrong = [
        (file.name, module)
        for file, module, _ in imported(part)
        if module.partition(".")[0] == "nlcore" and second(module) not in ALLOWED[part]
    ]
    assert wrong == []


@pytest.mark.parametrize("part", THIRD_PARTY)
def test_the_registry_side_needs_little_from_others(part):
    wrong = [
        (file.name, module)
        for file, module, _ in imported(part)
        if (top := module.partition(".")[0]) != "nlcore"
        and top not in sys.stdlib_module_names
        and top not in THIRD_PARTY[part]
    ]
    assert wrong == []


def test_the_command_line_starts_with_the_registry_alone():
    wrong = []
    for file, module, nested in imported("cli"):
        top = module.partition(".")[0]
        if not nested and top != "nlcore" and top not in sys.stdlib_module_names:
            wrong.append((file.name, module))
        if not nested and top == "nlcore" and second(module) not in {"cli", "errors", "registry"}:
            wrong.append((file.name, module))
    assert wrong == []


def test_every_part_of_the_registry_side_is_there():
    assert {"errors", "config", "plugin", "registry", "protocol"} <= set(existing_parts())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch.nn", [("torch.nn", False)]),
        ("def f():\n    from nlcore.newton import x", [("nlcore.newton", True)]),
        ("from nlcore import newton", [("nlcore", False), ("nlcore.newton", False)]),
        ("if TYPE_CHECKING:\n    import torch\nelse:\n    import json", [("json", False)]),
        ("try:\n    import torch\nexcept ImportError:\n    pass", [("torch", False)]),
    ],
)
def test_the_search_for_imports_sees_what_it_should(source, found):
    assert sorted(imports(ast.parse(source))) == sorted(found)


HEAVY = ("torch", "numpy", "pydantic", "nlcore.newton", "nlcore.protocol", "nlcore.config")


def modules_after(code: str) -> set[str]:
    """Return which of the heavy modules a fresh interpreter holds after running some code."""
    script = f"{code}\nimport sys\nprint('HEAVY', *[name for name in {HEAVY!r} if name in sys.modules])"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, env=environ
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import nlcore", set()),
        ("import nlcore; nlcore.__version__, dir(nlcore), nlcore.__all__", set()),
        ("from nlcore.plugin import AlgorithmSpec, hookimpl, Subparsers", set()),
        ("import nlcore; nlcore.names('core'); nlcore.spec(nlcore.names('core')[0]); nlcore.plugins()", set()),
        ("import nlcore; nlcore.AlgorithmicLoss, nlcore.Traits", {"nlcore.protocol"}),
        ("import nlcore; nlcore.AlgorithmConfig", {"pydantic", "nlcore.config"}),
        ("from nlcore.cli import main; main(['list'])", set()),
        ("from nlcore.cli import main; main(['plugins', '--errors'])", set()),
        ("from nlcore.cli import main; main(['--help'])", set()),
        ("from nlcore.cli import main; main(['show', 'core/nothing'])", set()),
    ],
)
def test_what_a_fresh_interpreter_imports(code, heavy):
    assert modules_after(f"import os; os.environ['NLCORE_PLUGINS'] = ''\n{code}") == heavy


def test_describing_an_algorithm_imports_no_torch():
    code = (
        "import nlcore\nfrom nlcore.cli import main\nfor name in nlcore.names('core'): assert main(['show', name]) == 0"
    )
    assert not modules_after(code) & {"torch", "nlcore.newton", "nlcore.protocol"}


def test_the_probe_would_see_torch():
    pytest.importorskip("torch")
    assert "torch" in modules_after("import torch")


class TestPublicNames:
    def test_each_name_in_all_is_there(self):
        missing = []
        for name in nlcore.__all__:
            try:
                getattr(nlcore, name)
            except AttributeError:
                missing.append(name)
        assert missing == []

    def test_all_is_what_a_reader_of_the_table_expects(self):
        assert sorted(nlcore.__all__) == sorted(nlcore._HOME)
        assert set(nlcore.__all__) | {"__version__", "errors", "plugin"} <= set(dir(nlcore))

    def test_the_functions_are_those_of_one_registry(self):
        from nlcore.registry.default import registry

        assert nlcore.make.__self__ is nlcore.names.__self__ is registry

    def test_a_name_that_is_not_there(self):
        with pytest.raises(AttributeError, match=r"'NewtonLos' \(did you mean 'NewtonLoss'\?\); see nlcore\.__all__"):
            nlcore.NewtonLos  # noqa: B018

    def test_a_part_of_a_name_brings_the_names_that_hold_it(self):
        with pytest.raises(AttributeError, match=r"did you mean 'EmpiricalFisher' or 'InjectFisher'"):
            nlcore.Fisher  # noqa: B018

    def test_submodules_need_no_import_of_their_own(self):
        assert modules_after("import nlcore; nlcore.errors.ConfigError; nlcore.plugin.hookimpl") == set()

    def test_the_version_is_a_version(self):
        from packaging.version import Version

        assert Version(nlcore.__version__) >= Version("0.1.0.dev0")

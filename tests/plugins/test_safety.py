"""Nothing in the core runs what a file or a record says, except the plugins that the user has installed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nlcore

PACKAGE = Path(nlcore.__file__).parent

# Calls that run code, or read objects that may; written as they are called.
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "os.system", "os.popen"),
    *("runpy.run_path", "runpy.run_module", "code.interact"),
    *(
        f"{module}.{name}"
        for module in ("pickle", "cPickle", "dill", "cloudpickle", "marshal")
        for name in ("load", "loads")
    ),
    *("pickle.Unpickler", "torch.load", "joblib.load", "shelve.open", "numpy.load", "np.load", "yaml.load"),
    *("torch.hub.load", "torch.jit.load", "importlib.util.spec_from_file_location"),
}
# The kit looks whether a loss can be pickled: it reads what it has written in the same expression.
ALLOWED = {("testing/checks/instance.py", "pickle.loads")}


def calls(tree: ast.AST) -> Iterator[str]:
    """Yield each name that is called or handed on, with its import resolved."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            head, _, rest = ast.unparse(node).partition(".")
            name = known.get(head, head)
            yield f"{name}.{rest}" if rest else name


def test_the_core_runs_and_unpickles_nothing():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 60
    found = {
        (file.relative_to(PACKAGE).as_posix(), name)
        for file in files
        for name in calls(ast.parse(file.read_text("utf-8"), str(file)))
        if name in FORBIDDEN
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("eval('1')", "eval"),
        ("list(map(eval, lines))", "eval"),
        ("import pickle\npickle.loads(b'')", "pickle.loads"),
        ("import pickle as p\np.load(file)", "pickle.load"),
        ("from pickle import loads as read\nread(b'')", "pickle.loads"),
        ("import torch\nstate = torch.load('x')", "torch.load"),
        ("from torch import load\nload('x')", "torch.load"),
    ],
)
def test_the_search_sees_what_it_should(source, name):
    assert name in set(calls(ast.parse(source))) & FORBIDDEN


@pytest.mark.parametrize("source", ["model.eval()", "re.compile('x')", "torch.compile(f)", "executor.exec_count"])
def test_the_search_sees_no_more(source):
    assert not set(calls(ast.parse(source))) & FORBIDDEN


@pytest.mark.parametrize(
    "record",
    [
        {"id": "core/squared_error-v1", "options": {}, "versions": {}, "factory": "os:system"},
        {"id": "os:system", "options": {"command": "echo"}},
        {"id": "core/squared_error-v1", "options": {"__class__": "os"}},
        "!!python/object/apply:os.system [echo]",
        b"cos\nsystem\n(S'echo'\ntR.",
    ],
)
def test_a_record_is_data(record, monkeypatch):
    """What a record says beyond an id and options is not looked at; what is no record is refused."""
    import os

    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("a record has run a command"))
    try:
        made = nlcore.restore(record)
    except (nlcore.errors.RegistryError, nlcore.errors.ConfigError):
        return
    assert type(made).__name__ == "SquaredError"

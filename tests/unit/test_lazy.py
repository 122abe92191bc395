"""Lazy exports: names are imported on first use, and no others are there."""

from __future__ import annotations

import ast
import inspect
import sys

import pytest

import nlcore
from nlcore.plugin import lazy_exports


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "lazy_example"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from nlcore.plugin import lazy_exports\n"
        "__getattr__, __dir__ = lazy_exports(__name__, {'heavy': ['Heavy', 'weigh']})\n"
    )
    (folder / "heavy.py").write_text("class Heavy:\n    pass\n\n\ndef weigh():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("lazy_example", "lazy_example.heavy"):
        sys.modules.pop(name, None)


def test_a_name_is_imported_on_first_use(package):
    import lazy_example

    assert "lazy_example.heavy" not in sys.modules
    assert lazy_example.weigh() == 1
    assert lazy_example.Heavy is sys.modules["lazy_example.heavy"].Heavy
    assert "weigh" in vars(lazy_example)


def test_only_public_names_are_listed(package):
    import lazy_example

    assert dir(lazy_example) == ["Heavy", "weigh"]


def test_a_wrong_name_is_refused_with_those_there_are(package):
    import lazy_example

    with pytest.raises(AttributeError, match=r"'lazy_example' has no attribute 'weight'; it has Heavy, weigh"):
        lazy_example.weight  # noqa: B018


def test_it_is_what_the_packages_here_use():
    for name in ("sorting", "ranking", "decisions", "shortest_paths", "sequences", "bench"):
        module = pytest.importorskip(f"nlcore_{name}")
        assert dir(module) == sorted(module.__all__)
        imports = [one for one in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(one, ast.ImportFrom)]
        shown = [one.name for each in imports for one in each.names if one.asname == one.name]
        assert sorted(shown) == sorted(module.__all__), "type checkers and the site see the imports `X as X`"
    assert callable(lazy_exports)


@pytest.mark.parametrize(
    ("name", "message"),
    [("ConfigError", r"it is nlcore\.errors\.ConfigError; see"), ("NewtonLos", r"did you mean 'NewtonLoss'\?")],
)
def test_a_name_that_nlcore_lacks_is_shown_where_it_is(name, message):
    with pytest.raises(AttributeError, match=message):
        getattr(nlcore, name)

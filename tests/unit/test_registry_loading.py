"""Loading plugins: isolation of the broken ones, hooks that are wrong, threads, refresh."""

from __future__ import annotations

import sys
import threading
import warnings

import pluggy
import pytest

from nlcore.errors import DuplicateAlgorithmError, PluginLoadError, PluginLoadWarning, RegistryError
from nlcore.registry import Registry

HOOK = """
from nlcore.plugin import AlgorithmSpec, hookimpl

@hookimpl
def nlcore_algorithms():
    {body}
"""

MUTE = """
class Mute(Exception):
    def __str__(self):
        raise {within}
raise Mute
"""

FAULTS = {
    "crash": ("raise RuntimeError('boom')", RuntimeError, "RuntimeError: boom"),
    "exit": ("raise SystemExit(7)", SystemExit, "SystemExit: 7"),
    "syntax": ("def (", SyntaxError, "SyntaxError"),
    "dependency": ("import nlcore_missing", ModuleNotFoundError, "No module named 'nlcore_missing'"),
    "no hook": ("x = 1", RegistryError, "implements no hook"),
    "no marker": ("def nlcore_algorithms(): return []", RegistryError, "implements no hook.*@hookimpl"),
    "unknown hook": (
        "from nlcore.plugin import hookimpl\n@hookimpl\ndef nlcore_algoritms(): return []",
        RegistryError,
        r"the function nlcore_algoritms is marked with @hookimpl, but nlcore has no hook "
        r"'nlcore_algoritms' \(did you mean 'nlcore_algorithms'\?\)\. Rename it",
    ),
    "hook without the prefix": (
        "from nlcore.plugin import hookimpl\n@hookimpl\ndef task(): return []",
        RegistryError,
        r"no hook 'task' \(did you mean 'nlcore_tasks'\?\)",
    ),
    "hook unlike any": (
        "from nlcore.plugin import hookimpl\n@hookimpl\ndef nlcore_zoom(): return []",
        RegistryError,
        r"no hook 'nlcore_zoom'\. Rename it, or update nlcore if a later version has that hook; this one has "
        "nlcore_algorithms, nlcore_commands, nlcore_tasks, nlcore_studies",
    ),
    "unknown hook by specname": (
        "from nlcore.plugin import hookimpl\n@hookimpl(specname='nlcore_study')\ndef studies(): return []",
        RegistryError,
        r"the function studies is marked .* no hook 'nlcore_study' \(did you mean 'nlcore_studies'\?\)",
    ),
    "wrong signature": (
        "from nlcore.plugin import hookimpl\n@hookimpl\ndef nlcore_algorithms(registry): return []",
        pluggy.PluginValidationError,
        "registry",
    ),
    "hook crashes": (HOOK.format(body="1 / 0"), ZeroDivisionError, "ZeroDivisionError"),
    "hook exits": (HOOK.format(body="raise SystemExit"), SystemExit, "SystemExit"),
    "own base exception": ("class Panic(BaseException): pass\nraise Panic('boom')", BaseException, "Panic: boom"),
    "generator exit": ("raise GeneratorExit('boom')", GeneratorExit, "GeneratorExit: boom"),
    "group": ("raise BaseExceptionGroup('boom', [SystemExit(1)])", BaseExceptionGroup, "BaseExceptionGroup: boom"),
    "hook stops": (HOOK.format(body="raise StopIteration"), StopIteration, "StopIteration"),
    "hook panics": (HOOK.format(body="raise GeneratorExit"), GeneratorExit, "GeneratorExit"),
    "generator panics": (
        HOOK.format(body="yield AlgorithmSpec(id='bad/a-v1', factory='a:b'); raise SystemExit(3)"),
        SystemExit,
        "SystemExit: 3",
    ),
    "mute": (MUTE.format(within="RuntimeError"), Exception, r"Mute \(its text cannot be read\)"),
    "mute and exits": (MUTE.format(within="SystemExit(7)"), Exception, r"Mute \(its text cannot be read\)"),
    "hostile class": (
        "class Meta(type):\n    def __getattribute__(cls, name): raise SystemExit\n"
        "class Odd(Exception, metaclass=Meta): pass\nraise Odd('boom')",
        Exception,
        "BaseException: boom",
    ),
    "hostile missing module": (
        "class Lost(ModuleNotFoundError):\n    @property\n    def name(self): raise SystemExit\nraise Lost('boom')",
        ModuleNotFoundError,
        "Lost: boom",
    ),
    "hostile syntax error": (
        "error = SyntaxError('boom')\nerror.filename, error.lineno, error.text = 3, 'x', object()\nraise error",
        SyntaxError,
        "SyntaxError: boom",
    ),
    "hostile module": (
        "import sys\nclass Odd:\n    def __dir__(self): raise SystemExit\nsys.modules[__name__] = Odd()",
        SystemExit,
        "SystemExit",
    ),
    "escapes": (r"raise RuntimeError('\x1b[2J\x00\udc80')", RuntimeError, r"RuntimeError: \\x1b\[2J\\x00\\udc80"),
    "hostile answer": (
        HOOK.format(body="return [type('Odd', (), dict(__repr__=lambda self: exit()))()]"),
        RegistryError,
        r"a value of type Odd among",
    ),
    "summary": (
        HOOK.format(body="return [AlgorithmSpec(id='bad/a-v1', factory='a:b', summary=3)]"),
        RegistryError,
        "bad/a-v1: summary is of type int",
    ),
    "deprecated": (
        HOOK.format(body="return [AlgorithmSpec(id='bad/a-v1', factory='a:b', deprecated=True)]"),
        RegistryError,
        "bad/a-v1: deprecated is of type bool",
    ),
    "changed afterwards": (
        HOOK.format(
            body="spec = AlgorithmSpec(id='bad/a-v1', factory='a:b')\n"
            "    object.__setattr__(spec, 'summary', None)\n    return [spec]"
        ),
        RegistryError,
        "bad/a-v1: summary is of type NoneType",
    ),
    "lies": (
        HOOK.format(
            body="namespace = property(lambda self: 'bad')\n"
            "    return [type('Liar', (AlgorithmSpec,), dict(namespace=namespace))(id='good/b-v1', factory='a:b')]"
        ),
        RegistryError,
        "'good/b-v1', which is outside the plugin's own namespace 'bad'",
    ),
    "hostile specification": (
        HOOK.format(
            body="summary = property(lambda self: exit(3), lambda self, value: None)\n"
            "    return [type('Odd', (AlgorithmSpec,), dict(summary=summary))(id='bad/a-v1', factory='a:b')]"
        ),
        SystemExit,
        "SystemExit: 3",
    ),
    "None": (HOOK.format(body="pass"), RegistryError, "returned None; return a list of AlgorithmSpec"),
    "number": (HOOK.format(body="return 3"), RegistryError, r"returned 3 \(int\); return a list"),
    "text": (HOOK.format(body="return 'x/a-v1'"), RegistryError, r"returned 'x' \(str\) among"),
    "dicts": (HOOK.format(body="return [dict(id='x/a-v1')]"), RegistryError, r"\(dict\) among"),
    "class": (HOOK.format(body="return [AlgorithmSpec]"), RegistryError, "among its AlgorithmSpecs"),
    "generator": (
        HOOK.format(body="yield AlgorithmSpec(id='bad/a-v1', factory='a:b'); 1 / 0"),
        ZeroDivisionError,
        "ZeroDivisionError",
    ),
    "bad id": (HOOK.format(body="return [AlgorithmSpec(id='A', factory='a:b')]"), RegistryError, "'A' is not an id"),
    "foreign id": (
        HOOK.format(
            body="return [AlgorithmSpec(id='bad/a-v1', factory='a:b'), AlgorithmSpec(id='good/b-v1', factory='a:b')]"
        ),
        RegistryError,
        "'good/b-v1', which is outside the plugin's own namespace 'bad'",
    ),
    "duplicate": (
        HOOK.format(
            body="return [AlgorithmSpec(id='bad/a-v1', factory='a:b'), AlgorithmSpec(id='bad/a-v1', factory='a:c')]"
        ),
        DuplicateAlgorithmError,
        "'bad/a-v1' twice",
    ),
}


def test_an_unknown_hook_that_is_optional_is_ignored(shelf, registry_of):
    later = "\n\n@hookimpl(optionalhook=True)\ndef nlcore_pictures(): return []\n"
    shelf.add("good", HOOK.format(body="return [AlgorithmSpec(id='good/a-v1', factory='a:b')]") + later)
    assert registry_of().names() == ["good/a-v1"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_plugin_is_named_with_its_cause_and_harms_nobody(shelf, registry_of, fault):
    source, cause, message = FAULTS[fault]
    shelf.good("good")
    shelf.add("bad", source, distribution="bad-one", version="0.3")
    registry = registry_of()
    for _ in range(2):
        with pytest.raises(
            PluginLoadError, match=rf"(?s)plugin 'bad' of bad-one 0.3 failed to load.*{message}"
        ) as caught:
            registry.make("bad/a")
        assert isinstance(caught.value.__cause__, cause)
    assert type(registry.make("good/blur")).__name__ == "Blur"
    with pytest.warns(PluginLoadWarning, match=r"'bad' of bad-one"):
        assert registry.names() == ["good/blur-v1"]
    bad, good = registry.plugins()
    assert (bad.namespace, bad.state, bad.specs, good.state) == ("bad", "failed", (), "loaded")
    assert isinstance(bad.cause, cause)


def test_an_interrupt_by_the_user_is_his_and_leaves_nothing_behind(shelf, registry_of):
    flag = shelf.module("first = True")
    shelf.add(
        "x",
        f"import {flag}\nif {flag}.first:\n    {flag}.first = False\n    raise KeyboardInterrupt\n"
        + HOOK.format(body="return []"),
    )
    registry = registry_of()
    with pytest.raises(KeyboardInterrupt):
        registry.names()
    assert registry.names("x") == []


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "type('Own', (KeyboardInterrupt,), {})"])
def test_an_interrupt_in_a_text_is_the_users_too(shelf, registry_of, kind):
    shelf.add("x", MUTE.format(within=kind))
    with pytest.raises(KeyboardInterrupt):
        registry_of().names()


def test_a_string_of_a_class_of_its_own_becomes_a_plain_one(shelf, registry_of):
    body = (
        "text = type('Text', (str,), dict.fromkeys(['__format__', '__str__', '__len__', 'encode'], exit))\n"
        "    return [AlgorithmSpec(id=text('x/a-v1'), factory=text('a:b'), summary=text('plain'))]"
    )
    shelf.add("x", HOOK.format(body=body))
    spec = registry_of().spec("x/a")
    assert {type(value) for value in (spec.id, spec.factory, spec.summary)} == {str}
    assert (spec.id, spec.summary) == ("x/a-v1", "plain")


def test_a_trace_of_a_hostile_error_harms_nobody(shelf, registry_of, capsys):
    shelf.add("bad", MUTE.format(within="SystemExit"))
    shelf.good("good")
    registry = registry_of(NLCORE_TRACE_PLUGINS="1")
    assert [str(record.state) for record in registry.plugins()] == ["failed", "loaded"]
    assert "nlcore: plugin bad (nlcore-x-bad 1.0): failed after" in capsys.readouterr().err


def test_output_of_a_plugin_goes_to_standard_error(shelf, registry_of, capfd):
    noise = "import os, sys\nprint('import')\nos.write(1, b'descriptor')\nsys.__stdout__.write('')\n"
    here = shelf.module(
        "print('factory module')\nclass A:\n    traits = None\n    def __init__(self): print('constructor')\n"
        "    def __call__(self, prediction, target): pass"
    )
    shelf.add("x", noise + HOOK.format(body=f"print('hook'); yield AlgorithmSpec(id='x/a-v1', factory='{here}:A')"))
    registry = registry_of()
    registry.names()
    registry.make("x/a")
    out, err = capfd.readouterr()
    assert out == ""
    assert all(word in err for word in ("import", "descriptor", "hook", "factory module", "constructor"))


@pytest.mark.parametrize("answer", ["return ()", "return iter(())", "yield from ()"])
def test_a_plugin_without_algorithms_is_fine(shelf, registry_of, answer):
    shelf.add("x", HOOK.format(body=answer))
    assert registry_of().names("x") == []


def test_a_plugin_with_commands_only_is_fine(shelf, registry_of):
    shelf.add("x", "from nlcore.plugin import hookimpl\n@hookimpl\ndef nlcore_commands(subparsers): pass")
    (record,) = registry_of().plugins()
    assert (record.state, record.specs) == ("loaded", ())


def test_a_generator_of_specifications_is_fine(shelf, registry_of):
    shelf.add("x", HOOK.format(body="yield AlgorithmSpec(id='x/a-v1', factory='a:b')"))
    assert registry_of().names("x") == ["x/a-v1"]


def test_an_object_may_stand_for_the_module(shelf, registry_of):
    name = shelf.module(
        """
        from nlcore.plugin import AlgorithmSpec, hookimpl
        class Plugin:
            @hookimpl
            def nlcore_algorithms(self):
                return [AlgorithmSpec(id="x/a-v1", factory="a:b")]
        plugin = Plugin()
        """
    )
    shelf.announce("x", f"{name}:plugin")
    assert registry_of().names("x") == ["x/a-v1"]


def test_names_that_a_module_offers_lazily_are_left_alone(shelf, registry_of):
    source = """
    def __dir__():
        return ["nlcore_algorithms", "Heavy"]

    def __getattr__(name):
        if name == "Heavy":
            raise RuntimeError("this would import torch")
        raise AttributeError(name)
    """
    shelf.add("x", HOOK.format(body="return []") + "\n" + "\n".join(line[4:] for line in source.splitlines()))
    assert registry_of().names("x") == []


def test_only_the_namespace_that_is_asked_for_is_imported(shelf, registry_of):
    shelf.good("x")
    other = shelf.add("y", "raise RuntimeError('not asked for')")
    registry = registry_of(NLCORE_STRICT_PLUGINS="")
    assert not [name for name in shelf.modules if name in sys.modules]
    registry.make("x/blur")
    assert other not in sys.modules
    registry.plugin("x")
    assert registry.plugin("x").seconds > 0


class TestWarnings:
    @pytest.fixture
    def registry(self, shelf, registry_of):
        shelf.good("good")
        shelf.add("bad", "raise RuntimeError('boom')")
        shelf.good("odd", group="nlcore.plugins.v2")
        return registry_of()

    def test_each_faulty_plugin_is_warned_of_once_at_the_caller(self, registry):
        with pytest.warns(PluginLoadWarning) as caught:
            registry.names()
        assert [warning.filename for warning in caught] == [__file__, __file__]
        assert ["bad" in str(caught[0].message), "odd" in str(caught[1].message)] == [True, True]
        with warnings.catch_warnings(record=True) as again:
            warnings.simplefilter("always")
            assert registry.names() == ["good/blur-v1"]
        assert again == []

    def test_where_warnings_are_errors_the_list_is_still_there(self, registry):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert registry.names() == ["good/blur-v1"]

    def test_after_a_refresh_it_is_said_again(self, registry):
        for _ in range(2):
            registry.refresh()
            with pytest.warns(PluginLoadWarning) as caught:
                registry.names()
            assert "boom" in str(caught[0].message)
            assert len(caught) == 2


class TestReentrancy:
    def test_a_plugin_may_use_another_while_it_is_imported(self, shelf):
        here = shelf.good("base")
        holder = shelf.module("registry = None")
        shelf.add(
            "top",
            f"import {holder}\nmade = {holder}.registry.make('base/blur', width=4.0)\nassert made.width == 4.0\n"
            + HOOK.format(body=f"return [AlgorithmSpec(id='top/a-v1', factory='{here}:Blur')]"),
        )
        registry = Registry(entry_points=shelf.entry_points, environ={})
        __import__(holder).registry = registry
        assert registry.names() == ["base/blur-v1", "top/a-v1"]

    def test_a_plugin_may_not_ask_for_its_own_namespace_while_it_is_imported(self, shelf):
        holder = shelf.module("registry = None")
        shelf.add("x", f"import {holder}\n{holder}.registry.make('x/a')\n" + HOOK.format(body="return []"))
        registry = Registry(entry_points=shelf.entry_points, environ={})
        __import__(holder).registry = registry
        with pytest.raises(PluginLoadError, match=r"asks for its own namespace 'x' while it is being imported"):
            registry.make("x/a")

    def test_a_plugin_may_list_everything_while_it_is_imported(self, shelf):
        holder = shelf.module("registry = None\nseen = None")
        shelf.good("base")
        shelf.add("x", f"import {holder}\n{holder}.seen = {holder}.registry.names()\n" + HOOK.format(body="return []"))
        registry = Registry(entry_points=shelf.entry_points, environ={})
        __import__(holder).registry = registry
        assert registry.names() == ["base/blur-v1"]
        assert __import__(holder).seen == ["base/blur-v1"]


@pytest.mark.parametrize("broken", [False, True])
def test_threads_that_ask_at_the_same_time_load_once(shelf, registry_of, broken):
    counter = shelf.module("count = 0")
    shelf.add(
        "x",
        f"import time, {counter}\n{counter}.count += 1\ntime.sleep(0.05)\n"
        + ("raise RuntimeError('boom')" if broken else HOOK.format(body="return []")),
    )
    shelf.good("y")
    registry, barrier = registry_of(), threading.Barrier(32)
    outcomes: list[str] = []

    def ask(number: int) -> None:
        barrier.wait()
        try:
            outcomes.append(str(registry.names("x") if number % 2 else registry.plugins()[0].state))
        except PluginLoadError:
            outcomes.append("PluginLoadError")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sys.modules[counter].count == 1
    assert sorted(outcomes) == sorted((["failed", "PluginLoadError"] if broken else ["loaded", "[]"]) * 16)


class TestRefresh:
    def test_what_is_installed_meanwhile_is_found(self, shelf, registry_of):
        shelf.good("x")
        registry = registry_of()
        assert registry.names() == ["x/blur-v1"]
        shelf.good("y")
        assert registry.names() == ["x/blur-v1"]
        registry.refresh()
        assert registry.names() == ["x/blur-v1", "y/blur-v1"]

    def test_what_is_mended_meanwhile_works(self, shelf, registry_of):
        switch = shelf.module("broken = True")
        shelf.add("x", f"import {switch}\nif {switch}.broken: raise RuntimeError\n" + HOOK.format(body="return []"))
        registry = registry_of()
        with pytest.raises(PluginLoadError):
            registry.names("x")
        sys.modules[switch].broken = False
        with pytest.raises(PluginLoadError):
            registry.names("x")
        registry.refresh()
        assert registry.names("x") == []

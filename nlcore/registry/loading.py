"""Import a plugin and ask it for its algorithms; resolve the references in them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import pluggy

from nlcore.errors import DuplicateAlgorithmError, PluginLoadError, RegistryError
from nlcore.registry import hooks
from nlcore.registry.spec import AlgorithmSpec

__all__ = ["PLUGIN_FAULTS", "Hooks", "describe", "fault_place", "is_made_by", "resolve"]

# What a plugin may raise without taking anything else down. KeyboardInterrupt is the user's.
PLUGIN_FAULTS = (Exception, SystemExit)


class Hooks:
    """The hooks of one plugin, in a manager of its own, so that no call can reach another plugin.

    Args:
        namespace: The name of the entry point.
        plugin: The module or object that the entry point names.

    Raises:
        RegistryError: It has no hook implementation.
        pluggy.PluginValidationError: A hook has a name that nlcore does not know, or takes what nlcore does not pass.
    """

    def __init__(self, namespace: str, plugin: object) -> None:
        self._namespace = namespace
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        self._manager.register(plugin, name=namespace)
        self._manager.check_pending()
        if not self._manager.get_hookcallers(plugin):
            raise RegistryError(
                f"{getattr(plugin, '__name__', plugin)!r} implements no hook: define nlcore_algorithms and put "
                "@hookimpl of nlcore.plugin on it"
            )

    def algorithms(self) -> tuple[AlgorithmSpec, ...]:
        """Return what the plugin registers, checked.

        Raises:
            RegistryError: The answer is not an iterable of specifications in the plugin's namespace.
            DuplicateAlgorithmError: Two of them have one id.
        """
        caller = self._manager.hook.nlcore_algorithms
        if not caller.get_hookimpls():
            return ()
        answers = caller()
        answer = answers[0] if answers else None
        if not isinstance(answer, Iterable):
            raise RegistryError(f"nlcore_algorithms returned {describe(answer)}; return a list of AlgorithmSpec")
        found: dict[str, AlgorithmSpec] = {}
        for spec in answer:
            if not isinstance(spec, AlgorithmSpec):
                raise RegistryError(f"nlcore_algorithms returned {describe(spec)} among its AlgorithmSpecs")
            if spec.namespace != self._namespace:
                raise RegistryError(
                    f"nlcore_algorithms returned the id {spec.id!r}, which is outside the plugin's own namespace "
                    f"{self._namespace!r}; none of its algorithms is registered"
                )
            if spec.id in found:
                raise DuplicateAlgorithmError(f"nlcore_algorithms returned the id {spec.id!r} twice")
            found[spec.id] = spec
        return tuple(found.values())

    def commands(self, subparsers: hooks.Subparsers) -> None:
        """Let the plugin add its commands to the command line."""
        self._manager.hook.nlcore_commands(subparsers=subparsers)


def resolve(reference: str, owner: str) -> Callable[..., Any]:
    """Return what `"module:attribute"` refers to.

    It is looked up every time, so that a class defined anew in a notebook is the one that is used.

    Args:
        reference: As in `AlgorithmSpec.factory`.
        owner: The id and where it comes from, for the message.

    Raises:
        PluginLoadError: The module cannot be imported, or lacks the attribute, or the attribute cannot be called.
    """
    module, _, attribute = reference.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except PLUGIN_FAULTS as error:
        hint = f" Install {error.name!r}." if isinstance(error, ModuleNotFoundError) and error.name != module else ""
        raise PluginLoadError(
            f"{owner}: cannot resolve {reference!r}: {type(error).__name__}: {error}.{hint}"
        ) from error
    if not callable(found):
        raise PluginLoadError(f"{owner}: {reference!r} is {describe(found)}, which cannot be called.")
    return found  # type: ignore[no-any-return]


def fault_place(cause: BaseException | None) -> str:
    """Return the file and line of a plugin at which an import failed; empty where none but Python's own is known."""
    if isinstance(cause, SyntaxError) and cause.filename:
        return f"{cause.filename}, line {cause.lineno}"
    frames = traceback.extract_tb(cause.__traceback__) if cause is not None else []
    own = [one for one in frames if not one.filename.startswith("<") and "importlib" not in one.filename]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own and own[-1].filename != __file__ else ""


def is_made_by(cls: type, reference: str) -> bool:
    """Return whether `"module:attribute"` refers to `cls`, without importing a module that is not there yet."""
    name, _, attribute = reference.partition(":")
    module = sys.modules.get(name)
    found = None if module is None else vars(module).get(attribute)
    if module is not None and found is None and attribute == cls.__name__:
        found = getattr(module, attribute, None)  # a package that offers the class lazily
    return found is cls


def describe(value: object) -> str:
    """Return a short text for a value that is not what it should be."""
    if value is None:
        return "None"
    kind = type(value).__qualname__
    try:
        text = repr(value)
    except Exception:
        text = ""
    return f"{text} ({kind})" if 0 < len(text) <= 60 and text.isprintable() else f"a value of type {kind}"

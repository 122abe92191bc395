"""Code of plugins: run apart from everything else, asked for algorithms, and looked up by reference."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pluggy

from nlcore.errors import (
    DuplicateAlgorithmError,
    PluginError,
    PluginLoadError,
    RegistryError,
    attempted,
    error_text,
    printable,
)
from nlcore.registry import hooks
from nlcore.registry.spec import AlgorithmSpec
from nlcore.registry.streams import standard_output

__all__ = ["Hooks", "PluginFault", "calling", "describe", "fault_place", "is_made_by", "isolated", "resolve"]


class PluginFault(Exception):  # noqa: N818
    """What code of a plugin has raised, in a form that `except` can take.

    Attributes:
        cause: The exception itself, of any class but `KeyboardInterrupt`.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(type(cause))
        self.cause = cause


@contextmanager
def isolated() -> Iterator[None]:
    """Run code of a plugin: its output goes to standard error, and an interrupt by the user passes.

    Raises:
        PluginFault: It has raised anything else.
    """
    with standard_output.reserved():
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginFault(error) from error


@contextmanager
def calling(what: str) -> Iterator[None]:
    """Call what makes an algorithm: its errors are the caller's, but it cannot end the program.

    Args:
        what: The id, where it comes from and what is called, for the message.

    Raises:
        PluginError: It has raised what no `except Exception` takes, as `SystemExit`.
    """
    with standard_output.reserved():
        try:
            yield
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise PluginError(f"{what} raised {error_text(error)}.") from error


class _Manager(pluggy.PluginManager):
    """A plugin manager that passes over the names that every module and every class has."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        return None if name.startswith("__") else super().parse_hookimpl_opts(plugin, name)


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
        self._manager = _Manager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks.SPECIFICATIONS)
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
        for given in answer:
            if not isinstance(given, AlgorithmSpec):
                raise RegistryError(f"nlcore_algorithms returned {describe(given)} among its AlgorithmSpecs")
            spec = AlgorithmSpec.copied(given)
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
        with isolated():
            found = getattr(import_module(module), attribute)
    except PluginFault as fault:
        error = fault.cause
        name = attempted(lambda: error.name, None) if isinstance(error, ModuleNotFoundError) else None
        hint = f" Install {name!r}." if isinstance(name, str) and name != module else ""
        raise PluginLoadError(f"{owner}: cannot resolve {reference!r}: {error_text(error)}.{hint}") from error
    if not callable(found):
        raise PluginLoadError(f"{owner}: {reference!r} is {describe(found)}, which cannot be called.")
    return found  # type: ignore[no-any-return]


def fault_place(cause: BaseException | None) -> str:
    """Return the file and line of a plugin at which an import failed; empty where none but Python's own is known."""
    return printable(attempted(lambda: _place(cause), ""))


def _place(cause: BaseException | None) -> str:
    if isinstance(cause, SyntaxError) and cause.filename:
        return f"{cause.filename}, line {cause.lineno}"
    frames = traceback.extract_tb(cause.__traceback__) if cause is not None else []
    own = [one for one in frames if not one.filename.startswith("<") and "importlib" not in one.filename]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own and own[-1].filename != __file__ else ""


def is_made_by(cls: type, reference: str) -> bool:
    """Return whether `"module:attribute"` refers to `cls`, without importing a module that is not there yet."""
    name, _, attribute = reference.partition(":")
    module = sys.modules.get(name)
    if module is None:
        return False

    def found() -> Any:
        value = vars(module).get(attribute)
        # A package may offer the class lazily.
        return getattr(module, attribute) if value is None and attribute == cls.__name__ else value

    return attempted(found, None) is cls


def describe(value: object) -> str:
    """Return a short text for a value that is not what it should be."""
    if value is None:
        return "None"
    kind = printable(attempted(lambda: str.__str__(type(value).__qualname__), "unknown"))
    text = attempted(lambda: str.__str__(repr(value)), "")
    return f"{text} ({kind})" if 0 < len(text) <= 60 and text.isprintable() else f"a value of type {kind}"

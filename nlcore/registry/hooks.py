"""Hooks of a plugin: their specifications, and the calls that ask one plugin for what it offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import pluggy

from nlcore.errors import DuplicateAlgorithmError, RegistryError
from nlcore.registry.isolation import describe
from nlcore.registry.spec import AlgorithmSpec, Spec, TaskSpec

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = [
    "GROUP",
    "GROUP_PREFIX",
    "Hooks",
    "StudySource",
    "Subparsers",
    "hookimpl",
    "nlcore_algorithms",
    "nlcore_commands",
    "nlcore_studies",
    "nlcore_tasks",
]

_SpecT = TypeVar("_SpecT", bound=Spec)
StudySource: TypeAlias = str | Path | Mapping[str, Any]
"""A study: the path of its TOML file, or its content."""

_PROJECT, _PREFIX = "nlcore", "nlcore_"
GROUP_PREFIX = "nlcore.plugins"
GROUP = f"{GROUP_PREFIX}.v1"

hookimpl = pluggy.HookimplMarker(_PROJECT)
_hookspec = pluggy.HookspecMarker(_PROJECT)


class Subparsers(Protocol):
    """The part of argparse's `add_subparsers()` object that a plugin may use."""

    def add_parser(self, name: str, *, help: str = "", **keywords: Any) -> ArgumentParser:
        """Add a command and return its parser; the keywords go to `argparse.ArgumentParser`."""
        ...


@_hookspec
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:  # type: ignore[empty-body]
    """Return the algorithms of this plugin.

    All ids lie in the namespace that the entry point names. One bad specification fails the whole plugin,
    so that nothing half-registered exists.
    """


@_hookspec
def nlcore_commands(subparsers: Subparsers) -> None:
    """Add commands to the command line.

    Each command's parser sets the function that runs it: `parser.set_defaults(run=function)`, where
    `function(arguments: argparse.Namespace) -> int | None` returns the exit code, `None` for 0.

    Args:
        subparsers: Has `add_parser(name, *, help="", **keywords)`, as argparse has it.
    """


@_hookspec
def nlcore_tasks() -> Iterable[TaskSpec]:  # type: ignore[empty-body]
    """Return the tasks of this plugin, on which `nlcore bench` trains; called by nlcore-bench alone.

    All ids lie in the namespace that the entry point names.
    """


@_hookspec
def nlcore_studies() -> Iterable[StudySource]:  # type: ignore[empty-body]
    """Return the studies of this plugin, which `nlcore bench` lists and runs; called by nlcore-bench alone.

    Each is the path of a TOML file, or the content of one.
    """


class _Specifications:
    """The hook specifications alone: pluggy looks at every name of its argument, once for each plugin."""

    nlcore_algorithms = staticmethod(nlcore_algorithms)
    nlcore_commands = staticmethod(nlcore_commands)
    nlcore_tasks = staticmethod(nlcore_tasks)
    nlcore_studies = staticmethod(nlcore_studies)

    def __dir__(self) -> list[str]:
        return list(_NAMES)


_NAMES = ("nlcore_algorithms", "nlcore_commands", "nlcore_tasks", "nlcore_studies")
_SPECIFICATIONS: Any = _Specifications()
_OPTIONS = {name: pluggy.PluginManager(_PROJECT).parse_hookspec_opts(_SPECIFICATIONS, name) for name in _NAMES}


class _Manager(pluggy.PluginManager):
    """A plugin manager for these specifications, which ignores the attributes that every module and class has.

    The options of the specifications are read once and not once for each plugin, which took a third of the time.
    """

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        return _OPTIONS[name]

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        return None if name.startswith("__") else super().parse_hookimpl_opts(plugin, name)


class Hooks:
    """The hooks of one plugin, in a manager of its own, so that no call can reach another plugin.

    Args:
        namespace: The name of the entry point.
        plugin: The module or object that the entry point names.

    Raises:
        RegistryError: It has no hook implementation, or one of a hook that does not exist.
        pluggy.PluginValidationError: A hook has parameters that nlcore does not pass.
    """

    def __init__(self, namespace: str, plugin: object) -> None:
        self._namespace = namespace
        self._manager = _Manager(_PROJECT)
        self._manager.add_hookspecs(_SPECIFICATIONS)
        self._manager.register(plugin, name=namespace)
        callers = self._manager.get_hookcallers(plugin) or []
        for caller in callers:
            if not caller.has_spec():
                _require_optional(caller)
        if not callers:
            raise RegistryError(
                f"{getattr(plugin, '__name__', plugin)!r} implements no hook: define nlcore_algorithms and put "
                "@hookimpl of nlcore.plugin on it"
            )

    def algorithms(self) -> tuple[AlgorithmSpec, ...]:
        """Return the algorithms that the plugin registers, checked.

        Raises:
            RegistryError: The answer is not an iterable of specifications in the plugin's namespace.
            DuplicateAlgorithmError: Two of them have one id.
        """
        return self._specs("nlcore_algorithms", AlgorithmSpec)

    def tasks(self) -> tuple[TaskSpec, ...]:
        """Return the tasks that the plugin registers, checked; raises as `algorithms` does."""
        return self._specs("nlcore_tasks", TaskSpec)

    def studies(self) -> tuple[StudySource, ...]:
        """Return the studies of the plugin.

        Raises:
            RegistryError: The answer is not an iterable of paths and mappings.
        """
        found = tuple(self._answer("nlcore_studies", "paths"))
        for one in found:
            if not isinstance(one, str | Path | Mapping):
                raise RegistryError(f"nlcore_studies returned {describe(one)} among its studies; return paths")
        return found

    def _answer(self, hook: str, expected: str) -> Iterable[Any]:
        """Return the answer of a hook; nothing where the plugin does not implement it."""
        caller = getattr(self._manager.hook, hook)
        if not caller.get_hookimpls():
            return ()
        answers = caller()
        answer = answers[0] if answers else None
        if not isinstance(answer, Iterable):
            raise RegistryError(f"{hook} returned {describe(answer)}; return a list of {expected}")
        return answer

    def _specs(self, hook: str, kind: type[_SpecT]) -> tuple[_SpecT, ...]:
        specs: dict[str, _SpecT] = {}
        for given in self._answer(hook, kind.__name__):
            if not isinstance(given, kind):
                raise RegistryError(f"{hook} returned {describe(given)} among its {kind.__name__}s")
            spec = kind.copied(given)
            if spec.namespace != self._namespace:
                noun = hook.partition("_")[2]
                raise RegistryError(
                    f"{hook} returned the id {spec.id!r}, which is outside the plugin's own namespace "
                    f"{self._namespace!r}; none of its {noun} is registered"
                )
            if spec.id in specs:
                raise DuplicateAlgorithmError(f"{hook} returned the id {spec.id!r} twice")
            specs[spec.id] = spec
        return tuple(specs.values())

    def commands(self, subparsers: Subparsers) -> None:
        """Let the plugin add its commands to the command line."""
        self._manager.hook.nlcore_commands(subparsers=subparsers)


def _require_optional(unknown: pluggy.HookCaller) -> None:
    """Refuse the implementations of a hook that does not exist, unless they are marked as optional."""
    for one in unknown.get_hookimpls():
        if one.optionalhook:
            continue
        hooks = {hook.removeprefix(_PREFIX): hook for hook in _NAMES}
        near = get_close_matches(unknown.name.removeprefix(_PREFIX), hooks, n=1, cutoff=0.5)
        hint = f" (did you mean {hooks[near[0]]!r}?)" if near else ""
        raise RegistryError(
            f"the function {one.function.__name__} is marked with @hookimpl, but nlcore has no hook {unknown.name!r}"
            f"{hint}. Rename it, or update nlcore if a later version has that hook; this one has {', '.join(_NAMES)}"
        )

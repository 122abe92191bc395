"""Checks of a whole plugin: each of its algorithms, from its specifications and without a registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, Literal, Protocol, get_args, get_origin

from nlcore.constructor import misnamed_options
from nlcore.errors import ConfigError, attempted, error_text, fault_place
from nlcore.testing.kit import NOTHING, Kit, Progress
from nlcore.testing.report import Outcome, PluginReport, Report, Status
from nlcore.testing.subject import Subject

__all__ = ["Case", "Specification", "cases", "check_plugin"]

_NO_FAILURES: Mapping[str, Mapping[str, str]] = MappingProxyType({})
_NO_OPTIONS: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({})


class Specification(Protocol):
    """The part of an `nlcore.plugin.AlgorithmSpec` that the kit reads."""

    @property
    def id(self) -> str:
        """`namespace/name-vN`."""
        ...

    @property
    def factory(self) -> str:
        """`"module:attribute"`."""
        ...

    @property
    def config(self) -> str | None:
        """`"module:Class"`."""
        ...

    @property
    def summary(self) -> str:
        """One line."""
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration of an algorithm.

    Attributes:
        specification: As the plugin registers it.
        options: Those that differ from the defaults.
    """

    specification: Specification
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The id, and the options as nlcore.make takes them."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.specification.id}({options})" if options else self.specification.id

    def subject(self) -> Subject:
        """Make the algorithm.

        Raises:
            Exception: Whatever its module or its constructor raises.
        """
        factory: Callable[..., Any] = _resolved(self.specification.factory)
        config = None if self.specification.config is None else _resolved(self.specification.config)
        values: dict[str, Any] = dict(self.options)
        if config is not None:
            settings = config(**self.options)
            values = {name: getattr(settings, name) for name in type(settings).model_fields}
        return Subject(
            factory(**values),
            config=config,
            factory=factory,
            options=self.options,
            name=self.name,
            summary=self.specification.summary,
        )

    def report(self, before: Progress | None = None) -> Report:
        """Run all checks; one that cannot be made fails `plugin.makes`.

        Args:
            before: Called before each check with its name, its number from 1, and how many there are.
        """
        started = time.perf_counter()
        try:
            subject = self.subject()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return Report(self.name, (Outcome("plugin.makes", Status.FAILED, self._fault(error)),))
        made = Outcome("plugin.makes", Status.PASSED, seconds=time.perf_counter() - started)
        return Report(self.name, (made, *Kit(subject).report(before).outcomes))

    def _fault(self, error: BaseException) -> str:
        """Return why it cannot be made: the error with its place and, where they are the reason, the wrong keywords."""
        text = f"it cannot be made: {' '.join(error_text(error).split())}"
        if isinstance(error, TypeError) and self.specification.config is not None:
            what, remedy = attempted(
                lambda: misnamed_options(
                    _resolved(self.specification.factory), _resolved(str(self.specification.config))
                ),
                ("", ""),
            )
            if what:
                return f"it cannot be made: {what}. {remedy}"
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        own = self.specification.factory.partition(".")[0].partition(":")[0]
        hint = f" Install {name!r}." if name and not name.startswith(own) else ""
        place = fault_place(error)
        return f"{text.rstrip('.')}.{hint}{f' At {place}.' if place else ''}"


def cases(
    specification: Specification,
    options: Sequence[Mapping[str, Any]] = (),
    *,
    every_choice: bool = False,
) -> list[Case]:
    """Return the configurations to check.

    Args:
        specification: The algorithm.
        options: Configurations; the defaults when there are none.
        every_choice: Whether to add one configuration for each further value of an option that is a choice among
            some, or True and False.
    """
    found = [Case(specification, dict(one)) for one in options] or [Case(specification)]
    if every_choice and specification.config is not None:
        base = found[0].options
        found += [Case(specification, {**base, name: value}) for name, value in _choices(specification.config, base)]
    return found


def check_plugin(
    plugin: str | ModuleType | Iterable[Specification],
    *,
    expected_failures: Mapping[str, Mapping[str, str]] = _NO_FAILURES,
    options: Mapping[str, Sequence[Mapping[str, Any]]] = _NO_OPTIONS,
    every_choice: bool = True,
    raise_on_failure: bool = True,
) -> PluginReport:
    """Run every check on every algorithm of a plugin.

    Args:
        plugin: The module that the plugin's entry point names, or its name, as in `"my_plugin._plugin"`; or the
            specifications themselves.
        expected_failures: For an id, the checks that are known to fail with the reasons; strict.
        options: For an id, the configurations to check; the defaults for an id that is not named.
        every_choice: Whether each value of an option that is a choice among some is checked too.
        raise_on_failure: Whether to raise; else look at the reports.

    Returns:
        One report for each configuration.

    Raises:
        ConformanceError: A check failed.
        ConfigError: The plugin registers nothing, or does not have an id.
    """
    specifications = list(_specifications(plugin))
    ids = [one.id for one in specifications]
    for given in (*expected_failures, *options):
        if given not in ids:
            raise ConfigError(f"{given!r} is not an algorithm of the plugin, which has {', '.join(ids)}.")
    reports = []
    for one in specifications:
        announced = expected_failures.get(one.id, NOTHING)
        for case in cases(one, options.get(one.id, ()), every_choice=every_choice):
            report = case.report()
            reports.append(report if report.failed == ("plugin.makes",) else report.announced(announced))
    found = PluginReport(tuple(reports))
    if raise_on_failure:
        found.raise_for_failures()
    return found


def _specifications(plugin: Any) -> Iterator[Specification]:
    module = import_module(plugin) if isinstance(plugin, str) else plugin
    if not isinstance(module, ModuleType):
        yield from module
        return
    hook = getattr(module, "nlcore_algorithms", None)
    if hook is None:
        raise ConfigError(
            f"{module.__name__} has no function nlcore_algorithms. Name the module that the entry point names."
        )
    yield from hook()


def _resolved(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def _choices(reference: str, base: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each option that is a choice with each of its values but the default."""
    # A class that cannot be loaded is reported when the algorithm is made.
    fields: dict[str, Any] = attempted(lambda: dict(_resolved(reference).model_fields), {})
    for name, one in fields.items():
        annotation = one.annotation
        if get_origin(annotation) is Literal:
            values: tuple[Any, ...] = get_args(annotation)
        else:
            values = (True, False) if annotation is bool else ()
        current = base.get(name, attempted(partial(one.get_default, call_default_factory=True), None))
        yield from ((name, value) for value in values if value != current)

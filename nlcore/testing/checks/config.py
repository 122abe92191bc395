"""The configuration: frozen, described, the same as the constructor, and kept by the object."""

from __future__ import annotations

import inspect
import json
from typing import Any

from nlcore.config import AlgorithmConfig
from nlcore.errors import ConfigError, shorten
from nlcore.testing.check import SOUND, check, fail
from nlcore.testing.checks.comparison import compare
from nlcore.testing.subject import BATCH, Subject

__all__ = ["CHECKS"]


def _configured(subject: Subject) -> str:
    return "" if subject.config is not None else "no configuration class was given"


@check("config.described", when=_configured)
def described(subject: Subject) -> None:
    """It is an `AlgorithmConfig`, and every option has a description."""
    config = subject.config
    if config is None or not issubclass(config, AlgorithmConfig):
        fail(f"{config!r} is no AlgorithmConfig", "Derive it from nlcore.AlgorithmConfig.")
    bare = [name for name, field in config.model_fields.items() if not (field.description or "").strip()]
    if bare:
        fail(
            f"the options {shorten(bare)} have no description",
            "Write Field(…, description=…): it is the option's page.",
        )


@check("config.unknown", requires=("config.described",), when=_configured)
def unknown(subject: Subject) -> None:
    """An unknown option is refused, with the options that there are."""
    try:
        _settings(subject, not_an_option=1)
    except ConfigError:
        return
    fail("the option not_an_option=1 was accepted", "Keep extra='forbid' of AlgorithmConfig.")


@check("config.frozen", requires=("config.described",), when=_configured)
def frozen(subject: Subject) -> None:
    """The options of a configuration cannot be changed."""
    settings = _settings(subject)
    for name, value in _values(settings).items():
        try:
            setattr(settings, name, value)
        except Exception:
            continue
        fail(f"the configuration lets its option {name!r} be set", "Keep frozen=True of AlgorithmConfig.")


@check("config.constructor", requires=("config.described",), when=_configured)
def constructor(subject: Subject) -> None:
    """The constructor takes every option as a keyword, with the default of the configuration."""
    parameters = inspect.signature(subject.factory).parameters
    fields: dict[str, Any] = _class(subject).model_fields
    missing = [name for name in fields if name not in parameters]
    if missing:
        fail(f"the constructor does not take {shorten(missing)}", "Give it the same explicit keywords as the Config.")
    extra = [
        name
        for name, one in parameters.items()
        if name not in fields and one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    if extra:
        fail(f"the constructor needs {shorten(extra)}, which are no options", "Add them to the Config, or defaults.")
    for name, field in fields.items():
        mine = parameters[name].default
        if field.is_required() and mine is inspect.Parameter.empty:
            continue
        theirs = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
        if mine is inspect.Parameter.empty or not _same(mine, theirs):
            shown = "no default" if mine is inspect.Parameter.empty else repr(mine)
            fail(f"the option {name!r} is {shown} in the constructor and {theirs!r} in the Config", "Make them equal.")


@check("config.attributes", requires=("config.described",), when=_configured)
def attributes(subject: Subject) -> None:
    """The object keeps each option in an attribute of the same name."""
    for name, value in _values(_settings(subject)).items():
        if not hasattr(subject.algorithm, name):
            fail(f"the object has no attribute {name!r}", "Keep the option under its name, so that dump can record it.")
        found = getattr(subject.algorithm, name)
        if not _same(found, value):
            fail(f"the attribute {name!r} is {found!r}, and the option is {value!r}", "Store the option as it is.")


@check("config.immutable", requires=("config.attributes",), when=_configured)
def immutable(subject: Subject) -> None:
    """The options of an object cannot be changed after it was made."""
    for name, value in _values(_settings(subject)).items():
        held = getattr(subject.algorithm, name)
        if isinstance(held, list | dict | set | bytearray):
            fail(
                f"the attribute {name!r} is a {type(held).__name__}, which can be changed from outside",
                "Annotate the option tuple[…, ...] and store a tuple.",
            )
        try:
            setattr(subject.algorithm, name, value)
        except Exception:
            continue
        fail(
            f"the attribute {name!r} can be set", "Make the class a @dataclass(frozen=True), or the option a property."
        )


@check("config.json", requires=(*SOUND, "config.constructor", "config.attributes"), when=_configured)
def json_round_trip(subject: Subject) -> None:
    """Options survive JSON, and the algorithm made from them again gives the same values."""
    settings = _settings(subject)
    written = json.loads(json.dumps(settings.model_dump(mode="json")))
    again = _class(subject)(**written)
    if again != settings:
        fail(f"the options {settings!r} come back from JSON as {again!r}", "Use types that JSON can hold.")
    twin = Subject(subject.factory(**_values(again)), device=subject.device, dtypes=subject.dtypes, seed=subject.seed)
    prediction, target = subject.draw(BATCH)
    what = "the algorithm that is made from its recorded options gives other values"
    compare(
        subject, twin.value(prediction, target), subject.value(prediction, target), what, "Make all of it an option."
    )


def _class(subject: Subject) -> type[AlgorithmConfig]:
    config: Any = subject.config
    return config  # type: ignore[no-any-return]


def _settings(subject: Subject, **more: Any) -> AlgorithmConfig:
    """Return the configuration that the algorithm was made with."""
    config, given = _class(subject), dict(subject.options)
    for name, field in config.model_fields.items():
        if field.is_required() and name not in given and hasattr(subject.algorithm, name):
            given[name] = getattr(subject.algorithm, name)
    return config(**{**given, **more})


def _values(settings: AlgorithmConfig) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in type(settings).model_fields}


def _same(one: Any, other: Any) -> bool:
    """Whether two options are equal, a list and a tuple of the same values too; 1 and 1.0 are, True and 1 are not."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


CHECKS = (described, unknown, frozen, constructor, attributes, immutable, json_round_trip)

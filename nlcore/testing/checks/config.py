"""Checks of the configuration: frozen, described, the same as the constructor, and kept by the object."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from nlcore.config import AlgorithmConfig
from nlcore.constructor import different_defaults, misnamed_options, same_option
from nlcore.errors import ConfigError, shorten
from nlcore.testing.check import SOUND, check, ensure, fail, only_if
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject

_CONFIGURED = only_if(lambda subject: subject.config is not None, "no configuration class was given")
_PLAIN = (bool, int, float, str, tuple, list, dict)
"""Values of options; a keyword with another default, as a function or `None`, may be for the constructor alone."""


@check("config.described", when=_CONFIGURED)
def described(subject: Subject) -> None:
    """It is an `AlgorithmConfig`, and every option has a description."""
    config = subject.config
    if config is None or not issubclass(config, AlgorithmConfig):
        fail(f"{config!r} is not an AlgorithmConfig", "Derive it from nlcore.AlgorithmConfig.")
    bare = [name for name, field in config.model_fields.items() if not (field.description or "").strip()]
    ensure(
        not bare,
        f"the options {shorten(bare)} have no description",
        "Write Field(…, description=…): it is the option's page.",
    )


@check("config.unknown", requires=("config.described",), when=_CONFIGURED)
def unknown(subject: Subject) -> None:
    """An unknown option is refused, with the options that there are."""
    try:
        _settings(subject, not_an_option=1)
    except ConfigError:
        return
    fail("the option not_an_option=1 was accepted", "Keep extra='forbid' of AlgorithmConfig.")


@check("config.frozen", requires=("config.described",), when=_CONFIGURED)
def frozen(subject: Subject) -> None:
    """The options of a configuration cannot be changed."""
    settings = _settings(subject)
    for name, value in _values(settings).items():
        ensure(
            not _can_set(settings, name, value),
            f"the configuration lets its option {name!r} be set",
            "Keep frozen=True of AlgorithmConfig.",
        )


@check("config.constructor", requires=("config.described",), when=_CONFIGURED)
def constructor(subject: Subject) -> None:
    """The constructor takes every option as a keyword, with the default of the configuration."""
    for compared in (misnamed_options, different_defaults):
        what, remedy = compared(subject.factory, _class(subject))
        ensure(not what, what, remedy)
    parameters = inspect.signature(subject.factory).parameters
    fields = _class(subject).model_fields
    extra = [name for name, one in parameters.items() if name not in fields and isinstance(one.default, _PLAIN)]
    ensure(
        not extra,
        f"the constructor has the keyword {shorten(extra)}, which is not an option: nlcore.make cannot set it, and a "
        "record or a copy of the loss lacks it",
        f"Add it to {_class(subject).__name__}, or remove it.",
    )


@check("config.attributes", requires=("config.described",), when=_CONFIGURED)
def attributes(subject: Subject) -> None:
    """The object keeps each option in an attribute of the same name."""
    for name, value in _values(_settings(subject)).items():
        ensure(
            hasattr(subject.algorithm, name),
            f"the object has no attribute {name!r}",
            "Keep the option under its name, so that dump can record it.",
        )
        found = getattr(subject.algorithm, name)
        ensure(
            same_option(found, value),
            f"the attribute {name!r} is {found!r}, and the option is {value!r}",
            "Store the option as it is.",
        )
    for name, value in _others(subject):
        found = getattr(subject.factory(**{**_values(_settings(subject)), name: value}), name, None)
        ensure(
            same_option(found, value),
            f"made with {name}={value!r}, the object has {name}={found!r}",
            "Store the option as it is: the constructor ignores it.",
        )


@check("config.immutable", requires=("config.attributes",), when=_CONFIGURED)
def immutable(subject: Subject) -> None:
    """The options of an object cannot be changed after it was made."""
    for name, value in _values(_settings(subject)).items():
        held = getattr(subject.algorithm, name)
        mutable = isinstance(held, list | dict | set | bytearray)
        ensure(
            not mutable,
            f"the attribute {name!r} is a {type(held).__name__}, which can be changed from outside",
            "Annotate the option tuple[…, ...] and store a tuple.",
        )
        ensure(
            not _can_set(subject.algorithm, name, value),
            f"the attribute {name!r} can be set",
            "Make the class a @dataclass(frozen=True), or the option a property.",
        )


@check("config.json", requires=(*SOUND, "config.constructor", "config.attributes"), when=_CONFIGURED)
def json_round_trip(subject: Subject) -> None:
    """Options survive JSON, and the algorithm made from them again gives the same values."""
    settings = _settings(subject)
    again = _class(subject)(**json.loads(json.dumps(settings.model_dump(mode="json"))))
    ensure(
        again == settings, f"the options {settings!r} come back from JSON as {again!r}", "Use types that JSON can hold."
    )
    twin = subject.twin(subject.factory(**_values(again)))
    prediction, target = subject.draw(BATCH)
    found, wanted = twin.value(prediction, target), subject.value(prediction, target)
    compare(
        subject,
        found,
        wanted,
        "the algorithm that is made from its recorded options gives other values",
        "Make all of it an option.",
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


def _others(subject: Subject) -> Iterator[tuple[str, Any]]:
    """Yield options with a number other than the present one that configuration and constructor accept."""
    for name, value in _values(_settings(subject)).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        for other in (value + 1, value * 0.5, value * 1.5):
            try:
                settings = _settings(subject, **{name: other})
                subject.factory(**_values(settings))
            except Exception:  # outside its range, or of no sense beside the other options
                continue
            yield name, getattr(settings, name)
            break


def _values(settings: AlgorithmConfig) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in type(settings).model_fields}


def _can_set(held: object, name: str, value: object) -> bool:
    try:
        setattr(held, name, value)
    except Exception:
        return False
    return True

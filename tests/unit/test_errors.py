"""Errors: one tree, the built-in classes they also are, and the helpers for their messages."""

from __future__ import annotations

import inspect
import pickle

import pytest

from nlcore import errors
from nlcore.errors import (
    NlcoreError,
    NonFiniteError,
    SingularCurvatureError,
    error_text,
    first_line,
    nearest,
    printable,
    shorten,
)

CLASSES = [getattr(errors, name) for name in errors.__all__ if inspect.isclass(getattr(errors, name))]
ERRORS = [one for one in CLASSES if not issubclass(one, Warning)]
WARNINGS = [one for one in CLASSES if issubclass(one, Warning)]


def test_one_clause_catches_every_error():
    assert len(ERRORS) >= 20
    assert all(issubclass(one, NlcoreError) for one in ERRORS)
    assert all(one.__name__.endswith("Error") for one in ERRORS)


def test_every_class_is_public_and_documented():
    defined = {name for name, one in inspect.getmembers(errors, inspect.isclass) if one.__module__ == errors.__name__}
    assert defined <= set(errors.__all__)
    assert all(one.__doc__ and one.__doc__ != one.__mro__[1].__doc__ for one in CLASSES)


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("UnknownNamespaceError", {"RegistryError", "LookupError"}),
        ("UnknownAlgorithmError", {"RegistryError", "LookupError"}),
        ("UnknownVersionError", {"RegistryError", "LookupError"}),
        ("DuplicateAlgorithmError", {"RegistryError", "ValueError"}),
        ("PluginLoadError", {"PluginError"}),
        ("PluginIncompatibleError", {"PluginError"}),
        ("PluginDisabledError", {"PluginError"}),
        ("PluginConflictError", {"PluginError"}),
        ("ConfigError", {"ValueError"}),
        ("ShapeError", {"ContractError", "ValueError"}),
        ("DtypeError", {"ContractError", "TypeError"}),
        ("NonFiniteError", {"NumericalError", "ArithmeticError"}),
        ("ConformanceError", {"AssertionError"}),
        ("OutdatedVersionWarning", {"DeprecationWarning"}),
        ("PluginLoadWarning", {"UserWarning"}),
    ],
)
def test_what_an_error_is(name, bases):
    assert bases <= {one.__name__ for one in getattr(errors, name).__mro__}


def test_a_lookup_error_shows_its_message_as_it_is():
    assert str(errors.UnknownAlgorithmError("no 'x'")) == "no 'x'"


@pytest.mark.parametrize("cls", [NonFiniteError, SingularCurvatureError])
def test_samples_come_along(cls):
    error = cls("broken", [3, 5])
    assert (str(error), error.samples) == ("broken", (3, 5))
    assert cls("broken").samples == ()


@pytest.mark.parametrize("cls", ERRORS)
def test_errors_cross_processes(cls):
    error = pickle.loads(pickle.dumps(cls("what happened")))
    assert type(error) is cls
    assert str(error) == "what happened"


@pytest.mark.parametrize("cls", [NonFiniteError, SingularCurvatureError])
def test_samples_cross_processes(cls):
    assert pickle.loads(pickle.dumps(cls("broken", [3, 5]))).samples == (3, 5)


@pytest.mark.parametrize(
    ("word", "candidates", "text"),
    [
        ("widht", ["width", "height"], " (did you mean 'width'?)"),
        ("q", ["width"], ""),
        ("width", [], ""),
    ],
)
def test_nearest(word, candidates, text):
    assert nearest(word, candidates) == text


def test_shorten_names_a_few_and_counts_the_rest():
    assert shorten([]) == ""
    assert shorten([1, "b"]) == "1, b"
    assert shorten(list(range(8))) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert shorten(list(range(9))) == "0, 1, 2, 3, 4, 5, 6, 7, … (9 in all)"


class MuteError(Exception):
    def __init__(self, within):
        self.within = within

    def __str__(self):
        raise self.within


class TestErrorText:
    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (ValueError("what happened"), "ValueError: what happened"),
            (ValueError(), "ValueError"),
            (SystemExit(3), "SystemExit: 3"),
            (ValueError("\x1b[2J\x00\udc80\u202e‖\nmore"), "ValueError: \\x1b[2J\\x00\\udc80\\u202e‖\nmore"),
            (MuteError(RuntimeError()), "MuteError (its text cannot be read)"),
            (MuteError(SystemExit(7)), "MuteError (its text cannot be read)"),
            (MuteError(GeneratorExit()), "MuteError (its text cannot be read)"),
        ],
    )
    def test_it_names_the_class(self, error, text):
        assert error_text(error) == text

    def test_it_may_be_the_text_alone(self):
        assert error_text(ValueError("what happened"), with_class=False) == "what happened"
        assert error_text(ValueError(), with_class=False) == "ValueError"

    def test_its_first_line(self):
        assert first_line(RuntimeError("\n what happened\nand where\n")) == "what happened"
        assert first_line(RuntimeError(" \n")) == first_line(RuntimeError()) == "RuntimeError"
        assert first_line(MuteError(ValueError())) == "MuteError (its text cannot be read)"

    def test_an_interrupt_passes(self):
        with pytest.raises(KeyboardInterrupt):
            error_text(MuteError(KeyboardInterrupt()))


def test_printable_keeps_what_a_terminal_shows_as_it_is():
    assert printable("½‖·‖² → \tλ\n") == "½‖·‖² → \tλ\n"
    assert printable("\r\x7f\x9b\u2028\ufeff") == "\\r\\x7f\\x9b\\u2028\\ufeff"

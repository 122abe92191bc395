"""Every exception and warning of nlcore, so that one `except` clause can name what went wrong."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

__all__ = [
    "ConfigError",
    "ConformanceError",
    "ContractError",
    "DeviceError",
    "DtypeError",
    "DuplicateAlgorithmError",
    "InPlaceError",
    "NlcoreError",
    "NonFiniteError",
    "NumericalError",
    "NumericalWarning",
    "OutdatedVersionWarning",
    "PerformanceWarning",
    "PluginConflictError",
    "PluginDisabledError",
    "PluginError",
    "PluginIncompatibleError",
    "PluginLoadError",
    "PluginLoadWarning",
    "RegistryError",
    "ShapeError",
    "SingularCurvatureError",
    "UnknownAlgorithmError",
    "UnknownNamespaceError",
    "UnknownVersionError",
    "UnsupportedCurvatureError",
    "attempted",
    "error_text",
    "fault_place",
    "first_line",
    "nearest",
    "printable",
    "shorten",
]

_T = TypeVar("_T")

# Controls but for tabs and ends of lines; separators and directions of Unicode; halves of surrogate pairs.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


class NlcoreError(Exception):
    """Base of every error that nlcore raises on purpose."""


class RegistryError(NlcoreError):
    """An algorithm could not be registered or looked up."""


class UnknownNamespaceError(RegistryError, LookupError):
    """No installed plugin provides the part of an id before the slash."""


class UnknownAlgorithmError(RegistryError, LookupError):
    """The namespace is there, but holds no algorithm of that name."""


class UnknownVersionError(RegistryError, LookupError):
    """The algorithm is there, but not in the version asked for."""


class DuplicateAlgorithmError(RegistryError, ValueError):
    """Two specifications claim one id."""


class PluginError(NlcoreError):
    """A plugin is at fault, or switched off."""


class PluginLoadError(PluginError):
    """A plugin failed while it was imported or asked for its algorithms; the cause is chained."""


class PluginIncompatibleError(PluginError):
    """A plugin was written for another version of the plugin interface or of the core."""


class PluginConflictError(PluginError):
    """Several distributions claim one namespace, so none of them gets it."""


class PluginDisabledError(PluginError):
    """A plugin is installed, but the environment switches it off."""


class ConfigError(NlcoreError, ValueError):
    """An option is unknown, of the wrong type, or outside its range."""


class ContractError(NlcoreError):
    """A loss, or the tensors given to it, break the protocol."""


class ShapeError(ContractError, ValueError):
    """A tensor has the wrong shape."""


class DtypeError(ContractError, TypeError):
    """A tensor has the wrong dtype."""


class DeviceError(ContractError, ValueError):
    """Tensors that belong together are on different devices."""


class InPlaceError(ContractError, RuntimeError):
    """A loss changes its prediction or target in place."""


class UnsupportedCurvatureError(NlcoreError, TypeError):
    """The loss cannot supply the curvature that was asked for."""


class NumericalError(NlcoreError, ArithmeticError):
    """A computation left the range in which its result means something.

    Args:
        message: The fault and its remedy.
        samples: Indices along the batch of the samples at fault; empty when it is the same for all.
    """

    def __init__(self, message: str, samples: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.samples = tuple(samples)


class NonFiniteError(NumericalError):
    """NaN or infinity where a number was expected."""


class SingularCurvatureError(NumericalError):
    """The damped curvature matrix has no inverse in the precision at hand."""


class ConformanceError(NlcoreError, AssertionError):
    """An algorithm fails a check of the conformance kit."""


class PluginLoadWarning(UserWarning):
    """A plugin was left out because it could not be loaded."""


class OutdatedVersionWarning(DeprecationWarning):
    """A newer version of the algorithm exists, or this one is deprecated."""


class NumericalWarning(UserWarning):
    """A result is finite but may not mean what it seems to."""


class PerformanceWarning(UserWarning):
    """A slower path was taken than the loss could offer."""


def nearest(word: str, candidates: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the candidate closest to `word`, or an empty string."""
    found = get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


def shorten(items: Sequence[object], limit: int = 8) -> str:
    """Return `items` as a comma-separated text that names at most `limit` of them."""
    text = ", ".join(str(item) for item in items[:limit])
    return f"{text}, … ({len(items)} in all)" if len(items) > limit else text


def attempted(read: Callable[[], _T], otherwise: _T) -> _T:
    """Return what `read` returns, or `otherwise` if it raises anything but an interrupt by the user.

    It is for objects of third parties, whose `__str__`, `__repr__` or properties may raise, even `SystemExit`.
    """
    try:
        return read()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return otherwise


def error_text(error: BaseException, *, with_class: bool = True) -> str:
    """Return the class and the text of an error, printable, even if its `__str__` raises.

    Args:
        error: Any exception.
        with_class: Whether the class stands before the text; without a text it always does.
    """
    name = printable(attempted(lambda: str.__str__(type(error).__name__), "BaseException"))
    text = attempted(lambda: printable(str.__str__(str(error))), None)
    if text is None:
        return f"{name} (its text cannot be read)"
    return f"{name}: {text}" if text and with_class else text or name


def first_line(error: BaseException) -> str:
    """Return the first line of the text of an error, or its class if it has no text."""
    return (error_text(error, with_class=False).strip().splitlines() or [type(error).__name__])[0]


def printable(text: str) -> str:
    """Return `text` with controls, terminal escapes and surrogates written as escapes; tabs and ends of lines stay."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def fault_place(cause: BaseException | None) -> str:
    """Return the file and line of a plugin at which its code failed; empty where none is known."""
    return printable(attempted(lambda: _place(cause), ""))


def _place(cause: BaseException | None) -> str:
    if isinstance(cause, SyntaxError) and cause.filename:
        return f"{cause.filename}, line {cause.lineno}"
    frames = traceback.extract_tb(cause.__traceback__) if cause is not None else []
    foreign = ("<", str(Path(__file__).parent))
    own = [one for one in frames if not one.filename.startswith(foreign) and "importlib" not in one.filename]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""

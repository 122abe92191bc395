"""Isolation of plugin code: its output, its input and its exceptions, kept apart from those of nlcore."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import Any, TextIO, final

from nlcore.errors import PluginError, PluginLoadError, attempted, error_text, printable

__all__ = [
    "PluginFault",
    "StandardOutput",
    "calling",
    "describe",
    "isolated",
    "resolve",
    "standard_output",
]

_STDIN, _STDOUT, _STDERR = 0, 1, 2


@final
class StandardOutput:
    """Standard output, which can be reserved for the answer of nlcore.

    While it is reserved, output to `sys.stdout` or to descriptor 1 goes to standard error, and standard input is at its
    end, so that code of a plugin neither spoils the answer nor waits for input. Then all three streams are restored,
    even if the code has replaced them.

    A process has one standard output: a reservation holds for all threads, and for as long as one of them needs it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._diverted = ExitStack()
        self._stream: TextIO | None = None  # the former sys.stdout
        self._output: int | None = None  # a copy of descriptor 1, if the stream writes there

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Reserve it for a while, and restore `sys.stdin`, `sys.stdout` and `sys.stderr` afterwards."""
        self.reserve()
        streams = sys.stdin, sys.stdout, sys.stderr
        try:
            yield
        finally:
            _put_back(*streams)
            self.release()

    def reserve(self) -> None:
        """Reserve it until `release` has been called as many times as this method, or until the process ends."""
        with self._lock:
            if not self._depth:
                try:
                    self._divert()
                except BaseException:
                    self._diverted.close()
                    raise
            self._depth += 1

    def release(self) -> None:
        """End a reservation."""
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._diverted.close()

    def write(self, text: str) -> None:
        """Write a part of the answer, at once; characters outside the encoding are written as escapes.

        Raises:
            OSError: It cannot be written: the disk is full, or the reader has gone.
        """
        with self._lock:
            stream = self._stream if self._depth else sys.stdout
            if stream is None:
                return
            encoding = getattr(stream, "encoding", None) or "utf-8"
            data = text.encode(encoding, "backslashreplace")
            try:
                if self._depth and self._output is not None:
                    _write_whole(self._output, data.replace(b"\n", os.linesep.encode()))
                else:
                    stream.write(data.decode(encoding))
                    stream.flush()
            except OSError as error:
                raise OSError(error.errno, error.strerror or str(error), "standard output") from error

    def _divert(self) -> None:
        """Replace the standard streams, first the objects and then the descriptors."""
        self._diverted = ExitStack()
        streams = sys.stdin, sys.stdout, sys.stderr
        self._diverted.callback(_put_back, *streams)
        self._stream, self._output = streams[1], None
        _flush(streams[1])
        if (output := _kept_descriptor(_STDOUT, self._diverted)) is not None:
            self._output = output if _descriptor(streams[1]) == _STDOUT else None
            with _opened_null() as null:
                with suppress(OSError):
                    os.dup2(null, _STDOUT)
                with suppress(OSError):  # standard error may be closed
                    os.dup2(_STDERR, _STDOUT)
            # The buffer of the old object was filled meanwhile: it follows to standard error.
            self._diverted.callback(_flush, streams[1])
        sys.stdin = io.StringIO()
        if _kept_descriptor(_STDIN, self._diverted) is not None:
            with _opened_null() as null:
                os.dup2(null, _STDIN)
            sys.stdin = open(_STDIN, closefd=False)
        errors = _descriptor(streams[2])
        # A stream of its own: code may close, detach or wrap sys.stdout.
        sys.stdout = streams[2] if errors is None else _text_stream(errors, streams[2])


def _put_back(stdin: TextIO, stdout: TextIO, stderr: TextIO) -> None:
    _flush(sys.stdout)
    sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr


def _flush(stream: TextIO | None) -> None:
    if stream is not None:
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _descriptor(stream: TextIO | None) -> int | None:
    """Return the descriptor that a stream writes to, or `None` for one in memory, in a notebook, or closed."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _kept_descriptor(number: int, stack: ExitStack) -> int | None:
    """Return a copy of a descriptor, which is restored when the stack is closed; `None` if it is not open."""
    try:
        copy = _copied(number)
    except OSError:
        return None
    stack.callback(os.close, copy)
    stack.callback(os.dup2, copy, number)
    return copy


def _copied(number: int) -> int:
    """Return a copy of a descriptor, never with the number of a standard one, which may be closed."""
    copy = os.dup(number)
    if copy > _STDERR:
        return copy
    try:
        return _copied(number)
    finally:
        os.close(copy)


def _text_stream(descriptor: int, like: TextIO) -> TextIO:
    """Return a stream that writes to a descriptor, and leaves it open."""
    encoding = getattr(like, "encoding", None) or "utf-8"
    return open(descriptor, "w", 1, encoding, "backslashreplace", closefd=False)


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def _opened_null() -> Iterator[int]:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        yield null
    finally:
        os.close(null)


standard_output = StandardOutput()


class PluginFault(Exception):  # noqa: N818
    """An exception of plugin code, wrapped so that `except Exception` catches it.

    Attributes:
        cause: The exception itself, of any class but `KeyboardInterrupt`.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(type(cause))
        self.cause = cause


@contextmanager
def isolated() -> Iterator[None]:
    """Run code of a plugin: its output goes to standard error, and `KeyboardInterrupt` is not caught.

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
    """Call code that makes an algorithm: its errors reach the caller, but it cannot end the program.

    Args:
        what: The id, its origin and the function that is called, for the message.

    Raises:
        PluginError: It has raised an exception that `except Exception` does not catch, such as `SystemExit`.
    """
    with standard_output.reserved():
        try:
            yield
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise PluginError(f"{what} raised {error_text(error)}.") from error


def resolve(reference: str, owner: str) -> Callable[..., Any]:
    """Return the object that `"module:attribute"` refers to.

    It is looked up every time, so that a class defined anew in a notebook is the one that is used.

    Args:
        reference: As in `AlgorithmSpec.factory`.
        owner: The id and its origin, for the message.

    Raises:
        PluginLoadError: The module cannot be imported, or lacks the attribute, or the attribute cannot be called.
    """
    module, _, attribute = reference.partition(":")
    try:
        with isolated():
            value = getattr(import_module(module), attribute)
    except PluginFault as fault:
        error = fault.cause
        name = attempted(lambda: error.name, None) if isinstance(error, ModuleNotFoundError) else None
        hint = f" Install {name!r}." if isinstance(name, str) and name != module else ""
        raise PluginLoadError(f"{owner}: cannot resolve {reference!r}: {error_text(error)}.{hint}") from error
    if not callable(value):
        raise PluginLoadError(f"{owner}: {reference!r} is {describe(value)}, which cannot be called.")
    return value  # type: ignore[no-any-return]


def describe(value: object) -> str:
    """Return a short text for a value that is not of the expected kind, even if its `__repr__` raises."""
    if value is None:
        return "None"
    kind = printable(attempted(lambda: str.__str__(type(value).__qualname__), "unknown"))
    text = attempted(lambda: str.__str__(repr(value)), "")
    return f"{text} ({kind})" if 0 < len(text) <= 60 and text.isprintable() else f"a value of type {kind}"

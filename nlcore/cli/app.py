"""The entry of the command line: the first word chooses a command, and every error is one line and an exit code."""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from nlcore.cli.commands import COMMANDS
from nlcore.cli.output import complain, finished, say, table, usable_streams
from nlcore.cli.parsers import core_command, plugin_commands
from nlcore.errors import (
    ConfigError,
    NlcoreError,
    PluginLoadWarning,
    RegistryError,
    attempted,
    error_text,
    nearest,
    printable,
)
from nlcore.registry import default
from nlcore.registry.discovery import core_version, normalised
from nlcore.registry.isolation import standard_output
from nlcore.registry.messages import install_hint
from nlcore.registry.plugins import Settings

__all__ = ["main"]

_OK, _FAILED, _WRONG_USE, _INTERRUPTED = 0, 1, 2, 130
_LARGEST_CODE = 255
_COMMANDS_OF = {"bench": "nlcore-bench"}
"""Distributions of nlcore's own that add a command."""

_USAGE = "usage: nlcore [--help] [--version] COMMAND …"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The words after `nlcore`; `None` for those of the process.

    Returns:
        0 when all went well, 1 when something failed, 2 for wrong use: an unknown command, option or id.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with usable_streams(), _plain_warnings():
        return finished(_outcome(words, ends=argv is None))


def _outcome(words: Sequence[str], *, ends: bool) -> int:
    """Run the command line; every error is printed as one line.

    Args:
        words: The words after `nlcore`.
        ends: Whether the process ends with the command.
    """
    try:
        return _dispatch(words, ends=ends)
    except NlcoreError as error:
        _report(error_text(error, with_class=False), error, hint=False)
        return _WRONG_USE if isinstance(error, RegistryError | ConfigError) else _FAILED
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BaseException as error:
        _report(_unexpected(error), error, hint=not isinstance(error, OSError))
        return _FAILED


def _dispatch(words: Sequence[str], *, ends: bool) -> int:
    first = words[0] if words else "--help"
    if first in {"-h", "--help"}:
        say(_overview())
        return _OK
    if first == "--version":
        say(f"nlcore {core_version()}")
        return _OK
    if first in COMMANDS:
        return _dispatch_to_core(first, words[1:], ends=ends)
    return _dispatch_to_plugin(first, words[1:])


def _dispatch_to_core(name: str, words: Sequence[str], *, ends: bool) -> int:
    """Run a command of the core, with standard output reserved for its answer."""
    parser, run = core_command(name)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as stop:
        return _exit_code(stop.code)
    standard_output.reserve()
    try:
        return run(arguments)
    finally:
        if not ends:  # otherwise later output of a plugin would follow the answer
            standard_output.release()


def _not_installed(command: str) -> str:
    """Return the distribution of nlcore's own that has a command, if it is missing."""
    owner = _COMMANDS_OF.get(command, "")
    return "" if any(normalised(record.distribution) == owner for record in default.registry.plugins()) else owner


def _dispatch_to_plugin(name: str, words: Sequence[str]) -> int:
    commands, faults = ({}, []) if name.startswith("-") else plugin_commands()
    if name not in commands:
        for fault in faults:
            complain(f"nlcore: warning: {fault}")
        what = "option" if name.startswith("-") else "command"
        near = nearest(name, [*COMMANDS, *commands, "--help", "--version"])
        hint = _hint_at_faults()
        if owner := _not_installed(name):
            complain(
                f"nlcore: error: the command {name!r} belongs to {owner}, which is not installed. "
                f"Run: {install_hint(owner)}. {hint}"
            )
            return _WRONG_USE
        complain(f"nlcore: error: there is no {what} {name!r}{near}; `nlcore --help` lists them. {hint}")
        return _WRONG_USE
    try:
        return _run(commands[name].parser, words)
    except (NlcoreError, BrokenPipeError, KeyboardInterrupt):
        raise
    except BaseException as error:
        _report(f"the command {name!r} of {commands[name].origin} failed: {error_text(error)}", error, hint=True)
        return _FAILED


def _run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Parse the words and run the function that the parser sets as `run`."""
    try:
        arguments = parser.parse_args(words)
        run = getattr(arguments, "run", None)
        if run is None:
            parser.print_help(sys.stderr)
            return _WRONG_USE
        return _exit_code(run(arguments))
    except SystemExit as stop:
        return _exit_code(stop.code)


def _exit_code(code: object) -> int:
    """Return the result of a command, or the argument of its `sys.exit`, as an exit code; a text is an error."""
    if code is None:
        return _OK
    if isinstance(code, int):
        return int(code) if 0 <= code <= _LARGEST_CODE else _FAILED
    complain(f"nlcore: error: {attempted(lambda: str(code), 'the command has failed')}")
    return _FAILED


def _unexpected(error: BaseException) -> str:
    """Return one line about an error that nlcore has not raised on purpose, with file and line."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    frames = attempted(lambda: traceback.extract_tb(error.__traceback__), None)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{error_text(error)}{place}"


def _overview() -> str:
    commands, faults = plugin_commands()
    parts = [_USAGE, "Losses with an algorithm inside, and the plugins that bring them."]
    parts.append("commands:\n" + _indented([(name, command.help) for name, command in COMMANDS.items()]))
    if added := [(one.name, f"{one.help}  [{one.origin}]") for one in commands.values() if one.help]:
        parts.append("commands of plugins:\n" + _indented(added))
    parts.append("`nlcore COMMAND --help` explains one of them.")
    for fault in filter(None, [*faults, _hint_at_faults()]):
        complain(f"nlcore: warning: {fault}")
    return "\n\n".join(parts)


def _indented(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"  {line}" for line in table(None, rows).splitlines())


def _hint_at_faults() -> str:
    faulty = [record.namespace for record in default.registry.plugins() if record.state.faulty]
    return f"Not every plugin works ({', '.join(faulty)}); `nlcore plugins --errors` says why." if faulty else ""


def _report(text: str, error: BaseException, *, hint: bool) -> None:
    """Print one line about an error, and its traceback if the environment asks for it, otherwise how to get it."""
    complain(f"nlcore: error: {text}")
    if Settings.of().trace:
        trace = attempted(lambda: "".join(traceback.format_exception(error)), error_text(error))
        with suppress(OSError, ValueError):
            print(printable(trace), file=sys.stderr)
    elif hint:
        complain("NLCORE_TRACE_PLUGINS=1 prints the traceback.")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings about plugins as one line, without the place in nlcore's source; none that torch lacks NumPy."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", PluginLoadWarning)
        warnings.filterwarnings("ignore", "Failed to initialize NumPy")
        show = warnings.showwarning

        def plainly(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, PluginLoadWarning):
                complain(f"nlcore: warning: {message!s}")
            else:
                show(message, category, *where, **more)

        warnings.showwarning = plainly
        yield

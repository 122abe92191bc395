"""A pool of processes that apply one function to parts of a batch.

The processes are started with the first batch, and live until the pool is closed, collected or the interpreter ends.
They are fresh interpreters which import neither the main script nor, unless the function needs it, torch; so no script
has to be guarded by `if __name__ == "__main__"`.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import IO, Any, cast

from nlcore.errors import ConfigError, ContractError
from nlcore_decisions.solvers._worker import Crash

__all__ = ["Processes", "check_workers"]


class Processes:
    """A pool of processes.

    Args:
        name: The solver, for messages.
        function: Maps a part of a batch, an array [N, *event], to any result that can be pickled.
        workers: Number of processes.
        parts: Parts of a batch for each process: more balance the load, fewer cost less.

    Raises:
        ConfigError: The function cannot be pickled.
    """

    def __init__(self, name: str, function: Callable[[Any], Any], workers: int, *, parts: int = 4) -> None:
        self._name, self._workers, self._parts, self._data = name, workers, workers * parts, _pickled(name, function)
        self._own()

    def _own(self) -> None:
        """Begin without processes; those of a parent that was forked are left to it."""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pid, self._lock = os.getpid(), Lock()
        weakref.finalize(self, _end, self._processes, self._pid)

    def __call__(self, batch: Any) -> list[tuple[int, Any]]:
        """Return the results of the parts of a batch, each with the index at which it begins, in order.

        Raises:
            ContractError: The function raised, or a process ended.
        """
        if os.getpid() != self._pid:
            self._own()
        with self._lock:
            return self._run(batch)

    def close(self) -> None:
        """End the processes; a later batch starts new ones."""
        _end(self._processes, self._pid)
        self._processes.clear()

    def _run(self, batch: Any) -> list[tuple[int, Any]]:
        size = -(-len(batch) // self._parts)
        starts = list(range(0, len(batch), size))
        waiting, lock = iter(starts), Lock()
        missing = min(self._workers, len(starts)) - len(self._processes)
        started = [self._start() for _ in range(missing)]
        self._processes.extend(started)
        results = dict[int, Any]()

        def serve(process: subprocess.Popen[bytes]) -> None:
            if process in started:
                self._load(process)
            while True:
                with lock:
                    start = next(waiting, None)
                if start is None:
                    return
                results[start] = self._apply(process, batch[start : start + size], start)

        with ThreadPoolExecutor(len(self._processes)) as threads:
            try:
                list(threads.map(serve, self._processes))
            except BaseException:
                self.close()  # answers may be under way, and the threads wait for them
                raise
        return [(start, results[start]) for start in starts]

    def _start(self) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        single = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-c", "from nlcore_decisions.solvers._worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **single, "PYTHONPATH": paths},
        )

    def _load(self, process: subprocess.Popen[bytes]) -> None:
        """Send the function."""
        answer = self._ask(process, self._data, "its start")
        if isinstance(answer, Crash):
            raise _not_imported(self._name, f"one says: {answer.text}") from None

    def _apply(self, process: subprocess.Popen[bytes], batch: Any, start: int) -> Any:
        """Return the result of a part of a batch that begins at `start`."""
        answer = self._ask(process, batch, f"one of the samples {start} to {start + len(batch) - 1}")
        if isinstance(answer, Crash):
            raised = ContractError(f"{self._name}: a process raised {answer.text}")
            raised.add_note(answer.trace)
            raise raised
        return answer

    def _ask(self, process: subprocess.Popen[bytes], message: Any, when: str) -> Any:
        stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        try:
            stdin.write(pickle.dumps(message))
            stdin.flush()
            return pickle.load(stdout)
        except (OSError, EOFError, pickle.UnpicklingError, ValueError) as error:
            raise ContractError(
                f"{self._name}: a process ended with exit code {process.wait()} on {when}. Use workers=0 to see the "
                "fault in this process; if memory is short, use fewer."
            ) from error


def check_workers(name: str, workers: object) -> None:
    """Raise ConfigError unless a number of processes is a whole number of at least 0."""
    if type(workers) is not int or workers < 0:
        raise ConfigError(
            f"{name}: workers was given {workers!r}; give the number of processes, or 0 to solve in this one."
        )


def _pickled(name: str, function: Callable[[Any], Any]) -> bytes:
    """Return a function in a form that another process can read; one of the main script needs cloudpickle."""
    try:
        data = pickle.dumps(function)
        if b"__main__" not in data:
            return data
        reason = "it is defined in the main script"
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = f"pickle says: {error}"
    try:
        dumped: bytes = import_module("cloudpickle").dumps(function)
    except ImportError:
        raise _not_imported(name, reason) from None
    return dumped


def _not_imported(name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{name}: other processes cannot import the function; {reason}. Move it to a module on the path, run pip "
        "install cloudpickle if it is not in a module, or use workers=0."
    )


def _end(processes: list[subprocess.Popen[bytes]], pid: int) -> None:
    """End processes, if this is the process that started them."""
    if os.getpid() != pid:
        return
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was not sent
                cast(IO[bytes], pipe).close()

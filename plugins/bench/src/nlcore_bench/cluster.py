"""Calls on the workers of a Dask cluster, through joblib's back end for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config

from nlcore.errors import ConfigError
from nlcore_bench.files import ResultsError

__all__ = ["Results", "connected"]

T = TypeVar("T")

Results = Callable[[Iterable[Callable[[], T]]], Iterator[T]]
"""Yields the results of calls as they finish, in any order."""

_SECONDS = 10
"""Time limit for the answer of the scheduler, and for the first worker."""

_AHEAD = "10 * n_jobs"  # calls that wait at the scheduler for workers that join later


@contextmanager
def connected(address: str) -> Iterator[Results[Any]]:
    """Connect to a cluster inside a `with` block.

    Args:
        address: Address of the scheduler, such as `tcp://10.0.0.1:8786`, or path of a scheduler file.

    Yields:
        A function that makes calls on the workers. The scheduler repeats the calls of a worker that is lost.

    Raises:
        ConfigError: Dask is not installed, no scheduler answers at the address, or the cluster has no workers.
    """
    client = _client(address)
    try:
        if not client.scheduler_info()["workers"]:
            _wait(client, address)
        yield lambda calls: _results(client, calls)
    finally:
        client.close()


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            "--cluster needs Dask, the extra `cluster` of nlcore-bench. Run: pip install distributed."
        ) from error
    given = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
    try:
        return Client(**given, timeout=_SECONDS, set_as_default=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({str(error) or type(error).__name__}). Give --cluster the "
            "address that `dask scheduler` prints, as tcp://HOST:8786, or the path of its scheduler file."
        ) from error


def _wait(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_SECONDS)
    except TimeoutError as error:
        raise ConfigError(
            f"the cluster at {address} has no worker. Start some: `dask worker {address} --nthreads 1`."
        ) from error


def _results(client: Any, calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield results as calls finish. Calls take no arguments, since joblib would store these on a single worker."""
    from distributed import CancelledError, KilledWorker

    with parallel_config(_back_end()(client=client, wait_for_workers_timeout=_SECONDS)):
        parallel = Parallel(n_jobs=-1, batch_size=1, pre_dispatch=_AHEAD, return_as="generator_unordered")
        results = parallel(delayed(call)() for call in calls)
    try:
        yield from results
    except KilledWorker as error:
        raise ResultsError(
            "the cluster has given up a run, whose workers were lost one after the other, perhaps because memory ran "
            "out. Finished runs are kept; repeat the command."
        ) from error
    except CancelledError as error:
        raise ResultsError(
            "the connection to the cluster was lost. Finished runs are kept; repeat the command when it is back."
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"a worker of the cluster lacks a package: {error}. Install the same on all workers."
        ) from error


def _back_end() -> Any:
    """Return joblib's back end with two corrections.

    joblib runs the calls in this process if there is a single worker, and waits forever for a call that the cluster has
    given up.
    """
    from joblib._dask import DaskDistributedBackend

    class Cluster(DaskDistributedBackend):  # type: ignore[misc]
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))

        def submit(self, func: Any, callback: Any = None) -> Any:
            job = super().submit(func, callback)
            job.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return job

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return Cluster

"""A study on the workers of a real Dask cluster: the runs of a sequential one, whatever happens to the workers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nlcore.errors import ConfigError
from nlcore_bench.cluster import connected

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STUDY = """
id = "spread"
title = "Reading 4 digits"
steps = 250
every = 50
seeds = 3
tuning_seeds = 1
learning_rates = [0.001, 0.01]

[tasks.totals]
id = "bench/totals"
options = { length = 4, batch = 16, hidden = [16] }

[methods.plain]

[methods.default]
curvature = "Auto"

[methods.noisy]
curvature = { Hessian = { damping = { relative = 0.1 }, psd = "abs" } }
"""
SECONDS = 300.0
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts `python -m MODULE WORD …`; all that it has started end with the test."""
    with ExitStack() as stack:

        def started(*words: str, **options: Any) -> subprocess.Popen[bytes]:
            nowhere = subprocess.DEVNULL
            child = subprocess.Popen([sys.executable, "-m", *words], stdout=nowhere, stderr=nowhere, **options)
            stack.callback(child.wait)
            stack.callback(child.kill)
            return child

        yield started


@pytest.fixture
def scheduler(start: Start, tmp_path: Path) -> str:
    """Return the scheduler file of a cluster that gives a run up with its first worker."""
    return scheduled(start, tmp_path / "scheduler.json")


def scheduled(start: Start, file: Path) -> str:
    start("dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    wait(file.exists)
    return str(file)


def worker(start: Start, file: str, threads: int = 1) -> subprocess.Popen[bytes]:
    folder = str(Path(file).parent)
    words = ["--nthreads", str(threads), "--no-nanny", "--no-dashboard", "--local-directory", folder]
    return start("dask", "worker", "--scheduler-file", file, *words)


def wait(ready: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


def command(tmp_path: Path, name: str, *words: str) -> list[str]:
    (tmp_path / "spread.toml").write_text(STUDY)
    return ["nlcore", "bench", "run", str(tmp_path / "spread.toml"), "--quiet", "--out", str(tmp_path / name), *words]


def finished(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=SECONDS)


def lines(folder: Path) -> list[str]:
    path = folder / "spread" / "runs.jsonl"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def records(folder: Path) -> dict[str, Any]:
    """Return the runs by their names, without their times."""
    found = {}
    for line in lines(folder):
        run = json.loads(line)
        values = {name: run.pop(name) for name in ("final", "train", "steps", "curves", "failure")}
        for name in ("seconds", "cpu_seconds", "times"):
            del run[name]
        name = json.dumps(run, sort_keys=True)
        assert name not in found, "a run was recorded twice"
        found[name] = values
    return found


@pytest.fixture(scope="module")
def sequential(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the runs of the study in one process."""
    folder = tmp_path_factory.mktemp("sequential")
    done = finished(*command(folder, "runs", "--workers", "1"))
    assert done.returncode == 0, done.stderr
    found = records(folder / "runs")
    assert len(found) == 3 * (2 + 3)
    return found


def test_a_worker_is_killed_in_the_middle(
    start: Start, scheduler: str, tmp_path: Path, sequential: dict[str, Any]
) -> None:
    from distributed import Client

    first, second = worker(start, scheduler), worker(start, scheduler)
    with Client(scheduler_file=scheduler, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=SECONDS)
        study = start(*command(tmp_path, "runs", "--cluster", scheduler))
        wait(lambda: len(lines(tmp_path / "runs")) >= 2)
        busy = {
            client.run(lambda: __import__("os").getpid(), workers=[name])[name]: name for name in client.processing()
        }
        lost = busy[first.pid]
        wait(lambda: client.call_stack() and len(client.call_stack().get(lost, ())) > 0)  # a run is under way there
        before = len(lines(tmp_path / "runs"))
        first.kill()
        assert study.wait(timeout=SECONDS) == 0
        assert before < len(sequential), "the study was over before the worker was killed"
        assert second.poll() is None
    assert records(tmp_path / "runs") == sequential
    assert len(lines(tmp_path / "runs")) == len(sequential)


def test_a_study_that_is_killed_goes_on_with_other_workers_of_several_threads(
    start: Start, scheduler: str, tmp_path: Path, sequential: dict[str, Any]
) -> None:
    worker(start, scheduler, threads=3)
    words = command(tmp_path, "runs", "--cluster", json.loads(Path(scheduler).read_text())["address"])
    study = start(*words)
    wait(lambda: len(lines(tmp_path / "runs")) >= 4)
    study.send_signal(signal.SIGKILL)
    study.wait()
    kept = records(tmp_path / "runs")
    assert len(kept) < len(sequential), "the study was over before it was killed"
    done = finished(*words)
    assert done.returncode == 0, done.stderr
    whole = records(tmp_path / "runs")
    assert whole == sequential
    assert {name: whole[name] for name in kept} == kept


def test_a_call_that_no_worker_survives_is_an_error_and_not_a_wait(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    file = scheduled(start, tmp_path / "scheduler.json")
    worker(start, file)
    code = (
        "import os, sys\n"
        "from nlcore_bench.cluster import connected\n"
        "from nlcore_bench.files import ResultsError\n"
        "class Ends:\n"
        "    def __call__(self): os._exit(1)\n"
        "with connected(sys.argv[1]) as results:\n"
        "    try: list(results([Ends()]))\n"
        "    except ResultsError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert "has given up a run" in done.stdout


def test_nobody_answers(tmp_path: Path) -> None:
    done = finished(*command(tmp_path, "runs", "--cluster", "tcp://127.0.0.1:9"))
    assert done.returncode == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_cluster_without_workers(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlcore_bench.cluster._SECONDS", 2)
    with pytest.raises(ConfigError, match=r"has no worker\. Start some"), connected(scheduler):
        pass

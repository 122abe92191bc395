"""A check of the library on a GPU in nine minutes: tests, timings, and as much of a study as fits.

`make gpu` runs it. It needs nothing but the standard library, and a Python with torch.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from tools.gpu_packages import absent, install, search_path
from tools.metadata import ROOT

__all__ = ["Outcome", "Part", "main", "parts", "run"]

_MINUTES = 9.0
_SEEDS = (1, 2, 4, 8, 16, 32, 64)
_TORCH = (2, 11)
_PROBE = "import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())"


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        name: Name of its folder and of its log.
        title: What it does.
        share: Its share of the time.
        commands: What is run, one after the other; words behind `python -m`.
        variables: Environment variables of the commands.
    """

    name: str
    title: str
    share: float
    commands: tuple[tuple[str, ...], ...]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The end of a part.

    Attributes:
        part: The part.
        state: `"finished"`, `"out of time"`, or `"failed"` with the exit status.
        seconds: Its duration.
        done: Number of commands that are finished.
    """

    part: Part
    state: str
    seconds: float
    done: int


def parts(out: Path, device: str, *, tiny: bool = False, mnist: Path | None = None) -> list[Part]:
    """Return the parts in their order.

    Args:
        out: Folder of the results.
        device: Name of the device.
        tiny: Some of the tests, few rounds and one seed, to see that everything works.
        mnist: Folder of the files of MNIST, which the study of totals then reads.
    """
    bench = ("nlcore", "bench")
    on = ("--device", device)
    tests = ("pytest", "tests/gpu", "-q", "-W", "default", "-p", "no:cacheprovider", f"--junitxml={out / 'tests.xml'}")
    chosen = ("-k", "prefix_sum or curvature or training_on") if tiny else ()
    timing = (*on, "--quick", "--out", str(out))
    tables = ("--table", "loss") if tiny else ()
    return [
        Part("tests", "tests marked gpu", 2 / 9, ((*tests, *chosen),), {"NLCORE_TEST_DEVICE": device}),
        Part("sorting", "timings of sorting", 0.7 / 9, (("benchmarks", "sorting", *timing),)),
        Part("paths", "timings of shortest paths", 0.4 / 9, (("benchmarks", "paths", *timing),)),
        Part(
            "engine", "timings of the engine and of a training step", 0.9 / 9, ((*bench, "engine", *timing, *tables),)
        ),
        Part("study", "a study of ranking", 5 / 9, tuple(_study(out, device, tiny=tiny, mnist=mnist))),
    ]


def _study(out: Path, device: str, *, tiny: bool, mnist: Path | None) -> Iterator[tuple[str, ...]]:
    """Yield the commands of the study, with more and more seeds: the report of the last one that ends is kept."""
    workers = str(max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)))
    words = ("--device", device, "--workers", workers, "--quiet")
    size = ("--small", "--methods", "neuralsort_plain") if tiny else ()
    for seeds in _SEEDS[:1] if tiny else _SEEDS:
        count = ("--seeds", str(seeds))
        yield ("nlcore", "bench", "run", "ranking", *words, *size, *count, "--out", str(out / "study"))
        if mnist is not None:
            yield (
                *("nlcore", "bench", "run", "totals", *words, *size[:1], *count),
                *("--option", f"folder={mnist}", "--out", str(out / "study")),
            )


def run(part: Part, out: Path, seconds: float, python: str, path: str) -> Outcome:
    """Run the commands of a part until all are finished, one fails or the time is over; what they print is logged.

    Args:
        part: The part.
        out: Folder of the log.
        seconds: Its time.
        python: The Python that runs it.
        path: Its `PYTHONPATH`.
    """
    start, done = time.monotonic(), 0
    environment = {"OMP_NUM_THREADS": "1", **os.environ, **part.variables, "PYTHONPATH": path}
    with (out / f"{part.name}.log").open("w") as log:
        for words in part.commands:
            state = _ended([python, "-m", *words], environment, log.fileno(), start + seconds)
            if state != "finished":
                return Outcome(part, state, time.monotonic() - start, done)
            done += 1
    return Outcome(part, "finished", time.monotonic() - start, done)


def _ended(words: Sequence[str], environment: Mapping[str, str], log: int, end: float) -> str:
    """Run a command in a session of its own, with all that it starts, to its end or to that of its time."""
    with subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=ROOT, start_new_session=True) as child:
        try:
            status = child.wait(max(0.0, end - time.monotonic()))
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return "out of time"
            raise
    return "finished" if status == 0 else f"failed with {status}"


def _page(device: str, outcomes: Sequence[Outcome]) -> str:
    lines = [
        f"# A check on {device}",
        "",
        "| part | state | commands finished | seconds | log |",
        "|---|---|---:|---:|---|",
    ]
    lines += [
        f"| {one.part.title} | {one.state} | {one.done} of {len(one.part.commands)} | {one.seconds:.0f} "
        f"| {one.part.name}.log |"
        for one in outcomes
    ]
    return "\n".join([*lines, ""])


def _write_tests(out: Path) -> None:
    """Write a table of the tests, if they have ended."""
    if not (out / "tests.xml").is_file():
        return
    suite = ElementTree.parse(out / "tests.xml").getroot().find("testsuite")
    counts = {} if suite is None else suite.attrib
    kinds = ("tests", "failures", "errors", "skipped", "time")
    failed = [] if suite is None else [one.get("name") for one in suite.iter("testcase") if len(one.findall("failure"))]
    lines = ["# Tests", "", f"| {' | '.join(kinds)} |", "|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {' | '.join(counts.get(one, '') for one in kinds)} |",
        "",
        *(f"- {name} failed" for name in failed),
        "",
    ]
    (out / "tests.md").write_text("\n".join(lines), encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    """Run the check, or print its parts where there is no GPU.

    Args:
        words: The command line without the program; `None` for `sys.argv`.

    Returns:
        The exit status: 1 if a part has failed; a part that is out of time has not.
    """
    arguments = _parser().parse_args(words)
    out: Path = arguments.out.resolve()
    device, found = _device(arguments.device)
    plan = parts(out, device or "cuda", tiny=arguments.tiny, mnist=arguments.mnist and arguments.mnist.resolve())
    print(f"{found}\n")
    for one in plan:
        print(f"{one.title}: at most {60 * arguments.minutes * one.share:.0f} s")
        print("".join(f"    python -m {' '.join(command)}\n" for command in one.commands[:2]), end="")
    lacking = absent()
    if lacking:
        print(f"packages that are missing here: {' '.join(lacking)}")
    if device is None:
        print("\nThere is nothing to do without a GPU. --device cpu --tiny runs all parts on the CPU.")
        return 0
    end = time.monotonic() + 60 * arguments.minutes
    out.mkdir(parents=True, exist_ok=True)
    packages = out / "packages"
    print(f"\n{install(lacking, packages, arguments.wheels)}", flush=True)
    return _run_all(plan, out, found, end, search_path(packages))


def _run_all(plan: Sequence[Part], out: Path, found: str, end: float, path: str) -> int:
    outcomes: list[Outcome] = []
    total = end - time.monotonic()
    for one in plan:
        rest = end - time.monotonic()
        seconds = rest if one is plan[-1] else min(rest, total * one.share)  # the last one has what the others leave
        outcomes.append(run(one, out, seconds, sys.executable, path))
        _write_tests(out)
        (out / "summary.md").write_text(_page(found, outcomes), encoding="utf-8")
        print(f"{one.title}: {outcomes[-1].state} after {outcomes[-1].seconds:.0f} s", flush=True)
    print(f"\nTables and logs: {out}")
    return int(any(one.state.startswith("failed") for one in outcomes))


def _device(name: str | None) -> tuple[str | None, str]:
    """Return the device to work on, `None` without one, and a description of what there is."""
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    if probe.returncode:
        return None, f"This Python ({sys.version.split()[0]}) has no torch that works."
    version, _, gpu = probe.stdout.strip().splitlines()[-1].partition(" ")
    numbers = tuple(int(one) for one in version.split("+")[0].split(".")[:2])
    old = f"; torch {_TORCH[0]}.{_TORCH[1]} or newer is expected" if numbers < _TORCH else ""
    there = None if gpu == "False" else gpu
    chosen = name or ("cuda" if there else None)
    what = "CPU" if chosen == "cpu" else there or "no GPU"
    return chosen, f"torch {version}, Python {sys.version.split()[0]}, {what}{old}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make gpu", description="Check the library on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=_MINUTES, metavar="N", help="for all parts (default: 9)")
    parser.add_argument("--device", metavar="NAME", help="the device, such as cpu (default: the GPU if there is one)")
    parser.add_argument("--tiny", action="store_true", help="few tests, sizes and steps, to see that everything works")
    parser.add_argument(
        "--mnist", type=Path, metavar="DIR", help="the four IDX files of MNIST, for the study of totals"
    )
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="wheels of missing packages, in place of an index")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The command `python -m benchmarks`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.measure import Suite, measure
from benchmarks.report import write_report
from nlcore.errors import NlcoreError
from nlcore_bench.files import make_folder
from nlcore_bench.train import one_thread

__all__ = ["main"]

_SECONDS, _QUICK_SECONDS = 8.0, 0.05


def main(words: Sequence[str] | None = None) -> int:
    """Time one suite, write its report and print the table.

    Args:
        words: The command line without the program; `None` for `sys.argv`.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time operators and losses of nlcore beside those of the other libraries that are installed "
        "(benchmarks/requirements.txt).",
    )
    parser.add_argument(
        "suite",
        choices=("sorting", "paths", "sequences", "decisions"),
        help="sorting operators, shortest paths on maps, soft-DTW of series, or whole trainings on decisions",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks"), metavar="DIR", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few sizes and two rounds, or one epoch, to see that everything works"
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="such as cuda, for nlcore alone (default: cpu)")
    arguments = parser.parse_args(words)
    try:
        make_folder(arguments.out)  # before the minutes are spent
        print(run(arguments.suite, arguments.out, quick=arguments.quick, device=arguments.device))
    except NlcoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Tables and figures: {arguments.out}")
    return 0


def run(name: str, folder: Path, *, quick: bool = False, device: str = "cpu") -> str:
    """Time the suite of a module, write `{name}.md`, `{name}.json` and `{name}.png`, and return the tables.

    Args:
        name: `"sorting"`, `"paths"`, `"sequences"` or `"decisions"`, whose suite writes a table and figures of its own.
        folder: Where the files go.
        quick: Few sizes and two rounds.
        device: Where the operators work.
    """
    module = import_module(f"benchmarks.{name}")
    if hasattr(module, "report"):
        page: str = module.report(folder, quick=quick, device=device)
        return page
    suite: Suite = module.suite(quick=quick, device=device)
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the peers
        for case in suite.cases:  # whose libraries may set the threads of torch when they are imported
            with one_thread():
                rows += measure(case, _QUICK_SECONDS if quick else _SECONDS)
    return write_report(suite, rows, folder, name)


if __name__ == "__main__":
    sys.exit(main())

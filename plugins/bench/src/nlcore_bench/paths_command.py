"""`nlcore bench paths`: the study of the methods on maps, its picture, and the comparison of speed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlcore.errors import ConfigError
from nlcore_bench.paths_arms import PATHS

__all__ = ["add_paths", "moved_error"]

_STEPS, _QUICK = 240, 20


def add_paths(
    commands: Any, parser_of: Callable[..., argparse.ArgumentParser], add_options: Callable[..., None]
) -> None:
    """Add `paths`.

    Args:
        commands: The subparsers of `bench`.
        parser_of: Makes a parser of them, name and summary.
        add_options: Gives it the options of a study with these arms.
    """
    parser = parser_of(commands, "paths", "read pictures of maps as costs when only the shortest paths are known")
    add_options(parser, PATHS, steps=_STEPS, tuning=1)
    parser.add_argument(
        "--warcraft",
        metavar="DIR",
        help="the Warcraft maps in DIR in place of procedural terrain (or $NLCORE_WARCRAFT)",
    )
    parser.add_argument(
        "--check",
        type=Path,
        metavar="FILE",
        help="tell whether FILE is the whole archive of the Warcraft maps, by its size and MD5 sum, and end",
    )
    parser.add_argument("--speed", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=_run)


def moved_error(command: str, suite: str) -> ConfigError:
    """Return the error of a command whose timings are no longer in this distribution; goes in 0.3."""
    return ConfigError(
        f"{command} has moved: run `python -m benchmarks {suite}` in a clone of the repository, after "
        "`pip install -r benchmarks/requirements.txt`."
    )


def _run(arguments: argparse.Namespace) -> int:
    """Run the study, or the timing, or look at the archive."""
    if arguments.check is not None:
        from nlcore_bench.warcraft import check_archive

        check_archive(arguments.check)
        print(f"{arguments.check}: the archive of the Warcraft maps, whole. Unpack it; --warcraft DIR reads it.")
        return 0
    folder = (arguments.out or Path("runs/quick" if arguments.quick else "runs")) / "paths"
    if arguments.speed:
        raise moved_error("nlcore bench paths --speed", "paths")
    return _study(arguments, folder)


def _study(arguments: argparse.Namespace, folder: Path) -> int:
    import sys

    from nlcore_bench.cli import _cores, _positive
    from nlcore_bench.report import write_report
    from nlcore_bench.study import Study, workers
    from nlcore_bench.tasks.paths import Paths
    from nlcore_bench.warcraft import warcraft_folder

    quick = arguments.quick
    task = Paths(
        folder=warcraft_folder(arguments.warcraft),
        steps=_positive("--steps", arguments.steps, _QUICK if quick else _STEPS),
    )
    if task.folder is not None:
        task.maps("train")  # a file that is wrong is named before a folder is made
    study = Study(
        task=task,
        arms=tuple(arguments.arms),
        seeds=_positive("--seeds", arguments.seeds, 1 if quick else 3),
        tuning=_positive("--tuning-seeds", arguments.tuning_seeds, 1),
        timed=True,
    )
    try:
        with workers(_positive("--workers", arguments.workers, min(8, _cores()))) as pool:
            runs = study.run(folder, pool, quiet=arguments.quiet)
    except KeyboardInterrupt:
        print(f"\nStopped. Finished runs are kept in {folder}; the same command goes on from there.", file=sys.stderr)
        return 130
    print(write_report(study, runs, folder))
    _picture(study, runs, folder)
    print(f"Table, pictures and runs: {folder}\n", flush=True)
    return 0


def _picture(study: Any, runs: Any, folder: Path) -> None:
    """Draw all arms, and the paths of the one that was best on validation maps, at the first reported seed."""
    from statistics import fmean

    from nlcore_bench.files import write_whole
    from nlcore_bench.paths_picture import draw_overview, draw_paths
    from nlcore_bench.records import Cell
    from nlcore_bench.summary import summarise
    from nlcore_bench.train import trained

    chosen = study.best(runs)

    def validation(name: str) -> float:
        rate, damping = chosen[name].rate, chosen[name].damping
        return fmean(runs[Cell("tune", name, rate, seed, damping)].final["optimal"] for seed in range(study.tuning))

    best = max(study.chosen, key=lambda arm: validation(arm.name))
    rate, damping = chosen[best.name].rate, chosen[best.name].damping
    model = trained(study.task, best.damped(damping), rate=rate, seed=1000)
    share = runs[Cell("report", best.name, rate, 1000, damping)].final["optimal"]
    title = f"{best.title}, {study.task.steps} steps: {share:.1f} % of all test maps optimal"
    write_whole(folder / "paths.png", draw_paths(study.task, model, title))
    write_whole(folder / "overview.png", draw_overview(study, summarise(study, runs)))

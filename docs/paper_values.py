"""The numbers in the prose of the page on the paper, computed from the runs on record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from statistics import fmean, median

from records import rows

from nlcore_bench.rows import Row, paired
from nlcore_bench.statistics import Paired
from nlcore_bench.tails import tail

__all__ = ["grouped", "value"]

Groups = dict[str, dict[str, Row]]

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_OUTCOMES = ("better", "level", "worse")
_HARD = (", τ = 0.002", ", β = 1000")
_COLLAPSED = 50.0  # % of digits right
_CHANCE = 2.5  # % of lists right, three times chance


def value(name: str, folder: Path) -> str:
    """Return a value of the page; a dash where its study has no records.

    Args:
        name: Name of a study, or `engine`, a point, and the name of the value.
        folder: Folder of the studies on record.
    """
    study, _, key = name.partition(".")
    return _values(study, folder).get(key, "–")


@cache
def _values(study: str, folder: Path) -> Mapping[str, str]:
    if study == "engine":
        return _engine(folder)
    return _STUDIES[study](folder) if rows(study, folder) else {}


def grouped(study: str, folder: Path) -> Groups:
    """Return the rows of a study by relaxation and method."""
    found: Groups = {}
    for row in rows(study, folder):
        found.setdefault(row.entry.group, {})[row.entry.label] = row
    return found


def _paired(members: Mapping[str, Row], mine: str, base: str) -> Paired:
    """Return a method against another in the first measure, seed by seed."""
    return paired(members[mine].first, members[mine].runs, members[base].runs)


def _span(numbers: Iterable[float], digits: int = 0) -> str:
    """Return the smallest and the largest of some numbers as they are printed, or one number if they agree."""
    words = sorted((f"{one:.{digits}f}" for one in numbers), key=float)
    return words[0] if words[0] == words[-1] else f"{words[0]} to {words[-1]}"


def _counts(prefix: str, pairs: Iterable[Paired]) -> dict[str, str]:
    """Return how many differences are better, level and worse, and how many there are, by name."""
    words = [pair.word for pair in pairs]
    return {**{f"{prefix}_{one}": str(words.count(one)) for one in _OUTCOMES}, f"{prefix}_all": str(len(words))}


def _explanation(folder: Path) -> dict[str, str]:
    groups = grouped("paper_explanation", folder)
    hard = {name: one for name, one in groups.items() if name.endswith(_HARD)}
    gaining = {name: one for name, one in hard.items() if _paired(one, "naive, Fisher", "naive").word == "better"}
    rest = {name: one for name, one in groups.items() if name not in gaining}

    def gains(mine: str, base: str, members: Groups = gaining) -> list[float]:
        return [_paired(one, mine, base).difference.mean for one in members.values()]

    def counts(prefix: str, pairs: Iterable[tuple[str, str]], members: Groups = groups) -> dict[str, str]:
        return _counts(prefix, [_paired(one, *pair) for one in members.values() for pair in pairs])

    curvatures = [f"{loss}, {word}" for loss in ("naive", "exact") for word in ("Fisher", "Hessian")]
    clipping = [_paired(one, "exact, clipping", "exact") for one in groups.values()]
    below = gains("exact, clipping", "exact, Fisher", groups)
    above = [_paired(one, "exact, Fisher", "exact, clipping") for one in groups.values()]
    first = groups["NeuralSort, τ = 0.1"]
    better = {name: one for name, one in groups.items() if _paired(one, "exact, Fisher", "exact").word == "better"}
    return {
        "relaxations": _WORDS[len(groups)],
        "hard": _WORDS[len(gaining)],
        "hard_fisher": _span(gains("naive, Fisher", "naive")),
        "hard_controls": _span([*gains("naive, clipping", "naive"), *gains("exact", "naive")]),
        "hard_exact": _span(gains("exact", "naive")),
        "hard_clipping": _span(gains("naive, clipping", "naive")),
        "hard_plain": _span((one["naive"].held_out(one["naive"].first).mean for one in gaining.values()), 1),
        "hard_hessian": _span(gains("naive, Hessian", "naive")),
        "hard_tail": f"{min(_tail(one['naive']) for one in gaining.values()):,.0f}".replace(",", " "),
        "exact_tail": f"{max(_tail(one['exact']) for one in groups.values()):.1f}",
        "hessian_tail": _span(_tail(one["naive, Hessian"]) for one in gaining.values()),
        "seeds_fisher": str(sum(len(one["naive, Fisher"].runs) for one in gaining.values())),
        "chance_fisher": _at_chance(one["naive, Fisher"] for one in gaining.values()),
        "chance_hessian": _at_chance(one["naive, Hessian"] for one in gaining.values()),
        "chance_clipping": _at_chance(one["naive, clipping"] for one in gaining.values()),
        "edges": str(sum(row.edges[0] for one in groups.values() for row in one.values())),
        "rows": str(sum(map(len, groups.values()))),
        "lost": f"{gains('exact, clipping', 'exact', {'': first})[0]:.0f}",
        "largest": f"{first['exact'].chosen.learning_rate:g}",
        "smaller": f"{first['exact, clipping'].chosen.learning_rate:g}",
        "clipping_gain": _span(pair.difference.mean for pair in clipping if pair.word == "better"),
        "fisher_gain": _span(gains("exact, Fisher", "exact", better)),
        "fisher_rows": " and ".join(better),
        "fisher_rows_clipping": _span(gains("exact, clipping", "exact", better)),
        "below": _span(one for one in below if one > 0),
        "below_count": _WORDS[sum(one > 0 for one in below)],
        "above": "; ".join(pair.signed() for pair in above if pair.difference.mean > 0),
        "above_count": _WORDS[sum(pair.difference.mean > 0 for pair in above)],
        **counts("hard_hessian", [("naive, Hessian", "naive")], gaining),
        **counts("hard_hessian_fisher", [("naive, Hessian", "naive, Fisher")], gaining),
        **counts("hessian_fisher", [("exact, Hessian", "exact, Fisher")]),
        **counts("rest_exact", [("exact", "naive")], rest),
        **counts("clipping", [("exact, clipping", "exact")]),
        **counts("fisher", [("exact, Fisher", "exact")]),
        **counts("fisher_clipping", [("exact, Fisher", "exact, clipping")]),
        **counts("hessian", [("exact, Hessian", "exact")]),
        **counts("beyond", [(one, f"{one.partition(',')[0]}, clipping") for one in curvatures]),
    }


def _at_chance(found: Iterable[Row]) -> str:
    """Return how many runs end near the share of lists that are right by chance, 1 in 120."""
    return str(sum(run.final[row.first.name] < _CHANCE for row in found for run in row.runs))


def _tail(row: Row) -> float:
    """Return the 99.9 % quantile of the samples' norms over their median, the median over the seeds."""
    return median(tail(run, "sample", 0.999) for run in row.runs)


def _damping(folder: Path) -> dict[str, str]:
    found = rows("paper_damping", folder)
    better: dict[tuple[str, str], list[tuple[float, Paired]]] = {}
    for one in found:
        kind, _, number = one.entry.label.partition(", λ = ")
        if number and (pair := one.difference(one.first)) is not None:
            better.setdefault((one.entry.group, kind), []).append((float(number), pair))
    gains: dict[str, str] = {}
    for (group, kind), pairs in better.items():
        gains |= _counts(f"{group}_{kind}", [pair for _, pair in pairs])
        gains[f"{group}_{kind}_up_to"] = f"{max((at for at, pair in pairs if pair.word == 'better'), default=0.0):g}"
    known = [pair for (group, _), pairs in better.items() if group == "NeuralSort" for _, pair in pairs]
    gains["gain"] = _span(pair.difference.mean for pair in known if pair.word == "better")
    gains["edges"] = str(sum(one.edges[0] for one in found))
    gains["rows"] = str(len(found))
    return gains


def _paths(folder: Path) -> dict[str, str]:
    fisher = [one for one in rows("paths", folder) if one.entry.label == "Fisher"]
    bellman = [one for one in fisher if one.entry.group.startswith("Bellman")]
    found = {"seeds": str(len(fisher[0].runs))}
    for timed in (False, True):
        pairs = [pair for one in bellman if (pair := one.difference(one.first, equal_time=timed))]
        found |= _counts("timed" if timed else "equal", pairs)
    for label in ("Fisher", "Hessian"):
        own = [one for one in rows("paths", folder) if one.entry.label == label and one.entry.group.startswith("Fench")]
        pairs = [pair for one in own if (pair := one.difference(one.first))]
        found |= {f"young_{label}": _span(pair.difference.mean for pair in pairs), **_counts(f"young_{label}", pairs)}
    return found


def _ranking(folder: Path) -> dict[str, str]:
    """Return the differences of the methods by task, to plain training and to clipping."""
    tasks: dict[str, Groups] = {}
    for row in rows("paper_ranking", folder):
        tasks.setdefault(row.entry.task, {}).setdefault(row.entry.group, {})[row.entry.label] = row
    values: dict[str, str] = {}
    for task, groups in tasks.items():
        values |= _beside(task, groups)
    found = rows("paper_ranking", folder)
    values |= {"edges": str(sum(one.edges[0] for one in found)), "rows": str(len(found))}
    every = {f"{task}, {group}": one for task, groups in tasks.items() for group, one in groups.items()}
    return values | _beside("every", every)


def _mnist(folder: Path) -> dict[str, str]:
    """Return the differences with the exact loss at the soft scales, and with both losses at the hard one."""
    groups = grouped("paper_mnist", folder)
    hard = groups.pop("NeuralSort, τ = 0.002")
    values = _beside("soft", groups)
    for name in ("plain", "naive"):
        values[f"hard_{name}"] = f"{hard[name].held_out(hard[name].first).mean:.1f}"
    values["hard_exact"] = _paired(hard, "plain", "naive").signed()
    for word in ("clipping", "Fisher", "Hessian"):
        values[f"hard_{word}"] = _paired(hard, f"naive, {word}", "naive").signed()
        values[f"exact_{word}"] = _paired(hard, word, "plain").signed()
    return values


def _regimes(folder: Path) -> dict[str, str]:
    """Return the differences by training, and the losses of precision."""
    tasks: dict[str, Groups] = {}
    for row in rows("paper_regimes", folder):
        tasks.setdefault(row.entry.task, {}).setdefault(row.entry.group, {})[row.entry.label] = row
    soft = {task: {"τ = 0.1": groups["τ = 0.1"]} for task, groups in tasks.items()}
    values = {key: text for task, groups in soft.items() for key, text in _beside(task, groups).items()}
    values |= _beside("every", {task: groups["τ = 0.1"] for task, groups in soft.items()})
    for task, groups in soft.items():
        for name in ("clipping", "Fisher", "Hessian", "default"):
            values[f"{task}_{name}_signed"] = _paired(groups["τ = 0.1"], name, "plain").signed()
        for name in ("Fisher", "Hessian", "default"):
            values[f"{task}_{name}_clipping_signed"] = _paired(groups["τ = 0.1"], name, "clipping").signed()
    for name in ("clipping", "Fisher", "Hessian", "default"):
        pairs = [_paired(groups["τ = 0.1"], name, "plain") for groups in soft.values()]
        values[f"{name}_span"] = _span((pair.difference.mean for pair in pairs), 1)
    usual = soft["usual"]["τ = 0.1"]
    for name in ("plain", "clipping"):
        values[f"{name}_rate"] = f"{usual[name].chosen.learning_rate:g}"
    for word in ("sharp", "hard"):
        members = tasks["usual"]["τ = 0.005" if word == "sharp" else "τ = 0.002"]
        for name in ("naive, float64", "naive, float32"):
            values[f"{word}_{name[-7:]}"] = _paired(members, name, "exact").signed()
    return values


def _paper_paths(folder: Path) -> dict[str, str]:
    """Return the differences of the methods by kind of loss, to plain training and to clipping."""
    groups = grouped("paper_paths", folder)
    few = {group for group in groups if group.endswith(" 3 samples")}
    kinds = {
        "every": set(groups),
        "bellman": {group for group in groups if group.startswith("Bellman")},
        "young": {group for group in groups if group.startswith("Fenchel")},
    }
    smoothed = kinds["every"] - kinds["bellman"] - kinds["young"]
    kinds |= {"smoothed": smoothed, "few": smoothed & few, "more": smoothed - few}
    values: dict[str, str] = {}
    for name, members in kinds.items():
        values |= _beside(name, {group: groups[group] for group in groups if group in members})
    return values


def _beside(prefix: str, groups: Groups) -> dict[str, str]:
    """Return counts and spans of the differences of every method to plain training, and of curvatures to clipping."""
    beside = [(mine, "plain", f"{prefix}_{mine}") for mine in ("clipping", "Fisher", "Hessian", "default")]
    beside += [(mine, "clipping", f"{prefix}_{mine}_clipping") for mine in ("Fisher", "Hessian", "default")]
    values: dict[str, str] = {}
    for mine, base, name in [*beside, ("Hessian", "Fisher", f"{prefix}_Hessian_Fisher")]:
        pairs = [_paired(one, mine, base) for one in groups.values() if mine in one]
        if pairs:
            values |= {**_counts(name, pairs), f"{name}_mean": f"{fmean(one.difference.mean for one in pairs):+.1f}"}
        for word in ("better", "worse"):
            sizes = [abs(pair.difference.mean) for pair in pairs if pair.word == word]
            values |= {f"{name}_{word}_by": _span(sizes)} if sizes else {}
    return values


def _no_harm(folder: Path) -> dict[str, str]:
    found = rows("paper_no_harm", folder)
    values: dict[str, str] = {}
    for optimizer in ("adam", "sgd"):
        members = [one for one in found if one.entry.optimizer == optimizer]
        for label in ("Fisher", "Hessian"):
            pairs = [pair for one in members if one.entry.label == label and (pair := one.difference(one.first))]
            values |= _counts(f"{optimizer}_{label}", pairs)
    curved = [one for one in found if one.entry.optimizer == "sgd" and one.entry.label != "plain"]
    smallest = [one for one in curved if one.chosen.learning_rate == min(c.learning_rate for c in one.entry.candidates)]
    hessian = [run for one in curved if one.entry.label == "Hessian" for run in one.runs]
    return {
        **values,
        "edges": str(sum(one.edges[0] for one in found)),
        "rows": str(len(found)),
        "curved": str(len(curved)),
        "smallest": str(len(smallest)),
        "hessian_runs": str(len(hessian)),
        "collapsed": str(sum(run.final["accuracy"] < _COLLAPSED for run in hessian)),
    }


def _engine(folder: Path) -> dict[str, str]:
    """Return times of a step over those of a plain one, from `engine.json`."""
    path = folder / "engine.json"
    if not path.exists():
        return {}
    steps: dict[str, dict[str, list[float]]] = {}
    plain: dict[str, list[float]] = {}
    for line in json.loads(path.read_text(encoding="utf-8"))["lines"]:
        kind, network, *_ = line["job"]
        if kind == "step":
            for name, timing in line["timings"].items():
                steps.setdefault(network, {}).setdefault(name, []).append(timing["ratio"][1])
            plain.setdefault(network, []).append(line["timings"]["plain"]["milliseconds"][1])
        elif kind == "loss" and line["job"][2] == "5" and network != "prefix sum":
            plain.setdefault("loss", []).append(line["timings"]["plain"]["milliseconds"][1])
    found = {f"{network}_plain": _span(values, 1 if network == "loss" else 0) for network, values in plain.items()}
    for network, timings in steps.items():
        found |= {f"{network}_{name}": _span(timings[name], 2) for name in ("Fisher", "Hessian")}
    return found


_STUDIES: Mapping[str, Callable[[Path], dict[str, str]]] = {
    "paper_explanation": _explanation,
    "paper_damping": _damping,
    "paper_no_harm": _no_harm,
    "paths": _paths,
    "paper_ranking": _ranking,
    "paper_mnist": _mnist,
    "paper_regimes": _regimes,
    "paper_paths": _paper_paths,
}

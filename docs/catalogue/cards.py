"""The overview: a card for every algorithm, grouped by use, and all of them in one table."""

from __future__ import annotations

from collections.abc import Iterable

from catalogue.entry import Entry
from catalogue.pages import cell, sentence

__all__ = ["USES", "grouped", "index_of"]

USES = {
    "sorting": ("Sort and rank", "The order of items is known, not their values."),
    "ranking": ("Learn to rank", "Grades of relevance are known, and a ranking metric counts."),
    "shortest_paths": ("Find paths", "The shortest path through predicted costs is known, or the true costs."),
    "decisions": ("Decide", "The best decision under predicted costs is known."),
    "sequences": ("Sequences", "The output of a computation along a sequence is known, not its inputs."),
    "core": ("Elementary", "Values or classes are known. To test with and to compare with."),
    "bench": ("Simulators", "Differentiable programs of the studies, which come with the bench."),
}
"""Title and sentence of the use of a namespace; any other namespace is a group with the name of its plugin."""

_SHORT = {"EmpiricalFisher": "Fisher", "GaussNewton": "Gauss–Newton"}


def grouped(entries: Iterable[Entry]) -> dict[tuple[str, str, str], list[Entry]]:
    """Return the algorithms by anchor, title and sentence of their use, in the order of `USES`, then by name."""
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    known = list(USES)
    entries = sorted(entries, key=lambda one: (_place(known, one.spec.namespace), one.spec.namespace, one.name))
    anchors: dict[str, str] = {}
    for entry in entries:
        namespace = entry.spec.namespace
        plugin = entry.record.distribution or namespace
        title, text = USES.get(namespace, (plugin, f"Algorithms of the plugin `{plugin}`."))
        anchor = anchors.setdefault(title, namespace)
        groups.setdefault((anchor, title, text), []).append(entry)
    return groups


def index_of(entries: Iterable[Entry]) -> str:
    """Return the overview as Markdown."""
    entries = list(entries)
    parts = [
        "# Algorithms",
        "Every algorithm of the plugins that were installed when this site was built, by use. `nlcore list` shows "
        "yours, and `nlcore show ID` one of them. Not sure which? [Choose an algorithm](../guides/algorithm.md).",
        "A card says what goes in → what the loss compares it with; the operators that work without a target; how many "
        "derivatives there are; and whether samples of different size fit into one batch.",
    ]
    for (anchor, title, text), members in grouped(entries).items():
        parts.append(f"## {title} {{ #{anchor} }}\n\n{text}")
        parts.append('<div class="grid cards" markdown>\n\n' + "\n\n".join(map(_card, members)) + "\n\n</div>")
    parts.append(_table(entries))
    return "\n\n".join(parts) + "\n"


def _place(known: list[str], namespace: str) -> int:
    return known.index(namespace) if namespace in known else len(known)


def _card(entry: Entry) -> str:
    link = f"{entry.spec.namespace}/{entry.name}"
    lines = []
    if entry.thumbnail:
        lines += [
            f"[![{entry.thumbnail}]({link}-thumb-{scheme}.png#only-{scheme}){{ loading=lazy }}]({entry.file})"
            for scheme in ("light", "dark")
        ] + [""]
    lines += [f"**[{entry.spec.name}]({entry.file})**", "", entry.mapping, ""]
    if entry.operators:
        lines += [" ".join(f"`{call.partition('(')[0]}`" for call in entry.operators), ""]
    lines.append(f"Derivatives {entry.order} · mask {'yes' if entry.takes_mask else 'no'}")
    body = "\n".join(f"    {line}" if line else "" for line in lines)
    return f"-   {body.lstrip()}"


def _table(entries: list[Entry]) -> str:
    rows = []
    for entry in sorted(entries, key=lambda one: one.spec.id):
        able = [] if entry.probe is None else [name for name, text in entry.probe.curvatures.items() if text == "yes"]
        definite = "" if entry.loss is None else "yes" if entry.loss.traits.psd_hessian else "no"
        cells = (
            f"[`{entry.spec.id}`]({entry.file})",
            sentence(entry.spec.summary),
            entry.order,
            definite,
            "yes" if entry.takes_mask else "no",
            ", ".join(_SHORT.get(name, name) for name in able),
        )
        rows.append(f"    | {' | '.join(map(cell, cells))} |")
    head = "| id | summary | derivatives | semi-definite | mask | curvatures |"
    text = (
        "*Derivatives*: how many exist and are not zero almost everywhere; *sampled* where they are estimated from "
        "random samples, *own gradient* where the method defines it. *Semi-definite*: whether the Hessian is "
        "positive semi-definite wherever it exists. *Curvatures*: what `NewtonLoss` accepts."
    )
    return "\n".join(['??? note "All in one table"', "", f"    {text}", "", f"    {head}", f"    |{'---|' * 6}", *rows])

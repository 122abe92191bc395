"""The overview: a card for every algorithm, grouped by use, and all of them in one table."""

from __future__ import annotations

from collections.abc import Iterable

from catalogue.entry import Entry
from catalogue.pages import cell, sentence

__all__ = ["USES", "grouped", "index_of"]

USES = {
    "sorting": ("Sort and rank", "The order of items is known, not their values."),
    "ranking": ("Learn to rank", "Grades of relevance are known; the ranking is judged by a metric such as NDCG."),
    "shortest_paths": ("Find paths", "The network predicts costs; the shortest path or the true costs are known."),
    "decisions": ("Decide", "The network predicts costs; the best decision or the true costs are known."),
    "sequences": ("Sequences", "The output of a computation along a sequence is known, not its inputs."),
    "core": ("Elementary", "Values or classes are known. For tests and comparisons."),
    "bench": ("Simulators", "Differentiable programs from the studies of the benchmark."),
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
        "The algorithms of all plugins that were installed when this site was built, grouped by use. `nlcore list` "
        "prints those of your installation, and `nlcore show ID` describes one of them. Not sure which one you need? "
        "[Choose an algorithm](../guides/algorithm.md).",
        "Each card gives the input → the target; the methods of the loss besides its value; the number of derivatives; "
        "and whether there is a mask, which allows samples of different sizes in one batch.",
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
        "*Derivatives*: the number of derivatives that exist and do not vanish almost everywhere; *sampled* if they "
        "are estimated from random samples, *own gradient* if the method defines its gradient itself. "
        "*Semi-definite*: whether the Hessian is positive semi-definite wherever it exists. *Curvatures*: those that "
        "`NewtonLoss` accepts."
    )
    return "\n".join(['??? note "All in one table"', "", f"    {text}", "", f"    {head}", f"    |{'---|' * 6}", *rows])

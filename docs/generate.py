"""Write a page and a picture for every algorithm of the registry, and the cards that compare them.

    python docs/generate.py [FOLDER] [--only PREFIX ...]

An algorithm that a plugin brings gets its page without a line written for it here: all is read from the registry, the
docstring, the options, the traits, and from what the loss does on its own example. Costs are read from
docs/results/algorithms_cost.json, which `docs/catalogue/measure_cost.py` writes.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Collection
from dataclasses import replace
from importlib.metadata import metadata
from pathlib import Path

import torch
from catalogue.cards import grouped, index_of
from catalogue.convention import draw_permutation
from catalogue.cost import cost_of
from catalogue.entry import Entry, entry_of
from catalogue.pages import page_of, reference_page, sentence
from catalogue.pictures import draw_pictures
from catalogue.temperature import draw_temperature
from guide_pictures import draw_guides

from nlcore.registry import Registry
from nlcore.registry.default import registry as installed

DOCS = Path(__file__).parent


def main(
    folder: Path = DOCS / "algorithms", registry: Registry = installed, only: Collection[str] = ("",)
) -> list[Path]:
    """Write everything anew.

    Args:
        folder: Where; what it holds is removed first.
        registry: Whose algorithms.
        only: Beginnings of the ids of those that are written.

    Returns:
        The pages.
    """
    torch.set_num_threads(1)
    new = folder.with_name(f".{folder.name}")  # what is there stays until all is written
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    ids = [id for id in registry.names() if id.startswith(tuple(only))]
    entries = [_drawn(entry_of(registry, registry.spec(id)), new) for id in ids]
    pages = []
    for members in grouped(entries).values():
        for entry in members:
            pages.append(new / entry.file)
            others = [one for one in members if one is not entry]
            pages[-1].write_text(page_of(entry, others), encoding="utf-8")
    index = new / "index.md"
    index.write_text(index_of(entries), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return [folder / page.relative_to(new) for page in (index, *pages)]


def _drawn(entry: Entry, folder: Path) -> Entry:
    """Return an entry with its pictures, which are written beside its page."""
    stem = folder / entry.spec.namespace / entry.name
    stem.parent.mkdir(exist_ok=True)
    if entry.loss is None:
        return entry
    picture, thumbnail = draw_pictures(entry.loss, entry.spec.name, stem, _points(entry.spec.id))
    return replace(entry, picture=picture, thumbnail=thumbnail)


def _points(id: str) -> int:
    """Return at how many places a loss is drawn: fewer where a step takes long."""
    cost = cost_of(id)
    return (
        61 if cost is None else max(21, min(81, int(20_000 / (cost["plain_ms"] * (1 + sum(cost["ratios"].values()))))))
    )


def document_packages(registry: Registry = installed) -> None:
    """Write a page of reference for the package of every plugin that has no written one."""
    folder = DOCS / "reference/plugins"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for record in registry.plugins():
        package = record.value.partition(".")[0]
        if not record.distribution or package == "nlcore" or reference_page(package):
            continue
        summary = metadata(record.distribution)["Summary"] or ""
        (folder / f"{record.namespace}.md").write_text(
            f"# {record.distribution}\n\n{sentence(summary)}\n\n## Classes and functions\n\n::: {package}\n"
            "    options: { show_root_heading: false, show_root_toc_entry: false }\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=DOCS / "algorithms")
    parser.add_argument("--only", nargs="+", default=[""], metavar="PREFIX", help="algorithms whose ids begin so")
    given = parser.parse_args()
    document_packages()
    draw_permutation(DOCS / "guides/permutation")
    draw_temperature(DOCS / "guides/temperature")
    written = main(given.folder, only=given.only)
    print(f"{len(written) - 1} algorithms and their cards written")
    draw_guides()

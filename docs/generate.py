"""Write a page and a picture for every algorithm of the registry, and the table that compares them.

    python docs/generate.py [FOLDER]

An algorithm that a plugin brings gets its page without a line written for it here: all is read from the registry, the
docstring, the options, the traits, and from what the loss does on its own example.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import warnings
from importlib import import_module
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import torch
from convention import draw_permutation
from probe import Probe, probe

import nlcore
from nlcore.cli.arguments import Option, options_of, python_call
from nlcore.errors import NlcoreError
from nlcore.plotting import draw, sweep
from nlcore.registry import AlgorithmSpec, Registry
from nlcore.registry.default import registry as installed

DOCS = Path(__file__).parent
_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|References?|Examples?|Shape|Notes?|See Also):$", re.M)
_SHORT = {"EmpiricalFisher": "Fisher", "GaussNewton": "Gauss–Newton"}
_CAPTION = (
    "One sample of `example()`; one output moves, everything else stays. The dotted line marks where the example has "
    "it. Below: the gradient that reaches the network, with the plain loss and with curvature over the batch. "
    "[How to read it](../../reference/pictures.md#how-to-read-one)."
)


def main(folder: Path = DOCS / "algorithms", registry: Registry = installed) -> list[Path]:
    """Write everything anew.

    Args:
        folder: Where; what it holds is removed first.
        registry: Whose algorithms.

    Returns:
        The pages.
    """
    torch.set_num_threads(1)
    new = folder.with_name(f".{folder.name}")  # what is there stays until all is written
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    pages: list[Path] = []
    rows: dict[str, list[str]] = {}
    for id in registry.names():
        spec = registry.spec(id)
        loss, fault = _made(registry, spec)
        found = _probed(loss) if loss is not None else None
        target = new / spec.namespace / f"{id.partition('/')[2]}.md"
        target.parent.mkdir(exist_ok=True)
        picture = _draw(loss, target.with_suffix(""), _points(found)) if loss is not None else ""
        target.write_text(_page(registry, spec, loss=loss, fault=fault, picture=picture, found=found), encoding="utf-8")
        pages.append(target)
        rows.setdefault(spec.namespace, []).append(_row(spec, loss, found))
    index = new / "index.md"
    index.write_text(_index(rows), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return [folder / page.relative_to(new) for page in (index, *pages)]


def _made(registry: Registry, spec: AlgorithmSpec) -> tuple[Any, str]:
    """Return the loss with its default options, or why it cannot be made with them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return registry.make(spec.id), ""
    except NlcoreError as error:
        return None, str(error)


def _probed(loss: Any) -> Probe | None:
    try:
        return probe(loss)
    except Exception as error:
        print(f"{loss!r} could not be tried: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def _points(found: Probe | None) -> int:
    """Return at how many places a loss is drawn: fewer where a step takes long."""
    return 61 if found is None else max(21, min(81, int(20_000 / sum(found.times.values()))))


def _draw(loss: Any, stem: Path, points: int) -> str:
    """Write a picture for light and one for dark pages; return the Markdown, or why there is none."""
    try:
        found = sweep(loss, points=points, batch_size=24)
    except Exception as error:
        return f"There is no picture: {type(error).__name__}: {error}"
    lines = []
    for name, dark in (("light", False), ("dark", True)):
        file = stem.with_name(f"{stem.name}-{name}.png")
        file.write_bytes(draw(found, dark=dark))
        image = f"![Relaxation, loss, gradient and Newton directions]({file.name}#only-{name}){{ loading=lazy }}"
        lines.append(f"[{image}]({file.name})")
    return "\n".join(lines) + f"\n\n{_CAPTION}"


def _page(registry: Registry, spec: AlgorithmSpec, *, loss: Any, fault: str, picture: str, found: Probe | None) -> str:
    record = registry.plugin(spec.namespace)
    options = options_of(registry.config(spec.id))
    sections = _docstring(spec)
    parts = [
        f"# {spec.namespace}/{spec.name}",
        _sentence(spec.summary),
        f'!!! warning "Deprecated"\n    {spec.deprecated}' if spec.deprecated else "",
        f"```python\nimport nlcore\n\nloss = {python_call(spec.id, options)}\n"
        "criterion = nlcore.NewtonLoss(loss)  # picks the curvature itself\n```",
        f"Comes with `{record.origin}`." if record.distribution else "",
        f"It cannot be made with its defaults: {fault}" if fault else "",
        f"## Definition\n\n{sections['']}" if sections.get("") else "",
        f"## Picture\n\n{picture}" if picture else "",
        f"## Options\n\n{_options_table(options)}",
    ]
    if found is not None:
        parts += [
            f"## What the engine knows\n\n{_knowledge(loss, found)}",
            f"## Cost\n\n{_cost(found)}",
            "## When it fails\n\n" + "\n".join(f"- {line}" for line in found.limits),
        ]
    parts += [
        f"## Example\n\n```pycon\n{_example(spec, sections['Example'])}\n```" if "Example" in sections else "",
        f"## Reference\n\n{_references(spec, sections)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _docstring(spec: AlgorithmSpec) -> dict[str, str]:
    """Return the sections of the factory's docstring, the text before the first under an empty name."""
    module, _, name = spec.factory.partition(":")
    try:
        text = inspect.getdoc(getattr(import_module(module), name)) or ""
    except (ImportError, AttributeError):
        return {}
    parts = _SECTION.split(text)
    found = {"": parts[0].strip()}
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        found[{"Examples": "Example", "References": "Reference"}.get(title, title)] = inspect.cleandoc(body)
    return found


def _example(spec: AlgorithmSpec, text: str) -> str:
    """Return the docstring's example, with the import that it does not need in its own module."""
    module, _, name = spec.factory.partition(":")
    return text if f"import {name}" in text or name not in text else f">>> from {module} import {name}\n{text}"


def _options_table(options: list[Option]) -> str:
    if not options:
        return "It has none."
    rows = [
        f"| `{one.name}` | `{one.type}` | {'required' if one.required else f'`{one.default_text}`'} "
        f"| {_cell(one.range)} | {_cell(one.description)} |"
        for one in options
    ]
    return "\n".join(["| option | type | default | range | meaning |", "|---|---|---|---|---|", *rows])


def _knowledge(loss: Any, found: Probe) -> str:
    traits = loss.traits
    facts = [
        ("dimensions of a prediction", f"{traits.event_ndim}, behind the batch"),
        ("derivatives that say something", _derivatives(loss, found)),
        ("positive semi-definite", "promised" if traits.psd_hessian else "not promised"),
        ("random", "yes" if traits.stochastic else "no"),
        ("takes a mask", "yes" if traits.takes_mask else "no"),
        ("supplies", ", ".join(found.supplies) or "its value alone; the rest is autodiff"),
        *((f"`{name}`", re.split(r"\. ", text)[0]) for name, text in found.curvatures.items()),
        ('`Auto(aim="outputs")`', f"`{found.auto}`, because {found.reason}"),
    ]
    return "\n".join(
        ["| what | answer |", "|---|---|", *(f"| {_cell(name)} | {_cell(text)} |" for name, text in facts)]
    )


def _cost(found: Probe) -> str:
    rows = [f"| {_cell(name)} | {ms:.2f} | {ms / found.plain_ms:.1f} |" for name, ms in found.times.items()]
    head = (
        f"One loss and its backward pass for {found.batch} samples of `example()`, prediction {found.shape}, float32, "
        "one thread, on the machine that built this page. Read the ratios: they hold for the loss alone and shrink "
        "as the network around it grows."
    )
    return "\n".join([head, "", "| loss | ms | ratio |", "|---|---|---|", *rows])


def _references(spec: AlgorithmSpec, sections: dict[str, str]) -> str:
    lines = (
        [_sentence(sections.get("Reference") or spec.reference)] if sections.get("Reference") or spec.reference else []
    )
    package = spec.factory.partition(":")[0].partition(".")[0]
    if package != "nlcore" and (page := _reference_page(package)):
        lines.append(f"Classes and functions: [{package}](../../{page.relative_to(DOCS)}).")
    since = f" since {spec.since}" if spec.since else ""
    lines.append(f"Registered as `{spec.id}`{since}, made by `{spec.factory}`.")
    return "\n\n".join(lines)


def _reference_page(package: str) -> Path | None:
    """Return the page that documents a package."""
    for page in sorted((DOCS / "reference").rglob("*.md")):
        if re.search(rf"^::: {package}$", page.read_text(encoding="utf-8"), re.MULTILINE):
            return page
    return None


def document_packages(registry: Registry = installed) -> None:
    """Write a page of reference for the package of every plugin that has no written one."""
    folder = DOCS / "reference/plugins"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for record in registry.plugins():
        package = record.value.partition(".")[0]
        if not record.distribution or package == "nlcore" or _reference_page(package):
            continue
        summary = metadata(record.distribution)["Summary"] or ""
        (folder / f"{record.namespace}.md").write_text(
            f"# {record.distribution}\n\n{_sentence(summary)}\n\n::: {package}\n"
            "    options: { show_root_heading: false, show_root_toc_entry: false }\n",
            encoding="utf-8",
        )


def _row(spec: AlgorithmSpec, loss: Any, found: Probe | None) -> str:
    link = f"[`{spec.id.partition('/')[2]}`]({spec.namespace}/{spec.id.partition('/')[2]}.md)"
    if found is None:
        return f"| {link} | {_cell(spec.summary)} | | | | | |"
    able = [_SHORT.get(name, name) for name, text in found.curvatures.items() if text == "yes"]
    picked = found.auto.partition("(")[0]
    cells = (
        link,
        spec.summary,
        _derivatives(loss, found),
        "yes" if loss.traits.psd_hessian else "no",
        "yes" if loss.traits.takes_mask else "no",
        ", ".join(able),
        _SHORT.get(picked, picked),
    )
    return f"| {' | '.join(map(_cell, cells))} |"


def _derivatives(loss: Any, found: Probe) -> str:
    """Return how many derivatives exist, or that a random loss estimates its Hessian itself."""
    if not loss.traits.stochastic:
        return str(loss.traits.order)
    if "its Hessian" in found.supplies:
        return "its own, sampled; projected by psd"
    return "its own, sampled: the gradient" if "its gradient" in found.supplies else f"{loss.traits.order}, random"


def _index(rows: dict[str, list[str]]) -> str:
    parts = [
        "# Algorithms\n\nEvery algorithm of the plugins that were installed when this site was built. "
        "`nlcore list` shows yours, and `nlcore show ID` one of them. An id is `namespace/name-vN`.",
        "*Derivatives*: how many exist and say something; *random* where the loss draws numbers. "
        "A random loss that reads gradient and Hessian off its samples has *its own*; with few samples that Hessian is "
        'indefinite even where the loss is convex, and `psd` of `Hessian`, `"abs"` by default and with '
        '`Auto(aim="outputs")`, projects it. '
        "*Semi-definite*: whether the loss promises that no sample has negative curvature. "
        "*Mask*: whether it takes one, for samples of different lengths. "
        "*Curvatures*: what `NewtonLoss` accepts. How to choose: "
        "[Choose an algorithm](../guides/algorithm.md), [Choose curvature and damping](../guides/curvature.md).",
    ]
    for namespace, lines in rows.items():
        head = "| name | what it is | derivatives | semi-definite | mask | curvatures | for the outputs |"
        parts.append("\n".join([f"## {namespace}\n", head, f"|{'---|' * 7}", *lines]))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:]}" + ("" if not text or text[-1] in ".!?" else ".")


if __name__ == "__main__":
    document_packages()
    draw_permutation(DOCS / "guides/permutation")
    written = main(*map(Path, sys.argv[1:2]))
    print(f"{len(written)} pages for {len(nlcore.names())} algorithms")

"""The page of an algorithm, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from catalogue.cost import cost_text
from catalogue.entry import Entry
from nlcore.cli.arguments import Option, python_call

__all__ = ["cell", "page_of", "sentence", "usage_of"]

DOCS = Path(__file__).parents[1]
_UP = "../../"
_PLAIN = {
    "prediction": "The output of the network, with the batch dimension first.",
    "target": "The supervision, with the batch dimension first.",
    "value": "One loss for each sample, unreduced.",
}


def page_of(entry: Entry, neighbours: Iterable[Entry]) -> str:
    """Return the page.

    Args:
        entry: The algorithm.
        neighbours: The other algorithms with the same use.
    """
    spec, record, found, definition = entry.spec, entry.record, entry.probe, _definition(entry)
    parts = [
        f"# {spec.namespace}/{spec.name}",
        sentence(spec.summary) + (f" Comes with `{record.origin}`." if record.distribution else ""),
        f'!!! warning "Deprecated"\n    {spec.deprecated}' if spec.deprecated else "",
        f"It cannot be constructed with its default options: {entry.fault}" if entry.fault else "",
        f"```python\n{usage_of(entry)}\n```" if found is not None else "",
        f"## Input and target\n\n{_inputs(entry)}",
        f"## Definition\n\n{definition}" if definition else "",
        f"## Picture\n\n{entry.picture}" if entry.picture else "",
        f"## Options\n\n{_options_table(entry.options)}",
        f"## Derivatives\n\n{_derivatives(entry)}" if found is not None else "",
        f"## Operators\n\n{_operators(entry)}" if entry.operators else "",
        f"## Cost\n\n{_cost(entry)}",
        f"## When it fails\n\n{_limits(entry)}",
        f"## Example\n\n```pycon\n{_example(entry)}\n```" if "Example" in entry.sections else "",
        f"## Neighbours\n\n{_neighbours(entry, neighbours)}",
        f"## Reference\n\n{_references(entry)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def usage_of(entry: Entry) -> str:
    """Return a training step on the example that the loss makes itself."""
    return "\n".join(
        [
            "import torch",
            "import nlcore",
            "",
            f"loss = {python_call(entry.spec.id, entry.options)}",
            "criterion = nlcore.NewtonLoss(loss)  # chooses the direction while training",
            "",
            "generator = torch.Generator().manual_seed(0)",
            'form = {"generator": generator, "dtype": torch.float32, "device": "cpu"}',
            "prediction, target = loss.example(32, **form)  # in training: outputs of the network, and data",
            "criterion(prediction.requires_grad_(), target).backward()",
        ]
    )


def _inputs(entry: Entry) -> str:
    said = {**_PLAIN, **entry.shapes}
    if "value" in entry.shapes:
        said["value"] = f"`[batch]`, one loss for each sample: {entry.shapes['value']}"
    names = [name for name in ("prediction", "target", "mask", "value") if name in said]
    names += [name for name in said if name not in {*names, "mask"}]
    rows = [f"| **{name}** | {cell(said[name])} |" for name in names]
    lines = ["| tensor | shape and meaning |", "|---|---|", *rows]
    if entry.probe is not None:
        shape, target = entry.probe.shape, entry.probe.target
        about = f"In the built-in example, `example()`, a sample's prediction has shape `{shape}`, "
        about += f"and its target is `{target}`."
        lines += ["", about]
    if not entry.takes_mask:
        lines += ["", "It takes no mask: all samples of a batch must have the same size."]
    return "\n".join(lines)


def _definition(entry: Entry) -> str:
    """Return the docstring, without its first line where formulas follow: the page begins with the summary."""
    text = entry.sections.get("", "")
    first, _, more = text.partition("\n\n")
    return more if "$$" in more and "$" not in first else text


def _options_table(options: list[Option]) -> str:
    if not options:
        return "It has no options."
    rows = [
        f"| `{one.name}` | `{one.type}` | {'required' if one.required else f'`{one.default_text}`'} "
        f"| {cell(one.range)} | {cell(one.description)} |"
        for one in options
    ]
    return "\n".join(["| option | type | default | range | meaning |", "|---|---|---|---|---|", *rows])


def _derivatives(entry: Entry) -> str:
    """Return the order in plain words, and the curvatures."""
    found, traits = entry.probe, entry.loss.traits
    if found is None:
        return ""
    words = [f"**Order {entry.order}.** {_order_words(entry)}"]
    if traits.psd_hessian:
        words.append("The Hessian is positive semi-definite wherever it exists: no sample has negative curvature.")
    elif "its Hessian" in found.supplies and traits.stochastic:
        words.append("The estimate of the Hessian is not guaranteed to be positive semi-definite.")
    elif "its Hessian" in found.supplies or traits.order >= 2:
        words.append("The Hessian is not guaranteed to be positive semi-definite.")
    supplied = " and ".join(found.supplies)
    automatic = "The derivatives are those of autograd."
    words.append(f"The loss supplies {supplied}." if supplied else automatic)
    if entry.options:
        words.append("This holds for the default options.")
    rows = [f"| `{name}` | {cell(re.split(r'[.] ', text)[0])} |" for name, text in found.curvatures.items()]
    how = f"([how it is chosen]({_UP}guides/curvature.md#the-curvature-for-the-outputs))"
    rows.append(f'| `Auto(aim="outputs")` | uses `{cell(found.auto)}`, because {cell(found.reason)} {how} |')
    below = (
        f"[`Bounded(validated=True)`]({_UP}concepts/aims.md#for-the-outputs-damping-that-sees-noise) is a damping; "
        f"[`normalize=True`]({_UP}guides/curvature.md#the-curvature-for-the-outputs) gives the steps of a batch a "
        "fixed length."
    )
    table = [" ".join(words), "", "| curvature | available? |", "|---|---|", *rows]
    return "\n".join([*table, *(["", below] if "normalize=True" in found.auto else [])])


def _order_words(entry: Entry) -> str:
    traits, supplies = entry.loss.traits, () if entry.probe is None else entry.probe.supplies
    own = "its gradient" in supplies
    if traits.stochastic and own:
        more = " and a Hessian" if "its Hessian" in supplies else ""
        return f"The value is random, and its gradient{more} are estimated from the same random draws."
    if traits.constant_curvature:
        return "The second derivative is constant and not zero."
    if traits.order >= 2:
        return "The second derivative exists almost everywhere, and is not zero."
    if traits.order == 1:
        return "Once differentiable: the second derivative is zero almost everywhere, or does not exist."
    if own:
        return "The value is piecewise constant; the method defines the gradient that the network receives."
    return "The value is piecewise constant and has no useful gradient."


def _operators(entry: Entry) -> str:
    head = "Besides its value, the loss has these methods:"
    return "\n".join([head, "", *(f"- `{call}`: {text}" for call, text in entry.operators.items())])


def _cost(entry: Entry) -> str:
    said = entry.sections.get("Cost", "")
    return f"{said}\n\n{cost_text(entry.spec.id, _UP)}" if said else cost_text(entry.spec.id, _UP)


def _limits(entry: Entry) -> str:
    parts = [entry.sections.get("When it fails", "")]
    if entry.probe is not None:
        parts.append("Measured on its built-in example:\n\n" + "\n".join(f"- {line}" for line in entry.probe.limits))
    return "\n\n".join(part for part in parts if part) or "Its built-in example could not be evaluated."


def _example(entry: Entry) -> str:
    """Return the docstring's example, with the import that it does not need in its own module."""
    module, _, name = entry.spec.factory.partition(":")
    text = entry.sections["Example"]
    return text if f"import {name}" in text or name not in text else f">>> from {module} import {name}\n{text}"


def _neighbours(entry: Entry, others: Iterable[Entry]) -> str:
    lines = []
    for other in others:
        order = other.order.replace("own gradient", "its gradient is defined by the method")
        differs = [f"derivative order {order}"] if other.order != entry.order else []
        if other.takes_mask != entry.takes_mask:
            differs.append("takes a mask" if other.takes_mask else "takes no mask")
        summary = other.spec.summary.rstrip(".")
        more = f"; {', '.join(differs)}" if differs else ""
        link = f"../{other.file}" if other.spec.namespace != entry.spec.namespace else f"{other.name}.md"
        lines.append(f"- [{other.spec.name}]({link}): {summary}{more}.")
    return "\n".join(lines) or "No other algorithm is listed for this purpose. [All algorithms](../index.md)."


def _references(entry: Entry) -> str:
    spec = entry.spec
    said = entry.sections.get("Reference") or spec.reference
    lines = [sentence(said) if said else "No paper: the algorithm is defined above."]
    package = spec.factory.partition(":")[0].partition(".")[0]
    path, address = entry.source
    if path:
        lines.append(f"Source: [`{path}`]({address})." if address else f"Source: `{path}`.")
    if package != "nlcore" and (page := reference_page(package)):
        lines.append(f"Classes and functions: [{package}]({_UP}{page.relative_to(DOCS).as_posix()}).")
    since = f" since {spec.since}" if spec.since else ""
    lines.append(f"Registered as `{spec.id}`{since}; constructed by `{spec.factory}`.")
    return "\n\n".join(lines)


def reference_page(package: str) -> Path | None:
    """Return the page that documents a package, whole or by its members."""
    pages = {page: page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").rglob("*.md"))}
    for end in ("$", r"\."):
        for page, text in pages.items():
            if re.search(rf"^::: {package}{end}", text, re.MULTILINE):
                return page
    return None


def cell(text: str) -> str:
    """Return a text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def sentence(text: str) -> str:
    """Return a text with a capital and a full stop."""
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:]}" + ("" if not text or text[-1] in ".!?" else ".")

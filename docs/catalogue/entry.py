"""One algorithm of the registry, with everything that its page and its card say."""

from __future__ import annotations

import sys
import tomllib
import warnings
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, metadata
from inspect import getdoc, getsourcefile, signature, unwrap
from pathlib import Path
from typing import Any

from catalogue.docstrings import factory_of, noun, sections_of, shapes_of
from catalogue.probe import Probe, probe
from nlcore.cli.arguments import Option, options_of
from nlcore.errors import NlcoreError
from nlcore.registry import AlgorithmSpec, PluginRecord, Registry

__all__ = ["Entry", "entry_of"]

ROOT = Path(__file__).parents[2]
_OPERATORS = ("permutation", "sort", "rank", "topk", "path", "visits")
_CONTRACT = {
    *("config", "curvature_operator", "example", "example_context", "gradient", "hessian", "id", "inner", "outer"),
    "traits",
}
_CODE_HOSTS = ("repository", "source", "source code", "code", "github", "gitlab")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An algorithm as the catalogue shows it.

    Attributes:
        spec: Its specification.
        record: Its plugin.
        loss: Made with the default options; `None` where that fails.
        fault: Why it fails.
        probe: Its behaviour on its own example; `None` where it cannot be tried.
        options: Its options.
        sections: Sections of its docstring.
        thumbnail: Alternative text of the thumbnail; empty without one.
        picture: Markdown of its picture, or why there is none.
    """

    spec: AlgorithmSpec
    record: PluginRecord
    loss: Any
    fault: str
    probe: Probe | None
    options: list[Option]
    sections: dict[str, str]
    thumbnail: str = field(default="")
    picture: str = field(default="")

    @property
    def name(self) -> str:
        """The name without namespace, with its version: the file's name."""
        return self.spec.id.partition("/")[2]

    @property
    def file(self) -> str:
        """The page, from the folder of the catalogue."""
        return f"{self.spec.namespace}/{self.name}.md"

    @property
    def shapes(self) -> dict[str, str]:
        """Shape and meaning of prediction, target, mask and value, as far as the docstring has them."""
        return shapes_of(self.sections)

    @property
    def mapping(self) -> str:
        """Input and target in a few words."""
        words = [noun(self.shapes.get(name, "")) or name for name in ("prediction", "target")]
        return " → ".join(words)

    @property
    def operators(self) -> dict[str, str]:
        """Signature and first line of the docstring of each public operator of the relaxation."""
        kind = type(self.loss)
        if self.loss is None:
            return {}
        public = [name for name in dir(kind) if not name.startswith("_") and name not in _CONTRACT]
        found = sorted((one for one in public if callable(getattr(kind, one))), key=_place)
        return {f"{name}{_arguments(getattr(kind, name))}": _first_line(getattr(kind, name)) for name in found}

    @property
    def order(self) -> str:
        """How many derivatives exist and are not zero almost everywhere, in a word or two."""
        if self.loss is None:
            return "unknown"
        traits = self.loss.traits
        if traits.stochastic and self.probe is not None and "its gradient" in self.probe.supplies:
            return "2 (sampled)" if "its Hessian" in self.probe.supplies else "1 (sampled)"
        if traits.order == 0 and self.probe is not None and "its gradient" in self.probe.supplies:
            return "1 (own gradient)"
        return str(traits.order)

    @property
    def takes_mask(self) -> bool:
        """Whether samples of different size fit into one batch."""
        return self.loss is not None and bool(self.loss.traits.takes_mask)

    @property
    def source(self) -> tuple[str, str]:
        """Path of the file that defines it, and its address; either is empty where it cannot be known."""
        factory = factory_of(self.spec)
        try:
            path = Path(getsourcefile(unwrap(factory)) or "").resolve()
        except TypeError:
            return "", ""
        if path.is_relative_to(ROOT):
            base, name = _repository(), path.relative_to(ROOT).as_posix()
            return name, f"{base.rstrip('/')}/blob/main/{name}" if base else ""
        return path.name, _project_address(self.record.distribution)


def entry_of(registry: Registry, spec: AlgorithmSpec) -> Entry:
    """Read everything about an algorithm but its picture."""
    loss, fault = None, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = registry.make(spec.id)
    except NlcoreError as error:
        fault = str(error)
    return Entry(
        spec=spec,
        record=registry.plugin(spec.namespace),
        loss=loss,
        fault=fault,
        probe=None if loss is None else _probed(loss),
        options=options_of(registry.config(spec.id)),
        sections=sections_of(spec),
    )


def _probed(loss: Any) -> Probe | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return probe(loss)
    except Exception as error:
        print(f"{loss!r} could not be tried: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def _place(name: str) -> tuple[int, str]:
    return _OPERATORS.index(name) if name in _OPERATORS else len(_OPERATORS), name


def _arguments(method: Any) -> str:
    """Return the signature without `self` and types."""
    try:
        given = list(signature(method).parameters.values())[1:]
    except (TypeError, ValueError):
        return "(…)"
    words, starred = [], False
    for one in given:
        if one.kind is one.KEYWORD_ONLY and not starred:
            words.append("*")
            starred = True
        words.append(one.name if one.default is one.empty else f"{one.name}={one.default!r}")
    return f"({', '.join(words)})"


def _first_line(method: Any) -> str:
    return (getdoc(method) or "").partition("\n")[0].removeprefix("Return ")


def _repository() -> str:
    """Return the address of this repository, configured once in pyproject.toml; empty without one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project.get("urls", {}).get("Repository", ""))


def _project_address(distribution: str) -> str:
    """Return the address of the code of an installed distribution, else its home page, else nothing."""
    try:
        found = metadata(distribution)
    except (PackageNotFoundError, ValueError):
        return ""
    pairs = (one.partition(",") for one in found.get_all("Project-URL") or [])
    named = {label.strip().lower(): address.strip() for label, _, address in pairs}
    return next((named[one] for one in _CODE_HOSTS if one in named), named.get("homepage", ""))

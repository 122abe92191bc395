"""Plugins for the tests of the registry and the command line: real modules, distributions in memory."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from nlcore.registry import Registry
from nlcore.registry.hooks import GROUP

_NUMBERS = itertools.count()

ALGORITHMS = """
from nlcore.config import AlgorithmConfig
from pydantic import Field


class BlurConfig(AlgorithmConfig):
    width: float = Field(1.0, gt=0, description="Standard deviation in pixels.")
    sizes: tuple[int, ...] = Field((3, 5), description="Sizes of the windows.")


class Blur:
    traits = "traits"

    def __init__(self, *, width=1.0, sizes=(3, 5)):
        self.width, self.sizes = width, sizes

    def __call__(self, prediction, target, *, generator=None):
        return prediction


class Plain:
    traits = "traits"
    __slots__ = ()

    def __call__(self, prediction, target, *, generator=None):
        return prediction
"""

PLUGIN = """
from nlcore.plugin import AlgorithmSpec, hookimpl


@hookimpl
def nlcore_algorithms():
    return [
        AlgorithmSpec(id=f"{namespace}/{name}", factory=f"{here}:{factory}", config=config and f"{here}:{config}",
                      summary=f"summary of {name}", deprecated=deprecated)
        for name, factory, config, deprecated in algorithms
    ]
"""


class MemoryDistribution(metadata.Distribution):
    """A distribution that is only its metadata."""

    def __init__(self, name: str, version: str, requires: tuple[str, ...], entry_points: str) -> None:
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        self._files = {
            "METADATA": "\n".join([*lines, *(f"Requires-Dist: {one}" for one in requires)]) + "\n",
            "entry_points.txt": entry_points,
        }

    def read_text(self, filename: str) -> str | None:
        return self._files.get(filename)

    def locate_file(self, path: object) -> Path:
        raise NotImplementedError(path)


class Shelf:
    """Writes plugins and hands out their entry points."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp = f"nlcore_test_{next(_NUMBERS)}"
        self.modules: list[str] = []
        self.entry_points: list[metadata.EntryPoint] = []

    def module(self, source: str) -> str:
        """Write a module and return its name."""
        name = f"{self._stamp}_{len(self.modules)}"
        (self._folder / f"{name}.py").write_text(textwrap.dedent(source), "utf-8")
        self.modules.append(name)
        return name

    def add(
        self,
        namespace: str,
        source: str,
        *,
        distribution: str | None = None,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        group: str = GROUP,
    ) -> str:
        """Announce a plugin whose module has this source; return the module's name."""
        name = self.module(source)
        self.announce(namespace, name, distribution=distribution, version=version, requires=requires, group=group)
        return name

    def announce(
        self,
        namespace: str,
        value: str,
        *,
        distribution: str | None = None,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        group: str = GROUP,
    ) -> None:
        """Announce a plugin that is a given module."""
        text = f"[{group}]\n{namespace} = {value}\n"
        found = MemoryDistribution(distribution or f"nlcore-x-{namespace}", version, requires, text)
        self.entry_points += found.entry_points

    def good(
        self,
        namespace: str,
        algorithms: tuple[tuple[str, str, str | None, str | None], ...] = (("blur-v1", "Blur", "BlurConfig", None),),
        *,
        distribution: str | None = None,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        group: str = GROUP,
    ) -> str:
        """Announce a plugin that works; return the name of the module with its algorithms."""
        here = self.module(ALGORITHMS)
        variables = f"namespace, here, algorithms = {namespace!r}, {here!r}, {algorithms!r}\n"
        self.add(
            namespace,
            variables + PLUGIN,
            distribution=distribution,
            version=version,
            requires=requires,
            group=group,
        )
        return here


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Shelf(tmp_path)
    yield made
    for name in made.modules:
        sys.modules.pop(name, None)


@pytest.fixture
def registry_of(shelf: Shelf) -> Callable[..., Registry]:
    """Return a function that makes a registry of what is on the shelf, with the given environment variables."""
    return lambda **environ: Registry(entry_points=lambda: shelf.entry_points, environ=environ)

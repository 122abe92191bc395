"""The generated catalogue takes in any algorithm, with no line written for it, and survives one that fails."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

import pytest
import torch
from pages import DOCS
from pydantic import Field

import nlcore
from nlcore.registry import Registry

pytest.importorskip("matplotlib", reason="the catalogue draws; matplotlib is not installed")


class BumpConfig(nlcore.AlgorithmConfig):
    width: float = Field(1.0, gt=0, description="How wide | it is.")


@dataclass(frozen=True)
class Bump:
    """A loss with dents: Σ sin²(width·(y − t)).

    It stands for what a plugin brings later.

    Example:
        >>> Bump().width
        1.0
    """

    width: float = 1.0
    traits = nlcore.Traits()

    def __call__(self, prediction, target, *, generator=None):
        return (self.width * (prediction - target)).sin().square().sum(-1)

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, 3, generator=generator, dtype=dtype, device=device))


@dataclass(frozen=True)
class Mute:
    """A loss that has no example to give."""

    traits = nlcore.Traits()

    def __call__(self, prediction, target, *, generator=None):
        return prediction.sum(-1)

    def example(self, batch_size, *, generator, dtype, device):
        raise RuntimeError("nothing to show")


@pytest.fixture
def generate(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    for name in ("generate", "probe", "convention"):
        sys.modules.pop(name, None)
    module = importlib.import_module("generate")
    yield module
    for name in ("generate", "probe", "convention"):
        sys.modules.pop(name, None)


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setitem(sys.modules, "bumps", sys.modules[__name__])
    found = Registry(entry_points=[], environ={"NLCORE_PLUGINS": ""})
    return found


def spec(name: str, factory: str, **more: str) -> nlcore.AlgorithmSpec:
    return nlcore.AlgorithmSpec(id=f"local/{name}-v1", factory=f"bumps:{factory}", summary="dents", **more)


def test_an_algorithm_gets_its_page_and_its_row(generate, registry, tmp_path):
    registry.register(spec("bump", "Bump", config="bumps:BumpConfig", reference="A book"))
    index, *pages = generate.main(tmp_path / "out", registry)
    page = next(page for page in pages if page.stem == "bump-v1")
    text = page.read_text()
    for heading in (
        "# local/bump",
        "## Definition",
        "## Picture",
        "## Options",
        "## Cost",
        "## When it fails",
        "## Example",
    ):
        assert heading in text
    assert "A loss with dents" in text
    assert "How wide \\| it is." in text
    assert "indefinite" in text
    assert ">>> from bumps import Bump" in text
    assert "A book." in text
    assert (page.parent / "bump-v1-light.png").read_bytes()[:4] == b"\x89PNG"
    assert (page.parent / "bump-v1-dark.png").exists()
    assert "[`bump-v1`](local/bump-v1.md)" in index.read_text()


def test_one_that_fails_keeps_its_page(generate, registry, tmp_path):
    registry.register(spec("mute", "Mute"))
    _, *pages = generate.main(tmp_path / "out", registry)
    text = next(page for page in pages if page.stem == "mute-v1").read_text()
    assert "nothing to show" in text
    assert "A loss that has no example" in text


def test_all_that_is_installed_is_taken_in(generate, monkeypatch, tmp_path):
    monkeypatch.setattr(generate, "probe", lambda loss: None)
    monkeypatch.setattr(generate, "_draw", lambda loss, stem, points: "")
    index, *pages = generate.main(tmp_path / "out")
    assert len(pages) == len(nlcore.names())
    assert [name for name in nlcore.names() if f"]({name}.md)" not in index.read_text()] == []


def test_the_reference_of_every_plugin_is_written(generate, monkeypatch, tmp_path):
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    (tmp_path / "reference").mkdir()
    generate.document_packages()
    written = {page.stem for page in (tmp_path / "reference/plugins").glob("*.md")}
    expected = {one.namespace for one in nlcore.plugins() if one.distribution and one.distribution != "nlcore"}
    assert written == expected

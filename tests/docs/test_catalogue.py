"""The generated catalogue takes in any algorithm, with no line written for it, and survives one that fails."""

from __future__ import annotations

import importlib
import json
import re
import sys
from dataclasses import dataclass

import pytest
import torch
from pages import DOCS
from pydantic import Field

import nlcore
from nlcore.registry import Registry
from nlcore.registry.default import registry as installed

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

    def dented(self, values, *, deep=False):
        """Return the values with dents."""
        return values.sin()


@dataclass(frozen=True)
class Mute:
    """A loss that has no example to give."""

    traits = nlcore.Traits()

    def __call__(self, prediction, target, *, generator=None):
        return prediction.sum(-1)

    def example(self, batch_size, *, generator, dtype, device):
        raise RuntimeError("nothing to show")


@pytest.fixture(scope="module")
def generate():
    """The scripts of docs, imported for this module alone."""
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("generate")
    sys.path.remove(str(DOCS))
    for name in [one for one in sys.modules if one == "generate" or one.partition(".")[0] == "catalogue"]:
        del sys.modules[name]


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setitem(sys.modules, "bumps", sys.modules[__name__])
    return Registry(entry_points=[], environ={"NLCORE_PLUGINS": ""})


def spec(name: str, factory: str, **more: str) -> nlcore.AlgorithmSpec:
    return nlcore.AlgorithmSpec(id=f"local/{name}-v1", factory=f"bumps:{factory}", summary="dents", **more)


def test_an_algorithm_gets_its_page_and_its_card(generate, registry, tmp_path):
    registry.register(spec("bump", "Bump", config="bumps:BumpConfig", reference="A book"))
    index, *pages = generate.main(tmp_path / "out", registry)
    page = next(page for page in pages if page.stem == "bump-v1")
    text = page.read_text()
    for heading in HEADINGS | {"# local/bump", "## Definition", "## Picture", "## Example", "## Operators"}:
        assert f"\n{heading}\n" in f"\n{text}"
    assert "A loss with dents" in text
    assert "How wide \\| it is." in text
    assert "indefinite" in text
    assert "- `dented(values, *, deep=False)`: the values with dents." in text
    assert "measure_cost.py local/bump-v1" in text
    assert ">>> from bumps import Bump" in text
    assert "A book." in text
    assert (page.parent / "bump-v1-light.png").read_bytes()[:4] == b"\x89PNG"
    assert (page.parent / "bump-v1-thumb-dark.png").exists()
    cards = index.read_text()
    assert "**[bump](local/bump-v1.md)**" in cards
    assert "local/bump-v1-thumb-light.png#only-light" in cards
    assert "prediction → target" in cards
    assert "Derivatives 2 · mask no" in cards


def test_one_that_fails_keeps_its_page(generate, registry, tmp_path):
    registry.register(spec("mute", "Mute"))
    _, *pages = generate.main(tmp_path / "out", registry)
    text = next(page for page in pages if page.stem == "mute-v1").read_text()
    assert "nothing to show" in text
    assert "A loss that has no example" in text


def test_an_unknown_namespace_is_a_group_of_its_own(generate, registry):
    registry.register(spec("bump", "Bump"))
    from catalogue.cards import grouped
    from catalogue.entry import entry_of

    entries = [
        entry_of(registry, registry.spec("local/bump")),
        entry_of(installed, installed.spec("core/cross_entropy")),
    ]
    (first, _), (other, members) = grouped(entries).items()
    assert first[:2] == ("core", "Elementary")
    assert other[:2] == ("local", "local")
    assert [one.name for one in members] == ["bump-v1"]


HEADINGS = {
    "## Input and target",
    "## Options",
    "## Derivatives",
    "## Cost",
    "## When it fails",
    "## Neighbours",
    "## Reference",
}


@pytest.fixture(scope="module")
def texts(generate):
    """The pages of all installed algorithms, without pictures, by id."""
    from catalogue.cards import grouped
    from catalogue.entry import entry_of
    from catalogue.pages import page_of

    entries = [entry_of(installed, installed.spec(id)) for id in installed.names()]
    return {
        entry.spec.id: page_of(entry, [one for one in members if one is not entry])
        for members in grouped(entries).values()
        for entry in members
    }


def section(text: str, title: str) -> str:
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return match[1].strip() if match else ""


@pytest.mark.parametrize("id", nlcore.names())
class TestEveryPage:
    def test_states_shape_and_meaning_of_the_inputs(self, texts, id):
        inputs = section(texts[id], "Input and target")
        for name in ("prediction", "target"):
            assert re.search(rf"^\| \*\*{name}\*\* \| `\[batch[^`]*\]`[^|]*\w", inputs, re.MULTILINE), name
        assert "`[batch]`, one loss for each sample: " in inputs
        assert re.search(
            r"`example\(\)`, a sample's prediction has shape `\[\d+.*\]`, and its target is `.+ \w+}?`", inputs
        )
        assert ("| **mask** |" in inputs) is nlcore.make(id).traits.takes_mask
        assert ("It takes no mask" in inputs) is not nlcore.make(id).traits.takes_mask

    def test_defines_it_by_a_formula(self, texts, id):
        definition = section(texts[id], "Definition")
        assert re.search(r"^\$\$\n.+\n\$\$$", definition, re.MULTILINE | re.DOTALL)
        assert r"\ell" in definition
        assert definition.count("\n$$") % 2 == (0 if not definition.startswith("$$") else 1)

    def test_every_formula_can_be_drawn(self, texts, id):
        convert = pytest.importorskip("latex2mathml.converter", reason="the extra `docs` is not installed").convert
        found = re.findall(r"\$\$(.+?)\$\$|(?<!\$)\$([^$\n]+)\$(?!\$)", section(texts[id], "Definition"), re.DOTALL)
        for formula in ("".join(one) for one in found):
            drawn = convert(formula.strip())
            assert drawn.startswith("<math")
            assert "\\" not in drawn, formula

    def test_lists_the_options(self, texts, id):
        config, options = installed.config(id), section(texts[id], "Options")
        names = [] if config is None else list(config.model_fields)
        assert [name for name in names if f"| `{name}` |" not in options] == []
        assert names or options == "It has no options."

    def test_states_the_order_of_the_derivative_in_words(self, texts, id):
        derivatives = section(texts[id], "Derivatives")
        assert re.match(r"\*\*Order [12]( \([a-z ]+\))?\.\*\* [A-Z].{30,}", derivatives)
        assert all(f"| `{name}` |" in derivatives for name in ("EmpiricalFisher", "Hessian", "GaussNewton"))

    def test_states_the_cost_of_the_study(self, texts, id):
        cost = section(texts[id], "Cost")
        assert re.search(r"O\(|exact solve|Cholesky", cost)
        entry = json.loads((DOCS / "results/algorithms_cost.json").read_text())["algorithms"][id]
        assert "| plain loss |" in cost
        for name, ratio in entry["ratios"].items():
            assert re.search(rf"\| with `{name}` \| [\d.e+]+ \| {ratio:.1f} \|", cost)

    def test_says_where_it_fails(self, texts, id):
        said, _, measured = section(texts[id], "When it fails").partition("Measured on its built-in example:")
        assert len(said) > 60
        assert "\n- " in measured

    def test_has_a_reference_and_a_source(self, texts, id):
        reference = section(texts[id], "Reference")
        assert re.search(r"\]\(https://(arxiv\.org|doi\.org|cdn\.aaai\.org)/", reference) or "No paper" in reference
        assert re.search(r"^Source: \[?`[\w/]+\.py`", reference, re.MULTILINE)
        assert installed.spec(id).reference == "" or "No paper" not in reference

    def test_names_its_neighbours(self, texts, id):
        neighbours = section(texts[id], "Neighbours")
        assert re.search(r"^- \[\w+\]\([\w./-]+\.md\): \w", neighbours, re.MULTILINE) or "No other" in neighbours

    def test_begins_with_a_step_that_runs(self, texts, id):
        code = re.search(r"^```python\n(.*?)^```$", texts[id], re.MULTILINE | re.DOTALL)[1]
        names: dict[str, object] = {}
        exec(code, names)
        assert names["prediction"].grad.isfinite().all()


def test_the_cards_hold_all_that_is_installed(generate):
    from catalogue.cards import index_of
    from catalogue.entry import entry_of

    cards = index_of(entry_of(installed, installed.spec(id)) for id in installed.names())
    assert [id for id in installed.names() if f"]({id}.md)**" not in cards] == []
    assert cards.count('<div class="grid cards" markdown>') == cards.count("\n## ")


def test_the_reference_of_every_plugin_is_written(generate, monkeypatch, tmp_path):
    from catalogue import pages

    (tmp_path / "reference").mkdir()
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    monkeypatch.setattr(pages, "DOCS", tmp_path)
    generate.document_packages()
    written = {page.stem for page in (tmp_path / "reference/plugins").glob("*.md")}
    expected = {one.namespace for one in nlcore.plugins() if one.distribution and one.distribution != "nlcore"}
    assert written == expected

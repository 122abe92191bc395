"""Pictures of the guides: each is on its page in both schemes, and is drawn from the page's own variables."""

from __future__ import annotations

import importlib.util
import re

import pytest
from pages import DOCS

pytest.importorskip("matplotlib", reason="pictures need matplotlib")


def _module():
    spec = importlib.util.spec_from_file_location("guide_pictures", DOCS / "guide_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PICTURES = _module()


@pytest.mark.parametrize("name", PICTURES.PICTURES)
def test_the_page_shows_its_picture_in_both_schemes(name):
    page = (DOCS / f"guides/{name}.md").read_text(encoding="utf-8")
    found = re.findall(rf"^!\[([^\]]{{40,}})\]\({name}-(light|dark)\.png#only-(light|dark)\)$", page, re.MULTILINE)
    assert [(file, scheme) for _, file, scheme in found] == [("light", "light"), ("dark", "dark")]
    assert found[0][0] == found[1][0]  # the same text for readers of both


def test_a_picture_is_drawn_from_the_blocks_of_its_page(tmp_path):
    light, dark = PICTURES.draw_guide("several-gpus", tmp_path)
    assert light.read_bytes()[:4] == b"\x89PNG"
    assert light.read_bytes() != dark.read_bytes()


def test_blocks_that_need_a_package_or_are_not_run_are_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = 1\n```\n\n<!-- not run: reason -->\n```python\na = 2\n```\n\n"
        "```python requires=nothing\na = 3\n```\n\n```python\nb = a\n```\n"
    )
    values = PICTURES.run_blocks(page)
    assert (values.a, values.b) == (1, 1)

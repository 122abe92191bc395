"""The written pages of the site, cut into the blocks that can be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = (DOCS / "algorithms", DOCS / ".algorithms", DOCS / "reference/plugins")

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w+)(?P<attributes>[^\n]*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_ATTRIBUTE = re.compile(r"(\w+)=(\S+)")


@dataclass
class Block:
    """A fenced block.

    Attributes:
        language: `python`, `bash`, `text`, …
        code: What is between the fences.
        line: Of the first line of code.
        attributes: `name=value` behind the language.
        reason: Why it is not run; empty for one that is.
        output: What the text block that follows at once says it prints; `None` without one.
        tolerance: How far the numbers of the output may differ, by the attribute of that text block.
    """

    language: str
    code: str
    line: int
    attributes: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    output: str | None = None
    tolerance: float = 0.0


def pages() -> list[Path]:
    """Return the README and all pages that people have written."""
    written = [page for page in sorted(DOCS.rglob("*.md")) if not any(page.is_relative_to(one) for one in GENERATED)]
    return [ROOT / "README.md", *written]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in order; a text block right behind another is taken for its output."""
    text = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    for place, match in enumerate(found):
        block = Block(
            language=match["language"],
            code=match["code"],
            line=text.count("\n", 0, match.start("code")) + 1,
            attributes=dict(_ATTRIBUTE.findall(match["attributes"])),
            reason=match["reason"] or "",
        )
        after = found[place + 1] if place + 1 < len(found) else None
        if after is not None and after["language"] == "text" and not text[match.end() : after.start()].strip():
            block.output = after["code"]
            block.tolerance = float(dict(_ATTRIBUTE.findall(after["attributes"])).get("tolerance", 0))
        yield block

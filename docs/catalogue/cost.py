"""The measured costs of the algorithms, from the file that `measure_cost.py` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["COMMAND", "RESULT", "cost_of", "cost_text"]

RESULT = Path(__file__).parents[1] / "results/algorithms_cost.json"
COMMAND = "python docs/catalogue/measure_cost.py"


def _file() -> dict[str, Any]:
    return json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"algorithms": {}}


def cost_of(id: str) -> dict[str, Any] | None:
    """Return the entry of an algorithm; `None` if it was not measured."""
    return _file()["algorithms"].get(id)


def cost_text(id: str, up: str) -> str:
    """Return the measured cost as Markdown.

    Args:
        id: Of the algorithm.
        up: The way from the page to the folder of the site, as in `../../`.
    """
    found = cost_of(id)
    if found is None:
        return f"The cost has not been measured. `{COMMAND} {id}` measures it and adds it to the study."
    setting = _file()["setting"]
    rows = [f"| plain loss | {found['plain_ms']:.3g} | 1 |"]
    rows += [
        f"| with `{name}` | {found['plain_ms'] * ratio:.3g} | {ratio:.1f} |" for name, ratio in found["ratios"].items()
    ]
    return "\n".join(
        [
            f"CPU time of the loss and its backward pass, without a network: {found['samples']} samples of "
            f"{found['event']} outputs, {setting['dtype']}, {setting['threads']} thread. *Ratio* is relative to the "
            "plain loss; the larger the network around the loss, the closer the ratio of a whole step is to 1. "
            f"[All algorithms and the setting]({up}results/algorithms_cost.md).",
            "",
            "| step | milliseconds | ratio |",
            "|---|---|---|",
            *rows,
        ]
    )

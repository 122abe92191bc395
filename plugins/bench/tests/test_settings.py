"""The settings of a study: what is damaged or different is named, and nothing is overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nlcore_bench.records import ResultsError, Store

SETTINGS: dict[str, Any] = {"steps": 6, "learning_rates": (0.1, 0.2), "methods": {"plain": {"clip": None}}}
NESTED = {"settings": SETTINGS}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "utf-8"),
        ('{"settings": {"steps": 6, "steps": 6}}', "the key 'steps' occurs twice"),
        (json.dumps({**NESTED, "environment": {"torch": 2}}), "environment.torch is 2"),
        (json.dumps({**NESTED, "environment": "torch"}), "environment is 'torch'"),
        (json.dumps({**NESTED, "methods": {}}), "the field methods is unknown"),
        ('{"environment": {}}', "the field settings is missing"),
        ("[" * 100_000, "nested too deeply"),
        ('{"settings":' * 950 + "1" + "}" * 950, "holds no settings"),
        ('{"settings": {"format": 3, "steps": NaN}}', "steps is NaN there and 6 here"),
        ('{"settings": {"format": 3, "steps": true}}', "steps is true there and 6 here"),
        ('{"settings": {"format": 3, "steps": 6.0}}', "steps is 6.0 there and 6 here"),
        ('{"settings": {"format": 3, "methods.plain.clip": null}}', "methods.plain.clip is null there and absent here"),
        (json.dumps({"settings": {"steps": [9] * 1000}}), r"9, 9…"),
    ],
)
def test_damaged_settings_are_named(tmp_path: Path, content: str | bytes, words: str) -> None:
    Store(tmp_path, SETTINGS)
    (tmp_path / "settings.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ResultsError, match=rf"{tmp_path.name}.*{words}.*--out"):
        Store(tmp_path, SETTINGS)


def test_settings_that_are_not_json_leave_no_folder(tmp_path: Path) -> None:
    for value in (float("nan"), object(), {1, 2}):
        with pytest.raises(ResultsError, match="cannot be stored as JSON"):
            Store(tmp_path / "new", {"learning_rate": value})
    assert not (tmp_path / "new").exists()

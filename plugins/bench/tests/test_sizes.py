"""Studies at their smallest, the estimate of their duration, and training on a named device."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from nlcore.cli import main
from nlcore.errors import ConfigError
from nlcore_bench import Study, load, run_study
from nlcore_bench.catalogue import shipped
from nlcore_bench.sizes import cost, scaled, small
from nlcore_bench.tasks.base import Batch


@pytest.mark.parametrize("id", list(shipped()))
def test_every_study_has_a_small_one(id: str) -> None:
    whole = shipped()[id][1]
    study = small(whole)
    rows = study.entries()
    assert {row.key for row in rows} < {row.key for row in whole.entries()} or len(whole.optimizers) == 1
    assert all(len(row.candidates) == 1 and row.candidates[0].learning_rate < 1.1 for row in rows)
    assert len({row.optimizer for row in rows}) == 1
    assert {row.task for row in rows} == set(whole.tasks)
    assert study.count(rows) == sum(3 if study.equal_time and row.baseline else 2 for row in rows)
    assert all(60 <= study.steps_of(name) <= whole.steps_of(name) / 2 for name in study.tasks)
    assert study.every <= study.steps


def test_all_small_studies_take_less_than_ninety_minutes_on_two_cores() -> None:
    minutes = {id: scaled(small(study), study).minutes or 0.0 for id, (_, study) in shipped().items()}
    assert 0 < sum(minutes.values()) / 2 < 90 / 2  # evaluations are not counted


def test_the_middle_of_every_list_is_kept(content: dict[str, Any]) -> None:
    content |= {"learning_rates": [1.0, 2.0, 3.0, 4.0], "steps": 400}
    content["optimizers"] = {"adam": {}, "muon": {"kind": "muon", "learning_rates": [5.0, 6.0, 7.0, 8.0]}}
    content["methods"]["clipping"]["learning_rates"] = [0.1, 0.2, 0.3, 0.4]
    study = small(load(content))
    assert study.steps == 100
    assert {row.name: row.candidates[0].learning_rate for row in study.entries()} == {
        "plain": 2.0, "clipping": 0.2, "fisher": 2.0, "supervised": 2.0
    }  # fmt: skip


def test_the_estimate_follows_runs_and_steps(content: dict[str, Any]) -> None:
    whole = load(content | {"minutes": 240})
    assert cost(whole, whole.entries(), 1) == "small: 24 runs, about 4.0 h on one core"
    assert cost(whole, whole.entries(methods=["plain"]), 4) == "small: 6 runs, about 60 min on one core, 15 min on 4"
    half = scaled(whole.model_copy(update={"steps": 3}), whole)
    assert half.minutes == 120
    assert cost(load(content), [], 1) == "small: 0 runs; its duration has not been measured"


def test_a_small_study_from_run_to_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["totals", "--small", "--out", str(tmp_path)]
    assert main(["bench", "run", *words, "--methods", "plain", "fisher", "--workers", "1"]) == 0
    shown = capsys.readouterr()
    assert re.search(r"^totals: 4 runs, about \d+ s on one core\.$", shown.err, re.MULTILINE)
    assert "Report, pictures and runs" in shown.out
    assert json.loads((tmp_path / "totals/settings.json").read_text())["settings"]["steps"] == 125
    assert main(["bench", "status", *words]) == 0
    assert "4 of 14 runs are finished" in capsys.readouterr().out
    assert main(["bench", "run", *words, "--methods", "plain", "--workers", "1"]) == 0
    assert "; 4 runs are on record." in capsys.readouterr().err
    assert main(["bench", "run", *words, "--quick"]) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_a_device_is_part_of_the_settings(study: Study, tmp_path: Path) -> None:
    def numbers(device: str) -> dict[Any, Any]:
        on = study.model_copy(update={"device": device})
        runs = run_study(on, tmp_path / device.replace(":", "_"), quiet=True).runs
        return {cell: (run.final, run.train, run.curves) for cell, run in runs.items()}

    assert numbers("cpu:0") == numbers("cpu")  # by the way of a device: batches are moved, networks copied back
    assert "device" not in json.loads((tmp_path / "cpu/settings.json").read_text())["settings"]
    assert json.loads((tmp_path / "cpu_0/settings.json").read_text())["settings"]["device"] == "cpu:0"
    with pytest.raises(ConfigError, match=r"there is no device 'gpu' .*Leave out --device"):
        run_study(study.model_copy(update={"device": "gpu"}), tmp_path / "gpu", quiet=True)


def test_a_batch_moves_with_everything_in_it() -> None:
    one = torch.ones(2)
    moved = Batch(one, (one, {"a": one}), None, {"more": [one, 3]}, {"mask": one}).to(torch.device("meta"))
    leaves = [moved.inputs, moved.target[0], moved.target[1]["a"], moved.others["more"][0], moved.options["mask"]]
    assert {leaf.device.type for leaf in leaves} == {"meta"}
    assert moved.others["more"][1] == 3
    assert moved.outputs is None

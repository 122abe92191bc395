"""A call runs through its modules in the order in which one reads them, and does not jump between them.

A stay is a run of consecutive calls into functions of one file. Both flows are traced in a fresh process at their first
call, when plugins have to be found and derivatives to be probed; imports are done before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

import nlcore

PACKAGE = Path(nlcore.__file__).parent

TRACE = """
import json, os, sys
import nlcore

FOLDER = {folder!r}
entered = []

def note(frame, event, argument):
    name = frame.f_code.co_filename
    if event == "call" and os.path.dirname(name) == FOLDER:
        entered.append(os.path.splitext(os.path.basename(name))[0])

{before}
sys.settrace(note)
{call}
sys.settrace(None)
print(json.dumps(entered))
"""

MAKE = {
    "before": "make = nlcore.make",
    "call": "make('sorting/neuralsort')",
    "order": ["registry", "discovery", "plugins", "isolation", "spec", "hooks", "instances"],
    "files": 7,
    "stays": 14,
}
STEP = {
    "before": """
import torch
loss = nlcore.make("sorting/diffsort")
criterion = nlcore.NewtonLoss(loss, nlcore.Hessian())
generator = torch.Generator().manual_seed(0)
prediction, target = loss.example(4, generator=generator, dtype=torch.float32, device="cpu")
prediction.requires_grad_()
""",
    "call": "criterion(prediction, target)",
    "order": ["loss", "step", "problem", "derivatives", "second_order", "hessian", "damping", "solve", "linear"],
    "files": 9,
    "stays": 14,
}


def entered(folder: str, *, before: str, call: str) -> list[str]:
    """Return the module of each call into a folder of nlcore, in a fresh process."""
    code = TRACE.format(folder=str(PACKAGE / folder), before=before, call=call)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(("folder", "flow"), [("registry", MAKE), ("newton", STEP)], ids=["make", "step"])
def test_modules_are_entered_in_reading_order_and_left_for_good(folder, flow):
    pytest.importorskip("nlcore_sorting")
    calls = entered(folder, before=flow["before"], call=flow["call"])
    files = list(dict.fromkeys(calls))
    stays = [name for name, _ in groupby(calls)]
    assert files == flow["order"]
    assert len(files) <= flow["files"], files
    assert len(stays) <= flow["stays"], stays


def test_the_trace_sees_each_return_to_a_file():
    calls = entered("registry", before="", call="nlcore.register(nlcore.AlgorithmSpec(id='a/b-v1', factory='a:b'))")
    assert {"__init__", "registry", "spec"} <= set(calls)
    assert len([name for name, _ in groupby(calls)]) > len(set(calls))

"""Scores in a column, a list of one item in every row: said once by every loss over lists, from the registry."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch

import nlcore
from nlcore.errors import NumericalWarning
from nlcore.protocol import SuppliesHessian
from nlcore.registry import default
from nlcore.testing import cases

torch.set_num_threads(1)

IDS = [*nlcore.names("sorting"), *nlcore.names("ranking")]
LOSSES = [case.subject() for name in IDS for case in cases(default.registry.spec(name), every_choice=True)]
each = pytest.mark.parametrize("subject", LOSSES, ids=lambda subject: subject.name)


def given(loss: Any, batch: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores [batch, n] and a target that fits."""
    known = loss.example(2, generator=None, dtype=torch.float32, device="cpu")[1]
    scores = torch.randn(batch, n, requires_grad=True)
    if known.ndim == 1:
        return scores, torch.zeros(batch, dtype=torch.int64)
    places = torch.arange(n).expand(batch, n)
    return scores, places if known.dtype == torch.int64 else places.float()


@each
def test_a_column_is_named_with_its_shape_and_the_cure(subject: Any) -> None:
    loss = subject.algorithm
    scores, target = given(loss, 8, 1)
    with pytest.warns(
        NumericalWarning, match=r"scores of shape \[8, 1\] are 8 lists .*squeeze\(-1\)\.unsqueeze\(0\)"
    ) as seen:
        value = loss(scores, target)
    assert str(seen[0].message).startswith(f"{loss.id}: ")
    assert len(seen) == 1
    (gradient,) = torch.autograd.grad(value.sum(), scores)
    assert (gradient == 0).all()
    assert value.abs().max() < 1e-6
    if isinstance(loss, SuppliesHessian):
        with pytest.warns(NumericalWarning, match="lists of one item"):
            loss.hessian(scores, target)


@each
@pytest.mark.parametrize(("batch", "n"), [(1, 8), (1, 1), (0, 1), (3, 2)])
def test_lists_are_silent(subject: Any, batch: int, n: int) -> None:
    loss = subject.algorithm
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(*given(loss, batch, n))


def test_the_engine_lets_it_through_and_python_shows_it_once() -> None:
    code = (
        "import torch, nlcore\n"
        "criterion = nlcore.NewtonLoss(nlcore.make('ranking/listnet'))\n"
        "for _ in range(3):\n"
        "    criterion(torch.randn(8, 1, requires_grad=True), torch.zeros(8, 1)).backward()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("NumericalWarning: ranking/listnet-v1: scores of shape [8, 1]") == 1


@pytest.mark.filterwarnings("error", "default::DeprecationWarning", "default::FutureWarning")
def test_nothing_is_said_under_compile() -> None:
    torch._dynamo.reset()
    loss = nlcore.make("ranking/listnet")
    scores, target = given(loss, 8, 1)
    compiled = torch.compile(lambda s, t: loss(s, t), fullgraph=True, backend="eager")
    assert (compiled(scores, target) == 0).all()

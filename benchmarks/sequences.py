"""Soft-DTW of nlcore beside that of ddtw, pysdtw and tslearn, and Newton steps of linear losses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Case, Operator, Suite, alone
from nlcore import GaussNewton, NewtonLoss, Relative
from nlcore.compiled import has_numba, torch_alone
from nlcore_sequences import LinearFilter, PrefixSum, SoftDTW, SoftDTWDivergence

__all__ = ["suite"]

# Parallel code of numba, in the peers, would also set the number of threads of torch. It is read on numba's import.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

_BATCH, _CHANNELS = 32, 16
_SIZES, _QUICK_SIZES = (32, 64, 128, 256, 512, 1024), (8, 16)
_FEW, _QUICK_FEW = (64, 256), (8,)
_LONG, _QUICK_LONG = (1024, 16384, 100000), (300,)
_INTRO = """\
torch {torch}, one thread, float32, normal series; medians of interleaved rounds in processor time. Memory is what
autograd keeps between the passes, and for second derivatives the most that torch allocates during a call; what numba's
code allocates itself is not counted: for nlcore three numbers for every cell of one sample. The last column is the
forward and backward time of the fastest other library divided by that of nlcore. Where rows of torch alone stand beside
them, the rows of nlcore are with numba.

ddtw, with its numba back end, computes in float32 and returns the mean of the batch. nlcore's divergence is computed in
float64. None of the others has second derivatives. A **Hessian-vector product** is timed with the gradient that it
needs, and beside it the gradient alone. The last table has whole Newton steps of one long sequence, with the checks
of `NewtonLoss`, beside the gradient of the same loss.
"""

Operators = dict[str, Operator]


def suite(*, quick: bool = False, device: str = "cpu") -> Suite:
    """Return soft-DTW, its divergence and its second derivative at all lengths, and Newton steps of linear losses.

    Args:
        quick: Two lengths.
        device: Where the series are; elsewhere than on the CPU, nlcore is timed alone.
    """
    where = torch.device(device)
    cases = (replace(one, operators=alone(one.operators, where)) for one in _cases(quick, where))
    return Suite("Sequences, side by side", "n × series", _INTRO, cases)


def _cases(quick: bool, device: torch.device) -> Iterator[Case]:
    for n in _QUICK_SIZES if quick else _SIZES:
        series, target = _series(n, 1).to(device)
        peers = {"ddtw": _ddtw, "pysdtw": _pysdtw, "tslearn": _tslearn}
        operators = _own(SoftDTW(), target, alone=n <= 256) | _installed(peers, target)
        yield Case("soft-DTW", operators, series)
    for n in _QUICK_FEW if quick else _FEW:
        series, target = _series(n, _CHANNELS).to(device)
        peers = {"ddtw": _ddtw, "pysdtw": _pysdtw, "tslearn": _tslearn}
        operators = _own(SoftDTW(multivariate=True), target) | _installed(peers, target)
        yield Case(f"soft-DTW of {_CHANNELS} channels", operators, series)
    for n in _QUICK_FEW if quick else _FEW:
        series, target = _series(n, 1).to(device)
        loss = SoftDTWDivergence(cost="squared_euclidean")
        operators = _own(loss, target) | _installed({"tslearn": _tslearn_divergence}, target)
        yield Case("divergence", operators, series)
    for n in _QUICK_SIZES if quick else _SIZES:
        series, target = _series(n, 1).to(device)
        kinds = {"nlcore, gradient": 1, "nlcore, gradient and Hessian-vector product": 2}
        operators = {name: _derivative(target, order) for name, order in kinds.items()}
        yield Case("second derivatives", operators, series, differentiable=False, memory="peak")
    for n in _QUICK_LONG if quick else _LONG:
        numbers = torch.randn(1, n, generator=torch.Generator().manual_seed(n)).to(device)
        yield Case("Newton steps of linear losses", _linear(numbers), numbers, differentiable=False, memory="peak")


def _linear(numbers: Tensor) -> Operators:
    """Return the gradient and the Newton step of linear losses."""
    losses = {
        "running totals": PrefixSum(),
        "Gaussian filter": LinearFilter(),
        "Gaussian filter, zero ends": LinearFilter(boundary="zero"),
        "exponential average": LinearFilter(kernel="exponential", width=10.0, causal=True),
    }
    curvature = GaussNewton(damping=Relative(0.1))
    operators: Operators = {}
    for name, loss in losses.items():
        target = loss.inner(numbers.flip(1))
        operators[f"nlcore, {name}, gradient"] = partial(_gradient, loss, target)
        operators[f"nlcore, {name}, Newton step"] = partial(_newton_gradient, NewtonLoss(loss, curvature), target)
    return operators


def _gradient(loss: Any, target: Tensor, numbers: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = numbers.detach().requires_grad_()
        return torch.autograd.grad(loss(leaf, target).sum(), leaf)[0]


def _newton_gradient(criterion: NewtonLoss, target: Tensor, numbers: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = numbers.detach().requires_grad_()
        return torch.autograd.grad(criterion(leaf, target), leaf)[0]


def _series(n: int, channels: int) -> Tensor:
    """Return predicted and target series, [2, batch, n] or [2, batch, n, channels]."""
    generator = torch.Generator().manual_seed(n)
    shape = (_BATCH, n, channels) if channels > 1 else (_BATCH, n)
    return torch.stack([torch.randn(shape, generator=generator) for _ in range(2)])


def _own(loss: Any, target: Tensor, *, alone: bool = False) -> Operators:
    operators: Operators = {"nlcore": lambda series: loss(series, target)}
    if alone and has_numba():

        def in_torch(series: Tensor) -> Tensor:
            with torch_alone():
                result: Tensor = loss(series, target)
            return result

        operators["nlcore, torch alone"] = in_torch
    return operators


def _installed(peers: dict[str, Callable[[], Callable[[Tensor, Tensor], Tensor]]], target: Tensor) -> Operators:
    """Return the operators of the libraries that are installed."""
    operators: Operators = {}
    other = _with_channels(target)
    for name, make in peers.items():
        try:
            peer = make()
        except ImportError:
            continue
        operators[name] = partial(_called, peer, other)
    return operators


def _called(peer: Callable[[Tensor, Tensor], Tensor], target: Tensor, series: Tensor) -> Tensor:
    return peer(_with_channels(series), target)


def _with_channels(series: Tensor) -> Tensor:
    return series if series.ndim == 3 else series.unsqueeze(-1)


def _ddtw() -> Callable[[Tensor, Tensor], Tensor]:
    kind = import_module("ddtw").SDTW
    found: Callable[[Tensor, Tensor], Tensor] = kind(gamma=1.0, backend="cpu_numba", normalization="none")
    return found


def _pysdtw() -> Callable[[Tensor, Tensor], Tensor]:
    found: Callable[[Tensor, Tensor], Tensor] = import_module("pysdtw").SoftDTW(gamma=1.0, use_cuda=False)
    return found


def _tslearn(*, normalize: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    found: Callable[[Tensor, Tensor], Tensor] = import_module("tslearn.metrics").SoftDTWLossPyTorch(
        gamma=1.0, normalize=normalize
    )
    return found


def _tslearn_divergence() -> Callable[[Tensor, Tensor], Tensor]:
    return _tslearn(normalize=True)


def _derivative(target: Tensor, order: int) -> Operator:
    loss = SoftDTW()

    def derivative(series: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = series.detach().requires_grad_()
            (slope,) = torch.autograd.grad(loss(leaf, target).sum(), leaf, create_graph=order > 1)
            return slope if order == 1 else torch.autograd.grad(slope, leaf, series)[0]

    return derivative

"""Soft-DTW against other libraries, where they are installed (benchmarks/requirements.txt)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nlcore_sequences import SoftDTW, SoftDTWDivergence

# What other libraries warn of on import or in a call is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=[(12, 12, 1), (9, 14, 3), (20, 7, 2)], ids=str)
def series(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    n, m, channels = request.param
    generator = torch.Generator().manual_seed(n)
    x, y = (torch.randn(4, size, channels, generator=generator, dtype=torch.float64) for size in (n, m))
    return x, y


def agree(own: Any, peer: Any, x: Tensor, y: Tensor) -> None:
    """Compare values and gradients; those of the peers have the precision of float32."""
    results = []
    for function in (own, peer):
        leaf = x.clone().requires_grad_()
        value = function(leaf, y).reshape(-1)
        results.append((value.detach().double(), torch.autograd.grad(value.sum(), leaf)[0]))
    for found, expected, tolerance in zip(*results, (1e-5, 1e-3), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("gamma", [1.0, 0.1])
def test_value_and_gradient_are_those_of_tslearn(gamma: float, series: tuple[Tensor, Tensor]) -> None:
    metrics = pytest.importorskip("tslearn.metrics")
    own = SoftDTW(gamma=gamma, multivariate=True)
    agree(own, metrics.SoftDTWLossPyTorch(gamma=gamma), *series)
    alignment, value = metrics.soft_dtw_alignment(series[0][0].numpy(), series[1][0].numpy(), gamma=gamma)
    torch.testing.assert_close(own.alignment(*series)[0], torch.as_tensor(alignment), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own(*series)[0].item(), float(value), rtol=1e-9, atol=1e-9)


def test_divergence_is_the_normalised_loss_of_tslearn() -> None:
    metrics = pytest.importorskip("tslearn.metrics")
    x, y = torch.randn(2, 3, 8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = SoftDTWDivergence(cost="squared_euclidean", multivariate=True)
    agree(own, metrics.SoftDTWLossPyTorch(gamma=1.0, normalize=True), x, y)


@pytest.mark.parametrize("gamma", [1.0, 0.1])
def test_value_and_gradient_are_those_of_pysdtw(gamma: float, series: tuple[Tensor, Tensor]) -> None:
    pysdtw = pytest.importorskip("pysdtw")
    agree(SoftDTW(gamma=gamma, multivariate=True), pysdtw.SoftDTW(gamma=gamma, use_cuda=False), *series)


def test_value_is_the_mean_of_ddtw(series: tuple[Tensor, Tensor]) -> None:
    ddtw = pytest.importorskip("ddtw")
    x, y = (one.float() for one in series)
    peer = ddtw.SDTW(gamma=1.0, backend="cpu_numba", normalization="none")
    torch.testing.assert_close(SoftDTW(multivariate=True)(x, y).mean(), peer(x, y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [(10, 10), (8, 12), (12, 8)], ids=str)
@pytest.mark.parametrize("radius", [1, 3])
def test_the_band_is_that_of_tslearn(sizes: tuple[int, int], radius: int) -> None:
    metrics = pytest.importorskip("tslearn.metrics")
    generator = torch.Generator().manual_seed(radius)
    x, y = (torch.randn(1, size, generator=generator, dtype=torch.float64) for size in sizes)
    options = {"global_constraint": "sakoe_chiba", "sakoe_chiba_radius": radius}
    expected = metrics.dtw(x[0].numpy(), y[0].numpy(), **options) ** 2
    found = SoftDTW(gamma=1e-6, band="sakoe_chiba", radius=radius)(x, y).item()
    assert found == pytest.approx(expected, abs=1e-3)

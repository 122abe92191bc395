"""Structured curvatures against the dense matrix: products, trace, and every power of the inverse."""

from __future__ import annotations

import pytest
import torch

from nlcore_sequences import LinearFilter, LinearOperator, PrefixSum

CASES = [
    *[(PrefixSum(), (m,)) for m in (1, 2, 3, 4, 5, 64, 257)],
    (PrefixSum(order=2), (65,)),
    (PrefixSum(order=3), (20,)),
    (PrefixSum(event_ndim=2), (3, 40)),
    (PrefixSum(event_ndim=3, dim=-2, order=2), (3, 20, 4)),
    *[(LinearFilter(), (m,)) for m in (1, 2, 5, 200)],
    (LinearFilter(width=30.0), (20,)),
    (LinearFilter(boundary="zero", width=1.5), (300,)),
    (LinearFilter(boundary="zero", width=9.0), (100,)),
    *[(LinearFilter(boundary="circular", width=w), (m,)) for w, m in ((2.0, 33), (2.0, 34), (40.0, 34))],
    *[(LinearFilter(kernel="moving_average", width=w, causal=c), (80,)) for w in (1, 4, 5) for c in (True, False)],
    (LinearFilter(kernel="exponential", width=2.0, causal=True), (600,)),
    (LinearFilter(kernel="exponential", width=1.0, causal=True), (9,)),
    (LinearFilter(kernel="exponential", width=20.0), (600,)),
    (LinearFilter(kernel=(1.0, -2.0, 3.0)), (64,)),
    (LinearFilter(kernel=(1.0, -2.0, 3.0), boundary="zero"), (64,)),
    (LinearFilter(kernel=(0.5, 0.0, 0.25, -1.0), causal=True, boundary="circular"), (41,)),
    (LinearOperator(torch.linspace(-1, 2, 210).double().sin().view(7, 30)), (30,)),
    (LinearOperator(torch.linspace(-1, 2, 210).double().sin().view(30, 7)), (7,)),
]


def dense(loss, event: tuple[int, ...]) -> torch.Tensor:
    """The matrix A by its columns."""
    size = torch.Size(event).numel()
    unit = torch.eye(size, dtype=torch.float64).view(size, *event)
    return loss.inner(unit).flatten(1).mT


@pytest.mark.parametrize(("loss", "event"), CASES, ids=lambda one: str(one)[:60])
def test_products_trace_and_solves_are_those_of_the_dense_matrix(loss, event) -> None:
    matrix = dense(loss, event)
    curvature = matrix.mT @ matrix
    operator = loss.curvature_operator(torch.zeros(1, *event))
    rows = torch.randn(3, len(curvature), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    size = float(curvature.abs().max())
    torch.testing.assert_close(operator.matvec(rows), rows @ curvature, rtol=1e-10, atol=1e-10 * size)
    assert operator.trace == pytest.approx(float(curvature.trace()), rel=1e-12)
    assert operator.features == matrix.shape[0]
    values, vectors = torch.linalg.eigh(curvature)
    assert float(values[-1]) * (1 - 1e-10) <= operator.largest <= 1.2 * float(values[-1])
    assert operator.supports(1.0)
    for rho in (1e-3, 0.1, 10.0):
        damping = torch.tensor(rho * operator.trace / len(curvature), dtype=torch.float64)
        for power in (1.0, 0.5, 0.3):
            if operator.supports(power):
                expected = (rows @ vectors * (values + damping) ** -power) @ vectors.mT
                error = (operator.solve(rows, damping, power) - expected).norm() / expected.norm()
                assert error < 1e-10 * max(1.0, 1e-3 / rho)


@pytest.mark.parametrize(
    "loss",
    [
        PrefixSum(order=2),
        LinearFilter(kernel="exponential", width=100.0, causal=True),
        LinearFilter(kernel=(1.0, 2.0, -1.0), boundary="reflect"),
        LinearOperator(lambda rows: rows.flip(1)),
    ],
    ids=str,
)
def test_without_structure_that_helps_there_is_no_operator(loss) -> None:
    assert loss.curvature_operator(torch.zeros(1, 4096)) is None


@pytest.mark.parametrize("loss", [PrefixSum(), LinearFilter(), LinearFilter(boundary="zero")], ids=str)
def test_a_hundred_thousand_elements_never_form_a_matrix(loss) -> None:
    operator = loss.curvature_operator(torch.zeros(1, 100_000))
    rows = torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    damping = torch.tensor(0.1 * operator.trace / 100_000, dtype=torch.float64)
    solved = operator.solve(rows, damping, 1.0)
    torch.testing.assert_close(operator.matvec(solved) + damping * solved, rows, rtol=0, atol=1e-6)

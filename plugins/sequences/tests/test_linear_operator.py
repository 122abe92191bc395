"""Linear operators: matrices and functions with their transpose."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import nlcore
from nlcore.errors import ConfigError, ContractError, ShapeError, SingularCurvatureError
from nlcore_sequences import LinearOperator


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MATRIX = draw(4, 6, seed=3)


def forward(rows: torch.Tensor) -> torch.Tensor:
    return rows @ MATRIX.to(rows).mT


def backward(rows: torch.Tensor) -> torch.Tensor:
    return rows @ MATRIX.to(rows)


WAYS = {
    "tensor": LinearOperator(MATRIX),
    "rows": LinearOperator(MATRIX.tolist()),
    "function": LinearOperator(forward),
    "function and transpose": LinearOperator(forward, transpose=backward),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # by torch.func.jvp itself
@pytest.mark.parametrize("way", WAYS)
def test_value_derivatives_and_newton_step_are_those_of_the_matrix(way: str) -> None:
    loss, prediction, target = WAYS[way], draw(3, 6).requires_grad_(), draw(3, 4, seed=1)
    expected = (prediction @ MATRIX.mT - target).square().sum(1) / 2
    torch.testing.assert_close(loss(prediction, target), expected)
    assert torch.autograd.gradcheck(lambda y: loss(y, target), (prediction,))
    assert torch.autograd.gradgradcheck(lambda y: loss(y, target), (prediction,))
    step = nlcore.newton_step(loss, prediction, target, nlcore.GaussNewton(damping=0.1))
    curvature = MATRIX.mT @ MATRIX + 0.1 * torch.eye(6, dtype=torch.float64)
    gradient = (prediction.detach() @ MATRIX.mT - target) @ MATRIX
    torch.testing.assert_close(step.direction, torch.linalg.solve(curvature, gradient.mT).mT)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: loss.inner(y[None])[0]))(prediction.detach())
    torch.testing.assert_close(jacobian, MATRIX.expand(3, -1, -1))
    torch.testing.assert_close(
        torch.func.jvp(loss.inner, (prediction.detach(),), (draw(3, 6, seed=5),))[1], draw(3, 6, seed=5) @ MATRIX.mT
    )


def test_a_mask_is_refused() -> None:
    with pytest.raises(ContractError, match="mask"):
        nlcore.NewtonLoss(LinearOperator(MATRIX))(draw(2, 6), draw(2, 4), mask=torch.zeros(2, 6, dtype=torch.bool))


def test_the_null_space_is_counted_and_named_where_it_has_no_inverse() -> None:
    loss = LinearOperator(MATRIX)
    assert loss.null_dimension == 2
    for dtype in (torch.float64, torch.float32):
        prediction, target = draw(3, 6).to(dtype), draw(3, 4).to(dtype)
        with pytest.raises(SingularCurvatureError, match=r"null space of dimension 2 of 6"):
            nlcore.newton_step(loss, prediction, target, nlcore.GaussNewton(damping=0.0))
    wide = LinearOperator(draw(290, 300))
    with pytest.raises(SingularCurvatureError, match=r"null space of dimension 10 of 300"):
        nlcore.newton_step(wide, draw(3, 300), draw(3, 290), nlcore.GaussNewton(damping=0.0))
    with pytest.raises(ConfigError, match="of a function is not known"):
        _ = WAYS["function"].null_dimension


def test_along_the_null_space_a_damped_newton_step_does_not_move() -> None:
    null = torch.linalg.svd(MATRIX)[2][4:]
    step = nlcore.newton_step(LinearOperator(MATRIX), draw(3, 6), draw(3, 4), nlcore.GaussNewton(damping=0.01))
    assert float((step.direction @ null.mT).abs().max()) < 1e-10


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: LinearOperator([[1.0, 2.0], [3.0]]), "different lengths: 1, 2"),
        (lambda: LinearOperator([]), "at least 1 item"),
        (lambda: LinearOperator([[float("nan")]]), "finite number"),
        (lambda: LinearOperator(torch.full((2, 2), torch.inf)), "holds NaN or infinity"),
        (lambda: LinearOperator(torch.zeros(3)), r"shape \[3\]"),
        (lambda: LinearOperator(torch.eye(2), transpose=backward), "belongs to a function"),
    ],
)
def test_what_is_no_matrix_is_refused(make, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make()


def test_wrong_sizes_and_functions_are_named() -> None:
    with pytest.raises(ShapeError, match="prediction has 5 elements, and the matrix 6 columns"):
        WAYS["tensor"](draw(3, 5), draw(3, 4))
    with pytest.raises(ShapeError, match=r"must map \[3, 6\] to \[3, k\], and returned \[\]"):
        LinearOperator(lambda rows: rows.sum())(draw(3, 6), draw(3, 4))
    with pytest.raises(ContractError, match=r"not the transpose of the function: u·\(Av\) ="):
        LinearOperator(forward, transpose=lambda rows: 2 * backward(rows))(draw(3, 6), draw(3, 4))
    with pytest.raises(ShapeError, match=r"transpose must map \[1, 4\] to \[1, 6\], and returned \[1, 4\]"):
        LinearOperator(forward, transpose=lambda rows: rows)(draw(3, 6), draw(3, 4))


def test_records_hold_a_matrix_of_numbers_and_refuse_others() -> None:
    made = nlcore.make("sequences/linear_operator", matrix=[[1.0, 2.0]])
    assert repr(nlcore.restore(nlcore.dump(made))) == repr(made) == "LinearOperator(matrix=((1.0, 2.0),))"
    for other in (LinearOperator(MATRIX), LinearOperator(forward)):
        with pytest.raises(ConfigError, match="JSON"):
            nlcore.dump(other)
    copied = pickle.loads(pickle.dumps(LinearOperator(forward, transpose=backward)))
    torch.testing.assert_close(copied(draw(2, 6), draw(2, 4)), WAYS["tensor"](draw(2, 6), draw(2, 4)))


@pytest.mark.parametrize("rows", [30, 150, 280])
@pytest.mark.parametrize("noise", [0.01, 2.0])
def test_cross_validation_with_a_null_space_sees_the_noise_that_the_dense_matrix_sees(rows: int, noise: float) -> None:
    matrix = draw(rows, 300, seed=2)
    image = draw(16, 300, seed=3).cumsum(1) @ matrix.mT
    target = image + noise * image.std() * draw(16, rows, seed=4)
    bounded = nlcore.GaussNewton(damping=nlcore.Bounded(validated=True))
    found, wanted = (
        nlcore.newton_step(loss, torch.zeros(16, 300, dtype=torch.float64), target, bounded).stats["damping"]
        for loss in (LinearOperator(matrix), nlcore.compose(lambda y: y @ matrix.mT))
    )
    assert found == pytest.approx(wanted, rel=3.2)  # a step of the grid, as the trace is estimated
    if noise > 1:
        assert found > 0.03 * float(matrix.square().sum()) / 300


@pytest.mark.parametrize("make", [lambda: LinearOperator(MATRIX), lambda: LinearOperator(MATRIX.tolist())])
def test_copies_are_equal_and_a_changed_tensor_changes_nothing(make) -> None:
    loss = make()
    for same in (make(), pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert same == loss
        assert hash(same) == hash(loss)
    assert loss != LinearOperator(2 * MATRIX)
    assert loss != LinearOperator(forward)
    assert LinearOperator(forward, transpose=backward) == LinearOperator(forward, transpose=backward)
    assert LinearOperator(forward, transpose=backward) != LinearOperator(forward)
    rows = torch.eye(3, dtype=torch.float64)
    kept = LinearOperator(rows)
    rows.zero_()
    assert kept(torch.ones(1, 3), torch.zeros(1, 3)) == 1.5


@pytest.mark.parametrize("way", WAYS)
def test_autocast_changes_nothing(way: str) -> None:
    prediction, target = draw(3, 6).float(), draw(3, 4, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = WAYS[way](prediction, target)
    assert torch.equal(found, WAYS[way](prediction, target))

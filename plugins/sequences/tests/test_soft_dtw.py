"""Soft-DTW against sums over all alignments, the textbook recursion, finite differences and its own limits."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, jacrev, vmap

import nlcore
from nlcore.compiled import has_numba, torch_alone
from nlcore.errors import ConfigError, ContractError, DtypeError, NonFiniteError, ShapeError
from nlcore_sequences import SoftDTW, SoftDTWDivergence, cosine_cost, lengths_of
from nlcore_sequences._alignment import solve
from nlcore_sequences._bounds import Limits, bounds_of

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:DeprecationWarning")  # torch's own

GAMMAS = (1.0, 0.05)
STEPS = ((1, 0), (0, 1), (1, 1))


@pytest.fixture(params=["fastest", "torch"], autouse=True)
def backend(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "fastest":
        yield
    elif not has_numba():
        pytest.skip("without numba torch is the fastest")
    else:
        with torch_alone():
            yield


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def alignments(n: int, m: int) -> list[list[tuple[int, int]]]:
    def from_here(i: int, j: int) -> Iterator[list[tuple[int, int]]]:
        if (i, j) == (n - 1, m - 1):
            yield [(i, j)]
        for a, b in STEPS:
            if i + a < n and j + b < m:
                yield from ([(i, j), *rest] for rest in from_here(i + a, j + b))

    return list(from_here(0, 0))


def enumerated(costs: Tensor, gamma: float, allowed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, expected alignment and −Cov/γ of a cost matrix by a sum over all alignments."""
    visits = torch.zeros(0, *costs.shape, dtype=costs.dtype)
    for path in alignments(*costs.shape):
        if allowed is None or all(allowed[cell] for cell in path):
            one = torch.zeros_like(costs)
            one[tuple(torch.tensor(path).T)] = 1.0
            visits = torch.cat([visits, one[None]])
    scores = -(visits * costs).sum((1, 2)) / gamma
    probability, flat = scores.softmax(0), visits.flatten(1)
    mean = probability @ flat
    covariance = (flat.T * probability) @ flat - mean[:, None] * mean
    return -gamma * scores.logsumexp(0), mean.view_as(costs), -covariance / gamma


def recursion(costs: Tensor, gamma: float) -> float:
    """Return soft-DTW by the recursion over cells in float64."""
    n, m = costs.shape
    known = {(-1, -1): 0.0}
    for i, j in itertools.product(range(n), range(m)):
        before = [-known[i - a, j - b] / gamma for a, b in STEPS if (i - a, j - b) in known]
        most = max(before)
        soft = -gamma * (most + math.log(sum(math.exp(one - most) for one in before)))
        known[i, j] = float(costs[i, j]) + soft
    return known[n - 1, m - 1]


def dtw(costs: Tensor) -> float:
    """Return the cost of the best alignment."""
    n, m = costs.shape
    known = {(-1, -1): 0.0}
    for i, j in itertools.product(range(n), range(m)):
        known[i, j] = float(costs[i, j]) + min(known.get((i - a, j - b), math.inf) for a, b in STEPS)
    return known[n - 1, m - 1]


def squares(x: Tensor, y: Tensor) -> Tensor:
    x, y = (one if one.ndim == 3 else one[..., None] for one in (x, y))
    return (x[:, :, None] - y[:, None]).square().sum(-1)


def given_costs(costs: Tensor, gamma: float, *, slopes: bool = True) -> tuple[Tensor, ...]:
    batch, n, m = costs.shape
    lengths = torch.tensor([n, m]).expand(batch, 2).contiguous()
    return solve(gamma, bounds_of(lengths, n, Limits()), lengths, (costs,), slopes=slopes)


def slope_of(loss: Any, prediction: Tensor, target: Any, **options: Any) -> Tensor:
    leaf = prediction.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, target, **options).sum(), leaf)[0]


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (4, 1), (3, 3), (4, 5), (6, 3)])
def test_value_alignment_and_covariance_are_sums_over_all_alignments(n: int, m: int, gamma: float) -> None:
    costs = normal(2, n, m, seed=n * m)
    value, alignment = given_costs(costs, gamma)
    leaf = costs.clone().requires_grad_()
    ways = torch.eye(n * m, dtype=torch.float64).view(n * m, 1, n, m).expand(-1, 2, -1, -1)
    slope = given_costs(leaf, gamma)[1]
    rows = torch.stack([torch.autograd.grad(slope, leaf, way, retain_graph=True)[0] for way in ways], 1)
    for s in range(2):
        expected = enumerated(costs[s], gamma)
        torch.testing.assert_close(value[s], expected[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(alignment[s], expected[1], rtol=0, atol=1e-12)
        torch.testing.assert_close(rows[s].flatten(1), expected[2], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("gamma", [10.0, 1.0, 0.01])
@pytest.mark.parametrize(("n", "m"), [(40, 40), (33, 70), (70, 33), (9, 8)])
def test_value_is_the_recursion(n: int, m: int, gamma: float) -> None:
    x, y = normal(2, n), normal(2, m, seed=1)
    expected = torch.tensor([recursion(one, gamma) for one in squares(x, y)], dtype=torch.float64)
    torch.testing.assert_close(SoftDTW(gamma=gamma)(x, y), expected, rtol=1e-12, atol=1e-12)
    leaf = x.clone().requires_grad_()  # the form with a derivative
    torch.testing.assert_close(SoftDTW(gamma=gamma)(leaf, y).detach(), expected, rtol=1e-12, atol=1e-12)


def test_towards_no_softness_it_is_dtw_and_its_path() -> None:
    x, y = normal(4, 20), normal(4, 25, seed=1)
    loss = SoftDTW(gamma=1e-7)
    expected = torch.tensor([dtw(one) for one in squares(x, y)], dtype=torch.float64)
    torch.testing.assert_close(loss(x, y), expected, rtol=0, atol=1e-4)
    path = loss.alignment(x, y)
    torch.testing.assert_close(path, path.round(), rtol=0, atol=1e-9)
    torch.testing.assert_close((path * squares(x, y)).sum((1, 2)), expected)


@pytest.mark.parametrize("gamma", [1e-3, 1.0, 1e3])
def test_rows_of_far_costs_neither_underflow_nor_overflow(gamma: float) -> None:
    costs = 1e4 * normal(2, 30, 30).square()
    costs[0, 10, :-1] = 1e12
    value, alignment = given_costs(costs, gamma)
    assert value.isfinite().all()
    torch.testing.assert_close(
        value[1], torch.tensor(recursion(costs[1], gamma), dtype=torch.float64), rtol=1e-9, atol=0
    )
    assert alignment.min() >= 0
    torch.testing.assert_close(alignment[:, -1, -1], torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(alignment[:, 0, 0], torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("channels", [(), (2,)])
def test_derivatives_of_both_series(gamma: float, channels: tuple[int, ...]) -> None:
    loss = SoftDTW(gamma=gamma, multivariate=bool(channels))
    x, y = normal(2, 4, *channels).requires_grad_(), normal(2, 3, *channels, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (x, y))
    assert torch.autograd.gradgradcheck(loss, (x, y))
    assert torch.autograd.gradcheck(loss.alignment, (x, y))
    assert torch.autograd.gradgradcheck(loss.alignment, (x[:1], y[:1]))


@pytest.mark.parametrize("cost", ["squared_euclidean", "absolute", "log_augmented", cosine_cost])
@pytest.mark.parametrize("kind", [SoftDTW, SoftDTWDivergence])
def test_derivatives_of_every_cost(kind: Any, cost: Any) -> None:
    loss = kind(gamma=0.5, cost=cost, multivariate=True)
    x, y = normal(2, 4, 2).requires_grad_(), normal(2, 3, 2, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, y), (x,))
    assert torch.autograd.gradgradcheck(lambda x: loss(x, y), (x,))


def test_third_derivatives() -> None:
    x, y = normal(1, 3), normal(1, 4, seed=1)

    def product(x: Tensor) -> Tensor:
        leaf = x if x.requires_grad else x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(SoftDTW()(leaf, y).sum(), leaf, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), leaf, create_graph=True)[0]

    assert torch.autograd.gradcheck(product, (x.requires_grad_(),))


@pytest.mark.parametrize("multivariate", [False, True])
def test_hessian_is_that_of_torch_func(multivariate: bool) -> None:
    channels = (2,) if multivariate else ()
    loss, x, y = SoftDTW(multivariate=multivariate), normal(3, 4, *channels), normal(3, 5, *channels, seed=1)

    def one(x: Tensor, y: Tensor) -> Tensor:
        return loss(x[None], y[None])[0]

    found = loss.hessian(x, y)
    size = x[0].numel()
    assert found.shape == (3, size, size)
    for second in (hessian(one), jacrev(grad(one))):
        torch.testing.assert_close(vmap(second)(x, y).reshape(found.shape), found, rtol=1e-9, atol=1e-10)


def test_vmap_over_samples_with_lengths() -> None:
    loss, x = SoftDTW(), normal(4, 6)
    target = {"series": normal(4, 5, seed=1), "lengths": torch.tensor([5, 3, 1, 4])}

    def one(x: Tensor, series: Tensor, length: Tensor) -> Tensor:
        return loss(x[None], {"series": series[None], "lengths": length[None]})[0]

    given = (x, target["series"], target["lengths"])
    torch.testing.assert_close(vmap(one)(*given), loss(x, target))
    torch.testing.assert_close(vmap(grad(one))(*given), slope_of(loss, x, target))


@pytest.mark.parametrize("kind", [SoftDTW, SoftDTWDivergence])
def test_lengths_are_series_that_end_there(kind: Any) -> None:
    loss, x, y = kind(), normal(3, 6), normal(3, 7, seed=1)
    lengths, ends = torch.tensor([7, 2, 1]), torch.tensor([3, 6, 1])
    x[0, 3:], x[2, 1:], y[1, 2:], y[2, 1:] = torch.nan, 9.0, torch.nan, torch.inf
    mask = torch.arange(6) >= ends[:, None]
    behind = torch.arange(7) >= lengths[:, None]
    assert torch.equal(lengths_of(behind), lengths)
    expected = torch.cat([loss(x[s : s + 1, : ends[s]], y[s : s + 1, : lengths[s]]) for s in range(3)])
    for target in ({"series": y, "lengths": lengths}, {"series": y, "mask": behind}):
        torch.testing.assert_close(loss(x, target, mask=mask), expected)
        slope = slope_of(loss, x, target, mask=mask)
        assert (slope[mask] == 0).all()
        alone = slope_of(loss, x[:1, :3], y[:1])
        torch.testing.assert_close(slope[:1, :3], alone)


def test_alignment_stands_where_the_time_steps_stand() -> None:
    x, y = normal(2, 5), normal(2, 4, seed=1)
    mask, behind = torch.zeros(2, 5, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    mask[0, 1], behind[0, 2], mask[1] = True, True, True
    found = SoftDTW().alignment(x, {"series": y, "mask": behind}, mask=mask)
    kept, rows = torch.tensor([0, 2, 3, 4]), torch.tensor([0, 1, 3])
    expected = SoftDTW().alignment(x[:1, kept], y[:1, rows])[0]
    torch.testing.assert_close(found[0][kept[:, None], rows], expected)
    assert not found[0, 1].any()
    assert not found[0, :, 2].any()
    assert not found[1].any()


def test_channels_of_a_time_step_can_be_left_out() -> None:
    x, y = normal(2, 4, 3), normal(2, 5, 3, seed=1)
    mask = torch.zeros(2, 4, 3, dtype=torch.bool)
    mask[0, 2, 1] = True
    weight = (~mask).double()
    costs = ((x[:, :, None] - y[:, None]).square() * weight[:, :, None]).sum(-1)
    expected = given_costs(costs, 1.0)[0]
    x[mask] = torch.nan
    torch.testing.assert_close(SoftDTW(multivariate=True)(x, y, mask=mask), expected)
    with pytest.raises(ContractError, match="single channels"):
        SoftDTW(multivariate=True, cost=cosine_cost)(x, y, mask=mask)


def sakoe_chiba(n: int, m: int, radius: int) -> Tensor:
    shift = torch.arange(m) - torch.arange(n)[:, None]
    return (shift >= min(0, m - n) - radius) & (shift <= max(0, m - n) + radius)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (3, 6), (6, 3), (1, 4)])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_sakoe_chiba_band(n: int, m: int, radius: int) -> None:
    x, y = normal(2, n), normal(2, m, seed=1)
    loss = SoftDTW(band="sakoe_chiba", radius=radius)
    for s in range(2):
        value, alignment, _ = enumerated(squares(x, y)[s], 1.0, sakoe_chiba(n, m, radius))
        torch.testing.assert_close(loss(x, y)[s], value)
        torch.testing.assert_close(loss.alignment(x, y)[s], alignment)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, y), (x.requires_grad_(),))


def test_itakura_parallelogram() -> None:
    i, j = torch.arange(7)[:, None], torch.arange(7)
    inside = (j <= 2 * i) & (i <= 2 * j) & (6 - j <= 2 * (6 - i)) & (6 - i <= 2 * (6 - j))
    x, y = normal(2, 7), normal(2, 7, seed=1)
    loss = SoftDTW(band="itakura", slope=2.0)
    for s in range(2):
        torch.testing.assert_close(loss(x, y)[s], enumerated(squares(x, y)[s], 1.0, inside)[0])
    assert not loss.alignment(x, y)[:, ~inside].any()
    one = SoftDTW(band="itakura")(x[:, :1], y)  # a single time step is aligned with all
    torch.testing.assert_close(one, squares(x[:, :1], y).sum((1, 2)))


def test_bands_follow_the_lengths_of_each_sample() -> None:
    x, y = normal(3, 9), normal(3, 8, seed=1)
    mask, lengths = torch.arange(9) >= torch.tensor([9, 4, 6])[:, None], torch.tensor([8, 8, 5])
    for options in ({"band": "sakoe_chiba", "radius": 1}, {"band": "itakura", "slope": 3.0}):
        loss = SoftDTW(**options)
        found = loss(x, {"series": y, "lengths": lengths}, mask=mask)
        for s in range(3):
            n, m = int((~mask[s]).sum()), int(lengths[s])
            torch.testing.assert_close(found[s : s + 1], loss(x[s : s + 1, :n], y[s : s + 1, :m]))


@pytest.mark.parametrize(("cost", "channels"), [("log_augmented", 1), ("log_augmented", 3), ("absolute", 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_divergence_is_never_negative(cost: Any, channels: int, dtype: torch.dtype) -> None:
    multivariate = channels > 1
    event = (channels,) if multivariate else ()
    for gamma, (n, m) in itertools.product((10.0, 1.0, 0.1), ((6, 6), (3, 9))):
        loss = SoftDTWDivergence(gamma=gamma, cost=cost, multivariate=multivariate)
        x = normal(200, n, *event, dtype=dtype)
        near = torch.cat([x, x[:, -1:].expand(-1, max(0, m - n), *x.shape[2:])], 1)[:, :m]
        y = torch.cat([normal(100, m, *event, seed=1, dtype=dtype), near[100:] + 1e-4 * near[:100]])
        value = loss(x, y)
        assert (value >= 0).all()
        assert (value[:100] > 0).all()
        assert (loss(x, x) == 0).all()
        assert slope_of(loss, x, x.clone()).abs().max() < 1e-5


def test_divergence_of_squared_distances_can_be_negative() -> None:
    x = [2.4625860208, 2.2888214971, 2.4649718436, 1.2171569313, 0.0934238375, 0.4250243832]
    y = [2.4882903442, 2.1936962828, 2.6489729200, 1.4867264875, 0.2433647770, 0.3796983706]
    series = [torch.tensor([one], dtype=torch.float64) for one in (x, y)]
    value = SoftDTWDivergence(cost="squared_euclidean")(*series)
    torch.testing.assert_close(value, torch.tensor([-0.002486], dtype=torch.float64), rtol=0, atol=1e-6)
    assert SoftDTWDivergence()(*series) > 0.1


def test_divergence_is_its_definition() -> None:
    x, y, s = normal(3, 6), normal(3, 4, seed=1), SoftDTW(gamma=0.7)
    loss = SoftDTWDivergence(gamma=0.7, cost="squared_euclidean")
    torch.testing.assert_close(loss(x, y), s(x, y) - s(x, x) / 2 - s(y, y) / 2)


def test_float32_is_near_float64() -> None:
    x, y = normal(4, 300), normal(4, 300, seed=1)
    loss = SoftDTW(gamma=0.1)
    exact, slope = loss(x, y), slope_of(loss, x, y)
    torch.testing.assert_close(loss(x.float(), y.float()).double(), exact, rtol=3e-6, atol=0)
    gap = (slope_of(loss, x.float(), y.float()).double() - slope).norm() / slope.norm()
    assert gap < 2e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [SoftDTW, SoftDTWDivergence])
def test_half_precision_is_float32_rounded_at_the_end(kind: Any, dtype: torch.dtype) -> None:
    x, y = normal(3, 8, dtype=torch.float32).to(dtype), normal(3, 6, seed=1, dtype=torch.float32).to(dtype)
    torch.testing.assert_close(kind()(x, y), kind()(x.float(), y.float()).to(dtype), rtol=0, atol=0)
    assert slope_of(kind(), x, y).dtype == dtype


def test_a_step_at_a_fixed_alignment_never_raises_the_loss() -> None:
    loss, x, y = SoftDTW(gamma=0.3, curvature="fixed_alignment"), normal(8, 10), normal(8, 12, seed=1)
    alignment = loss.alignment(x, y)
    mean = (alignment @ y[..., None])[..., 0] / alignment.sum(-1)
    curvature = nlcore.Hessian(damping=0.0, psd="none", aggregate="sample", max_ratio=None)
    for _ in range(5):
        step = nlcore.newton_step(loss, x, y, curvature=curvature)
        moved = x - step.direction
        assert (loss(moved, y) <= loss(x, y) + 1e-12).all()
        mean = loss.alignment(x, y) @ y[..., None] / loss.alignment(x, y).sum(-1, keepdim=True)
        torch.testing.assert_close(moved, mean[..., 0])
        x = moved.detach()


def test_fixed_alignment_has_the_value_and_the_gradient_of_the_loss() -> None:
    x, y = normal(3, 5, 2), normal(3, 4, 2, seed=1)
    exact, fixed = SoftDTW(multivariate=True), SoftDTW(multivariate=True, curvature="fixed_alignment")
    assert torch.equal(slope_of(exact, x, y), slope_of(fixed, x, y))
    matrix = fixed.hessian(x, y)
    expected = 2 * exact.alignment(x, y).sum(-1).repeat_interleave(2, 1)
    torch.testing.assert_close(matrix, torch.diag_embed(expected))
    assert torch.linalg.eigvalsh(matrix - exact.hessian(x, y)).min() > -1e-12  # it is an upper bound


@pytest.mark.parametrize("loss", [SoftDTW(), SoftDTW(curvature="fixed_alignment"), SoftDTWDivergence()])
def test_newton_loss_trains_a_network(loss: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    time = torch.linspace(0, 6.3, 10)
    phase = torch.rand(16, 1, generator=generator)
    target = {"series": (time + phase).sin(), "lengths": torch.randint(6, 11, (16,), generator=generator)}
    network = torch.nn.Linear(1, 8)
    with torch.no_grad():
        for one in network.parameters():
            one.copy_(torch.randn(one.shape, generator=generator) / 3)
    criterion = nlcore.NewtonLoss(loss)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    values = []
    for _ in range(15):
        optimizer.zero_grad()
        value = criterion(network(phase), target)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] - 1.0


@pytest.mark.parametrize(
    "loss", [SoftDTW(), SoftDTW(cost="absolute"), SoftDTWDivergence(), SoftDTWDivergence(cost="absolute")]
)
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.filterwarnings("error")
def test_no_check_of_the_first_use_raises_an_alarm(loss: Any, n: int) -> None:
    x, y = normal(8, n).requires_grad_(), normal(8, 4, seed=1)
    nlcore.NewtonLoss(loss, nlcore.Hessian(damping=0.1))(x, y).backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_empty_batch_and_inputs_that_stay() -> None:
    x = torch.zeros(0, 3, requires_grad=True)
    for loss in (SoftDTW(), SoftDTWDivergence()):
        value = loss(x, torch.zeros(0, 4))
        assert value.shape == (0,)
        assert torch.autograd.grad(value.sum(), x)[0].shape == (0, 3)
    assert SoftDTW().alignment(x, torch.zeros(0, 4)).shape == (0, 3, 4)


def test_series_need_not_be_contiguous() -> None:
    x, y = normal(6, 3), normal(5, 3, seed=1)
    torch.testing.assert_close(SoftDTW()(x.T, y.T), SoftDTW()(x.T.contiguous(), y.T.contiguous()))
    torch.testing.assert_close(slope_of(SoftDTW(), x.T, y.T), slope_of(SoftDTW(), x.T.contiguous(), y.T.contiguous()))


def test_many_channels() -> None:
    x, y = normal(2, 5, 20), normal(2, 6, 20, seed=1)
    expected = given_costs(squares(x, y), 1.0)[0]
    torch.testing.assert_close(SoftDTW(multivariate=True)(x, y), expected)


def test_a_cost_that_forbids_cells() -> None:
    def forbids(x: Tensor, y: Tensor) -> Tensor:
        costs = squares(x, y)
        return costs.masked_fill(~sakoe_chiba(*costs.shape[1:], 1), torch.inf)

    x, y = normal(2, 6), normal(2, 6, seed=1)
    band = SoftDTW(band="sakoe_chiba", radius=1)
    torch.testing.assert_close(SoftDTW(cost=forbids)(x, y), band(x, y))
    torch.testing.assert_close(slope_of(SoftDTW(cost=forbids), x, y), slope_of(band, x, y))


@pytest.mark.parametrize(
    ("prediction", "target", "error", "words"),
    [
        (torch.zeros(3), torch.zeros(3), ShapeError, ["[3]", "[batch, n]"]),
        (torch.zeros(2, 3, 1), torch.zeros(2, 3), ShapeError, ["[2, 3, 1]", "multivariate=True"]),
        (torch.zeros(2, 0), torch.zeros(2, 3), ShapeError, ["[2, 0]"]),
        (torch.zeros(2, 3), torch.zeros(3, 3), ShapeError, ["[3, 3]"]),
        (torch.zeros(2, 3), torch.zeros(2, 3).double(), DtypeError, ["float32", "float64"]),
        (torch.zeros(2, 3), {"serie": torch.zeros(2, 3)}, ContractError, ["serie", "'lengths'", "'mask'"]),
        (torch.zeros(2, 3), {"series": torch.zeros(2, 3), "lengths": torch.ones(2)}, DtypeError, ["int64"]),
        (
            torch.zeros(2, 3),
            {"series": torch.zeros(2, 3), "lengths": torch.tensor([3, 0])},
            ContractError,
            ["in 1 of 2 samples: 1", "1 … 3", "the first is 0"],
        ),
        (torch.zeros(2, 3), {"series": torch.zeros(2, 3), "lengths": torch.tensor([4, 1])}, ContractError, ["4"]),
        (torch.zeros(2, 3), {"series": torch.zeros(2, 3), "mask": torch.zeros(2, 4).bool()}, ShapeError, ["[2, 4]"]),
        (torch.tensor([[0.0], [torch.nan]]), torch.zeros(2, 3), NonFiniteError, ["prediction of samples 1"]),
        (torch.zeros(2, 3), torch.tensor([[0.0], [torch.inf]]), NonFiniteError, ["target of samples 1"]),
    ],
)
@pytest.mark.parametrize("kind", [SoftDTW, SoftDTWDivergence])
def test_wrong_inputs_are_refused_by_name(
    kind: Any, prediction: Tensor, target: Any, error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        kind()(prediction, target)
    assert str(caught.value).startswith(f"{kind.id}:")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_newton_loss_repeats_what_to_do_about_channels() -> None:
    with pytest.raises(ShapeError, match="need multivariate=True"):
        nlcore.NewtonLoss(SoftDTW())(torch.zeros(2, 3, 2, requires_grad=True), torch.zeros(2, 3, 2))


def test_a_band_without_an_alignment_names_the_samples() -> None:
    loss = SoftDTW(band="itakura", slope=1.5)
    lengths = torch.tensor([3, 9, 3])
    with pytest.raises(ContractError, match=r"slope=1.5 leaves no alignment in samples 1, .*\(3, 9\)"):
        loss(torch.zeros(3, 3), {"series": torch.zeros(3, 9), "lengths": lengths})
    with pytest.raises(NonFiniteError, match="every alignment of samples 0, 1"):
        SoftDTW(cost=lambda x, y: squares(x, y) + torch.inf)(torch.zeros(2, 3), torch.zeros(2, 3))


def test_a_cost_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"returned shape \[2, 3\] .* \[batch, n, m\] = \[2, 3, 4\]"):
        SoftDTW(cost=lambda x, y: x[..., 0])(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match="returned a float"):
        SoftDTW(cost=lambda x, y: 1.0)(torch.zeros(2, 3), torch.zeros(2, 4))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    "options", [{"gamma": 0.0}, {"gamma": -1.0}, {"cost": "cosine"}, {"slope": 1.0}, {"radius": -1}, {"band": "box"}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    for make in (SoftDTW, SoftDTWDivergence):
        with pytest.raises(ConfigError, match=next(iter(options))):
            make(**options)
    with pytest.raises(ConfigError, match="fixed_alignment"):
        SoftDTW(cost="absolute", curvature="fixed_alignment")


def test_options_are_recorded_and_a_function_is_not() -> None:
    loss = nlcore.make("sequences/soft_dtw", gamma=0.1, band="sakoe_chiba", radius=3)
    assert nlcore.restore(nlcore.dump(loss)) == loss
    own = SoftDTW(cost=cosine_cost, multivariate=True)
    assert own == pickle.loads(pickle.dumps(own)) == copy.deepcopy(own)
    assert "cosine_cost" in repr(own)
    with pytest.raises(ConfigError, match="cost"):
        nlcore.dump(own)


@pytest.mark.parametrize("slope", [1.001, 2.0, 5.0])
@pytest.mark.parametrize("kind", [SoftDTW, SoftDTWDivergence])
def test_an_example_has_an_alignment_for_every_slope(kind: Any, slope: float) -> None:
    loss = kind(band="itakura", slope=slope)
    prediction, target = loss.example(20, generator=None, dtype=torch.float64, device="cpu")
    assert loss(prediction, target).isfinite().all()

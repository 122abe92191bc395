"""`nlcore.tune`: the suggestion follows the scale of the scores and their number, and holds by independent measures."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

import nlcore
from nlcore.builtin.losses import SquaredError
from nlcore.errors import ConfigError, ShapeError
from nlcore.registry import default
from nlcore.tuning import softness_of, tune

RELAXATIONS = {
    "sorting/neuralsort": "temperature",
    "sorting/softsort": "temperature",
    "sorting/diffsort": "steepness",
    "sorting/fast_soft_sort": "regularization_strength",
    "ranking/approx_ndcg": "alpha",
}


def data(n: int, samples: int = 24, scale: float = 1.0):
    generator = torch.Generator().manual_seed(n)
    scores, values = torch.randn(2, samples, n, generator=generator)
    return scale * scores, values


def target_for(id: str, values: torch.Tensor) -> torch.Tensor:
    ranks = values.argsort(-1).argsort(-1)
    return ranks if id.startswith("sorting") else (5 * ranks / ranks.shape[1]).floor()


def tuned(id: str, n: int, scale: float = 1.0, **options):
    scores, values = data(n, scale=scale)
    return tune(id, scores, target_for(id, values), **options)


CASES = [
    pytest.param(id, n, marks=pytest.mark.slow) if (id, n) == ("sorting/diffsort", 100) else (id, n)
    for id in RELAXATIONS
    for n in (5, 30, 100)
]


@pytest.mark.parametrize(("id", "n"), CASES)
def test_the_suggestion_is_of_the_order_of_the_gaps(id, n):
    found = tuned(id, n)
    assert found.option == RELAXATIONS[id]
    assert 0.001 < found.gaps < 20
    chosen = next(one for one in found.points if one.value == found.value)
    assert chosen.wrong <= 0.01
    assert chosen.vanished <= 0.1
    sharper = found.points[found.points.index(chosen) - 1]
    assert sharper.wrong > 0.01 or sharper.vanished > 0.1
    heavy = id == "sorting/diffsort"  # Cauchy's tails still reach items a thousandth of the gap away
    assert found.points[0].vanished > (0.1 if heavy else 0.5)
    assert (found.gaps < 0.05) is heavy


@pytest.mark.parametrize("id", RELAXATIONS)
def test_it_scales_with_the_scores(id):
    one, wide = tuned(id, 5), tuned(id, 5, scale=100.0)
    ratio = wide.value / one.value
    assert (ratio if one.softness == "increasing" else 1 / ratio) == pytest.approx(100, rel=0.1)


def test_vanished_ranks_are_those_of_central_differences():
    found = tuned("sorting/neuralsort", 5)
    scores, _ = data(5)
    scores = scores.double()
    width = scores.amax(1) - scores.amin(1)
    for point in found.points[::3]:
        sorter = nlcore.make("sorting/neuralsort", temperature=point.value)
        step = 1e-6 * point.value
        slopes = torch.stack(
            [
                (sorter.rank(scores + step * one) - sorter.rank(scores - step * one))[:, j] / (2 * step)
                for j, one in enumerate(torch.eye(5, dtype=torch.float64))
            ],
            dim=1,
        )
        flat = slopes.abs() < 0.01 * 4 / width.unsqueeze(1)
        assert point.vanished == pytest.approx(float(flat.double().mean()), abs=0.02)


def test_no_gradient_in_the_list_is_seen_in_the_loss():
    """ApproxNDCG has no ranks: with a steep sigmoid its value changes in steps, whose gradient is 0."""
    found = tuned("ranking/approx_ndcg", 5)
    steep = found.points[0]
    scores, values = data(5)
    leaf = scores.double().requires_grad_()
    loss = nlcore.make("ranking/approx_ndcg", alpha=steep.value)
    loss(leaf, target_for("ranking", values).double()).sum().backward()
    assert steep.vanished > 0.9
    assert float((leaf.grad.abs() < 1e-6).double().mean()) > 0.9


def test_padding_plays_no_part():
    scores, values = data(5)
    ranks = values.argsort(-1).argsort(-1)
    mask = torch.zeros(len(scores), 8, dtype=torch.bool)
    mask[:, 5:] = True
    longer = torch.cat([scores, torch.full((len(scores), 3), 1e6)], dim=1)
    target = torch.cat([ranks, torch.arange(5, 8).expand(len(scores), 3)], dim=1)
    found = tune("sorting/fast_soft_sort", longer, target, mask=mask)
    alone = tune("sorting/fast_soft_sort", scores, ranks)
    assert found.gap == pytest.approx(alone.gap)
    assert found.value == pytest.approx(alone.value, rel=0.4)


@pytest.mark.parametrize("id", [id for id in nlcore.names() if softness_of(default.registry.config(id))])
def test_every_declared_softness_can_be_tuned(id):
    declared = softness_of(default.registry.config(id))
    loss = nlcore.make(id)
    generator = torch.Generator().manual_seed(0)
    prediction, target = loss.example(16, generator=generator, dtype=torch.float32, device="cpu")
    found = tune(id, prediction, target)
    assert found.option in declared
    assert math.isfinite(found.value)
    nlcore.make(id, **{found.option: found.value})


def test_the_relaxations_of_the_plugins_declare_their_softness():
    declared = {id.partition("-v")[0] for id in nlcore.names() if softness_of(default.registry.config(id))}
    assert declared >= {*RELAXATIONS, "sorting/lapsum", "sorting/optimal_transport", "shortest_paths/bellman_ford"}


def test_a_loss_a_class_and_a_function_are_as_good_as_an_id():
    scores, values = data(5)
    target = values.argsort(-1).argsort(-1)
    by_id = tune("sorting/neuralsort", scores, target, objective="entries")
    loss = nlcore.make("sorting/neuralsort", objective="entries")
    for one in (loss, type(loss)):
        other = tune(one, scores, target, **({} if one is loss else {"objective": "entries"}))
        assert (other.value, other.points) == (by_id.value, by_id.points)
    made = tune(
        lambda steepness: type(loss)(temperature=1 / steepness, objective="entries"),
        scores,
        target,
        option="steepness",
        softness="decreasing",
    )
    assert 1 / made.value == pytest.approx(by_id.value, rel=0.1)


def test_a_stochastic_loss_is_judged_without_the_comparison():
    loss = nlcore.make("shortest_paths/perturbed_fenchel_young")
    prediction, target = loss.example(8, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    found = tune(loss, prediction, target, option="sigma")
    assert all(math.isnan(one.error) for one in found.points)


def test_no_softness_is_an_error_that_lists_the_options():
    scores, values = data(5)
    with pytest.raises(ConfigError, match="no option is declared as softness; name one"):
        tune("core/squared_error", scores, values)
    with pytest.raises(ConfigError, match="name one of temperature"):
        tune("ranking/listnet", scores, values.abs())
    with pytest.raises(ConfigError, match=r"unknown option 'temprature'.*temperature"):
        tune("sorting/neuralsort", scores, values, option="temprature")
    with pytest.raises(ConfigError, match="objectiv"):
        tune("sorting/neuralsort", scores, values, objectiv="rows")


def test_outputs_without_a_scale_are_refused():
    with pytest.raises(ShapeError, match="two outputs or more"):
        tune("sorting/neuralsort", torch.zeros(4, 1), torch.zeros(4, 1, dtype=torch.int64))
    with pytest.raises(ShapeError, match="no scale"):
        tune("sorting/neuralsort", torch.zeros(4, 3), torch.arange(3).expand(4, 3))


def test_a_value_that_the_loss_refuses_is_not_good():
    def made(width):
        if width < 1:
            raise ConfigError(f"width={width} is too small. Raise it.")
        return SquaredError()

    scores, values = data(5)
    found = tune(made, scores, values, option="width")
    assert found.value >= 1
    assert "too small" in found.points[0].fault
    assert "too small" in str(found)


def test_nothing_good_is_said():
    class Skewed(SquaredError):  # noqa: N818
        def __call__(self, prediction, target, *, mask=None, generator=None):
            skew = 1.0 if prediction.dtype == torch.float64 else 1.1
            return skew * super().__call__(prediction, target)

    found = tune(lambda width: Skewed(), *data(5), option="width")
    assert math.isnan(found.value)
    assert "suggested: none" in str(found)
    assert found.as_dict()["value"] is None


def test_it_prints_draws_and_becomes_json(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    found = tuned("sorting/neuralsort", 5)
    assert f"suggested: temperature={found.value:g}" in str(found)
    assert json.loads(json.dumps(found.as_dict()))["points"][0]["value"] == found.points[0].value
    found.plot(tmp_path / "tuning.png")
    assert (tmp_path / "tuning.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ConfigError, match="ending"):
        found.plot(tmp_path / "tuning.xyz")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.value = 1.0


def test_a_target_that_the_loss_refuses_is_its_error_and_not_a_finding():
    with pytest.raises(nlcore.errors.DtypeError, match="int64 is needed"):
        nlcore.tune("sorting/neuralsort", torch.randn(8, 5), torch.randn(8, 5))

"""The diagnosis: figures against closed forms, verdicts of known losses, what it says and how it fails."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
from typing import get_args

import pytest
import torch

import nlcore
from nlcore.diagnosis import Diagnosis
from nlcore.diagnosis.rules import Verdict
from nlcore.errors import ConfigError, ContractError, NonFiniteError, ShapeError
from nlcore_sequences import PrefixSum
from nlcore_sorting import NeuralSort, SoftSort, SortingNetwork, ranks

from .losses import Noisy, WavyGradient, WavyOld


def draw(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def diagonal(curvatures):
    """Return the loss ½ Σ c_k (y_k − t_k)²."""
    weights = torch.tensor(curvatures, dtype=torch.float64)
    return lambda y, t, mask=None: (weights.to(y) * (y - t).square()).sum(1) / 2


def drag(pushes):
    speed = place = torch.zeros_like(pushes[:, 0])
    places = []
    for push in pushes.unbind(1):
        speed = speed + 0.3 * (push - 0.5 * speed * speed.abs())
        place = place + 0.3 * speed
        places.append(place)
    return torch.stack(places, 1)


def integrator(pushes):
    return (0.3 * pushes).cumsum(1).mul(0.3).cumsum(1)


def blur(signal):
    place = torch.arange(signal.shape[1], dtype=signal.dtype)
    kernel = torch.exp(-((place[:, None] - place) ** 2) / 8)
    return signal @ (kernel / kernel.sum(1)).mT


def tangle(numbers):
    source = torch.Generator().manual_seed(1)
    first, second = torch.randn(16, 48, generator=source) / 4, torch.randn(48, 16, generator=source) / 48**0.5
    return torch.tanh(2 * numbers @ first.to(numbers)) @ second.to(numbers)


def naive(temperature):
    def loss(scores, target):
        matrix = NeuralSort(temperature=temperature).permutation(scores)
        wanted = torch.zeros_like(matrix).scatter_(1, target.unsqueeze(1), 1.0)
        return torch.nn.BCELoss(reduction="none")(matrix, wanted).flatten(1).sum(1)

    return loss


def through(function, items):
    """Return the diagnosis of ½‖f(y) − f(u)‖² at small outputs."""
    numbers = draw(100, items, seed=1)
    return nlcore.diagnose(nlcore.compose(function), draw(100, items, scale=0.02), function(numbers))


class TestFigures:
    def test_condition_negative_share_and_spectrum_of_a_diagonal_quadratic(self):
        found = nlcore.diagnose(diagonal([8.0, 2.0, 0.5, -1.0]), draw(40, 4), draw(40, 4, seed=1))
        assert found.condition == pytest.approx(16.0)
        assert found.own_condition == pytest.approx(16.0)
        assert found.negative == pytest.approx(0.25)
        assert found.spectrum == pytest.approx((0.5, 1.0, 2.0, 8.0))
        assert (found.curvature, found.samples, found.outputs, found.flat_directions) == ("Hessian", 40, 4, 0)

    def test_flat_directions_are_left_out(self):
        found = nlcore.diagnose(diagonal([6.0, 2.0, 0.0]), draw(20, 3), draw(20, 3, seed=1))
        assert found.condition == pytest.approx(3.0)
        assert found.flat_directions == 1

    def test_cosine_of_a_diagonal_quadratic(self):
        curvatures = torch.tensor([9.0, 1.0], dtype=torch.float64)
        found = nlcore.diagnose(diagonal([9.0, 1.0]), torch.ones(5, 2), torch.zeros(5, 2))
        direction = curvatures / (curvatures + 0.01 * 5.0)
        expected = torch.nn.functional.cosine_similarity(curvatures, direction, dim=0)
        assert found.cosine == pytest.approx(float(expected), rel=1e-9)
        assert found.own_cosine == pytest.approx(float(expected), rel=1e-9)

    def test_amplification_of_equal_matrices(self):
        found = nlcore.diagnose(diagonal([9.0, 1.0]), draw(30, 2), draw(30, 2, seed=1))
        expected = [9 / (9 + rho * 5) for rho in (1, 0.1, 0.01, 0.001)]
        assert found.amplification == pytest.approx(expected, rel=1e-2)
        assert found.amplification_further == pytest.approx(expected, rel=1e-2)
        assert found.rho == found.rho_further == pytest.approx(1e-3)

    def test_amplification_where_every_sample_is_steep_elsewhere(self):
        # Each of 20 samples is curved along one of 20 outputs alone: C = I/20, and (C + λI)⁻¹H_i has norm 20/(1 + ρ),
        # which a gradient step of length 1/‖C‖ has too: nothing comes on top.
        def loss(y, t):
            return (t * y.square()).sum(1) / 2

        found = nlcore.diagnose(loss, torch.ones(20, 20), torch.eye(20))
        assert found.amplification == pytest.approx([1 / (1 + rho) for rho in (1, 0.1, 0.01, 0.001)], rel=1e-2)

    def test_ratio_of_the_gradients(self):
        target = torch.zeros(9, 2)
        prediction = torch.ones(9, 2) * torch.tensor([1.0] * 8 + [50.0]).unsqueeze(1)
        found = nlcore.diagnose(diagonal([1.0, 1.0]), prediction, target)
        assert found.gradient_ratio == pytest.approx(50.0)
        assert max(found.gradient_norms) == pytest.approx(50 * math.sqrt(2))

    def test_running_totals_have_the_condition_of_their_matrix(self):
        eigenvalues = torch.linalg.eigvalsh(PrefixSum().hessian(torch.zeros(1, 16), torch.zeros(1, 16))[0].double())
        found = nlcore.diagnose(PrefixSum(), draw(50, 16), draw(50, 16, seed=1))
        assert found.condition == pytest.approx(float(eigenvalues[-1] / eigenvalues[0]), rel=1e-4)

    def test_further_on_a_tenth_of_the_loss_or_less_is_left(self):
        found = through(drag, 16)
        assert 0 < found.loss_left < 0.15
        assert found.amplification_further[1] > found.amplification[1]

    @pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
    def test_an_invalid_weight_is_refused(self, wrong):
        weight = torch.ones(20)
        weight[3] = wrong
        with pytest.raises(
            ContractError, match=r"weight must be finite and not negative, and is .* for the samples 3\."
        ):
            nlcore.diagnose(diagonal([1.0, 2.0]), draw(20, 2), draw(20, 2, seed=1), weight=weight)

    def test_weights_equal_repetition(self):
        prediction, target = draw(12, 4), draw(12, 4, seed=1)
        weight = torch.tensor([2.0, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 0])
        rows = torch.arange(12).repeat_interleave(weight.long())
        loss = nlcore.compose(lambda y: torch.sinh(y.cumsum(1)))
        one = nlcore.diagnose(loss, prediction, target, weight=weight)
        other = nlcore.diagnose(loss, prediction[rows], target[rows])
        assert one.condition == pytest.approx(other.condition)
        assert one.cosine == pytest.approx(other.cosine)
        assert one.samples == 11

    def test_padded_outputs_do_not_count(self):
        mask = torch.zeros(30, 5, dtype=torch.bool)
        mask[:, 3:] = True
        weights = [4.0, 2.0, 1.0, 900.0, 1e-6]
        found = nlcore.diagnose(diagonal(weights), draw(30, 5), draw(30, 5, seed=1), mask=mask)
        assert found.condition == pytest.approx(4.0)
        assert len(found.spectrum) == 3

    def test_events_of_several_dimensions_or_none(self):
        found = nlcore.diagnose(lambda y, t: (y - t).square().sum((1, 2)), draw(20, 2, 3), draw(20, 2, 3, seed=1))
        assert found.outputs == 6
        assert nlcore.diagnose(lambda y, t: (y - t).square(), draw(20), draw(20, seed=1)).outputs == 1

    def test_nothing_the_caller_gave_is_changed(self):
        prediction = draw(10, 3).requires_grad_()
        target, generator = draw(10, 3, seed=1), torch.Generator().manual_seed(3)
        before, state = prediction.detach().clone(), generator.get_state()
        nlcore.diagnose(Noisy(), prediction, target, generator=generator)
        assert torch.equal(prediction.detach(), before)
        assert prediction.grad is None
        assert torch.equal(generator.get_state(), state)

    def test_it_says_the_same_twice(self):
        one, other = (nlcore.diagnose(Noisy(), draw(10, 3), draw(10, 3, seed=1)) for _ in range(2))
        assert one == other


class TestVerdicts:
    @pytest.mark.parametrize(
        "loss",
        [
            NeuralSort(),
            NeuralSort(objective="entries"),
            NeuralSort(temperature=0.1),
            SoftSort(),
            SortingNetwork(distribution="logistic"),
            SortingNetwork(distribution="cauchy"),
            SortingNetwork(network="bitonic"),
        ],
        ids=repr,
    )
    def test_ranking_has_nothing_to_gain(self, loss):
        example = loss.example(100, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
        assert nlcore.diagnose(loss, *example).verdict == "nothing to gain"

    @pytest.mark.parametrize("items", [10, 16])
    def test_longer_lists_have_nothing_to_gain_either(self, items):
        assert nlcore.diagnose(NeuralSort(), draw(100, items), ranks(draw(100, items, seed=1))).verdict == (
            "nothing to gain"
        )

    @pytest.mark.parametrize(("function", "items"), [(integrator, 24), (blur, 32), (lambda y: y.cumsum(1), 16)])
    def test_fixed_ill_conditioned_algorithms_gain_and_two_curvatures_are_named(self, function, items):
        found = through(function, items)
        assert found.verdict == found.verdict_outputs == "gain"
        assert [one.split("(")[0] for one in found.use[1:]] == ["nlcore.GaussNewton", "nlcore.EmpiricalFisher"]
        assert [one.split("(")[0] for one in found.use_outputs] == ["nlcore.Auto", "nlcore.EmpiricalFisher"]

    def test_running_totals_of_the_plugin_gain(self):
        numbers = draw(100, 16, seed=1)
        assert nlcore.diagnose(PrefixSum(), draw(100, 16, scale=0.1), numbers.cumsum(1)).verdict == "gain"

    def test_drag_is_for_each_sample_although_nothing_shows_it_at_the_start(self):
        found = through(drag, 16)
        assert found.amplification[1] < 1.5 < found.amplification_further[1]
        assert (found.verdict, found.verdict_outputs) == ("per sample only", "gain")
        assert 'aggregate="sample"' in found.use[1]
        assert 'aggregate="sample"' in found.use_outputs[0]
        assert found.use_outputs[1] == 'nlcore.Auto(aim="outputs")'

    def test_a_random_network_is_for_each_sample_and_its_outputs_may_be_out_of_reach(self):
        found = through(tangle, 16)
        assert (found.verdict, found.verdict_outputs) == ("per sample only", "undecided")
        assert found.noise > 0.01

    @pytest.mark.parametrize(("temperature", "scale"), [(0.05, 30.0), (0.05, 1.0), (1.0, 10.0), (1.0, 30.0)])
    def test_a_naive_cross_entropy_is_to_be_mended(self, temperature, scale):
        found = nlcore.diagnose(naive(temperature), draw(100, 5, scale=scale), ranks(draw(100, 5, seed=1)))
        assert found.verdict == "fix the loss first"
        assert found.float32_wrong > 0.1
        assert found.float32_exploding > 0

    @pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 300.0])
    def test_the_same_loss_in_the_log_domain_is_not(self, scale):
        loss = NeuralSort(temperature=0.05, objective="entries")
        found = nlcore.diagnose(loss, draw(100, 5, scale=scale), ranks(draw(100, 5, seed=1)))
        assert found.verdict != "fix the loss first"
        assert found.float32_error < 1e-3

    def test_a_loss_that_breaks_at_wider_outputs_is_named(self):
        found = nlcore.diagnose(naive(1.0), draw(100, 5), ranks(draw(100, 5, seed=1)))
        assert found.verdict == "nothing to gain"
        assert found.float32_spread == 10
        assert "10 times as wide" in str(found)

    def test_a_loss_that_is_not_finite_is_to_be_mended(self):
        prediction = draw(20, 3).abs()
        assert nlcore.diagnose(lambda y, t: y.log().sum(1), prediction, draw(20, 3)).broken == 0
        prediction[:2] = -1
        found = nlcore.diagnose(lambda y, t: y.log().sum(1), prediction, draw(20, 3))
        assert found.verdict == "fix the loss first"
        assert (found.broken, found.samples) == (0.1, 18)

    @pytest.mark.parametrize("id", ["core/squared_error", "core/cross_entropy", "core/binary_cross_entropy"])
    def test_elementary_losses_have_nothing_to_gain(self, id):
        loss = nlcore.make(id)
        example = loss.example(100, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
        assert nlcore.diagnose(loss, *example).verdict == "nothing to gain"

    def test_heavy_samples_are_only_a_scale(self):
        heavy = 10 ** draw(100, 1, seed=2, scale=1.5)

        def loss(y, t):
            return t[:, 0] * (y - t[:, 1:]).square().sum(1)

        found = nlcore.diagnose(loss, draw(100, 10), torch.cat([heavy, draw(100, 10, seed=1)], 1))
        assert found.verdict == "only a scale"
        assert found.gradient_ratio > 10
        assert "clip_grad_norm_" in found.use[0]

    def test_turned_devices_are_undecided_and_both_ways_named(self):
        frames = torch.linalg.qr(draw(100, 16, 16, seed=2))[0]
        devices = torch.logspace(-2, 0, 16, dtype=torch.float64).unsqueeze(-1) * frames

        def loss(y, t):
            return ((t[0] @ y.unsqueeze(-1)).squeeze(-1) - t[1]).square().sum(1)

        found = nlcore.diagnose(loss, draw(100, 16), (devices, draw(100, 16, seed=1)))
        assert found.verdict == "undecided"
        assert found.own_condition == pytest.approx(1e4, rel=1e-3)

    def test_between_the_limits_it_is_undecided(self):
        found = nlcore.diagnose(diagonal([5.0, 5.0, 1.0]), draw(100, 3), draw(100, 3, seed=1))
        assert found.condition == pytest.approx(5.0)
        assert found.verdict == "undecided"

    @pytest.mark.parametrize("loss", [nlcore.make("core/absolute_error"), lambda y, t: (y - t).abs().sum(1)])
    def test_piecewise_linear_losses_are_opaque(self, loss):
        found = nlcore.diagnose(loss, draw(50, 5), draw(50, 5, seed=1))
        assert (found.verdict, found.curvature) == ("opaque", "EmpiricalFisher")
        assert found.amplification == ()
        assert "second derivative" in str(found)

    def test_a_gradient_that_cannot_be_differentiated_is_opaque(self):
        class Once(torch.autograd.Function):
            @staticmethod
            def forward(y):
                return y.sin()

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.save_for_backward(*inputs)

            @staticmethod
            def backward(ctx, incoming):
                return incoming * ctx.saved_tensors[0].detach().cos()

        found = nlcore.diagnose(lambda y, t: Once.apply(y).sum(1), draw(20, 3), draw(20, 3, seed=1))
        assert found.verdict == "opaque"

    def test_a_second_derivative_that_is_not_that_of_the_gradient_is_not_believed(self):
        class Wrong(WavyGradient):
            def gradient(self, prediction, target, *, generator=None):
                exact = super().gradient(prediction, target)
                return exact.detach() + 1e-3 * (prediction - prediction.detach())

        found = nlcore.diagnose(Wrong(), draw(20, 4), draw(20, 4, seed=1))
        assert found.verdict == "opaque"
        assert "misses differences" in " ".join(found.notes)

    @pytest.mark.parametrize(
        ("loss", "verdict"),
        [
            (nlcore.compose(blur), "gain"),
            (nlcore.compose(drag), "per sample only"),
            (diagonal(4 * [9.0] + 12 * [1.0]), "undecided"),
            (nlcore.make("core/absolute_error"), "opaque"),
        ],
    )
    def test_the_first_advice_is_the_default_of_the_aim(self, loss, verdict):
        found = nlcore.diagnose(loss, draw(100, 16, scale=0.02), drag(draw(100, 16, seed=1)))
        assert found.verdict == verdict
        assert found.use[0] == "nlcore.Auto()"
        assert found.use_outputs[verdict == "per sample only"] == 'nlcore.Auto(aim="outputs")'

    def test_for_a_plain_callable_the_measured_curvature_is_the_second_advice(self):
        found = nlcore.diagnose(lambda y, t: (y.cumsum(1) - t).square().sum(1), draw(50, 8), draw(50, 8, seed=1))
        assert found.verdict_outputs == "gain"
        assert found.use_outputs[0] == 'nlcore.Auto(aim="outputs")'
        assert found.use_outputs[1] == "nlcore.Hessian(damping=nlcore.Bounded(), normalize=True)"

    def test_most_directions_flat_leave_the_outputs_open_and_some_are_a_warning(self):
        few = through(lambda y: y[:, :6].cumsum(1), 16)
        assert (few.own_flat_directions, few.verdict_outputs) == (10, "not determined")
        assert few.use_outputs[0] == "nlcore.Auto()"
        assert "10 of 16 directions" in few.reason_outputs
        most = through(lambda y: y[:, :12].cumsum(1), 16)
        assert (most.own_flat_directions, most.verdict_outputs) == (4, "gain")
        assert "4 of 16 directions" in most.reason_outputs
        assert "directions leave" not in most.reason

    def test_noise_of_the_target_asks_for_damping(self):
        signal = draw(100, 32, seed=1).cumsum(1) / 5
        loss, start = nlcore.compose(blur), torch.zeros(100, 32)
        clean = nlcore.diagnose(loss, start, blur(signal))
        noisy = nlcore.diagnose(loss, start, blur(signal) + 0.3 * draw(100, 32, seed=2))
        assert clean.noise <= 0.001 < 0.01 < noisy.noise
        assert "Cross-validation" not in clean.reason_outputs
        assert "Cross-validation" in noisy.reason_outputs
        assert noisy.use_outputs[0] == 'nlcore.Auto(aim="outputs")'

    def test_every_verdict_is_documented(self):
        assert all(f'"{one}"' in Diagnosis.__doc__ for one in get_args(Verdict))


class Shift(torch.nn.Module):
    """The same outputs for all samples: a step moves every sample by the mean of the directions."""

    def __init__(self, outputs):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.ones(outputs, dtype=torch.float64))

    def forward(self, inputs):
        return self.shift.expand(len(inputs), -1)


class Once(torch.autograd.Function):
    """The tangent, whose backward pass has no derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, incoming):
        return incoming * (1 - ctx.saved_tensors[0].tanh().square())


def untrained(*widths, seed=0):
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(widths)]
    between = [part for layer in layers[:-1] for part in (layer, torch.nn.Tanh())]
    return torch.nn.Sequential(*between, layers[-1])


class TestNetwork:
    def test_progress_of_a_quadratic_in_closed_form(self):
        steep = torch.tensor([9.0, 1.0], dtype=torch.float64)
        loss = nlcore.compose(lambda y: steep.to(y).sqrt() * y)
        found = nlcore.diagnose(loss, Shift(2)(torch.zeros(20, 1)), torch.zeros(20, 2, dtype=torch.float64))

        def fall(move):  # at the best length, from the error (1, 1)
            return float((steep @ move) ** 2 / (2 * (steep @ move.square())))

        factors = dict(found.progress)
        for rho in (1e-3, 0.1):
            expected = fall(steep / (steep + rho * 5)) / fall(steep)
            name = f"nlcore.GaussNewton(damping=nlcore.Relative(rho={rho}))" if rho < 0.1 else "nlcore.GaussNewton()"
            assert factors[name] == pytest.approx(expected, rel=1e-3)
        assert found.realised == pytest.approx(1.0)

    def test_steps_that_other_samples_contradict_are_not_realised(self):
        prediction = untrained(4, 16)(draw(100, 4))
        target = prediction.detach().cumsum(1) + draw(100, 16, seed=3)  # what is left has nothing to do with the inputs
        found = nlcore.diagnose(nlcore.compose(lambda y: y.cumsum(1)), prediction, target)
        assert abs(found.realised) < 0.1
        assert found.verdict_outputs == "undecided"
        assert "makes little" in found.reason_outputs

    def test_the_reason_says_what_the_probe_saw(self):
        signal = draw(100, 16, seed=1)
        loss, target = nlcore.compose(lambda y: y.cumsum(1)), (signal @ draw(16, 16, seed=2)).cumsum(1)
        found = nlcore.diagnose(loss, untrained(16, 64, 16)(signal), target)
        assert (found.verdict, found.verdict_outputs) == ("gain", "gain")
        assert "Probed on the network" in found.reason
        assert all(isinstance(eval(one), nlcore.newton.Curvature) for one, _ in found.progress)
        assert set(found.left_out) <= {one for one, _ in found.progress}
        assert 0 < found.cost < 100

    def test_a_prediction_without_a_graph_has_no_such_figures(self):
        for prediction in (draw(20, 4), draw(20, 4).requires_grad_()):
            found = nlcore.diagnose(nlcore.compose(drag), prediction, draw(20, 4, seed=1))
            assert (found.progress, found.left_out) == ((), ())
            assert math.isnan(found.realised)
            assert math.isnan(found.cost)
            assert "Probed" not in found.reason

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_without_gradients(self, mode):
        network = untrained(3, 8, 4)
        prediction = network(draw(40, 3))
        loss, target = nlcore.compose(drag), draw(40, 4, seed=1)
        with mode():
            assert nlcore.diagnose(loss, network(draw(40, 3)), target).progress == ()
            assert len(nlcore.diagnose(loss, prediction, target).progress) == 6

    def test_it_leaves_no_trace(self):
        network = torch.nn.Sequential(
            torch.nn.Linear(5, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.2), torch.nn.Linear(16, 4)
        )
        network[0].weight.grad = torch.ones(16, 5)
        prediction = network(draw(40, 5).float())
        prediction.retain_grad()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        random = torch.get_rng_state()

        def dropping(y, t):
            return torch.nn.functional.dropout(y - t, 0.1).square().sum(1)

        for loss in (nlcore.compose(drag), dropping):
            nlcore.diagnose(loss, prediction, draw(40, 4, seed=1).float())
        assert torch.equal(torch.get_rng_state(), random)
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
        assert torch.equal(network[0].weight.grad, torch.ones(16, 5))
        assert prediction.grad is None
        assert network[3].weight.grad is None
        prediction.sum().backward()  # the graph is still there
        assert network[3].weight.grad is not None

    @pytest.mark.parametrize("why", ["once", "freed", "few", "hook"])
    def test_a_network_that_cannot_be_probed_is_noted(self, why):
        network, count = untrained(3, 8, 4), 6 if why == "few" else 20
        if why == "hook":
            network[0].register_full_backward_hook(lambda *_: None)
        prediction = network(draw(count, 3))
        prediction = Once.apply(prediction) if why == "once" else prediction
        if why == "freed":
            prediction.square().sum().backward()
        found = nlcore.diagnose(nlcore.compose(drag), prediction, draw(count, 4, seed=1))
        assert "The network was not probed: " in " ".join(found.notes)
        assert found.progress == ()
        assert (
            found.verdict == nlcore.diagnose(nlcore.compose(drag), prediction.detach(), draw(count, 4, seed=1)).verdict
        )

    def test_weights_masks_and_random_losses(self):
        prediction, target = untrained(3, 8, 4)(draw(40, 3)), draw(40, 4, seed=1)
        mask = torch.zeros(40, 4, dtype=torch.bool)
        mask[:, 3] = True
        weight = torch.ones(40, dtype=torch.float64).index_fill(0, torch.arange(20), 0.0)
        found = nlcore.diagnose(diagonal([9.0, 3.0, 1.0, 1e9]), prediction, target, mask=mask, weight=weight)
        assert all(0 < factor < 2.72 for _, factor in found.progress)
        noisy = nlcore.diagnose(Noisy(), prediction, target)
        assert len(noisy.progress) == 3
        assert math.isnan(noisy.realised)

    @pytest.mark.parametrize("loss", [nlcore.compose(drag), Noisy()], ids=["drag", "random"])
    def test_of_many_samples_some_are_probed(self, loss):
        found = nlcore.diagnose(loss, untrained(3, 8, 4)(draw(1500, 3)), draw(1500, 4, seed=1))
        assert len(found.progress) >= 3

    def test_the_report_holds_the_figures_of_the_network(self):
        found = nlcore.diagnose(nlcore.compose(drag), untrained(3, 8, 4)(draw(40, 3)), draw(40, 4, seed=1))
        flat, text = found.as_dict(), str(found)
        assert json.loads(json.dumps(flat, allow_nan=False)) == flat
        assert flat["progress"].count(" | ") == 5
        assert {"realised", "cost", "noise", "left_out", "verdict_outputs", "use_outputs"} <= set(flat)
        assert "in units of the gradient's" in text
        assert "verdict for the outputs: " in text
        assert max(map(len, text.splitlines())) <= 120


class TestKnownTasks:
    """Tasks on which a verdict without the network was wrong, each with an untrained network."""

    @staticmethod
    def found(task, seed):
        torch.manual_seed(seed)
        batch = next(task.batches(seed))
        return nlcore.diagnose(task.loss, task.network(seed)(batch.inputs), batch.target, **batch.options)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_oscillators_do_not_determine_their_pushes(self, seed):
        tasks = pytest.importorskip("nlcore_bench.tasks.oscillators")
        found = self.found(tasks.Oscillators(steps=32, step=0.375, batch=64, samples=256), seed)
        assert (found.verdict, found.verdict_outputs) == ("undecided", "not determined")
        assert found.use[0] == found.use_outputs[0] == "nlcore.Auto()"
        assert "28 of 32 directions" in found.reason_outputs
        assert not any("GaussNewton" in one for one in (*found.use, *found.use_outputs))

    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize(("noise", "verdict"), [(0.0, "gain"), (0.05, "gain"), (0.5, "undecided")])
    def test_a_blur_gains_unless_it_drowns_in_noise(self, noise, verdict, seed):
        pytest.importorskip("sklearn")
        tasks = pytest.importorskip("nlcore_bench.tasks.inverse")
        found = self.found(tasks.Deblurring(noise=noise, samples=200), seed)
        assert found.verdict == found.verdict_outputs == verdict
        assert (found.use[0], found.use_outputs[0]) == ("nlcore.Auto()", 'nlcore.Auto(aim="outputs")')
        assert ("Cross-validation" in found.reason_outputs) == (noise > 0)
        assert "round" not in found.reason

    @pytest.mark.parametrize("seed", [0, 1, 2, 3])
    def test_a_pendulum_is_undecided(self, seed):
        tasks = pytest.importorskip("nlcore_bench.tasks.inverse")
        found = self.found(tasks.Pendulum(samples=200), seed)
        assert found.verdict == found.verdict_outputs == "undecided"
        assert (found.use[0], found.use_outputs[0]) == ("nlcore.Auto()", 'nlcore.Auto(aim="outputs")')


class TestKinds:
    def test_old_style_functions(self):
        found = nlcore.diagnose(WavyOld(), draw(20, 4), draw(20, 4, seed=1))
        assert found.curvature == "Hessian"
        assert found.negative > 0

    def test_a_random_loss_is_judged_at_one_draw_and_not_compared_in_float32(self):
        found = nlcore.diagnose(Noisy(), draw(40, 3), draw(40, 3, seed=1))
        assert math.isnan(found.float32_wrong)
        assert "random" in " ".join(found.notes)

    def test_a_loss_of_one_precision_alone(self):
        weights = torch.tensor([1.0, 2.0, 8.0])
        found = nlcore.diagnose(
            lambda y, t: ((y - t) @ weights.diag().sqrt()).square().sum(1) / 2, torch.randn(20, 3), torch.randn(20, 3)
        )
        assert found.condition == pytest.approx(8.0, rel=1e-4)
        assert math.isnan(found.float32_error)
        assert "float32 alone" in " ".join(found.notes)
        assert "same dtype" in " ".join(found.notes)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_the_prediction_may_have_any_precision(self, dtype):
        found = nlcore.diagnose(diagonal([8.0, 1.0]), draw(20, 2).to(dtype), draw(20, 2, seed=1).to(dtype))
        assert found.condition == pytest.approx(8.0, rel=1e-3)

    def test_many_outputs_are_looked_at_in_part(self):
        found = nlcore.diagnose(nlcore.compose(lambda y: y.cumsum(1)), draw(20, 600), draw(20, 600, seed=1))
        assert (found.verdict, found.outputs) == ("gain", 128)
        assert "held fixed" in " ".join(found.notes)

    def test_a_part_that_is_round_decides_nothing(self):
        found = nlcore.diagnose(lambda y, t: (y - t).square().sum(1), draw(20, 600), draw(20, 600, seed=1))
        assert found.verdict == "undecided"

    def test_few_samples_are_noted(self):
        found = nlcore.diagnose(diagonal([3.0, 1.0]), draw(1, 2), draw(1, 2, seed=1))
        assert "Only 1 samples" in " ".join(found.notes)
        assert found.condition == pytest.approx(3.0)

    def test_samples_that_are_where_they_should_be(self):
        found = nlcore.diagnose(diagonal([3.0, 1.0]), torch.zeros(10, 2), torch.zeros(10, 2))
        assert found.gradient_ratio == 1.0
        assert math.isnan(found.cosine)


class TestTelling:
    def test_the_dict_is_flat_and_goes_through_json(self):
        for found in (through(drag, 16), nlcore.diagnose(lambda y, t: (y - t).abs().sum(1), draw(9, 2), draw(9, 2))):
            flat = found.as_dict()
            assert json.loads(json.dumps(flat, allow_nan=False)) == flat
            assert all(value is None or isinstance(value, str | int | float) for value in flat.values())
            assert {"verdict", "condition", "cosine", "amplification_0.1", "amplification_further_0.001"} <= set(flat)

    def test_the_text_holds_figures_verdict_and_advice(self):
        text = str(through(drag, 16))
        for word in (
            "condition",
            "cosine",
            "amplification",
            "float32",
            "verdict: per sample only",
            "use:",
            "GaussNewton",
        ):
            assert word in text
        assert max(map(len, text.splitlines())) <= 120

    def test_the_repr_is_one_line(self):
        assert repr(through(blur, 16)).startswith("Diagnosis('gain', loss='Composed', condition=")

    def test_it_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            through(blur, 16).verdict = "gain"

    @pytest.mark.parametrize("function", [drag, lambda y: y])
    def test_the_expressions_can_be_used(self, function):
        found = through(function, 8)
        for expression in found.use:
            if expression.startswith("nlcore."):
                criterion = nlcore.NewtonLoss(nlcore.compose(function), eval(expression))
                assert torch.isfinite(criterion(draw(10, 8), function(draw(10, 8, seed=1))))


class TestPicture:
    @pytest.mark.parametrize("loss", [diagonal([9.0, 1.0]), lambda y, t: (y - t).abs().sum(1)])
    @pytest.mark.parametrize("ending", ["png", "svg"])
    def test_it_is_drawn(self, loss, ending, tmp_path):
        pytest.importorskip("matplotlib")
        path = tmp_path / f"picture.{ending}"
        nlcore.diagnose(loss, draw(20, 2), draw(20, 2, seed=1)).plot(path)
        assert path.stat().st_size > 1000

    def test_an_unknown_ending_and_a_missing_folder_are_refused(self, tmp_path):
        pytest.importorskip("matplotlib")
        found = through(blur, 8)
        with pytest.raises(ConfigError, match="ending"):
            found.plot(tmp_path / "picture.xyz")
        with pytest.raises(ConfigError, match="cannot be written"):
            found.plot(tmp_path / "nowhere" / "picture.png")

    def test_without_matplotlib_it_says_how_to_install_it(self, monkeypatch, tmp_path):
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ConfigError, match=r"pip install matplotlib"):
            through(blur, 8).plot(tmp_path / "picture.png")


class TestErrors:
    def test_wrong_inputs_are_named(self):
        loss, prediction, target = diagonal([1.0, 2.0]), draw(5, 2), draw(5, 2, seed=1)
        with pytest.raises(ContractError, match="callable"):
            nlcore.diagnose(3, prediction, target)
        with pytest.raises(ShapeError, match="same batch"):
            nlcore.diagnose(loss, prediction, target[:3])
        with pytest.raises(ShapeError, match="needs samples"):
            nlcore.diagnose(loss, prediction[:0], target[:0])
        with pytest.raises(ShapeError, match="one number per sample"):
            nlcore.diagnose(lambda y, t: (y - t).square().sum(), prediction, target)
        with pytest.raises(ContractError, match="mask"):
            nlcore.diagnose(loss, prediction, target, mask=torch.zeros(5, 3, dtype=torch.bool))
        with pytest.raises(ContractError, match="weight"):
            nlcore.diagnose(loss, prediction, target, weight=-torch.ones(5))
        with pytest.raises(ContractError, match="weight"):
            nlcore.diagnose(loss, prediction, target, weight=torch.zeros(5))

    def test_predictions_and_losses_that_are_not_finite(self):
        prediction = draw(5, 2)
        prediction[3, 0] = math.nan
        with pytest.raises(NonFiniteError, match="3") as caught:
            nlcore.diagnose(diagonal([1.0, 2.0]), prediction, draw(5, 2))
        assert caught.value.samples == (3,)
        with pytest.raises(NonFiniteError, match="no sample"):
            nlcore.diagnose(lambda y, t: y.sum(1) * math.nan, draw(5, 2), draw(5, 2))

    def test_what_a_loss_says_of_its_inputs_is_passed_on(self):
        with pytest.raises(ContractError, match="permutation"):
            nlcore.diagnose(NeuralSort(), draw(5, 3), torch.zeros(5, 3, dtype=torch.int64))

"""Each faulty loss fails the checks that name its fault, and no other; each sound one passes them all."""

from __future__ import annotations

import pytest
import torch

from nlcore.errors import ConfigError
from nlcore.testing import Status, check_algorithm
from nlcore.testing.checks import CATALOGUE, newton

from . import mutants as m
from . import sound
from .sound import CONFIGURED, SOUND, Sound, Wave, WaveConfig

torch.set_num_threads(1)

BATCH_IN_VALUE = {"independence.samples", "independence.batch_size"}

FAULTS = [
    (m.NoExample(), {"protocol.members"}),
    (m.NoGeneratorKeyword(), {"protocol.members"}),
    (m.NoMaskKeyword(), {"protocol.members"}),
    (m.NoContextKeyword(), {"protocol.members"}),
    (m.BatchlessContext(), {"shape.example"}),
    (m.ChangesContext(), {"purity.inputs"}),
    (m.SpreadsContext(), BATCH_IN_VALUE),
    (m.SplitWithoutContext(), {"gauss_newton.split"}),
    (m.IgnoresContext(), {"context.used"}),
    (m.IgnoresConstantContext(), {"context.used"}),
    (m.IgnoresAField(), {"context.used"}),
    (m.PaddingInTheSplit(), {"mask.padding"}),
    (m.TraitsAsDict(), {"protocol.traits"}),
    (m.UnknownTransforms(), {"protocol.traits"}),
    (m.WrongEventNdim(), {"shape.example"}),
    (m.BatchlessTarget(), {"shape.example"}),
    (m.Reduced(), {"shape.value"}),
    (m.KeptDimension(), {"shape.value"}),
    (m.RaisesAtTheExample(), {"shape.value"}),
    (m.NoEmptyBatch(), {"shape.empty_batch"}),
    (m.FlatHessian(), {"shape.supplied"}),
    (m.View(), {"shape.strides"}),
    (m.ExampleDtype(), {"dtype.example"}),
    (m.SilentFloat64(), {"dtype.value"}),
    (m.HessianInFloat32(), {"dtype.value"}),
    (m.FloatHalf(), {"dtype.half"}),
    (m.SilentFloat32(), {"dtype.precision"}),
    (m.ExampleDevice(), {"device.example"}),
    (m.CallDevice(), {"device.value"}),
    (m.ConstantOnTheCpu(), {"device.value"}),
    (m.InPlacePrediction(), {"purity.inputs"}),
    (m.InPlaceTarget(), {"purity.inputs"}),
    (m.InPlaceInHessian(), {"purity.inputs"}),
    (m.DefaultDtype(), {"purity.settings"}),
    (m.GradMode(), {"purity.settings"}),
    (m.GlobalRandom(), {"purity.global_random", "purity.repeatable"}),
    (m.PythonRandom(), {"purity.global_random", "purity.repeatable"}),
    (m.WastefulRandom(), {"purity.global_random"}),
    (m.GlobalRandomDeclared(), {"purity.global_random", "stochastic.reproducible"}),
    (m.Backward(), {"purity.gradients"}),
    (m.RequiresTargetGradient(), {"purity.gradients"}),
    (m.Counting(), {"purity.repeatable"}),
    (m.ExampleGenerator(), {"stochastic.example"}),
    (m.ExampleFixed(), {"stochastic.example"}),
    (m.IgnoredGenerator(), {"stochastic.varies"}),
    (m.FalseStochastic(), {"stochastic.varies"}),
    (m.UndeclaredStochastic(), {"stochastic.declared"}),
    (m.BatchStatistics(), BATCH_IN_VALUE),
    (m.ReducedAndExpanded(), BATCH_IN_VALUE),
    (m.HessianOfTheBatch(), BATCH_IN_VALUE),
    (m.WeighedByPlace(), {"independence.batch_size", "independence.permutation"}),
    (m.Detached(), {"gradient.graph"}),
    (m.Rounded(), {"gradient.graph"}),
    (m.InfiniteSuppliedGradient(), {"gradient.supplied"}),
    (m.ZeroSuppliedGradient(), {"gradient.supplied"}),
    (m.WrongSuppliedGradient(), {"gradient.differences"}),
    (m.WrongBackward(), {"gradient.differences"}),
    (m.PartlyDetached(), {"gradient.differences"}),
    (m.NanAtTies(), {"gradient.ties"}),
    (m.NanAtTheTarget(), {"gradient.ties"}),
    (m.ValueNanAtTies(), {"gradient.ties"}),
    (m.WrongOrder(), {"hessian.order"}),
    (m.InfiniteHessian(), {"hessian.finite"}),
    (m.AsymmetricHessian(), {"hessian.symmetric"}),
    (m.WrongHessian(), {"hessian.differences"}),
    (m.DetachedSecondDerivative(), {"hessian.differences"}),
    (m.FalseConvex(), {"hessian.convex"}),
    (m.FalseConvexLarge(), {"hessian.convex"}),
    (m.FalseConvexSupplied(), {"hessian.convex"}),
    (m.FalseConstant(), {"hessian.constant"}),
    (m.WrongSplit(), {"gauss_newton.split"}),
    (m.Structured("matvec", 1.01), {"operator.matrix"}),
    (m.Structured("trace", 0.5), {"operator.matrix"}),
    (m.Structured("largest", 0.5), {"operator.matrix"}),
    (m.Structured("solve", 0.9), {"operator.solve"}),
    (m.NonConvexOuter(), {"gauss_newton.convex"}),
    (m.RefusesFunc(), {"transforms.func"}),
    (m.NeedsLeaf(), {"transforms.autograd"}),
    (m.InvertsMask(), {"mask.nothing"}),
    (m.IgnoresMask(), {"mask.padding"}),
    (m.CountsEmptySamples(), {"mask.sample"}),
    (m.DividesByNothing(), {"mask.sample"}),
    (m.MultipliesByMask(), {"mask.nan"}),
    (m.CountsPaddingInTheMean(), {"mask.shorter"}),
    (m.NanBehindWhere(), {"mask.nan", "mask.sample"}),
    (m.HessianOfPadding(), {"mask.sample"}),
    (m.Broadcasts(), {"errors.shape"}),
    (m.BroadcastsWidth(), {"errors.shape"}),
    (m.SpeechlessRefusal(), {"errors.shape"}),
    (m.TakesIntegers(), {"errors.dtype"}),
    (m.ForeignDeviceError(), {"errors.device"}),
    (m.HidesNan(), {"errors.nan"}),
    (m.SpreadsNan(), {"errors.nan"}),
    (m.Unpicklable(), {"object.pickle"}),
    (m.ForgetsWhenPickled(), {"object.pickle"}),
    (m.Uncopied(), {"object.copy"}),
    (m.DefaultRepr(), {"object.repr"}),
    (m.Unhashable(), {"object.equality"}),
    (m.UnequalCopy(), {"object.equality"}),
    (m.Scratch(), {"object.threads"}),
    (m.Undocumented(), {"docs.summary"}),
    (m.Shapeless(), {"docs.shapes"}),
]

CONFIG_FAULTS = [
    (Wave(), m.Undescribed, {}, {"config.described"}),
    (Wave(), m.Tolerant, {}, {"config.unknown"}),
    (Wave(), m.Thawed, {}, {"config.frozen"}),
    (Wave(rate=2.5), m.OtherDefault, {}, {"config.constructor"}),
    (Wave(rate=2.5), WaveConfig, {}, {"config.attributes"}),
    (m.Renamed(), WaveConfig, {}, {"config.attributes"}),
    (m.Doubling(), WaveConfig, {}, {"config.attributes"}),
    (m.IgnoringWave(), WaveConfig, {}, {"config.attributes"}),
    (m.MutableWave(), WaveConfig, {}, {"config.immutable"}),
    (m.SettableWave(), WaveConfig, {}, {"config.immutable"}),
    (m.HiddenOption(scale=2.0), WaveConfig, {}, {"config.json"}),
    (m.ExtraKeyword(), WaveConfig, {}, {"config.constructor"}),
    (m.ShortRepr(), WaveConfig, {}, {"object.repr"}),
]


def failing(algorithm, **about):
    return check_algorithm(algorithm, raise_on_failure=False, **about)


@pytest.mark.parametrize(("algorithm", "names"), FAULTS, ids=lambda one: type(one).__name__)
def test_a_fault_fails_the_checks_that_name_it(algorithm, names):
    report = failing(algorithm)
    assert set(report.failed) == names, [one for one in report.outcomes if one.status is Status.FAILED]


def test_a_second_derivative_that_is_not_finite_is_not_called_a_wrong_one():
    report = failing(m.UnguardedRoot())
    assert report.failed == ("hessian.differences",)
    assert "a second derivative that is not finite" in str(report)


def test_the_part_of_a_context_that_is_ignored_is_named():
    found = {one.name: one.message for one in failing(m.IgnoresAField()).outcomes}
    assert "the part ['scale'] of the context has no influence" in found["context.used"]
    assert "['field']" not in found["context.used"]


@pytest.mark.parametrize(("algorithm", "status"), [("ContextOfLengths", "passed"), ("ConstantLengths", "skipped")])
def test_whole_numbers_in_a_context_are_exchanged_with_those_of_other_samples(algorithm, status):
    report = check_algorithm(getattr(sound, algorithm)())
    assert {one.name: one.status for one in report.outcomes}["context.used"] == status


@pytest.mark.parametrize(("algorithm", "config", "options", "names"), CONFIG_FAULTS)
def test_a_fault_of_the_options_fails_the_checks_that_name_it(algorithm, config, options, names):
    report = failing(algorithm, config=config, options=options)
    assert set(report.failed) == names, [one for one in report.outcomes if one.status is Status.FAILED]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_loss_passes(name):
    report = check_algorithm(SOUND[name])
    assert report.named(Status.BLOCKED) == ()
    assert len(report.named(Status.PASSED)) >= 38


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_sound_loss_with_options_passes(name):
    algorithm, config, options = CONFIGURED[name]
    report = check_algorithm(algorithm, config=config, options=options)
    assert {"config.json", "config.immutable"} <= set(report.named(Status.PASSED))


class TestAFaultyEngine:
    """What the engine guarantees for a sound loss is still looked at: here it is made to fail."""

    def patched(self, monkeypatch, change):
        true_step = newton.newton_step

        def step(*arguments, **options):
            return change(true_step(*arguments, **options))

        monkeypatch.setattr(newton, "newton_step", step)
        return set(failing(Sound()).failed)

    def changed(self, monkeypatch, function):
        from dataclasses import replace

        return self.patched(monkeypatch, lambda step: replace(step, direction=function(step.direction)))

    def test_a_direction_that_is_not_finite(self, monkeypatch):
        assert self.changed(monkeypatch, lambda d: d / 0) == {"newton.finite"}

    def test_a_direction_that_climbs(self, monkeypatch):
        assert self.changed(monkeypatch, lambda d: -d) == {"newton.descent", "newton.limit"}

    def test_a_direction_of_another_length(self, monkeypatch):
        assert self.changed(monkeypatch, lambda d: 2 * d) == {"newton.limit"}

    def test_an_error_of_the_engine(self, monkeypatch):
        def fail(step):
            raise ConfigError("the engine has had enough")

        assert self.patched(monkeypatch, fail) == {"newton.finite"}

    def test_a_loss_that_hands_on_something_else(self, monkeypatch):
        class Sum(newton.NewtonLoss):
            def forward(self, prediction, target):
                return 2 * super().forward(prediction, target)

        monkeypatch.setattr(newton, "NewtonLoss", Sum)
        assert set(failing(Sound()).failed) == {"newton.training"}


def test_every_check_is_seen_to_fail():
    """A check that no mutant fails may be one that cannot fail."""
    engine = {"newton.finite", "newton.descent", "newton.limit", "newton.training"}
    seen = set().union(*(one[-1] for one in [*FAULTS, *CONFIG_FAULTS])) | engine | {"docs.listed"}
    assert seen == {one.name for one in CATALOGUE}


def test_every_message_says_what_to_do():
    for algorithm, _ in FAULTS:
        for one in failing(algorithm).outcomes:
            if one.status is Status.FAILED:
                assert len(one.message.split()) >= 8, one


def test_a_check_comes_after_those_it_builds_on():
    assert len({one.name for one in CATALOGUE}) == len(CATALOGUE)
    names = {one.name for one in CATALOGUE}
    for one in CATALOGUE:
        assert one.summary, one.name
        assert set(one.requires) <= names, one.name

"""The kit's functions: what they return, raise and announce, and what pytest makes of them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import types

import pytest
import torch

from nlcore.errors import ConfigError, ConformanceError
from nlcore.plugin import AlgorithmSpec
from nlcore.testing import Status, algorithm_checks, cases, check_algorithm, check_plugin
from nlcore.testing.checks import CATALOGUE

from . import mutants
from .sound import Sound, Wave, WaveConfig

torch.set_num_threads(1)
pytest_plugins = ["pytester"]

HERE = __package__
SPEC = AlgorithmSpec(
    id="wave/wave-v1", factory=f"{HERE}.sound:Wave", config=f"{HERE}.sound:WaveConfig", summary="sums of waves"
)


class TestCheckAlgorithm:
    def test_a_failure_names_the_check_the_values_and_the_remedy(self):
        with pytest.raises(ConformanceError) as caught:
            check_algorithm(mutants.Reduced())
        text = str(caught.value)
        assert text.startswith(f"Reduced fails 1 check of {len(CATALOGUE)}:\n  shape.value: ")
        assert "for a prediction of shape [1, 4] the loss returned shape []. Return shape [1]" in text
        assert "that build on them were not run: shape.empty_batch" in text

    def test_a_report_in_place_of_an_error(self):
        report = check_algorithm(mutants.Reduced(), raise_on_failure=False)
        assert (report.ok, report.failed) == (False, ("shape.value",))
        assert "newton.finite" in report.named(Status.BLOCKED)
        as_json = report.as_json()
        assert (as_json["ok"], as_json["failed"]) == (False, ["shape.value"])
        assert [one["name"] for one in as_json["checks"]] == [one.name for one in CATALOGUE]

    def test_an_announced_failure_is_none(self):
        report = check_algorithm(mutants.NanAtTies(), expected_failures={"gradient.ties": "the kink is known"})
        assert report.named(Status.EXPECTED) == ("gradient.ties",)
        assert report.ok

    @pytest.mark.parametrize(
        ("name", "what"), [("gradient.ties", "it passes"), ("gradient.supplied", "it does not apply")]
    )
    def test_an_announcement_that_is_out_of_date_is_a_failure(self, name, what):
        with pytest.raises(ConformanceError, match=rf"{name}: a failure was announced \(once\), but {what}"):
            check_algorithm(Sound(), expected_failures={name: "once"})

    @pytest.mark.parametrize(
        ("expected", "message"),
        [
            ({"gradient.tie": "why"}, r"no check 'gradient\.tie' \(did you mean 'gradient\.ties'\?\)"),
            ({"gradient.ties": " "}, r"'gradient\.ties' needs a reason"),
        ],
    )
    def test_an_announcement_that_means_nothing_is_refused(self, expected, message):
        with pytest.raises(ConfigError, match=message):
            check_algorithm(Sound(), expected_failures=expected)

    def test_in_float32_alone(self):
        report = check_algorithm(Sound(), dtypes=[torch.float32])
        assert "dtype.precision" in report.named(Status.SKIPPED)
        assert "gradient.differences" in report.named(Status.PASSED)
        wrong = check_algorithm(mutants.PartlyDetached(), dtypes=[torch.float32], raise_on_failure=False)
        assert wrong.failed == ("gradient.differences",)

    def test_settings_of_torch_are_restored_after_a_loss_that_changes_them(self):
        check_algorithm(mutants.DefaultDtype(), raise_on_failure=False)
        check_algorithm(mutants.GradMode(), raise_on_failure=False)
        assert torch.get_default_dtype() == torch.float32
        assert torch.is_grad_enabled()

    def test_global_random_numbers_are_left_alone(self):
        before = torch.get_rng_state()
        check_algorithm(Sound())
        assert torch.equal(before, torch.get_rng_state())

    def test_no_object_at_all(self):
        assert check_algorithm(Sound, raise_on_failure=False).failed == ("protocol.members",)


class TestAlgorithmChecks:
    def test_those_that_apply(self):
        checks = algorithm_checks(Wave(), config=WaveConfig)
        names = [one.name for one in checks]
        assert {"shape.value", "config.json", "newton.training"} <= set(names)
        assert not {"gauss_newton.split", "mask.padding", "stochastic.varies", "docs.listed"} & set(names)
        assert all(one.group == one.name.split(".")[0] and one.summary for one in checks)

    def test_one_of_them_runs_what_it_builds_on(self):
        checks = {one.name: one for one in algorithm_checks(mutants.Reduced())}
        assert checks["newton.finite"]().status is Status.BLOCKED
        with pytest.raises(ConformanceError, match=r"^Reduced fails shape\.value: "):
            checks["shape.value"]()


class TestCheckPlugin:
    def module(self, *specs):
        made = types.ModuleType("wave_plugin")
        made.nlcore_algorithms = lambda: specs
        return made

    def test_specifications_module_and_name(self, monkeypatch):
        module = self.module(SPEC)
        monkeypatch.setitem(sys.modules, "wave_plugin", module)
        for plugin in ([SPEC], module, "wave_plugin"):
            found = check_plugin(plugin)
            assert found.ok
            assert [one.algorithm for one in found.reports] == ["wave/wave-v1"]
            assert {"docs.listed", "config.json", "plugin.makes"} <= set(found.reports[0].named(Status.PASSED))

    def test_the_options_of_a_case_reach_the_algorithm(self):
        found = check_plugin([SPEC], options={SPEC.id: [{"rate": 2.0}, {"orders": [3]}]})
        assert [one.algorithm for one in found.reports] == ["wave/wave-v1(rate=2.0)", "wave/wave-v1(orders=[3])"]

    def test_every_choice_is_tried(self):
        spec = AlgorithmSpec(
            id="a/b-v1", factory="nlcore_sorting:NeuralSort", config="nlcore_sorting.config:NeuralSortConfig"
        )
        assert [one.name for one in cases(spec, every_choice=True)] == ["a/b-v1", "a/b-v1(objective='entries')"]
        assert [one.name for one in cases(spec, [{"objective": "entries"}], every_choice=True)] == [
            "a/b-v1(objective='entries')",
            "a/b-v1(objective='rows')",
        ]

    def test_failures_name_the_algorithm(self):
        faulty = AlgorithmSpec(id="wave/reduced-v1", factory=f"{HERE}.mutants:Reduced", summary="reduces")
        with pytest.raises(ConformanceError, match=r"wave/reduced-v1 fails 1 check of (?s:.*)shape\.value"):
            check_plugin([SPEC, faulty])
        found = check_plugin([SPEC, faulty], expected_failures={faulty.id: {"shape.value": "on purpose"}})
        assert found.ok

    def test_a_specification_without_a_summary(self):
        bare = AlgorithmSpec(id="wave/bare-v1", factory=f"{HERE}.sound:Sound")
        assert check_plugin([bare], raise_on_failure=False).reports[0].failed == ("docs.listed",)

    @pytest.mark.parametrize("factory", ["no_such_module:Wave", f"{HERE}.sound:Wives", f"{HERE}.sound:Required"])
    def test_what_cannot_be_made_is_a_failure_and_stops_no_other(self, factory):
        broken = AlgorithmSpec(id="wave/broken-v1", factory=factory, summary="is not there")
        found = check_plugin([broken, SPEC], raise_on_failure=False)
        assert [one.failed for one in found.reports] == [("plugin.makes",), ()]

    def test_what_is_no_plugin_is_refused(self):
        with pytest.raises(ConfigError, match="has no function nlcore_algorithms"):
            check_plugin(types.ModuleType("empty"))
        with pytest.raises(ConfigError, match="'wave/wane' is not an algorithm of the plugin, which has wave/wave-v1"):
            check_plugin([SPEC], expected_failures={"wave/wane": {}})


class TestPytest:
    TEST = """
    import nlcore
    from nlcore.builtin.losses import SquaredError
    from nlcore.testing import parametrize_with_checks

    class Reduced(SquaredError):
        def __call__(self, prediction, target, *, generator=None):
            return super().__call__(prediction, target).mean()

    @parametrize_with_checks([{algorithm}], expected_failures={expected})
    def test_conforms(check):
        check()
    """

    def run(self, pytester, algorithm, expected):
        pytester.makepyfile(textwrap.dedent(self.TEST).format(algorithm=algorithm, expected=expected))
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-v")

    def test_a_sound_loss(self, pytester):
        done = self.run(pytester, "SquaredError()", {})
        outcomes = done.parseoutcomes()
        assert outcomes["passed"] >= 40
        assert not {"failed", "errors", "skipped"} & set(outcomes)
        done.stdout.fnmatch_lines(["*test_conforms?SquaredError-shape.value? PASSED*"])

    def test_a_fault_fails_once_and_what_builds_on_it_is_skipped(self, pytester):
        outcomes = self.run(pytester, "Reduced()", {}).parseoutcomes()
        assert outcomes["failed"] == 1
        assert outcomes["skipped"] >= 30

    def test_an_announced_failure_is_an_xfail(self, pytester):
        outcomes = self.run(pytester, "Reduced()", {"shape.value": "on purpose"}).parseoutcomes()
        assert outcomes["xfailed"] == 1
        assert "failed" not in outcomes

    def test_an_announced_failure_that_passes_is_a_failure(self, pytester):
        done = self.run(pytester, "SquaredError()", "lambda algorithm: {'shape.value': 'once'}")
        assert done.parseoutcomes()["failed"] == 1
        done.stdout.fnmatch_lines(["*XPASS(strict)*once*"])


def test_the_kit_needs_no_pytest_and_no_registry():
    code = (
        "import sys, nlcore.testing as t; from nlcore.builtin.losses import SquaredError\n"
        "t.check_algorithm(SquaredError()); print([n for n in sys.modules if n == 'pytest'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""Which plugins may load: states decided from metadata, and the environment variables."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest

from nlcore.errors import (
    PluginConflictError,
    PluginDisabledError,
    PluginIncompatibleError,
    PluginLoadError,
    PluginLoadWarning,
    UnknownNamespaceError,
)
from nlcore.registry import AlgorithmSpec, Registry
from nlcore.registry.discovery import RESERVED
from nlcore.registry.hooks import GROUP


def states(registry):
    return {(record.namespace, record.distribution): str(record.state) for record in registry.plugins()}


def error_of(registry, distribution):
    (record,) = [record for record in registry.plugins() if record.distribution == distribution]
    return record.error


def test_a_reserved_namespace_goes_to_its_owner_alone(shelf, registry_of):
    shelf.good("sorting", distribution="Impostor")
    shelf.good("sorting", distribution="nlcore_sorting")
    registry = registry_of()
    assert states(registry) == {("sorting", "Impostor"): "conflict", ("sorting", "nlcore_sorting"): "loaded"}
    assert error_of(registry, "Impostor").startswith("the namespace 'sorting' is reserved for nlcore-sorting")
    assert registry.plugin("sorting").distribution == "nlcore_sorting"
    assert type(registry.make("sorting/blur")).__name__ == "Blur"


def test_an_impostor_gets_nothing_where_the_owner_is_missing_and_is_named(shelf, registry_of):
    module = shelf.good("bench", distribution="impostor")
    with pytest.raises(UnknownNamespaceError, match=r"pip install plugins/bench .*\. What impostor 1\.0 offers"):
        registry_of().make("bench/blur")
    assert module not in sys.modules


@pytest.mark.parametrize("namespace", sorted(RESERVED))
def test_every_first_party_namespace_is_reserved(shelf, registry_of, namespace):
    shelf.good(namespace, distribution="impostor")
    assert states(registry_of()) == {(namespace, "impostor"): "conflict"}


def test_the_namespace_for_register_is_no_distributions(shelf, registry_of):
    shelf.good("local", distribution="impostor")
    registry = registry_of()
    assert states(registry) == {("local", "impostor"): "conflict"}
    registry.register(AlgorithmSpec(id="local/a-v1", factory="a:b"))
    assert registry.names("local") == ["local/a-v1"]


def test_a_namespace_that_this_process_has_taken_stays_with_it(shelf, registry_of):
    registry = registry_of()
    registry.register(AlgorithmSpec(id="mine/a-v1", factory="a:b"))
    shelf.good("mine", distribution="late")
    registry.refresh()
    assert states(registry) == {("mine", ""): "loaded", ("mine", "late"): "conflict"}
    assert error_of(registry, "late") == "this process has registered algorithms of its own as 'mine'"
    assert registry.names("mine") == ["mine/a-v1"]


@pytest.mark.parametrize("reverse", [False, True])
def test_two_strangers_with_one_namespace_are_both_withheld_and_named(shelf, registry_of, reverse):
    names = ["alpha", "beta"]
    for name in reversed(names) if reverse else names:
        shelf.good("x", distribution=name)
    shelf.good("y")
    registry = registry_of()
    assert states(registry) == {
        ("x", "alpha"): "conflict",
        ("x", "beta"): "conflict",
        ("y", "nlcore-x-y"): "loaded",
    }
    for name in names:
        assert "claimed by alpha 1.0, beta 1.0" in error_of(registry, name)
    with pytest.raises(PluginConflictError, match=r"'x' is claimed by alpha 1.0, beta 1.0"):
        registry.make("x/blur")


def test_switching_one_stranger_off_settles_the_conflict(shelf, registry_of):
    for name in ("alpha", "beta"):
        shelf.good("x", distribution=name)
    registry = registry_of(NLCORE_BLOCK_PLUGINS="beta")
    assert states(registry) == {("x", "alpha"): "loaded", ("x", "beta"): "disabled"}


def test_an_incompatible_stranger_claims_nothing(shelf, registry_of):
    shelf.good("x", distribution="alpha")
    shelf.good("x", distribution="beta", group="nlcore.plugins.v2")
    assert states(registry_of()) == {("x", "alpha"): "loaded", ("x", "beta"): "incompatible"}


def test_one_distribution_seen_twice_is_no_conflict(shelf, registry_of):
    here = shelf.good("x", distribution="My_Plugin")
    (entry_point,) = shelf.entry_points
    shelf.announce("x", entry_point.value, distribution="my-plugin", version="0.9")
    registry = registry_of()
    assert [record.distribution for record in registry.plugins()] == ["My_Plugin"]
    assert registry.spec("x/blur").factory == f"{here}:Blur"


def test_two_namespaces_of_one_distribution_are_two_plugins(shelf, registry_of):
    shelf.good("x", distribution="both")
    shelf.add("y", "raise RuntimeError('y only')", distribution="both")
    assert states(registry_of()) == {("x", "both"): "loaded", ("y", "both"): "failed"}


def test_entry_points_without_a_distribution_are_told_apart(shelf, registry_of):
    shelf.good("x")
    value = shelf.entry_points[0].value
    shelf.entry_points = [metadata.EntryPoint("x", value, GROUP), metadata.EntryPoint("x", "other", GROUP)]
    assert [str(record.state) for record in registry_of().plugins()] == ["conflict", "conflict"]


@pytest.mark.parametrize("group", ["nlcore.plugins.v2", "nlcore.plugins.v0", "nlcore.plugins", "nlcore.plugins.v11"])
def test_another_plugin_interface_is_incompatible_and_says_so(shelf, registry_of, group):
    module = shelf.add("x", "raise RuntimeError('must not be imported')", group=group)
    registry = registry_of()
    assert states(registry) == {("x", "nlcore-x-x"): "incompatible"}
    with pytest.raises(
        PluginIncompatibleError, match=rf"registers in '{group}', but nlcore .* reads 'nlcore.plugins.v1'"
    ):
        registry.names("x")
    assert module not in sys.modules


def test_a_distribution_that_serves_two_interfaces_is_used_through_ours(shelf, registry_of):
    shelf.good("x", distribution="both", group="nlcore.plugins.v2")
    here = shelf.good("x", distribution="both")
    registry = registry_of()
    assert [record.state for record in registry.plugins()] == ["loaded"]
    assert registry.spec("x/blur").factory == f"{here}:Blur"


def test_a_requirement_on_another_core_is_incompatible(shelf, registry_of):
    shelf.good("x", requires=("torch", "nlcore>=99"))
    shelf.good("y", requires=("nlcore>=0.0.1",))
    registry = registry_of()
    assert states(registry) == {("x", "nlcore-x-x"): "incompatible", ("y", "nlcore-x-y"): "loaded"}
    with pytest.raises(PluginIncompatibleError, match=r"it requires 'nlcore>=99', but nlcore is"):
        registry.make("x/blur")


@pytest.mark.parametrize("namespace", ["My", "my-plugin", "a.b", "a/b", "_a", "2d"])
def test_an_entry_point_whose_name_is_no_namespace_fails(shelf, registry_of, namespace):
    shelf.good("y")
    shelf.entry_points.append(metadata.EntryPoint(namespace, "whatever", GROUP))
    registry = registry_of()
    assert states(registry) == {(namespace, ""): "failed", ("y", "nlcore-x-y"): "loaded"}
    assert f"{namespace!r} is not a namespace" in error_of(registry, "")


@pytest.mark.parametrize("value", ["", "not a module", "a:b:c"])
def test_an_entry_point_whose_value_is_no_module_fails(shelf, registry_of, value):
    shelf.entry_points.append(metadata.EntryPoint("x", value, GROUP))
    assert "is not a module" in error_of(registry_of(), "")


def test_other_groups_are_no_business_of_ours(shelf, registry_of):
    shelf.add("x", "", group="pytest11")
    assert registry_of().plugins() == ()


class TestEnvironment:
    @pytest.fixture
    def three(self, shelf):
        for namespace in ("x", "y_z", "broken"):
            shelf.good(namespace, distribution=f"dist-{namespace}")
        shelf.good("core", distribution="nlcore")
        return shelf

    @pytest.mark.parametrize(
        ("environ", "loaded"),
        [
            ({}, {"x", "y_z", "broken", "core"}),
            ({"NLCORE_PLUGINS": "x"}, {"x", "core"}),
            ({"NLCORE_PLUGINS": " x , Dist_Y.Z,nonsense"}, {"x", "y_z", "core"}),
            ({"NLCORE_PLUGINS": ""}, {"core"}),
            ({"NLCORE_BLOCK_PLUGINS": "x,y_z"}, {"broken", "core"}),
            ({"NLCORE_BLOCK_PLUGINS": ""}, {"x", "y_z", "broken", "core"}),
            ({"NLCORE_BLOCK_PLUGINS": "core,dist-x"}, {"y_z", "broken"}),
            ({"NLCORE_PLUGINS": "x,y_z", "NLCORE_BLOCK_PLUGINS": "x"}, {"y_z", "core"}),
        ],
    )
    def test_which_plugins_may_load(self, three, registry_of, environ, loaded):
        found = states(registry_of(**environ))
        assert {namespace for (namespace, _), state in found.items() if state == "loaded"} == loaded
        assert {state for (namespace, _), state in found.items() if namespace not in loaded} <= {"disabled"}

    def test_a_switched_off_plugin_says_by_what_and_is_not_imported(self, three, registry_of):
        with pytest.raises(PluginDisabledError, match=r"'x' of dist-x 1.0 is switched off by NLCORE_BLOCK_PLUGINS"):
            registry_of(NLCORE_BLOCK_PLUGINS="x").make("x/blur")
        with pytest.raises(PluginDisabledError, match=r"switched off, since NLCORE_PLUGINS does not name it"):
            registry_of(NLCORE_PLUGINS="y_z").make("x/blur")
        assert not [name for name in three.modules if name in sys.modules]

    def test_a_switched_off_plugin_is_no_fault(self, three, registry_of):
        assert registry_of(NLCORE_PLUGINS="x", NLCORE_STRICT_PLUGINS="1").names() == ["core/blur-v1", "x/blur-v1"]

    def test_the_environment_of_the_process_is_read_when_it_is_needed(self, three, monkeypatch):
        registry = Registry(entry_points=three.entry_points)
        monkeypatch.setenv("NLCORE_BLOCK_PLUGINS", "x")
        with pytest.raises(PluginDisabledError):
            registry.make("x/blur")


class TestStrict:
    @pytest.mark.parametrize("value", ["1", "true", "yes"])
    def test_a_failure_of_any_plugin_raises_at_once(self, shelf, registry_of, value):
        shelf.good("a")
        shelf.add("x", "raise RuntimeError('boom')")
        registry = registry_of(NLCORE_STRICT_PLUGINS=value)
        with pytest.raises(PluginLoadError, match=r"boom"):
            registry.names()
        with pytest.raises(PluginLoadError, match=r"boom"):
            registry.make("a/blur")

    def test_a_conflict_elsewhere_raises_at_once(self, shelf, registry_of):
        shelf.good("a")
        shelf.good("x", distribution="alpha")
        shelf.good("x", distribution="beta")
        with pytest.raises(PluginConflictError, match=r"alpha 1.0, beta 1.0"):
            registry_of(NLCORE_STRICT_PLUGINS="1").make("a/blur")

    @pytest.mark.parametrize("value", ["0", "", "false", "off", "No"])
    def test_switched_off_it_is_not_strict(self, shelf, registry_of, value):
        shelf.good("a")
        shelf.add("x", "raise RuntimeError('boom')")
        with pytest.warns(PluginLoadWarning, match=r"boom"):
            assert registry_of(NLCORE_STRICT_PLUGINS=value).names() == ["a/blur-v1"]

    def test_even_then_the_list_of_plugins_does_not_raise(self, shelf, registry_of):
        shelf.add("x", "raise RuntimeError('boom')")
        assert states(registry_of(NLCORE_STRICT_PLUGINS="1")) == {("x", "nlcore-x-x"): "failed"}


class TestTrace:
    def test_it_tells_what_is_loaded_and_in_how_long(self, shelf, registry_of, capsys):
        shelf.good("a")
        shelf.add("b", "raise RuntimeError('boom')")
        shelf.good("c")
        registry_of(NLCORE_TRACE_PLUGINS="1", NLCORE_BLOCK_PLUGINS="c").plugins()
        out, err = capsys.readouterr()
        assert out == ""
        assert "nlcore: plugin c (nlcore-x-c 1.0): disabled" in err
        assert "nlcore: plugin a (nlcore-x-a 1.0): loaded, 1 algorithm in " in err
        assert " ms" in err
        assert "nlcore: plugin b (nlcore-x-b 1.0): failed after" in err
        assert "Traceback" in err
        assert "RuntimeError: boom" in err

    def test_without_it_nothing_is_printed(self, shelf, registry_of, capsys):
        shelf.good("a")
        shelf.add("b", "raise RuntimeError('boom')")
        registry_of().plugins()
        assert capsys.readouterr() == ("", "")

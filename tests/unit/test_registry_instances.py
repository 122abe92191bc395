"""Records of runs: dump and restore."""

from __future__ import annotations

import copy
import gc
import json
import sys

import pytest

from nlcore.errors import ConfigError, ContractError, NumericalWarning, OutdatedVersionWarning, RegistryError
from nlcore.registry import AlgorithmSpec
from nlcore.registry.discovery import core_version

OPTIONS = {"width": 2.5, "sizes": [3, 7, 9]}


def through_json(record):
    return json.loads(json.dumps(record))


@pytest.fixture
def shelf_with_blur(shelf):
    shelf.here = shelf.good("x", distribution="blur-maker", version="2.1")
    return shelf


@pytest.fixture
def registry(shelf_with_blur, registry_of):
    return registry_of()


def test_a_record_holds_id_options_and_versions(registry):
    record = registry.dump(registry.make("x/blur", **OPTIONS))
    assert record == {
        "id": "x/blur-v1",
        "options": OPTIONS,
        "versions": {"nlcore": core_version(), "blur-maker": "2.1"},
    }


@pytest.mark.parametrize("options", [{}, OPTIONS, {"width": 0.1}, {"width": 1e-300}, {"sizes": []}])
def test_what_comes_back_from_json_is_configured_equally(registry, options):
    made = registry.make("x/blur", **options)
    again = registry.restore(through_json(registry.dump(made)))
    assert type(again) is type(made)
    assert vars(again) == vars(made)
    assert registry.dump(again) == registry.dump(made)


def test_an_object_of_the_constructor_is_recorded_as_well(registry, shelf_with_blur):
    made = registry.make("x/blur", **OPTIONS)
    built = type(made)(width=2.5, sizes=(3, 7, 9))
    assert registry.dump(built) == registry.dump(made)


def test_a_copy_is_recorded_as_well(registry):
    made = registry.make("x/blur", **OPTIONS)
    assert registry.dump(copy.copy(made)) == registry.dump(made)


def test_an_attribute_that_changed_is_recorded_as_it_is_now(registry):
    made = registry.make("x/blur", width=1.0)
    made.width = 0.5
    assert registry.dump(made)["options"]["width"] == 0.5


def test_a_class_that_its_package_offers_lazily_is_recognised(shelf, registry_of):
    home = shelf.module("class Loss:\n    traits = None\n    def __call__(self, prediction, target): return prediction")
    front = shelf.module(
        f"""
        def __getattr__(name):
            if name == "Loss":
                import {home}
                return {home}.Loss
            raise AttributeError(name)
        """
    )
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/loss-v1", factory=f"{front}:Loss"))
    __import__(front)
    assert registry.dump(__import__(home).Loss())["id"] == "local/loss-v1"


def test_to_recognise_an_object_nothing_is_imported(shelf, registry_of):
    other = shelf.module("raise RuntimeError('must not be imported')")
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/other-v1", factory=f"{other}:Loss"))
    with pytest.raises(RegistryError, match=r"no registered algorithm has the factory '.*:Loss'"):
        registry.dump(type("Loss", (), {})())
    assert other not in sys.modules


class TestConstructorAndConfiguration:
    @pytest.fixture
    def made(self, shelf, registry_of):
        """Return a function that registers a loss with a constructor, and makes it."""

        def make(constructor, body="self.width = 0.0", **options):
            source = f"""
                from nlcore.config import AlgorithmConfig
                class BlurConfig(AlgorithmConfig):
                    width: float = 1.0
                class Blur:
                    traits = None
                    def __init__(self, {constructor}): {body}
                    def __call__(self, prediction, target): return prediction
                """
            here = shelf.module(source)
            registry = registry_of()
            registry.register(AlgorithmSpec(id="local/blur-v1", factory=f"{here}:Blur", config=f"{here}:BlurConfig"))
            return registry.make("local/blur", **options), registry

        return make

    @pytest.mark.parametrize(
        ("constructor", "message"),
        [
            (
                "*, widht=1.0",
                r"the constructor of Blur does not take 'width', an option of BlurConfig \(did you mean 'widht'\?\); "
                r"it takes widht\. Give option and keyword the same name\.",
            ),
            (
                "",
                r"does not take 'width', .*; it takes none\. Add it to the constructor of Blur, or remove it from Blur",
            ),
            ("*, width=1.0, sharpness", r"the constructor of Blur needs sharpness, which BlurConfig does not have"),
        ],
    )
    def test_other_names_are_told_with_both_sides(self, made, constructor, message):
        with pytest.raises(ContractError, match=f"local/blur-v1.*: .*{message}") as caught:
            made(constructor)
        assert isinstance(caught.value.__cause__, TypeError)

    def test_a_type_error_from_within_stays_what_it_is(self, made):
        with pytest.raises(TypeError, match="unsupported operand"):
            made("*, width=1.0", body="width + 'x'")

    def test_other_defaults_are_a_warning_once(self, made):
        message = r"the option 'width' is 2\.0 in the constructor of Blur and 1\.0 in BlurConfig\. Make them equal"
        with pytest.warns(NumericalWarning, match=message) as seen:
            _, registry = made("*, width=2.0", width=3.0)
            registry.make("local/blur")
        assert len(seen) == 1

    @pytest.mark.parametrize("constructor", ["*, width=1", "*, width", "**options", "width=1.0, hook=None"])
    def test_constructors_that_fit(self, made, constructor):
        made(constructor)


class TestFactoryFunctions:
    @pytest.fixture
    def registry(self, shelf, registry_of):
        here = shelf.module(
            """
            from nlcore.config import AlgorithmConfig
            class C(AlgorithmConfig):
                width: float = 1.0
            class Loss:
                traits = None
                def __call__(self, prediction, target): return prediction
            def narrow(*, width): return Loss()
            def wide(*, width): return Loss()
            """
        )
        registry = registry_of()
        for name in ("narrow", "wide"):
            registry.register(AlgorithmSpec(id=f"local/{name}-v1", factory=f"{here}:{name}", config=f"{here}:C"))
        return registry

    def test_what_make_made_is_remembered_with_its_options(self, registry):
        narrow, wide = registry.make("local/narrow", width=0.5), registry.make("local/wide", width=5.0)
        assert registry.dump(wide) == {
            "id": "local/wide-v1",
            "options": {"width": 5.0},
            "versions": {"nlcore": core_version()},
        }
        assert registry.dump(narrow)["id"] == "local/narrow-v1"

    def test_what_is_gone_is_forgotten(self, registry):
        kept = registry.make("local/narrow")
        for _ in range(20):
            registry.make("local/wide")
        gc.collect()
        assert len(registry._instances._made) == 1
        assert registry.dump(kept)["id"] == "local/narrow-v1"

    def test_an_object_that_make_did_not_make_is_refused(self, registry):
        with pytest.raises(RegistryError, match=r"no registered algorithm has the factory"):
            registry.dump(type(registry.make("local/narrow"))())


class TestRefusals:
    def test_an_object_of_no_algorithm(self, registry):
        with pytest.raises(RegistryError, match=r"cannot dump 3 \(int\): no registered algorithm.*'builtins:int'"):
            registry.dump(3)

    def test_a_subclass_of_a_factory_is_another_class(self, registry):
        blur = type(registry.make("x/blur"))
        with pytest.raises(RegistryError, match=r"no registered algorithm"):
            registry.dump(type("Blur", (blur,), {})())

    def test_an_option_that_json_cannot_hold(self, registry):
        blur = type(registry.make("x/blur"))
        with pytest.raises(ConfigError, match=r"as x/blur-v1: its option 'width' is <built-in function abs>"):
            registry.dump(blur(width=abs))

    def test_an_option_that_the_configuration_refuses(self, registry):
        blur = type(registry.make("x/blur"))
        with pytest.raises(ConfigError, match=r"option 'width' was given -1.0"):
            registry.dump(blur(width=-1.0))

    def test_an_option_that_has_no_attribute(self, registry):
        made = type(registry.make("x/blur"))()
        del made.width
        with pytest.raises(ConfigError, match=r"it has no attribute 'width'"):
            registry.dump(made)

    def test_a_class_that_serves_two_algorithms(self, shelf, registry_of):
        shelf.good("x", (("a-v1", "Plain", None, None), ("b-v1", "Plain", None, None)))
        registry = registry_of()
        made = registry.make("x/a")  # without a weak reference, as slots have none
        with pytest.raises(RegistryError, match=r"is the factory of x/a, x/b, and the object does not say"):
            registry.dump(made)

    def test_of_several_versions_of_one_class_the_newest(self, shelf, registry_of):
        shelf.good("x", (("a-v2", "Plain", None, None), ("a-v10", "Plain", None, None)))
        registry = registry_of()
        assert registry.dump(registry.make("x/a"))["id"] == "x/a-v10"


class TestRestore:
    @pytest.mark.parametrize(
        "record",
        [
            None,
            "x/blur-v1",
            [],
            {},
            {"id": "x/blur"},
            {"id": 3},
            {"id": "x/blur-v1", "options": None},
            {"id": "x/blur-v1", "options": {}, "versions": []},
        ],
    )
    def test_what_is_no_record_is_refused(self, registry, record):
        with pytest.raises(RegistryError, match=r"is not a record of an algorithm\. nlcore\.dump writes them"):
            registry.restore(record)

    @pytest.mark.parametrize(
        ("versions", "message"),
        [
            ({"blur-maker": "2.0"}, r"recorded with blur-maker 2\.0 \(here 2\.1\)"),
            ({"nlcore": "0.0.7"}, rf"recorded with nlcore 0\.0\.7 \(here {core_version()}\)"),
            ({"gone": "1.0", "blur-maker": "2.1"}, r"recorded with gone 1\.0 \(here none\); its numbers"),
        ],
    )
    def test_other_versions_are_warned_of(self, registry, versions, message):
        with pytest.warns(NumericalWarning, match=message) as caught:
            made = registry.restore({"id": "x/blur-v1", "options": {"width": 3.0}, "versions": versions})
        assert caught[0].filename == __file__
        assert made.width == 3.0

    def test_an_older_algorithm_is_what_the_record_asks_for(self, shelf, registry_of):
        shelf.good("x", (("a-v1", "Plain", None, None), ("a-v2", "Plain", None, None)))
        assert registry_of().restore({"id": "x/a-v1"}) is not None

    def test_a_deprecated_algorithm_is_warned_of(self, shelf, registry_of):
        shelf.good("x", (("a-v1", "Plain", None, "biased"),))
        with pytest.warns(OutdatedVersionWarning, match=r"deprecated: biased"):
            registry_of().restore({"id": "x/a-v1"})

    def test_an_option_that_is_gone_is_named(self, registry):
        with pytest.raises(ConfigError, match=r"unknown option 'height'"):
            registry.restore({"id": "x/blur-v1", "options": {"height": 3.0}})

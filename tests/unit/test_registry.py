"""Looking algorithms up, making them, and what the errors say."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nlcore.errors import (
    ConfigError,
    ContractError,
    DuplicateAlgorithmError,
    OutdatedVersionWarning,
    PluginError,
    PluginLoadError,
    RegistryError,
    UnknownAlgorithmError,
    UnknownNamespaceError,
    UnknownVersionError,
)
from nlcore.registry import AlgorithmSpec, Registry
from nlcore.registry.discovery import RESERVED
from nlcore.registry.messages import install_hint

FAMILY = (
    ("blur-v1", "Blur", "BlurConfig", None),
    ("blur-v2", "Blur", "BlurConfig", None),
    ("blur-v10", "Blur", "BlurConfig", None),
    ("median-v1", "Plain", None, "it is biased; use x/blur"),
)


@pytest.fixture
def registry(shelf, registry_of):
    shelf.good("x", FAMILY)
    return registry_of()


def test_make_takes_the_newest_version_and_its_defaults(registry, shelf):
    blur = registry.make("x/blur")
    assert type(blur).__name__ == "Blur"
    assert (blur.width, blur.sizes) == (1.0, (3, 5))
    assert registry.spec("x/blur").id == "x/blur-v10"


def test_make_passes_the_options_as_the_configuration_reads_them(registry):
    blur = registry.make("x/blur", width=2, sizes=[7])
    assert (blur.width, blur.sizes) == (2.0, (7,))
    assert isinstance(blur.width, float)


def test_ids_are_sorted_by_number_and_not_by_digit(registry):
    assert registry.names() == ["x/blur-v1", "x/blur-v2", "x/blur-v10", "x/median-v1"]
    assert registry.names("x") == registry.names()


def test_an_older_version_is_made_with_a_warning_that_names_the_newest(registry):
    with pytest.warns(OutdatedVersionWarning, match=r"x/blur-v2 is outdated: x/blur-v10") as caught:
        registry.make("x/blur-v2")
    assert caught[0].filename == __file__


def test_a_deprecated_algorithm_warns_with_its_reason_even_as_the_newest(registry):
    with pytest.warns(OutdatedVersionWarning, match=r"x/median-v1 is deprecated: it is biased; use x/blur"):
        registry.make("x/median")


def test_reading_a_specification_warns_of_nothing(registry):
    assert registry.spec("x/median").deprecated
    assert registry.spec("x/blur-v1").version == 1


def test_an_unknown_version_says_which_there_are(registry):
    with pytest.raises(UnknownVersionError, match=r"no version 7\. There are: x/blur-v1, x/blur-v2, x/blur-v10"):
        registry.make("x/blur-v7")


def test_an_unknown_algorithm_names_those_that_are_near(registry):
    with pytest.raises(UnknownAlgorithmError, match=r"Did you mean 'x/blur'\? There are: x/blur, x/median"):
        registry.make("x/blurr")


def test_an_unknown_namespace_names_the_near_one_and_what_there_is(shelf, registry_of):
    shelf.good("filters")
    with pytest.raises(UnknownNamespaceError, match=r"'filter' \(did you mean 'filters'\?\)\. There are: filters"):
        registry_of().make("filter/blur")


@pytest.mark.parametrize(
    ("namespace", "distribution"), [("sorting", "nlcore-sorting"), ("shortest_paths", "nlcore-shortest-paths")]
)
def test_a_first_party_namespace_that_is_missing_says_what_to_install(registry, namespace, distribution):
    hint = rf"Run: pip install plugins/{namespace} in a clone of nlcore, or pip install {distribution} once published"
    for ask in (registry.make, registry.spec, lambda id: registry.names(id.partition("/")[0])):
        with pytest.raises(UnknownNamespaceError, match=hint):
            ask(f"{namespace}/anything")


@pytest.mark.parametrize(
    ("requirement", "hint"),
    [
        ("torch", "pip install torch"),
        ("torch>=2.4", "pip install 'torch>=2.4'"),
        (
            "nlcore<1,>=0.2",
            "pip install . in a clone of nlcore, or pip install 'nlcore<1,>=0.2' once published",
        ),
        (
            "nlcore-bench",
            "pip install plugins/bench in a clone of nlcore, or pip install nlcore-bench once published",
        ),
        ("nlcore-echo", "pip install nlcore-echo"),
    ],
)
def test_the_hint_names_the_folder_of_nlcores_own_packages(requirement, hint):
    assert install_hint(requirement) == hint


def test_the_folders_in_the_hints_exist():
    for distribution in RESERVED.values():
        folder = Path(__file__).parents[2] / install_hint(distribution).split()[2]
        assert f'name = "{distribution}"' in (folder / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nothing",
        "x/",
        "/blur",
        "x/blur-v0",
        "x/blur-v01",
        "x/blur-v",
        "X/blur",
        "x/Blur",
        "x/my blur",
        "x/y/z",
        "x/blur\n",
    ],
)
def test_a_malformed_id_shows_the_form(registry, given):
    with pytest.raises(RegistryError, match=r"is not an id\..*Write namespace/name or namespace/name-vN"):
        registry.make(given)


def test_a_namespace_is_no_id_and_shows_what_it_has(registry):
    with pytest.raises(RegistryError, match=r"'x' is a namespace, not an id\. It has: x/blur-v1"):
        registry.make("x")


@pytest.mark.parametrize("given", [None, 3, b"x/blur", ["x/blur"], object])
def test_what_is_no_string_is_no_id(registry, given):
    with pytest.raises(RegistryError, match=r"an id is a string, not"):
        registry.make(given)


@pytest.mark.parametrize("given", ["blur", "Blur", "x/Blur-v1", "blur-v2", "X/BLUR", "blurr"])
def test_a_malformed_id_suggests_full_ids(registry, given):
    with pytest.raises(RegistryError, match=r"Did you mean 'x/blur'\?"):
        registry.make(given)


def test_a_bare_name_that_two_plugins_have_suggests_both(registry, shelf):
    shelf.good("y")
    with pytest.raises(RegistryError, match=r"Did you mean 'x/blur' or 'y/blur'"):
        registry.make("blur")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": 2.0}, r"unknown option 'widht' .*did you mean 'width'.*Options: width=1\.0, sizes=\(3, 5\)"),
        ({"width": "2"}, "option 'width' was given '2'"),
        ({"width": 0.0}, "option 'width' was given 0.0: input should be greater than 0"),
        ({"width": float("nan")}, "option 'width' was given nan"),
        ({"width": True}, "option 'width' was given True"),
        ({"width": print}, r"make takes JSON values only.*from \w+ import Blur; Blur\(width=…\)"),
        ({"sizes": [1, {2}]}, "make takes JSON values only"),
        ({"sizes": {1: 2}}, "make takes JSON values only"),
    ],
)
def test_a_bad_option_is_named(registry, options, message):
    with pytest.raises(ConfigError, match=message):
        registry.make("x/blur", **options)


def test_a_tensor_is_no_option(registry):
    torch = pytest.importorskip("torch")
    with pytest.raises(
        ConfigError, match=r"option 'width' was given a value of type Tensor. make takes JSON values only"
    ):
        registry.make("x/blur", width=torch.ones(2, 2))


def test_options_for_an_algorithm_without_any(registry):
    with pytest.raises(ConfigError, match=r"x/median-v1 has no options, but was given width"), pytest.warns():
        registry.make("x/median", width=1.0)


def test_an_option_may_be_called_id(shelf, registry_of):
    here = shelf.module(
        """
        from nlcore.config import AlgorithmConfig
        class C(AlgorithmConfig):
            id: int = 1
        class A:
            traits = None
            def __init__(self, *, id): self.id = id
            def __call__(self, prediction, target): return prediction
        """
    )
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/a-v1", factory=f"{here}:A", config=f"{here}:C"))
    assert registry.make("local/a", id=5).id == 5


@pytest.mark.parametrize(
    ("factory", "cause", "message"),
    [
        ("nlcore_nowhere:Blur", ModuleNotFoundError, "No module named 'nlcore_nowhere'"),
        ("json:Blur", AttributeError, "has no attribute 'Blur'"),
        ("{broken}:Blur", ModuleNotFoundError, "No module named 'nlcore_missing_dependency'"),
        ("{exits}:Blur", SystemExit, "SystemExit"),
        ("{panics}:Blur", GeneratorExit, "GeneratorExit: boom"),
        ("{mute}:Blur", Exception, "its text cannot be read"),
    ],
)
def test_a_factory_that_cannot_be_found_names_id_and_distribution(shelf, registry_of, factory, cause, message):
    broken, exits = shelf.module("import nlcore_missing_dependency"), shelf.module("raise SystemExit(3)")
    panics = shelf.module("raise GeneratorExit('boom')")
    mute = shelf.module("class Mute(Exception):\n    def __str__(self): raise SystemExit\nraise Mute")
    reference = factory.format(broken=broken, exits=exits, panics=panics, mute=mute)
    shelf.add(
        "x",
        f"""
        from nlcore.plugin import AlgorithmSpec, hookimpl
        @hookimpl
        def nlcore_algorithms():
            return [AlgorithmSpec(id="x/blur-v1", factory={reference!r})]
        """,
        distribution="blur-maker",
        version="2.1",
    )
    with pytest.raises(PluginLoadError, match=rf"x/blur-v1 of blur-maker 2.1.*{message}") as caught:
        registry_of().make("x/blur")
    assert isinstance(caught.value.__cause__, cause)


def test_a_factory_that_cannot_be_called(registry_of):
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/pi-v1", factory="math:pi"))
    with pytest.raises(PluginLoadError, match=r"'math:pi' is 3.14.*cannot be called"):
        registry.make("local/pi")


def test_a_configuration_that_is_none(registry_of):
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/a-v1", factory="math:sin", config="math:cos"))
    with pytest.raises(PluginLoadError, match=r"not a subclass of AlgorithmConfig"):
        registry.make("local/a")


def test_a_factory_that_returns_no_loss(registry_of):
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/a-v1", factory="builtins:dict"))
    with pytest.raises(ContractError, match=r"local/a-v1 of this process: 'builtins:dict' returned \{\}"):
        registry.make("local/a")


def test_an_error_of_the_factory_itself_is_not_dressed_up(shelf, registry_of):
    here = shelf.module("def refuse():\n    raise ZeroDivisionError('from within')")
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/a-v1", factory=f"{here}:refuse"))
    with pytest.raises(ZeroDivisionError, match=r"from within"):
        registry.make("local/a")


@pytest.mark.parametrize(
    "body",
    [
        "def A(): raise SystemExit(3)",
        "class A:\n    traits = property(lambda self: exit(3))\n    def __call__(self): pass",
    ],
)
def test_a_factory_cannot_end_the_program(shelf, registry_of, body):
    here = shelf.module(body)
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/a-v1", factory=f"{here}:A"))
    with pytest.raises(PluginError, match=rf"local/a-v1 of this process: '{here}:A' raised SystemExit: 3") as caught:
        registry.make("local/a")
    assert isinstance(caught.value.__cause__, SystemExit)


def test_a_configuration_cannot_end_the_program(shelf, registry_of):
    here = shelf.module(
        """
        from nlcore.config import AlgorithmConfig
        class C(AlgorithmConfig):
            def __init__(self, **options): raise SystemExit(3)
        class Meta(type):
            def __getattr__(cls, name): raise SystemExit
        class Odd(metaclass=Meta): pass
        """
    )
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/a-v1", factory="builtins:dict", config=f"{here}:C"))
    registry.register(AlgorithmSpec(id="local/b-v1", factory="builtins:dict", config=f"{here}:Odd"))
    with pytest.raises(PluginError, match=r"raised SystemExit: 3"):
        registry.make("local/a")
    with pytest.raises(PluginLoadError, match=r"not a subclass of AlgorithmConfig"):
        registry.make("local/b")


def test_a_value_without_an_end_is_no_option(registry):
    endless: list[object] = []
    endless.append(endless)
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    for value in (endless, deep):
        with pytest.raises(ConfigError, match=r"option 'sizes' was given .*make takes JSON values only"):
            registry.make("x/blur", sizes=value)


def test_a_version_has_at_most_nine_digits(registry):
    with pytest.raises(UnknownVersionError):
        registry.spec("x/blur-v999999999")
    with pytest.raises(RegistryError, match=r"is not an id"):
        registry.spec(f"x/blur-v{'9' * 5000}")


def test_a_package_that_fails_to_offer_a_class_does_not_stop_a_record_of_another(shelf, registry_of):
    lazy = shelf.module("def __getattr__(name):\n    raise ImportError(name)")
    here = shelf.module(
        "class A:\n    traits = None\n    __slots__ = ()\n    def __call__(self, prediction, target): pass"
    )
    __import__(lazy)
    registry = registry_of()
    registry.register(AlgorithmSpec(id="local/lazy-v1", factory=f"{lazy}:A"))
    registry.register(AlgorithmSpec(id="local/a-v1", factory=f"{here}:A"))
    assert registry.dump(registry.make("local/a"))["id"] == "local/a-v1"


class TestRegister:
    SPEC = AlgorithmSpec(id="local/blur-v1", factory="__main__:Blur")

    def test_the_same_again_changes_nothing(self, registry_of):
        registry = registry_of()
        registry.register(self.SPEC)
        registry.register(AlgorithmSpec(id="local/blur-v1", factory="__main__:Blur"))
        assert registry.names() == ["local/blur-v1"]

    def test_another_under_the_same_id_is_refused(self, registry_of):
        registry = registry_of()
        registry.register(self.SPEC)
        with pytest.raises(DuplicateAlgorithmError, match=r"'__main__:Blur'.*'local/blur-v2'"):
            registry.register(AlgorithmSpec(id="local/blur-v1", factory="__main__:Other"))
        assert registry.spec("local/blur").factory == "__main__:Blur"

    @pytest.mark.parametrize("namespace", ["sorting", "core", "x"])
    def test_a_namespace_of_a_distribution_is_refused(self, registry, namespace):
        with pytest.raises(RegistryError, match=rf"{namespace!r} belongs to nlcore-?\w*.*'local/new-v3'"):
            registry.register(AlgorithmSpec(id=f"{namespace}/new-v3", factory="a:b"))

    def test_a_namespace_of_a_switched_off_plugin_is_refused(self, shelf, registry_of):
        shelf.good("x")
        with pytest.raises(RegistryError, match=r"belongs to nlcore-x-x"):
            registry_of(NLCORE_BLOCK_PLUGINS="x").register(AlgorithmSpec(id="x/new-v1", factory="a:b"))

    def test_a_class_of_a_notebook_is_looked_up_at_each_make(self, registry_of, monkeypatch):
        registry = registry_of()
        registry.register(self.SPEC)
        main = SimpleNamespace()
        monkeypatch.setitem(sys.modules, "__main__", main)
        for _ in range(2):
            main.Blur = type("Blur", (), {"traits": None, "__call__": lambda self, prediction, target: prediction})
            assert type(registry.make("local/blur")) is main.Blur

    def test_it_shows_among_the_plugins_and_survives_a_refresh(self, registry_of):
        registry = registry_of()
        registry.register(self.SPEC)
        registry.refresh()
        (record,) = registry.plugins()
        assert (record.namespace, record.state, record.specs) == ("local", "loaded", (self.SPEC,))

    def test_only_a_specification_can_be_registered(self, registry_of):
        with pytest.raises(TypeError, match=r"takes an AlgorithmSpec, not 'local/blur-v1'"):
            registry_of().register("local/blur-v1")


@pytest.mark.parametrize(
    "id", ["blur", "x/blur", "x/Blur-v1", "x/blur-v0", "x/_blur-v1", "x/blur_-v1", "x/blur-v1 ", 3]
)
def test_a_specification_refuses_a_malformed_id(id):
    with pytest.raises(RegistryError, match=r"is not an id"):
        AlgorithmSpec(id=id, factory="a:b")


@pytest.mark.parametrize("reference", ["a", "a.b", "a:b:c", "a:b.c", ":b", "a:", print])
def test_a_specification_refuses_a_malformed_reference(reference):
    with pytest.raises(RegistryError, match=r"factory .* is not a reference"):
        AlgorithmSpec(id="x/a-v1", factory=reference)
    with pytest.raises(RegistryError, match=r"config .* is not a reference"):
        AlgorithmSpec(id="x/a-v1", factory="a:b", config=reference)


@pytest.mark.parametrize("field", ["summary", "reference", "since", "deprecated"])
@pytest.mark.parametrize("value", [3, b"text", ["text"], object()])
def test_a_specification_refuses_a_text_that_is_none(field, value):
    with pytest.raises(RegistryError, match=rf"x/a-v1: {field} is of type {type(value).__name__}. Write a string"):
        AlgorithmSpec(id="x/a-v1", factory="a:b", **{field: value})


def test_a_specification_takes_its_id_apart():
    spec = AlgorithmSpec(id="shortest_paths/spo_plus-v12", factory="a:b")
    assert (spec.namespace, spec.name, spec.version) == ("shortest_paths", "spo_plus", 12)


def test_two_registries_share_nothing():
    one, other = Registry(entry_points=[], environ={}), Registry(entry_points=[], environ={})
    one.register(AlgorithmSpec(id="local/a-v1", factory="a:b"))
    assert other.names() == []


def test_the_examples_in_the_documentation():
    from nlcore.registry import registry

    outcome = doctest.testmod(registry)
    assert outcome.attempted > 0
    assert outcome.failed == 0

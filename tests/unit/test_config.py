"""Configurations: what they accept, what they refuse, and what they say."""

from __future__ import annotations

import copy
import doctest
import pickle
from array import array
from dataclasses import dataclass
from typing import Literal

import pytest
from pydantic import Field, ValidationError, create_model, model_validator

import nlcore.config
from nlcore.config import AlgorithmConfig, Configured
from nlcore.errors import ConfigError, ContractError, NlcoreError


class BlurConfig(AlgorithmConfig):
    width: float = Field(1.0, gt=0, le=10)
    mode: Literal["same", "valid"] = "same"
    sizes: tuple[int, ...] = (3, 5)
    names: list[str] = Field(default_factory=lambda: ["a"])
    limit: int | None = None
    model_name: str = "x"


class NestedConfig(AlgorithmConfig):
    blur: BlurConfig = BlurConfig()
    repeats: int


class EmptyConfig(AlgorithmConfig):
    pass


class PairConfig(AlgorithmConfig):
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self):
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


@dataclass(frozen=True, repr=False)
class Blur(Configured):
    width: float = 1.0
    mode: str = "same"
    sizes: tuple[int, ...] = (3, 5)
    names: tuple[str, ...] = ("a",)
    limit: int | None = None
    model_name: str = "x"

    config = BlurConfig

    def __new__(cls, width=1.0, mode="same", **_options):
        return object.__new__(_Valid if mode == "valid" else cls)


class _Valid(Blur):
    """A private variant that has more capabilities."""


def test_values_have_the_types_of_the_fields():
    config = BlurConfig(width=2, sizes=[1, 2], mode="valid")
    assert (config.width, config.sizes, config.mode) == (2.0, (1, 2), "valid")
    assert isinstance(config.width, float)
    assert BlurConfig(sizes=(1, 2)) == BlurConfig(sizes=[1, 2])


def test_the_given_fields_are_known():
    assert BlurConfig(width=2.0).model_fields_set == {"width"}


def test_it_is_frozen_and_hashable():
    config = PairConfig()
    with pytest.raises(ValidationError, match=r"frozen"):
        config.low = 2.0
    assert hash(config) == hash(PairConfig())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"widht": 1.0},
            r"^Blur: unknown option 'widht' \(given 1\.0\) \(did you mean 'width'\?\)\. Options: width=1\.0",
        ),
        ({"qqqqqq": 1.0}, r"unknown option 'qqqqqq' \(given 1\.0\)\. Options"),
        ({"width": -1}, r"option 'width' was given -1: input should be greater than 0"),
        ({"width": "1"}, r"option 'width' was given '1'"),
        ({"width": True}, r"option 'width' was given True"),
        ({"width": None}, r"option 'width' was given None"),
        ({"width": float("nan")}, r"option 'width' was given nan"),
        ({"width": float("inf")}, r"option 'width' was given inf"),
        ({"limit": 1.0}, r"option 'limit"),
        ({"limit": True}, r"option 'limit"),
        ({"mode": "vald"}, r"option 'mode' was given 'vald' \(did you mean 'valid'\?\): input should be 'same' or"),
        ({"mode": "full"}, r"option 'mode' was given 'full': input should be 'same' or 'valid'"),
        ({"sizes": [1, "2"]}, r"option 'sizes\.1' was given '2'"),
        ({"sizes": 3}, r"option 'sizes' was given 3"),
        ({"width": 0, "mode": 1}, r"'width' was given 0.*; option 'mode' was given 1"),
        ({"width": print}, r"^Blur: <built-in function print> .*cannot be written as JSON"),
        ({"sizes": array("i", [1])}, r"cannot be written as JSON; for a list call \.tolist\(\) on it"),
        ({"width": 1j}, r"cannot be written as JSON; options are JSON values"),
        ({"sizes": {1, 2}}, r"cannot be written as JSON"),
    ],
)
def test_what_is_wrong_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        BlurConfig(**options)


def test_the_message_lists_defaults_that_are_made_and_options_that_have_none():
    with pytest.raises(ConfigError, match=r"names=\['a'\], limit=None"):
        BlurConfig(width=-1)
    with pytest.raises(ConfigError, match=r"^Nested: option 'repeats' is required\. Options: blur=.*, repeats\.$"):
        NestedConfig()


def test_many_options_are_listed_by_name_and_only_for_an_unknown_one():
    fields = {f"depth_{i}": (int, 0) for i in range(8)} | {"width": (float, Field(1.0, gt=0))}
    many = create_model("ManyConfig", __base__=AlgorithmConfig, **fields)
    with pytest.raises(ConfigError, match=r"'widht'.* Options, nearest first: width, (depth_\d, ){7}depth_\d\.$"):
        many(widht=2.0)
    with pytest.raises(ConfigError, match=r"^Many: option 'width' was given -1\.0: input should be greater than 0\.$"):
        many(width=-1.0)


def test_a_long_value_is_shortened():
    with pytest.raises(ConfigError) as caught:
        BlurConfig(width=[1] * 1000)
    assert len(str(caught.value)) < 500


def test_a_configuration_without_options_says_so():
    with pytest.raises(ConfigError, match=r"^Empty: unknown option 'a' \(given 1\)\. It has no options\.$"):
        EmptyConfig(a=1)


def test_an_item_that_is_wrong_is_told_alone():
    class Pairs(AlgorithmConfig):
        edges: tuple[tuple[int, int], ...] = Field(((0, 1),), min_length=1)

    with pytest.raises(ConfigError) as caught:
        Pairs(edges=[[0, 1.5]])
    assert str(caught.value).count("was given") == 1
    with pytest.raises(ConfigError, match=r"option 'edges' was given \[\]"):
        Pairs(edges=[])


def test_a_rule_over_several_options_is_told_as_it_is():
    with pytest.raises(ConfigError, match=r"^Pair: low must be below high\. Options"):
        PairConfig(low=2.0)


def test_a_configuration_within_another():
    inner = BlurConfig(width=3.0)
    assert NestedConfig(blur=inner, repeats=1) == NestedConfig(blur={"width": 3.0}, repeats=1)
    with pytest.raises(ConfigError, match=r"option 'blur' was given .*: option 'width' was given -3.*'x'\. Options"):
        NestedConfig(blur={"width": -3}, repeats=1)


def test_a_wrong_default_is_found_when_it_is_used():
    class WrongConfig(AlgorithmConfig):
        width: float = Field(-1.0, gt=0)

    with pytest.raises(ConfigError, match=r"'width' was given -1\.0"):
        WrongConfig()


def test_the_error_is_a_value_error_with_its_cause():
    with pytest.raises(ValueError, match=r"width") as caught:
        BlurConfig(width=-1)
    assert isinstance(caught.value, NlcoreError)
    assert isinstance(caught.value.__cause__, ValidationError)


def test_the_way_through_json_changes_nothing():
    config = BlurConfig(width=0.1, sizes=(7,), limit=3)
    assert BlurConfig(**config.model_dump(mode="json")) == config


def test_the_examples_in_the_documentation():
    outcome = doctest.testmod(nlcore.config)
    assert outcome.attempted > 0
    assert outcome.failed == 0


class TestConfigured:
    def test_options_are_checked_and_stored_as_the_configuration_reads_them(self):
        assert isinstance(Blur(width=2).width, float)
        assert Blur(sizes=[1, 2]).sizes == (1, 2)
        with pytest.raises(ConfigError, match=r"'width' was given -1"):
            Blur(width=-1.0)

    @pytest.mark.parametrize("mode", ["same", "valid"])
    def test_it_is_written_and_copied_by_its_options(self, mode):
        blur = Blur(width=2.0, mode=mode)
        assert repr(blur).startswith(f"Blur(width=2.0, mode='{mode}', sizes=(3, 5)")
        for other in (pickle.loads(pickle.dumps(blur)), copy.deepcopy(blur)):
            assert type(other) is type(blur)
            assert repr(other) == repr(blur)

    def test_a_class_without_a_configuration_says_how_to_give_it_one(self):
        @dataclass(frozen=True, kw_only=True, repr=False)
        class Bare(Configured):
            width: float = 1.0

        with pytest.raises(ContractError, match=r"Bare is a Configured class without .*config=BareConfig"):
            Bare()

    def test_a_variant_goes_by_the_public_name(self):
        assert type(Blur(mode="valid")) is _Valid

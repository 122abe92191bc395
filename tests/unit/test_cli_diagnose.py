"""`nlcore diagnose`: what it prints, its options, its exit codes."""

from __future__ import annotations

import json

import pytest

from nlcore.cli import main
from nlcore.registry import AlgorithmSpec, Registry, default


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the command on algorithms of the core and of the plugins, installed or not."""
    registry = Registry(entry_points=list, environ={})
    for id, factory, config in (
        ("lab/ranking-v1", "nlcore_sorting:NeuralSort", "nlcore_sorting:NeuralSortConfig"),
        ("lab/totals-v1", "nlcore_sequences:PrefixSum", None),
        ("lab/absolute-v1", "nlcore.builtin.losses:AbsoluteError", None),
    ):
        registry.register(AlgorithmSpec(id=id, factory=factory, config=config))
    monkeypatch.setattr(default, "registry", registry)

    def call(*words):
        return main(["diagnose", *words]), *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("id", "verdict"), [("lab/ranking", "nothing to gain"), ("lab/totals", "gain"), ("lab/absolute-v1", "opaque")]
)
def test_the_verdict_of_an_example_is_printed(run, id, verdict):
    code, out, err = run(id)
    assert (code, err) == (0, "")
    assert f"verdict: {verdict}" in out
    assert out.startswith(id)


def test_json_says_all_that_is_needed_to_repeat_it(run):
    words = ("lab/ranking", "--batch", "30", "--seed", "3", "--option", "temperature=.5", "objective=entries", "--json")
    code, out, _ = run(*words)
    found = json.loads(out)
    assert code == 0
    assert found["id"] == "lab/ranking-v1"
    assert found["options"] == {"temperature": 0.5, "objective": "entries"}
    assert (found["samples"], found["seed"]) == (30, 3)
    assert run(*words)[1] == out


def test_another_seed_is_another_example(run):
    conditions = {json.loads(run("lab/ranking", "--json", "--seed", seed)[1])["condition"] for seed in "01"}
    assert len(conditions) == 2


def test_options_may_be_given_one_by_one(run):
    out = run("lab/ranking", "--json", "--option", "temperature=2", "--option", 'objective="rows"')[1]
    assert json.loads(out)["options"] == {"temperature": 2, "objective": "rows"}


def test_a_picture_is_drawn(run, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.png"
    assert run("lab/totals", "--plot", str(path))[0] == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lab/nothing",), "nothing"),
        (("lab",), "lab"),
        (("lab/ranking", "--option", "temperatur=1"), "temperature"),
        (("lab/ranking", "--option", "temperature"), "=VALUE"),
        (("lab/ranking", "--option", "temperature=cold"), "number"),
        (("lab/ranking", "--batch", "0"), "at least one"),
        (("lab/ranking", "--batch", "many"), "many"),
        (("lab/ranking", "--batch", str(10**15)), "--batch: 1000000000000000: at least one sample"),
        (("lab/ranking", "--batch", "9" * 5000), "--batch: "),
        (("lab/ranking", "--seed", str(2**64)), f"--seed: {2**64}: a whole number from"),
        (("lab/ranking", "--seed", "-" + "9" * 5000), "--seed: "),
        (("lab/ranking", "--seed", "0.5"), "--seed: 0.5: a whole number"),
        (("lab/ranking", "--option", "temperature=" + "[" * 100_000), "nested too deeply"),
        (("lab/ranking", "--option", "temperature=" + "[" * 900 + "]" * 900), "temperature"),
        (("lab/ranking", "--option", "temperature=" + "9" * 5000), "finite"),
        (("lab/totals", "--plot", "nowhere/picture.png"), "cannot write nowhere/picture.png: "),
        (("lab/totals", "--plot", "."), "is a folder"),
        (("lab/totals", "--plot", "picture.xyz"), "ending"),
        ((), "id"),
    ],
)
def test_wrong_use_is_2(run, words, message):
    if "--plot" in words:
        pytest.importorskip("matplotlib")
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("seed", [2**64 - 1, -(2**63)])
def test_the_largest_seeds_are_taken(run, seed):
    code, out, _ = run("lab/totals", "--batch", "8", "--json", f"--seed={seed}")
    assert (code, json.loads(out)["seed"]) == (0, seed)


@pytest.mark.parametrize("error", [ZeroDivisionError("today"), GeneratorExit("today"), SystemExit(0), MemoryError()])
def test_what_an_algorithm_raises_is_one_line(run, monkeypatch, error):
    from nlcore_sequences import PrefixSum

    def broken(*_, **__):
        print("noise")
        raise error

    monkeypatch.setattr(PrefixSum, "example", broken)
    code, out, err = run("lab/totals", "--json")
    assert (code, out) == (1, "")
    assert f"nlcore: error: {type(error).__name__}" in err
    assert "Traceback" not in err


def test_a_failure_is_1(run, monkeypatch):
    from nlcore.errors import ContractError
    from nlcore_sequences import PrefixSum

    def broken(*_, **__):
        raise ContractError("no example today")

    monkeypatch.setattr(PrefixSum, "example", broken)
    code, _, err = run("lab/totals")
    assert code == 1
    assert "no example today" in err

"""`nlcore tune`: what it prints, its options, its exit codes."""

from __future__ import annotations

import json

import pytest

from nlcore.cli import main
from nlcore.registry import AlgorithmSpec, Registry, default


@pytest.fixture
def run(monkeypatch, capsys):
    registry = Registry(entry_points=list, environ={})
    for id, factory, config in (
        ("lab/ranking-v1", "nlcore_sorting:FastSoftSort", "nlcore_sorting.config:FastSoftSortConfig"),
        ("lab/totals-v1", "nlcore_sequences:PrefixSum", None),
    ):
        registry.register(AlgorithmSpec(id=id, factory=factory, config=config))
    monkeypatch.setattr(default, "registry", registry)

    def call(*words):
        return main(["tune", *words]), *capsys.readouterr()

    return call


def test_a_value_is_suggested(run):
    code, out, err = run("lab/ranking")
    assert (code, err) == (0, "")
    assert out.startswith("lab/ranking-v1: regularization_strength for 64 samples of 5 outputs")
    assert "suggested: regularization_strength=" in out


def test_json_holds_the_curve(run):
    code, out, _ = run("lab/ranking", "--json", "--batch", "20", "--seed", "3", "-o", "regularization=kl")
    found = json.loads(out)
    assert code == 0
    assert (found["id"], found["seed"], found["samples"]) == ("lab/ranking-v1", 3, 20)
    assert found["options"] == {"regularization": "kl"}
    assert {"value", "error", "wrong", "vanished", "fault"} == set(found["points"][0])


def test_a_picture_is_written(run, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    code, out, _ = run("lab/ranking", "--plot", str(tmp_path / "curve.png"))
    assert code == 0
    assert "curve.png written" in out
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lab/totals",), "no option is declared as softness; name one, as in nlcore.tune("),
        (("lab/ranking", "-o", "regularization_strength=2"), "leave it out"),
        (("lab/rankin",), "lab/ranking"),
    ],
)
def test_a_mistake_is_explained(run, words, message):
    code, out, err = run(*words)
    assert code != 0
    assert out == ""
    assert message in err

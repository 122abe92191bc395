"""The numbers behind the picture of an algorithm, the files it is written to, and what is told when it cannot be."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest
import torch

import nlcore
from nlcore.builtin.losses import AbsoluteError, SquaredError
from nlcore.cli import main
from nlcore.errors import ConfigError
from nlcore.pictures import draw, sweep

HEADS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@dataclass(frozen=True)
class Costs:
    """Positive predictions on a map, with a relaxed path; draws random numbers."""

    traits = nlcore.Traits(event_ndim=2, stochastic=True)

    def __call__(self, prediction, target, *, generator=None):
        noise = torch.randn(prediction.shape, generator=generator, dtype=prediction.dtype)
        if (prediction <= 0).any():
            raise ValueError("costs are positive")
        return ((prediction.log() - target) * (1 + noise)).square().sum((1, 2))

    def path(self, costs):
        return costs.softmax(-1)

    def example(self, batch_size, *, generator, dtype, device):
        prediction, target = torch.rand(2, batch_size, 3, 4, generator=generator, dtype=dtype, device=device)
        return prediction + 0.1, target


def test_one_output_moves_and_the_rest_stays():
    found = sweep(SquaredError(), points=21, batch_size=8)
    gradient = found.fields[0].vectors
    assert found.fields[0].title == "gradient"
    assert gradient.shape == (21, 5)
    others = [k for k in range(5) if k != found.moving]
    assert torch.equal(gradient[:, others], gradient[:1, others].expand(21, 4))
    slope = gradient[:, found.moving].diff() / found.places.diff()
    assert torch.allclose(slope, torch.ones(20, dtype=torch.float64))
    assert 0 < found.value.argmin() < 20


def test_the_directions_are_those_of_a_newton_step():
    found = sweep(SquaredError(), points=5, batch_size=8)
    by_title = {field.title: field.vectors for field in found.fields}
    assert set(by_title) == {"gradient", "Fisher, ρ = 1", "Hessian, ρ = 0.1"}
    # The Hessian of the squared error is the identity, so λ = 0.1.
    assert torch.allclose(by_title["Hessian, ρ = 0.1"], by_title["gradient"] / 1.1)


def test_a_loss_without_a_second_derivative_has_no_hessian():
    assert [field.title for field in sweep(AbsoluteError(), points=5).fields] == ["gradient", "Fisher, ρ = 1"]


def test_a_split_without_a_second_derivative_has_a_gauss_newton_matrix():
    def example(batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, 3, generator=generator, dtype=dtype, device=device))

    loss = nlcore.compose(lambda y: y.abs(), traits=nlcore.Traits(order=1), example=example)
    found = sweep(loss, points=5)
    assert [field.title for field in found.fields][-1] == "Gauss–Newton, ρ = 0.1"
    assert found.lines_title == "features"
    assert found.lines.shape == (5, 3)


def test_a_sort_shows_its_matrix_its_ranks_and_the_exact_rank():
    found = sweep(nlcore.make("sorting/neuralsort", temperature=1e-3), points=31)
    assert found.matrix.shape == (5, 5)
    assert torch.allclose(found.matrix.sum(1), torch.ones(5, dtype=torch.float64))
    assert found.lines.shape == (31, 5)
    close = (found.lines[:, found.moving] - found.exact).abs() < 1e-3
    assert close.double().mean() > 0.9


def test_positive_predictions_stay_positive_and_noise_is_drawn_alike():
    found = sweep(Costs(), points=11)
    assert found.places.min() > 0
    assert found.matrix.shape == (3, 4)
    assert len(found.fields) == 2
    assert torch.equal(found.value, sweep(Costs(), points=11).value)


@pytest.mark.parametrize("format", HEADS)
@pytest.mark.parametrize("loss", [SquaredError(), Costs()], ids=["one row", "two rows"])
def test_the_picture_is_a_file_of_its_format(format, loss):
    pytest.importorskip("matplotlib")
    found = sweep(loss, points=5)
    picture = draw(found, title="a title", format=format)
    assert picture.startswith(HEADS[format])
    assert picture != draw(found, title="a title", format=format, dark=True)
    assert picture == draw(found, title="a title", format=format)


def test_the_command_draws_and_prints_nothing(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["show", "core/squared_error", "--plot", str(tmp_path / "it.png")]) == 0
    assert (tmp_path / "it.png").read_bytes().startswith(HEADS["png"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "told"), [("it.jpg", "'png'"), ("it", "'png'"), ("none/it.png", "cannot write")])
def test_a_file_that_cannot_be_is_refused(tmp_path, capsys, name, told):
    pytest.importorskip("matplotlib")
    assert main(["show", "core/squared_error", "--plot", str(tmp_path / name)]) in {1, 2}
    assert told in capsys.readouterr().err


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"nlcore\[plot\]"):
        draw(sweep(SquaredError(), points=3))

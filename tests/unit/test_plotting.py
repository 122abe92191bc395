"""The numbers behind the picture of an algorithm, the files it is written to, and what is told when it cannot be."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import pytest
import torch

import nlcore
from nlcore.builtin.losses import AbsoluteError, SquaredError
from nlcore.cli import main
from nlcore.diagnosis.picture import _spectrum as spectrum_panel
from nlcore.errors import ConfigError
from nlcore.plotting import draw, sweep
from nlcore.plotting.figure import new_figure

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


def test_an_output_is_named_by_its_index_in_the_event():
    found = sweep(Costs(), points=3)
    assert [found.label(k) for k in (0, 3, 4, 11)] == ["y[0, 0]", "y[0, 3]", "y[1, 0]", "y[2, 3]"]
    assert sweep(SquaredError(), points=3).label(4) == "y[4]"
    assert replace(found, shape=()).label(0) == "y"


def test_a_picture_says_what_moves_and_what_is_drawn(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    found = sweep(Costs(), points=3)
    picture = draw(found, format="svg").decode()
    for text in (f"{found.label(found.moving)} (moving)", "∂ℓ/∂y", "direction", "value in the example"):
        assert f">{text}<" in picture


def test_the_command_draws_and_says_where(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    file = tmp_path / "it.png"
    assert main(["show", "core/squared_error", "--plot", str(file)]) == 0
    assert file.read_bytes().startswith(HEADS["png"])
    assert capsys.readouterr().out == f"{file} written\n"
    assert main(["show", "core/squared_error", "--plot", str(file), "--json"]) == 0
    assert capsys.readouterr().out == ""


def test_an_option_changes_what_is_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    files = [tmp_path / name for name in ("plain.svg", "sharp.svg")]
    assert main(["show", "sorting/softsort", "--plot", str(files[0])]) == 0
    assert main(["show", "sorting/softsort", "--plot", str(files[1]), "-o", "temperature=0.1"]) == 0
    assert files[0].read_bytes() != files[1].read_bytes()
    capsys.readouterr()
    assert main(["show", "sorting/softsort", "--plot", str(files[0]), "-o", "temprature=0.1"]) == 2
    assert "temperature" in capsys.readouterr().err
    assert main(["show", "sorting/softsort", "-o", "temperature=0.1"]) == 2
    assert "--plot" in capsys.readouterr().err


def test_a_flat_spectrum_is_drawn_over_a_decade_with_plain_ticks():
    pytest.importorskip("matplotlib")
    generator = torch.Generator().manual_seed(0)
    found = nlcore.diagnose(SquaredError(), *torch.randn(2, 20, 5, generator=generator))
    figure = new_figure(6, 4)
    axes = figure.subplots()
    spectrum_panel(axes, replace(found, spectrum=(0.052, 0.055, 0.058), flat_directions=0))
    figure.canvas.draw()
    assert axes.get_ylim() == pytest.approx((0.01, 0.1))
    assert {"0.01", "0.1"} <= {text.get_text() for text in axes.get_yticklabels()}
    assert {text.get_text() for text in axes.get_yticklabels(minor=True)} <= {""}


@pytest.mark.parametrize(("name", "told"), [("it.jpg", "'png'"), ("it", "'png'"), ("none/it.png", "cannot write")])
def test_a_file_that_cannot_be_is_refused(tmp_path, capsys, name, told):
    pytest.importorskip("matplotlib")
    assert main(["show", "core/squared_error", "--plot", str(tmp_path / name)]) in {1, 2}
    assert told in capsys.readouterr().err


def test_without_matplotlib_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="Run: pip install matplotlib"):
        draw(sweep(SquaredError(), points=3))


def test_the_old_module_still_gives_the_names_and_says_where_they_are_now():
    from nlcore import pictures, plotting

    for name in plotting.__all__:
        with pytest.warns(DeprecationWarning, match=f"import nlcore.plotting.{name}"):
            assert getattr(pictures, name) is getattr(plotting, name)
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        pictures.paint  # noqa: B018

"""One run: paired by its seed, on one thread, honest about a failure, and exact after a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nlcore.errors import NonFiniteError
from nlcore_bench import Batch, Cell, Study, load
from nlcore_bench.criteria import Criterion, MeanLoss, make_curvature
from nlcore_bench.run import _training, train_cell
from nlcore_bench.train import Training


def cell(name: str, seed: int = 1003, **more: Any) -> Cell:
    return Cell("report", name, 1e-2, seed, task="totals", **more)


@pytest.mark.parametrize("name", ["plain", "clipping", "fisher", "supervised"])
def test_every_method_trains_and_repeats_to_the_digit(study: Study, name: str) -> None:
    entry = study.entries(methods=[name])[0]
    one, same, other = (train_cell(study, entry, cell(name, seed)) for seed in (1003, 1003, 1004))
    assert one.failure is None
    assert one.steps == (4, 6)
    assert (one.curves, one.final, one.train) == (same.curves, same.final, same.train)
    assert one.final["accuracy"] == one.curves["accuracy"][-1]
    assert one.cpu_seconds > 0
    assert other.curves != one.curves


def test_runs_of_one_seed_start_from_the_same_weights(study: Study) -> None:
    plain, fisher = (
        torch.nn.utils.parameters_to_vector(_training(study, entry, cell(entry.name)).network.parameters())
        for entry in study.entries(methods=["plain", "fisher"])
    )
    assert torch.equal(plain, fisher)


def test_leaves_the_random_state_and_the_threads_alone(study: Study) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train_cell(study, study.entries()[0], cell("plain"))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def gradient(content: dict[str, Any], **method: Any) -> Tensor:
    study = load({**content, "methods": {"plain": method}})
    training = _training(study, study.entries()[0], cell("plain"))
    training.advance(next(iter(training.task.batches(0))))
    assert training.outcome.failure is None
    return torch.cat([one.grad.flatten() for one in training.network.parameters() if one.grad is not None])


def test_clipping_bounds_the_gradient(content: dict[str, Any]) -> None:
    plain, clipped = gradient(content), gradient(content, clip=0.01)
    assert plain.norm() > 0.02
    torch.testing.assert_close(clipped, plain * 0.01 / plain.norm())


def test_normalised_gradients_have_their_length() -> None:
    target = torch.zeros(3, 2)
    for kind in ("sample", "batch"):
        prediction = torch.tensor([[3.0, 4.0], [0.0, 0.1], [0.0, 0.0]], requires_grad=True)
        loss = lambda p, t: (p - t).square().sum(1) / 2  # noqa: E731
        Criterion(MeanLoss(loss), kind)(prediction, target).backward()  # type: ignore[no-untyped-call]
        assert prediction.grad is not None
        scaled = prediction.grad * 3
        if kind == "sample":
            torch.testing.assert_close(scaled, torch.tensor([[0.6, 0.8], [0.0, 1.0], [0.0, 0.0]]))
        else:
            assert scaled.square().mean().sqrt().item() == pytest.approx(1.0)
            torch.testing.assert_close(scaled[0] / scaled[0].norm(), torch.tensor([0.6, 0.8]))


def test_curvatures_are_made_by_the_name_of_their_class() -> None:
    import nlcore

    assert make_curvature({"Auto": {}}) == nlcore.Auto()
    given = {"Hessian": {"damping": {"relative": 0.5}, "psd": "abs"}}
    assert make_curvature(given) == nlcore.Hessian(damping=nlcore.Relative(0.5), psd="abs")
    bounded = {"GaussNewton": {"damping": {"bounded": {"limit": 2.0}}}}
    assert make_curvature(bounded) == nlcore.GaussNewton(damping=nlcore.Bounded(limit=2.0))
    assert make_curvature({"EmpiricalFisher": {"damping": 0.25}}) == nlcore.EmpiricalFisher(damping=0.25)


class Signs:
    """An update of one's own: the sign of the plain gradient."""

    def __init__(self, loss: Any, network: nn.Module, scale: float) -> None:
        self.loss, self.network, self.scale = loss, network, scale

    def __call__(self, batch: Batch, target: Any) -> Tensor:
        value: Tensor = self.loss(self.network(batch.inputs), target).mean()
        value.backward()  # type: ignore[no-untyped-call]
        for one in self.network.parameters():
            assert one.grad is not None
            one.grad = self.scale * one.grad.sign()
        return value.detach()


def test_an_update_of_one_s_own_makes_the_gradient(content: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlcore_bench.criteria.Signs", Signs, raising=False)
    found = gradient(content, update="nlcore_bench.criteria:Signs", options={"scale": 0.5})
    torch.testing.assert_close(found, 0.5 * gradient(content).sign())


@pytest.mark.parametrize("raises", [False, True])
def test_a_run_that_leaves_the_finite_range_says_so(
    study: Study, monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    class Diverging(nn.Module):
        calls = 0

        def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 3 and raises:
                raise NonFiniteError("sample 2 is not finite", [2])
            return prediction.sum() * (torch.nan if self.calls == 3 else 1.0)

    monkeypatch.setattr("nlcore_bench.train.make_criterion", lambda *_, **__: Diverging())
    outcome = train_cell(study, study.entries()[0], cell("plain"))
    assert outcome.failure is not None
    assert outcome.failure.startswith("step 3:")
    assert ("sample 2" in outcome.failure) == raises
    assert set(outcome.final) == {"accuracy"}
    assert outcome.steps == ()


def test_a_network_that_cannot_be_evaluated_counts_as_the_worst(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> dict[str, float]:
        raise NonFiniteError("scores of sample 2 are infinite", [2])

    entry = study.entries()[0]
    monkeypatch.setattr(type(_training(study, entry, cell("plain")).task), "evaluate", refused)
    outcome = train_cell(study, entry, cell("plain"))
    assert outcome.failure == "step 4, evaluation: scores of sample 2 are infinite"
    assert outcome.final == outcome.train == {"accuracy": 0.0}
    assert (outcome.steps, outcome.curves) == ((4,), {"accuracy": (0.0,)})


@pytest.mark.parametrize("name", ["plain", "fisher", "default", "stochastic"])
@pytest.mark.parametrize("kind", ["adam", "sgd", "muon", "soap"])
def test_a_run_goes_on_from_its_checkpoint_to_the_digit(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    if kind == "soap":
        pytest.importorskip("pytorch_optimizer")
    content["methods"]["default"] = {"curvature": "Auto"}
    content["methods"]["stochastic"] = {"loss": {"id": "core/squared_error", "target": "outputs"}}
    content["optimizers"] = {kind: {"kind": kind}}
    study = load({**content, "steps": 12})
    entry, path, label = study.entries(methods=[name])[0], tmp_path / "a" / "run.pt", cell(name, optimizer=kind)
    if name == "stochastic":  # draws from the global generator in every step
        original = Training._advance

        def noisy(self: Training, batch: Batch, target: Any) -> str | None:
            return original(self, replace(batch, inputs=batch.inputs + torch.rand_like(batch.inputs)), target)

        monkeypatch.setattr(Training, "_advance", noisy)
    whole = train_cell(study, entry, label)
    monkeypatch.setattr("nlcore_bench.train.CHECKPOINT_SECONDS", 0.0)
    task = _training(study, entry, label).task
    method = type(task).batches

    def cut(self: Any, seed: int, part: Any = "train") -> Iterator[Batch]:
        yield from islice(method(self, seed, part), 7)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(task), "batches", cut)
        with pytest.raises(KeyboardInterrupt):
            train_cell(study, entry, label, path)
    taken = []

    def counted(self: Training, batch: Batch) -> None:
        taken.append(self.step)
        advance(self, batch)

    advance = Training.advance
    monkeypatch.setattr(Training, "advance", counted)
    again = train_cell(study, entry, label, path)
    assert taken == list(range(7, 12))
    assert (again.final, again.train, again.curves, again.steps) == (
        whole.final,
        whole.train,
        whole.curves,
        whole.steps,
    )
    assert len(again.times) == len(again.steps)


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(study: Study, tmp_path: Path) -> None:
    entry, path = study.entries()[0], tmp_path / "run.pt"
    training = _training(study, entry, cell("plain"))
    training.save(path, str(cell("plain", 1004)))
    whole = train_cell(study, entry, cell("plain"))
    assert train_cell(study, entry, cell("plain"), path).final == whole.final
    path.write_bytes(b"PK\x03\x04 broken")
    assert train_cell(study, entry, cell("plain"), path).final == whole.final

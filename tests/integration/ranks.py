"""Runs as a script, once per rank: the cases of test_distributed.py under DistributedDataParallel.

Everything is float64 and drawn from fixed seeds, so that one process can run the same cases on the whole batch.
"""

from __future__ import annotations

import datetime
import os
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from nlcore import (
    Bounded,
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    NewtonLoss,
    Relative,
    Traits,
    compose,
    inject_fisher,
    newton_step,
)
from nlcore.errors import ContractError

TIMEOUT = datetime.timedelta(seconds=20)
INPUTS, OUTPUTS, MANY, STEPS = 6, 4, 300, 3


def wavy(y, t, mask=None):
    """Return a coupled loss with Hessians of mixed signs, [N]."""
    return (t * y.sin()).sum(1) + 0.3 * (y[:, :-1].square() * y[:, 1:]).sum(1) + 0.2 * y.sum(1).square()


def bent(y, mask=None):
    """Return features whose Jacobian differs from sample to sample, [N, m]."""
    return (y + 0.4 * y.square()).cumsum(1)


class Wavy:
    """As an algorithm, so that it takes a Hessian."""

    traits = Traits(takes_mask=True)

    def __call__(self, prediction, target, *, generator=None, mask=None):
        return wavy(prediction, target)

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, OUTPUTS, generator=generator, dtype=dtype, device=device))


class Circular:
    """Half the squared distance after a circular difference, with its curvature by Fourier transforms."""

    traits = Traits(psd_hessian=True, constant_curvature=True, takes_mask=True)

    def __call__(self, prediction, target, *, generator=None, mask=None):
        return self.outer(self.inner(prediction, mask=mask), target, mask=mask)

    def inner(self, prediction, *, mask=None):
        numbers = prediction if mask is None else prediction.masked_fill(mask, 0.0)
        return 2 * numbers - numbers.roll(1, 1)

    def outer(self, features, target, *, mask=None):
        errors = features - target
        return (errors if mask is None else errors.masked_fill(mask, 0.0)).square().sum(1) / 2

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, MANY, generator=generator, dtype=dtype, device=device))

    def curvature_operator(self, prediction):
        return Waves(prediction.shape[1]) if prediction.shape[1] == MANY else None


class Waves:
    """Its curvature; a Fourier transform of no rows raises an error."""

    def __init__(self, size):
        self.features = size
        self.values = 5 - 4 * (2 * torch.pi * torch.arange(size // 2 + 1, dtype=torch.float64) / size).cos()
        self.trace, self.largest = 5.0 * size, 9.0

    def matvec(self, rows):
        return torch.fft.irfft(torch.fft.rfft(rows) * self.values, n=self.features)

    def solve(self, rows, damping, power):
        return torch.fft.irfft(torch.fft.rfft(rows) * (self.values + damping) ** -power, n=self.features)

    def supports(self, power):
        return True


BENT = compose(bent)


@dataclass(frozen=True)
class Case:
    """A short training; `sizes` are the samples of every rank at every step."""

    loss: object
    curvature: object
    reduction: str = "mean"
    sizes: tuple = ((4, 4), (5, 3), (4, 4))
    outputs: int = OUTPUTS
    weighted: bool = False
    masked: bool = False
    rate: float = 0.02

    def data(self, step):
        """Return inputs, targets, weights and mask of the whole batch."""
        generator = torch.Generator().manual_seed(step)
        count = sum(self.sizes[step])

        def draw(size):
            return torch.randn(count, size, generator=generator, dtype=torch.float64)

        x, t = draw(INPUTS), draw(self.outputs)
        weight = torch.randint(0, 4, (count,), generator=generator).double() if self.weighted else None
        mask = torch.rand(count, self.outputs, generator=generator) < 0.3 if self.masked else None
        if weight is not None:  # a sample without weight takes no part, whatever its target is
            t = torch.where(weight.unsqueeze(1) == 0, torch.nan, t)
        return x, t, weight, mask

    def model(self):
        """Return a small network, the same every time."""
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(INPUTS, 5), torch.nn.Tanh(), torch.nn.Linear(5, self.outputs)
        ).double()


EVEN = Case(Wavy(), Hessian())
EMPTY = ((7, 0), (0, 6), (5, 2))

CURVATURES = {
    "hessian": EVEN,
    "hessian-clip-of-the-mean": replace(EVEN, curvature=Hessian(psd="clip", psd_scope="batch")),
    "definition-1": replace(EVEN, curvature=Hessian(damping=20.0, psd="none")),
    "hessian-eigen": replace(EVEN, curvature=Hessian(solver="eigen")),
    "hessian-sample": replace(EVEN, curvature=Hessian(aggregate="sample")),
    "hessian-bounded": replace(EVEN, curvature=Hessian(damping=Bounded())),
    "hessian-cg": replace(EVEN, curvature=Hessian(damping=20.0, psd="none", solver="cg")),
    "gauss-newton": Case(BENT, GaussNewton()),
    "gauss-newton-bounded": Case(BENT, GaussNewton(damping=Bounded(refresh=2), normalize=True)),
    "gauss-newton-validated": Case(BENT, GaussNewton(damping=Bounded(refresh=1, validated=True))),
    "gauss-newton-sample": Case(BENT, GaussNewton(aggregate="sample")),
    "gauss-newton-cg": Case(BENT, GaussNewton(damping=Relative(0.1), solver="cg")),
    "gauss-newton-sample-cg": Case(BENT, GaussNewton(damping=0.3, aggregate="sample", solver="cg", normalize=True)),
    "fisher": Case(wavy, EmpiricalFisher()),
    "fisher-absolute": Case(wavy, EmpiricalFisher(damping=0.1)),
    "fisher-eigen": Case(wavy, EmpiricalFisher(solver="eigen")),
    "fisher-kernel": Case(wavy, EmpiricalFisher(solver="kernel")),
    "fisher-many-outputs": Case(wavy, EmpiricalFisher(damping=Relative(0.1)), outputs=12),
    "operator-bounded": Case(Circular(), GaussNewton(damping=Bounded(validated=True)), outputs=MANY),
    "operator-cg": Case(Circular(), GaussNewton(damping=0.3, aggregate="sample", solver="cg"), outputs=MANY),
}

CASES = {
    f"{name}-{reduction}-{shape}-{extra}": replace(
        case,
        reduction=reduction,
        sizes=sizes,
        weighted=extra in ("weighted", "both"),
        masked=extra == "both",
    )
    for name, case in CURVATURES.items()
    for reduction, shape, sizes, extra in (
        ("mean", "ragged", case.sizes, "plain"),
        ("sum", "ragged", case.sizes, "weighted"),
        ("mean", "empty", EMPTY, "weighted"),
        ("sum", "empty", EMPTY, "both"),
    )
}

INJECTED = {
    f"{reduction}-{outputs}-{shape}": Case(
        wavy, EmpiricalFisher(damping=Relative(0.5)), reduction=reduction, sizes=sizes, outputs=outputs
    )
    for reduction, outputs, shape, sizes in (
        ("mean", 4, "even", ((4, 4),) * STEPS),
        ("mean", 12, "even", ((4, 4),) * STEPS),
        ("sum", 4, "ragged", ((5, 3), (2, 6), (4, 4))),
        ("sum", 12, "empty", EMPTY),
    )
}


def train(case, rank=None):
    """Return all gradients of the training, on the whole batch, or on one rank's part of it."""
    model = case.model()
    model = model if rank is None else DistributedDataParallel(model)
    criterion = NewtonLoss(case.loss, case.curvature, reduction=case.reduction)

    def loss(x, t, weight, mask):
        return criterion(model(x), t, weight=weight, mask=mask)

    return _gradients(case, model, loss, rank)


def train_injected(case, rank=None):
    """Return all gradients of a training with the injected Fisher step."""
    model = case.model()
    model = model if rank is None else DistributedDataParallel(model)
    damping, reduction = case.curvature.damping, case.reduction

    def loss(x, t, weight, mask):
        factor = 2.0 if rank is not None and reduction == "sum" else 1.0  # the gradients are averaged over the ranks
        value = wavy(inject_fisher(model(x), damping, reduction=reduction, loss_scale=factor), t)
        return factor * (value.mean() if reduction == "mean" else value.sum())

    return _gradients(case, model, loss, rank)


def _gradients(case, model, loss, rank):
    optimizer = torch.optim.SGD(model.parameters(), case.rate)
    found = []
    for step in range(STEPS):
        first = case.sizes[step][0]
        part = slice(None) if rank is None else (slice(first), slice(first, None))[rank]
        optimizer.zero_grad()
        loss(*(None if piece is None else piece[part] for piece in case.data(step))).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        optimizer.step()
    return torch.stack(found)


def _error(call):
    """Return the name and the message of what `call` raised."""
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return "nothing", ""


def _broken_on_rank_1(y, t):
    if dist.get_rank() == 1:
        raise ContractError("The loss of rank 1 does not like it.")
    return wavy(y, t)


def failures(rank):
    """Return name → (error, message) of steps that fail on rank 1 alone."""
    y, t = torch.randn(2, 4, OUTPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(rank))
    bad = torch.where(torch.arange(4)[:, None] == 2, torch.nan, y) if rank == 1 else y
    root = torch.where(torch.arange(4)[:, None] == 1, -1.0, y.abs()) if rank == 1 else y.abs() + 1
    weight = torch.tensor([1.0, 1.0, 1.0, -1.0 if rank == 1 else 1.0])
    short = t[:3] if rank == 1 else t
    every = {"hessian": Hessian(damping=20.0), "fisher": EmpiricalFisher()}
    found = {}
    for name, curvature in every.items():
        calls = {
            "prediction": lambda c=curvature: newton_step(Wavy(), bad, t, c),
            "loss": lambda c=curvature: newton_step(lambda p, _: p.sqrt().sum(1), root, t, c),
            "weight": lambda c=curvature: newton_step(Wavy(), y, t, c, weight=weight),
            "shape": lambda c=curvature: newton_step(Wavy(), y, short, c),
            "raises": lambda c=curvature: newton_step(_broken_on_rank_1, y, t, c),
            "singular": lambda c=curvature: newton_step(lambda p, t: 0 * (p * t).sum(1), y, t, replace(c, damping=0.0)),
        }
        found |= {f"{name}-{kind}": _error(call) for kind, call in calls.items()}
    own = Hessian(aggregate="sample", damping=0.0, psd="none")
    lone = t.clone()
    if rank == 1:
        lone[3] = 0.0
    found["sample-singular"] = _error(lambda: newton_step(lambda p, t: (t * p.square()).sum(1), y, lone, own))
    return found


def fallback(rank):
    """Return the direction beside a sample that is not finite on rank 1."""
    y, t = torch.randn(2, 6, OUTPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    y[4] = torch.nan
    part = slice(None) if rank is None else (slice(0, 3), slice(3, 6))[rank]
    steps = [
        newton_step(loss, y[part], t[part], curvature, on_failure="fallback")
        for loss, curvature in ((Wavy(), Hessian()), (BENT, GaussNewton()), (wavy, EmpiricalFisher()))
    ]
    return torch.stack([step.direction for step in steps])


def validation(rank):
    """Return the values of validation on rank 0 alone, while rank 1 trains on its own."""
    y, t = torch.randn(2, 4, OUTPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    criterion = NewtonLoss(Wavy(), Hessian())
    if rank == 0:
        with torch.no_grad():
            values = [float(criterion(y, t)), float(criterion(y[:2], t[:2]))]
        values.append(float(criterion(y, t)))  # no gradient asked for
    else:
        alone = NewtonLoss(Wavy(), Hessian(), process_group=False)
        alone(y.requires_grad_(), t).backward()
        values = []
    dist.barrier()
    return values


def main(rank, folder):
    """Run everything and save it; a case that fails is saved as its traceback."""
    torch.set_num_threads(1)
    folder = Path(folder)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2, timeout=TIMEOUT)
    jobs = {("train", name): lambda c=case: train(c, rank) for name, case in CASES.items()}
    jobs |= {("inject", name): lambda c=case: train_injected(c, rank) for name, case in INJECTED.items()}
    jobs |= {(kind, ""): lambda f=f: f(rank) for kind, f in (("failures", failures), ("fallback", fallback))}
    jobs |= {("validation", ""): lambda: validation(rank)}
    results = {}
    for key, job in jobs.items():
        try:
            results[key] = job()
        except Exception:
            results[key] = traceback.format_exc()
            if "Timed out" in results[key] or "onnection" in results[key]:
                break  # the ranks are out of step, and all that follows would be too
    torch.save(results, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
    sys.stderr.flush()
    os._exit(0)  # a thread of gloo that still runs when the interpreter is taken down would abort the process

"""Runs as a script: the cases of test_rank_faults.py, each on two gloo ranks of its own.

Each rank is a forked process, so that one that gloo takes down takes no other case with it. A rank stays until the
other one has finished, so that it does not release it by leaving.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from nlcore import Bounded, EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative, Traits, compose, newton_step
from nlcore.errors import NlcoreError

TIMEOUT = 3.0
"""Seconds after which a collective call gives up."""

AT_ONCE = 16
"""Most processes at a time; they wait more than they work."""

OUTPUTS, COUNT = 4, 5
FAULT = "the simulator has a fault"


def hidden(values, mask):
    return values if mask is None else torch.where(mask, 0.0, values)


def counting(y, t, mask=None):
    """Return a coupled loss with Hessians of mixed signs over the outputs that count, [N]."""
    y, t = hidden(y, mask), hidden(t, mask)
    return (t * y.sin()).sum(1) + 0.1 * y.pow(4).sum(1) + 0.2 * y.sum(1).square()


def counted_features(y, mask=None):
    """Return features that are zero at padded outputs, [N, m + 1]."""
    y = hidden(y, mask)
    return torch.cat([y + 0.4 * y.square(), y.sin().sum(1, keepdim=True)], 1)


def counted_error(features, t, mask=None):
    """Return half the squared error over the outputs that count, [N]."""
    return (features[:, :-1] - hidden(t, mask)).square().sum(1) / 2 + features[:, -1].square() / 2


MASKED = Traits(takes_mask=True)


@dataclass(frozen=True)
class Counting:
    """An `AlgorithmicLoss` that takes a mask and splits."""

    traits: Traits = MASKED

    def __call__(self, prediction, target, *, generator=None, mask=None):
        return counted_error(counted_features(prediction, mask), target, mask)

    def inner(self, prediction, mask=None):
        return counted_features(prediction, mask)

    def outer(self, features, target, mask=None):
        return counted_error(features, target, mask)

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, OUTPUTS, generator=generator, dtype=dtype, device=device))


CURVATURES = {
    "hessian": Hessian(damping=2.0),
    "hessian-bounded": Hessian(damping=Bounded()),
    "hessian-cg": Hessian(damping=20.0, psd="none", solver="cg"),
    "hessian-sample": Hessian(damping=1.0, aggregate="sample", normalize=True),
    "gauss-newton": GaussNewton(damping=Relative(0.1)),
    "gauss-newton-cg": GaussNewton(damping=Relative(0.1), solver="cg"),
    "fisher": EmpiricalFisher(damping=0.1),
    "fisher-kernel": EmpiricalFisher(damping=0.1, solver="kernel"),
    "fisher-relative": EmpiricalFisher(),
}


def drawn(rank, count=COUNT, outputs=OUTPUTS):
    """Return the predictions, targets and mask of one rank."""
    generator = torch.Generator().manual_seed(70 + rank)
    y, t = torch.randn(2, count, outputs, generator=generator, dtype=torch.float64)
    mask = torch.rand(count, outputs, generator=generator) < 0.3
    mask[:, 0] = False
    return y, t, mask


def padded_batch(rank):
    """Return one rank's batch of a padded run, or the whole of it for `None`: rank 0 alone has padding."""
    if rank is None:
        pieces = [padded_batch(0), padded_batch(1)]
        masks = [torch.zeros_like(y, dtype=torch.bool) if mask is None else mask for y, _, mask in pieces]
        return torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces]), torch.cat(masks)
    y, t, mask = drawn(rank)
    return y, t, mask if rank == 0 else None


def mask_on_one(name, rank, reduction="mean"):
    """Return value and gradient of one rank, or of the whole batch; the gradient as of an average over the ranks."""
    y, t, mask = padded_batch(rank)
    y.requires_grad_()
    loss = NewtonLoss(Counting(), CURVATURES[name], reduction=reduction)(y, t, mask=mask)
    loss.backward()
    return loss.detach(), y.grad / (1 if rank is None else 2)


def mask_beside_nothing(name, rank):
    """Return the direction where rank 0 has padding and rank 1 has no samples."""
    y, t, mask = drawn(0)
    if rank == 1:
        y, t, mask = y[:0], t[:0], None
    return newton_step(Counting(), y, t, CURVATURES[name], mask=mask).direction


class Faulty(torch.autograd.Function):
    """y³ whose first or second backward pass raises on rank 1."""

    @staticmethod
    def forward(ctx, y, when):
        ctx.save_for_backward(y)
        ctx.when = when
        return y**3

    @staticmethod
    def backward(ctx, g):
        if ctx.when == "first":
            raise ValueError(FAULT)
        return FaultySlope.apply(3 * g * ctx.saved_tensors[0] ** 2, ctx.when), None


class FaultySlope(torch.autograd.Function):
    """The identity, whose backward pass raises where it is told to."""

    @staticmethod
    def forward(ctx, g, when):
        ctx.when = when
        return g.clone()

    @staticmethod
    def backward(ctx, g):
        if ctx.when == "second":
            raise ValueError(FAULT)
        return g, None


def raising(rank):
    """Return a function that raises on rank 1."""

    def check(x):
        if rank == 1:
            raise ValueError(FAULT)
        return x

    return check


def raises(kind, rank, on_failure):
    """Take a step whose loss raises on rank 1."""
    y, t, _ = drawn(rank)
    fault, old = raising(rank), Traits(transforms="autograd")
    when = {"backward": "first", "product": "second"}.get(kind, "never") if rank == 1 else "never"
    losses = {
        "loss": (lambda p, q: fault(counting(p, q)), EmpiricalFisher(), "auto"),
        "loss under a Hessian": (lambda p, q: fault(counting(p, q)), Hessian(damping=20.0), "auto"),
        "inner": (compose(lambda p: fault(p.sin())), GaussNewton(), "auto"),
        "outer": (compose(torch.sin, lambda f, q: fault((f - q).square().sum(1))), GaussNewton(), "auto"),
        "backward": (compose(lambda p: Faulty.apply(p, when), traits=old), GaussNewton(), "auto"),
        "product": (lambda p, q: Faulty.apply(p, when).sum(1), Hessian(damping=20.0), "autograd"),
    }
    loss, curvature, backend = losses[kind]
    return newton_step(loss, y, t, curvature, backend=backend, on_failure=on_failure).direction


def other_size(name, rank):
    """Take a step with another number of outputs on each rank."""
    y, t, _ = drawn(rank, outputs=OUTPUTS + rank)
    return newton_step(counting, y, t, CURVATURES[name]).direction


DIFFERENT = {
    "hessian and fisher": (Hessian(damping=20.0), EmpiricalFisher()),
    "gauss-newton and hessian": (GaussNewton(), Hessian(damping=20.0)),
    "cholesky and cg": (GaussNewton(damping=0.1), GaussNewton(damping=0.1, solver="cg")),
    "batch and sample": (Hessian(damping=20.0), Hessian(damping=20.0, aggregate="sample")),
    "fisher, matrix and kernel": (EmpiricalFisher(solver="cholesky"), EmpiricalFisher(solver="kernel")),
}


def other_curvature(name, rank):
    """Take a step with another curvature on each rank."""
    y, t, _ = drawn(rank)
    return newton_step(compose(counted_features, counted_error), y, t, DIFFERENT[name][rank]).direction


def singular(rank, on_failure):
    """Take a step whose curvature has no inverse."""
    y, t, _ = drawn(rank)
    flat = Hessian(damping=0.0, psd="none")
    step = newton_step(lambda p, q: (p[:, :2] - q[:, :2]).square().sum(1), y, t, flat, on_failure=on_failure)
    return step.direction, step.gradient


def not_finite(name, rank):
    """Take a step where all of rank 1 is not finite, and fall back there."""
    pieces = [drawn(0)[:2], drawn(1)[:2]]
    y, t = (torch.cat(both) for both in zip(*pieces, strict=True))
    y[COUNT:] = torch.nan
    part = slice(None) if rank is None else slice(rank * COUNT, (rank + 1) * COUNT)
    return newton_step(Counting(), y[part], t[part], CURVATURES[name], on_failure="fallback").direction


def joined(rank):
    """Train under `join()` with one batch more on rank 0; return the losses."""
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(3, OUTPUTS).double())
    criterion = NewtonLoss(compose(counted_features, counted_error), GaussNewton())
    losses = []
    with model.join():
        for step in range(3 - rank):
            generator = torch.Generator().manual_seed(10 * step + rank)
            x = torch.randn(COUNT, 3, generator=generator, dtype=torch.float64)
            t = torch.randn(COUNT, OUTPUTS, generator=generator, dtype=torch.float64)
            loss = criterion(model(x), t)
            loss.backward()
            losses.append(float(loss.detach()))
    return losses


CASES: dict[tuple[str, ...], Any] = {}
for _name in CURVATURES:
    CASES["mask", _name, "mean"] = lambda rank, n=_name: mask_on_one(n, rank)
CASES["mask", "hessian", "sum"] = lambda rank: mask_on_one("hessian", rank, "sum")
for _name in ("hessian", "fisher"):
    CASES["mask beside nothing", _name] = lambda rank, n=_name: mask_beside_nothing(n, rank)
for _name in ("loss", "loss under a Hessian", "inner", "outer", "backward", "product"):
    for _way in ("raise", "fallback"):
        CASES["raises", _name, _way] = lambda rank, n=_name, w=_way: raises(n, rank, w)
for _name in ("hessian", "fisher"):
    CASES["size", _name] = lambda rank, n=_name: other_size(n, rank)
for _name in DIFFERENT:
    CASES["curvature", _name] = lambda rank, n=_name: other_curvature(n, rank)
CASES["singular", "raise"] = lambda rank: singular(rank, "raise")
CASES["singular", "fallback"] = lambda rank: singular(rank, "fallback")
for _name in ("hessian", "gauss-newton", "fisher", "fisher-kernel"):
    CASES["not finite", _name] = lambda rank, n=_name: not_finite(n, rank)
CASES[("join",)] = joined


@dataclass(frozen=True)
class Outcome:
    """What a rank found.

    Attributes:
        value: What the case returned, `None` after an error.
        error: The name of the error's class, empty without one.
        message: Its text.
        ours: Whether it is one of nlcore's.
        seconds: How long it took.
    """

    value: Any = None
    error: str = ""
    message: str = ""
    ours: bool = False
    seconds: float = 0.0


def attempt(case, rank):
    """Return the outcome of a case."""
    start = time.monotonic()
    try:
        outcome = Outcome(case(rank))
    except Exception as error:
        outcome = Outcome(None, type(error).__name__, str(error), isinstance(error, NlcoreError))
    return replace(outcome, seconds=time.monotonic() - start)


def warm_up():
    """Run the engine once without other ranks, so that no import takes time within a case."""
    y, t, mask = drawn(0)
    for curvature in CURVATURES.values():
        newton_step(Counting(), y, t, curvature, mask=mask)


def be_rank(rank, key, folder):
    """Run one case as one rank, save what it found, and stay until the other rank is done."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meet'}",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=TIMEOUT),
    )
    torch.save(asdict(attempt(CASES[key], rank)), folder / f"{rank}.part")
    (folder / f"{rank}.part").rename(folder / f"{rank}.pt")
    end = time.monotonic() + 3 * TIMEOUT
    while time.monotonic() < end and not any((folder / f"{1 - rank}.{how}").exists() for how in ("pt", "gone")):
        time.sleep(0.02)


def start(rank, key, folder):
    """Return the id of a process that runs one case as one rank."""
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(os.open(folder / f"{rank}.log", os.O_WRONLY | os.O_CREAT), 2)
        be_rank(rank, key, folder)
    finally:
        os._exit(0)  # a thread of gloo that still runs when the interpreter is taken down would abort the process


def main(folder):
    """Run every case, some at a time; a rank that dies leaves a file that says so."""
    torch.set_num_threads(1)
    warm_up()
    running = {}
    waiting = [(key, folder / str(number)) for number, key in enumerate(CASES)]
    while waiting or running:
        while waiting and len(running) <= AT_ONCE - 2:
            key, place = waiting.pop(0)
            place.mkdir()
            running |= {start(rank, key, place): (rank, place) for rank in range(2)}
        child, _ = os.wait()
        rank, place = running.pop(child)
        (place / f"{rank}.gone").touch()


def found(folder):
    """Return the outcomes of both ranks by case, `None` for a rank that died."""
    files = {key: [folder / str(number) / f"{rank}.pt" for rank in range(2)] for number, key in enumerate(CASES)}
    return {
        key: [Outcome(**torch.load(file)) if file.exists() else None for file in both] for key, both in files.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))

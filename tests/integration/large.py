"""Runs as a script: one step with many outputs, and how much memory it took."""

from __future__ import annotations

import resource
import sys

import torch

from nlcore import EmpiricalFisher, GaussNewton, Hessian, Relative, Traits, compose, newton_step

BATCH = 8


def blur(y):
    """Return features that each depend on outputs far apart, not linear in them, [N, m]."""
    spread = y
    for shift in (1, 3, 9):
        spread = spread + 0.5 * torch.roll(spread, shift, -1)
    return spread + 0.1 * spread.square()


class Chain:
    """Neighbours are coupled; convex where `sign` is 1, with negative curvature where it is −1."""

    traits = Traits()

    def __init__(self, sign=1.0):
        self.sign = sign

    def __call__(self, prediction, target, *, generator=None):
        gap = prediction[:, 1:] - prediction[:, :-1]
        return (prediction - target).square().sum(1) / 2 + self.sign * 0.2 * gap.pow(4).sum(1)

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, 8, generator=generator, dtype=dtype, device=device))


BLUR = compose(blur)
CASES = {
    "gauss-newton": (BLUR, GaussNewton(damping=Relative(0.1), solver="cg"), GaussNewton(damping=Relative(0.1))),
    "gauss-newton-sample": (
        BLUR,
        GaussNewton(damping=0.5, aggregate="sample", solver="cg"),
        GaussNewton(damping=0.5, aggregate="sample"),
    ),
    "hessian": (
        Chain(),
        Hessian(damping=Relative(0.1), psd="none", solver="cg"),
        Hessian(damping=Relative(0.1), psd="none"),
    ),
    "fisher": (BLUR, EmpiricalFisher(solver="kernel"), EmpiricalFisher(solver="cholesky")),
}
NEGATIVE = (Chain(-1.0), CASES["hessian"][1])


def data(size, dtype=torch.float32):
    """Return a prediction and a target, each [BATCH, size]."""
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, BATCH, size, generator=generator, dtype=torch.float64)
    return prediction.to(dtype), target.to(dtype)


def peak():
    """Return the largest memory that this process ever held, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    torch.set_num_threads(1)
    loss, curvature = NEGATIVE if sys.argv[1] == "negative" else CASES[sys.argv[1]][:2]
    newton_step(loss, *data(8), curvature)  # loads what is loaded late
    before = peak()
    step = newton_step(loss, *data(int(sys.argv[2])), curvature)
    descends = (step.gradient * step.direction).sum(1).min().item() > 0
    finite = bool(torch.isfinite(step.direction).all())
    stats = step.stats
    print(peak() - before, finite and descends, stats["indefinite"], stats.get("residual", 0.0))

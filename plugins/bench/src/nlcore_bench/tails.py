"""The tails of the gradients of a run: quantiles of norms over all samples and over all steps."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor, nn

from nlcore_bench.records import Run

__all__ = ["LEVELS", "TAILS", "Tails", "tail", "tail_text"]

LEVELS = (0.5, 0.9, 0.99, 0.999, 1.0)
"""The quantiles of a record, of which the last is the largest norm."""

TAILS = (
    "Norms of gradients are in units of their median in the same run. Samples' gradients: the gradient that the "
    "prediction of a sample receives, ∇ℓ_i or the Newton direction, over all samples of all steps. Network's gradient: "
    "before clipping, over all steps. A cell is the median over the seeds; behind a largest norm stands that of the "
    "seed with the largest one."
)
"""The columns of norms, for the reader of a table."""

_LOWEST, _HIGHEST, _PER_DECADE = (
    -30,
    38,
    100,
)  # decimal exponents of the bins; float32 ends there


class Tails(nn.Module):
    """Counts of norms on a logarithmic scale, with a hundred bins per factor of ten.

    It is a module so that checkpoints hold its `state_dict`. `sample` counts the norm of the gradient that the
    prediction of a sample receives from the criterion, times the batch size: the norm of ∇ℓ_i or of the Newton
    direction. `step` counts the norm of the network's gradient before clipping.
    """

    counts: Tensor
    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(2, (_HIGHEST - _LOWEST) * _PER_DECADE + 1, dtype=torch.int64))
        self.register_buffer("largest", torch.zeros(2, dtype=torch.float64))

    def add(self, samples: Tensor, network: nn.Module) -> None:
        """Add the norms of a step.

        Args:
            samples: [batch], the norms of the samples.
            network: The network, with its gradient.
        """
        gradients = [one.grad for one in network.parameters() if one.grad is not None]
        for row, norms in enumerate((samples, nn.utils.get_total_norm(gradients).view(1))):
            known = norms.detach().double().cpu().nan_to_num(nan=torch.inf).clamp(max=10.0**_HIGHEST)
            index = (known.log10() - _LOWEST).mul(_PER_DECADE).clamp(0, self.counts.shape[1] - 1).long()
            self.counts[row] += torch.bincount(index, minlength=self.counts.shape[1])
            self.largest[row] = torch.maximum(self.largest[row], known.max())

    def quantiles(self) -> dict[str, list[float]]:
        """Return the quantiles `LEVELS` of both, to 1 %, and the exact largest norm; empty before the first step."""
        if not int(self.counts.sum()):
            return {}
        shares = self.counts.cumsum(1).double() / self.counts.sum(1, keepdim=True) + 1e-12
        found = {}
        for name, share, largest in zip(("sample", "step"), shares, self.largest.tolist(), strict=True):
            bins = torch.searchsorted(share, torch.tensor(LEVELS[:-1], dtype=torch.float64))
            middle = 10.0 ** (_LOWEST + (bins.double() + 0.5) / _PER_DECADE)
            found[name] = [*(min(one, largest) for one in middle.tolist()), largest]
        return found


def tail(run: Run, kind: str, level: float) -> float:
    """Return a quantile of the norms of a run divided by their median: NaN without norms, infinite for a median of 0.

    Args:
        run: The run.
        kind: `"sample"` or `"step"`.
        level: One of `LEVELS`.
    """
    if kind not in run.norms:
        return float("nan")
    value, middle = run.norms[kind][LEVELS.index(level)], run.norms[kind][0]
    return value / middle if middle else float("inf")


def tail_text(runs: Sequence[Run], kind: str, level: float) -> str:
    """Return the median over the runs; for the largest norms, the largest value of any run stands behind it."""
    values = [tail(run, kind, level) for run in runs if run.norms]
    if not values:
        return "–"
    return f"{median(values):.2g}" + (f" ({max(values):.2g})" if level == LEVELS[-1] else "")

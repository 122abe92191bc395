"""The hourly flow of water through a meter, from a file that ships with river, and Chow and Lin's disaggregation."""

from __future__ import annotations

import csv
from datetime import datetime
from functools import cache

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore_bench.data import package_folder
from nlcore_bench.data.digits import PartName

__all__ = ["chow_lin", "flows", "persistence"]

_WEEKS: dict[PartName, tuple[int, ...]] = {"train": (0, 2, 3, 4, 6), "validation": (5,), "test": (1, 7)}
"""Weeks from the beginning; each part has one of the three interruptions of the supply."""

_HOUR, _WEEK = 3600.0, 168


@cache
def flows(part: PartName, hours: int) -> Tensor:
    """Return windows of consecutive hourly flows, float32 [k, hours]; one window begins at every hour.

    The flow in l/s is that of `WaterFlow`: 1 268 hours of spring 2022, with gaps that no window contains. Of its eight
    weeks the sixth is for validation, the second and the last for tests; no window is in two parts. The unit is the
    standard deviation of the training part, about its mean.

    Args:
        part: Part of the data.
        hours: Hours of a window.

    Raises:
        ConfigError: river is not installed, or no part of the data has a window of this length.
    """
    times, values = _read()
    train = torch.cat([values[week * _WEEK : (week + 1) * _WEEK] for week in _WEEKS["train"]])
    values = (values - train.mean()) / train.std()
    starts = [
        start
        for week in _WEEKS[part]
        for start in range(week * _WEEK, min((week + 1) * _WEEK, len(values)) - hours + 1)
        if times[start + hours - 1] - times[start] == (hours - 1) * _HOUR
    ]
    if not starts:
        raise ConfigError(f"bench/meters: the flow of water has no {hours} hours without a gap in its {part} part.")
    return torch.stack([values[start : start + hours] for start in starts]).float()


@cache
def _read() -> tuple[list[float], Tensor]:
    missing = (
        "bench/meters needs the flow of water that ships with river: pip install river, or 'nlcore-bench[meters]'."
    )
    path = package_folder("river", missing) / "datasets" / "water-flow.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(datetime.fromisoformat(row["Time"]), float(row["Water flow [l/s]"])) for row in csv.DictReader(file)]
    return [time.timestamp() for time, _ in rows], torch.tensor([value for _, value in rows], dtype=torch.float64)


def chow_lin(totals: Tensor, hours: int, persistence: float) -> Tensor:
    """Return the best linear unbiased disaggregation of totals of equal blocks.

    The model of the hours is a mean, constant in a window, plus a first-order autoregression. Chow, Lin: *Best Linear
    Unbiased Interpolation, Distribution, and Extrapolation of Time Series by Related Series*, 1971.

    Args:
        totals: [k, blocks].
        hours: Hours of a window.
        persistence: Autocorrelation from hour to hour, between −1 and 1.

    Returns:
        [k, hours], whose totals are the given ones.
    """
    covariance, gather, level, inverse = _model(hours, totals.shape[1], persistence)
    totals = totals.double()
    mean = (totals @ inverse @ level) / (level @ inverse @ level)
    rest = totals - mean.unsqueeze(1) * level
    return (mean.unsqueeze(1) + rest @ inverse @ gather @ covariance).float()


@cache
def persistence(hours: int, blocks: int) -> float:
    """Return the autocorrelation from hour to hour that is most likely for the totals of the training windows."""
    totals = flows("train", hours).double().view(-1, blocks, hours // blocks).sum(2)
    likelihood = {}
    for rho in (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99):
        _, _, level, inverse = _model(hours, blocks, rho)
        mean = (totals @ inverse @ level) / (level @ inverse @ level)
        rest = totals - mean.unsqueeze(1) * level
        scale = torch.einsum("ki,ij,kj->", rest, inverse, rest) / totals.numel()
        likelihood[rho] = float(torch.logdet(inverse) / blocks - scale.log())
    return max(likelihood, key=lambda rho: likelihood[rho])


def _model(hours: int, blocks: int, rho: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the covariance of hours, the sums over blocks, the hours of each, and the inverse covariance of totals."""
    hour = torch.arange(hours, dtype=torch.float64)
    covariance = rho ** (hour.unsqueeze(1) - hour).abs() / (1 - rho**2)
    gather = torch.eye(blocks, dtype=torch.float64).repeat_interleave(hours // blocks, 1)
    return covariance, gather, gather.sum(1), torch.linalg.inv(gather @ covariance @ gather.mT)

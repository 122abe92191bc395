"""The task of alignment: utterances of unequal lengths, their padding, and a training step."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("sktime")

import nlcore
from nlcore_bench.data.vowels import utterances
from nlcore_bench.tasks import Align


def test_utterances_have_their_lengths_and_parts() -> None:
    parts = {part: utterances(part) for part in ("train", "validation", "test")}
    assert {part: len(one) for part, one in parts.items()} == {"train": 216, "validation": 54, "test": 370}
    lengths = [len(one) for part in parts.values() for one in part]
    assert (min(lengths), max(lengths)) == (7, 29)
    frames = torch.cat(parts["train"] + parts["validation"])
    torch.testing.assert_close(frames.mean(0), torch.zeros(12), rtol=0, atol=1e-5)
    torch.testing.assert_close(frames.std(0), torch.ones(12), rtol=0, atol=1e-5)


def test_padding_is_behind_the_end_and_without_influence() -> None:
    task = Align()
    batch = next(task.batches(0))
    mask, lengths = batch.options["mask"], batch.target["lengths"]
    assert batch.inputs.shape == (32, 24)
    assert batch.outputs.shape == mask.shape == (32, 23, 4)
    assert torch.equal((~mask[..., 0]).sum(1), lengths)
    prediction = task.network(0)(batch.inputs).detach()
    value = task.loss(prediction, batch.target, mask=mask)
    torch.testing.assert_close(value, task.loss(prediction.masked_fill(mask, 9.0), batch.target, mask=mask))
    assert float(value.min()) > 0
    perfect = task.loss(batch.outputs, batch.target, mask=mask)
    torch.testing.assert_close(perfect, torch.zeros(32), rtol=0, atol=1e-4)


def test_the_default_trains_it() -> None:
    task = Align()
    network, criterion = task.network(0), nlcore.NewtonLoss(task.loss)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    before = task.evaluate(network, "test")["loss"]
    for _, batch in zip(range(40), task.batches(0), strict=False):
        optimizer.zero_grad()
        criterion(network(batch.inputs), batch.target, **batch.options).backward()
        optimizer.step()
    assert task.evaluate(network, "test")["loss"] < 0.7 * before

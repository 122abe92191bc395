"""The state of a choice as one tensor, for checkpoints."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore.newton.reused import Reused
from nlcore.newton.selection import Probe, Selection

__all__ = ["load_selection", "recognises", "save_selection"]

_COUNTS, _HEADER = 14, 21
"""Numbers at the start of a saved state: whole ones, and all."""

_UNKNOWN = -1e300
"""A number of a saved state that is not known yet."""


def save_selection(of: Selection) -> Tensor:
    """Return the state as a tensor [n] float64, for a checkpoint; a pending probe is not part of it."""
    lengths = [0.0 if math.isnan(one) else one for one in (of.length.typical, of.length.recent)]
    counts = [len(of.scores), of.probes, of.age, of.next_probe, of.current, of.dense_until, of.risen]
    counts += [of.reason is not None, len(of.history) > 0, of.alike, of.same, of.round, len(of.kept), of.held]
    means = [_UNKNOWN if math.isnan(one) else one for one in (of.level, of.lowest, of.length.earlier, of.last)]
    levels = [*lengths, of.length.falling, *means]
    pieces = [torch.tensor([*counts, *levels], dtype=torch.float64), of.scores, of.agreement, of.barred]
    for member, (age, kept) in of.kept.items():
        pieces.append(torch.tensor([member, age, len(kept.inverse), kept.damping], dtype=torch.float64))
        pieces.append(kept.inverse.flatten().cpu())
    return torch.cat(pieces)


def recognises(state: Tensor) -> bool:
    """Return whether a finite tensor [n] is the state of a choice."""
    if len(state) < _HEADER or bool((state[:_COUNTS] != state[:_COUNTS].round()).any()):
        return False
    count, current, kept = (int(state[k]) for k in (0, 4, 12))
    place = _HEADER + 3 * count
    for _ in range(max(0, kept)):
        if not place + 4 <= len(state) or not 0 <= int(state[place]) < count:
            return False
        place += 4 + int(state[place + 2]) ** 2
    return 0 <= current < count and place == len(state)


def load_selection(of: Selection, state: Tensor) -> None:
    """Restore it.

    Raises:
        ConfigError: It is the state of other candidates.
    """
    count = len(of.scores)
    if int(state[0]) != count:
        raise ConfigError(
            f"{of.name}: the saved state of Auto is of {int(state[0])} candidates, and this loss has {count}. "
            f"Leave the entry out of the checkpoint to begin anew."
        )
    counts = [int(one) for one in state[1:_COUNTS].tolist()]
    of.probes, of.age, of.next_probe, of.current, of.dense_until, of.risen, *flags, kept, of.held = counts
    blind, begun, of.alike, of.same, of.round = map(bool, flags)
    *lengths, of.length.falling, of.level, of.lowest, of.length.earlier, of.last = (
        math.nan if one == _UNKNOWN else one for one in state[_COUNTS:_HEADER].tolist()
    )
    of.length.typical, of.length.recent = (one if one > 0 else math.nan for one in lengths)
    place = _HEADER + 3 * count
    of.scores, of.agreement, of.barred = state[_HEADER:place].view(3, count).clone()
    of.reason, of.checked = "as before the checkpoint" if blind else None, begun
    of.current = 0 if blind else of.current
    if begun:
        of.history.append(Probe(of.age, tuple(of.scores.tolist()), of.current))
    for _ in range(kept):
        member, age, size = (int(one) for one in state[place : place + 3])
        damping, place = float(state[place + 3]), place + 4
        inverse = state[place : place + size * size].reshape(size, size).clone()
        of.kept[member] = age, Reused(of.candidates.curvatures[member], inverse, damping)
        place += size * size

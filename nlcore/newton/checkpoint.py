"""The state of a damping or of a choice as one tensor, for checkpoints."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore.newton.damping import DampingState
from nlcore.newton.guard import LossGuard
from nlcore.newton.reused import Reused
from nlcore.newton.selection import Probe, Selection

__all__ = ["is_selection", "load_damping", "load_selection", "save_damping", "save_selection", "translate_0_1"]

_COUNTS, _GUARD, _HEADER = 13, 19, 29
"""Numbers at the start of a saved state: whole ones, all before those of the guard, and all."""

_PER_CANDIDATE = 5
"""Numbers of each candidate after them."""

_UNKNOWN = -1e300
"""A number of a saved state that is not known yet."""


def save_damping(state: DampingState | None) -> Tensor:
    """Return the state of a `Bounded` damping, [3] float64: ρ or zero, whether per sample, age."""
    if state is None:
        return torch.zeros(3, dtype=torch.float64, device="cpu")
    age = torch.tensor(float(state.age), dtype=torch.float64, device=state.rho.device)
    return torch.stack([state.rho.detach(), state.own.double(), age]).cpu()


def load_damping(state: Any) -> DampingState | None:
    """Return the state that `save_damping` saved.

    Raises:
        ConfigError: It is something else.
    """
    rho, own, age = state.double().tolist() if _is_finite_vector(state) and len(state) == 3 else (-1.0, 0.0, 0.0)
    if rho < 0 or own not in (0.0, 1.0) or age < 0 or age != int(age):
        raise ConfigError(
            f"NewtonLoss cannot load the state {state!r}: three numbers are needed, ρ ≥ 0, 0 or 1, and the age in "
            f"whole steps, or the longer state of Auto(aim='loss'). Leave the entry out to begin anew."
        )
    return None if rho == 0 else DampingState(state[0].double(), state[1].bool(), int(age))


def translate_0_1(state_dict: dict[str, Any], prefix: str) -> None:
    """Replace the entries of a checkpoint of version 0.1 by that of today."""
    age = state_dict.get(f"{prefix}_extra_state")
    if isinstance(age, int) and f"{prefix}_rho" in state_dict:
        old = (state_dict.pop(f"{prefix}_rho"), state_dict.pop(f"{prefix}_per_sample"), torch.tensor(age, device="cpu"))
        state_dict[f"{prefix}_extra_state"] = torch.stack([one.double().cpu() for one in old])


def save_selection(of: Selection) -> Tensor:
    """Return the state as a tensor [n] float64, for a checkpoint; a pending probe is not part of it."""
    board = of.board
    lengths = [0.0 if math.isnan(one) else one for one in (of.length.typical, of.length.recent)]
    counts = [len(board.scores), board.probes, of.age, of.next_probe, board.current, of.dense_until]
    counts += [of.reason is not None, len(of.history) > 0, board.alike, board.same, board.round]
    counts += [len(of.matrices.kept), board.held]
    means = [_UNKNOWN if math.isnan(one) else one for one in (of.length.earlier, of.last, *of.guard.state())]
    rate = _UNKNOWN if of.learning_rate.value is None else of.learning_rate.value
    levels = [*lengths, of.length.falling, rate, *means]
    pieces = [
        torch.tensor([*counts, *levels], dtype=torch.float64, device="cpu"),
        board.scores,
        board.agreement,
        board.mean_reach,
        board.last_reach,
        board.barred,
    ]
    for member, (age, kept) in of.matrices.kept.items():
        pieces.append(torch.tensor([member, age, len(kept.inverse), kept.damping], dtype=torch.float64, device="cpu"))
        pieces.append(kept.inverse.flatten().cpu())
    return torch.cat(pieces)


def is_selection(state: Any) -> bool:
    """Return whether an object is the state of a choice."""
    if not _is_finite_vector(state) or len(state) < _HEADER or bool((state[:_COUNTS] != state[:_COUNTS].round()).any()):
        return False
    count, current, kept = (int(state[k]) for k in (0, 4, 11))
    offset = _HEADER + _PER_CANDIDATE * count
    for _ in range(max(0, kept)):
        if not offset + 4 <= len(state) or not 0 <= int(state[offset]) < count:
            return False
        offset += 4 + int(state[offset + 2]) ** 2
    return 0 <= current < count and offset == len(state)


def load_selection(of: Selection, state: Tensor) -> None:
    """Restore the state that `save_selection` saved.

    Raises:
        ConfigError: It is the state of other candidates.
    """
    board = of.board
    count = len(board.scores)
    if int(state[0]) != count:
        raise ConfigError(
            f"{of.name}: the saved state of Auto is of {int(state[0])} candidates, and this loss has {count}. "
            f"Leave the entry out of the checkpoint to begin anew."
        )
    counts = [int(one) for one in state[1:_COUNTS].tolist()]
    board.probes, of.age, of.next_probe, board.current, of.dense_until, *flags, kept, board.held = counts
    blind, begun, board.alike, board.same, board.round = map(bool, flags)
    numbers = [math.nan if one == _UNKNOWN else one for one in state[_COUNTS:_HEADER].tolist()]
    *lengths, of.length.falling, rate, of.length.earlier, of.last = numbers[: _GUARD - _COUNTS]
    of.learning_rate.value = None if math.isnan(rate) else rate
    of.guard = LossGuard.of(numbers[_GUARD - _COUNTS :])
    of.length.typical, of.length.recent = (one if one > 0 else math.nan for one in lengths)
    offset = _HEADER + _PER_CANDIDATE * count
    rows = state[_HEADER:offset].view(_PER_CANDIDATE, count).clone()
    board.scores, board.agreement, board.mean_reach, board.last_reach, board.barred = rows
    of.reason, of.checked = "as before the checkpoint" if blind else None, begun
    board.current = 0 if blind else board.current
    if begun:
        of.history.append(Probe(of.age, tuple(board.scores.tolist()), board.current))
    for _ in range(kept):
        member, age, size = (int(one) for one in state[offset : offset + 3])
        damping, offset = float(state[offset + 3]), offset + 4
        inverse = state[offset : offset + size * size].reshape(size, size).clone()
        of.matrices.kept[member] = age, Reused(of.candidates.curvatures[member], inverse, damping)
        offset += size * size


def _is_finite_vector(state: Any) -> bool:
    readable = isinstance(state, Tensor) and not state.is_meta and state.layout == torch.strided
    return readable and state.ndim == 1 and bool(torch.isfinite(state).all())

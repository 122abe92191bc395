"""Validation of inputs; messages name the algorithm, the input and its expected form."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore.errors import ContractError, DeviceError, DtypeError, NumericalWarning, ShapeError

__all__ = ["check_inputs", "holds", "read", "warn_of_a_column", "working"]

_KINDS: dict[str, Callable[[torch.dtype, torch.dtype], bool]] = {
    "any": lambda dtype, reference: True,
    "floating": lambda dtype, reference: dtype.is_floating_point,
    "real": lambda dtype, reference: not dtype.is_complex and dtype != torch.bool,
    "same": lambda dtype, reference: dtype == reference,
}
_CURES = {"floating": ".float()", "real": ".float()", "int64": ".long()", "bool": ".bool()"}


def check_inputs(name: str, **tensors: tuple[object, str] | tuple[object, str, str]) -> None:
    """Raise unless all inputs are tensors of the required shapes and dtypes, on one device.

    No value is read, so there is no synchronisation with a GPU. The other tensors are compared with the first.

    Args:
        name: Id of the algorithm; the message begins with it.
        tensors: For each input, by its name in the message: the tensor, the required form, and optionally advice for
            the message. A form is a shape and a dtype, `"[batch, n] floating"`. A size that is named twice is the same
            everywhere; it is at least 1, except `batch`; `...` in front stands for any sizes. The dtype is `floating`,
            `real` (not bool, not complex), `same` as the first, the name of one of torch, or left out. After it, `or
            None` accepts None.

    Raises:
        ContractError: An input is not a tensor.
        DtypeError: A dtype does not fit.
        ShapeError: A shape does not fit.
        DeviceError: A tensor is on another device than the first.
        ValueError: A form cannot be parsed.

    Example:
        >>> import torch
        >>> scores, classes = torch.randn(8, 5), torch.zeros(4, dtype=torch.int64)
        >>> check_inputs("mine/loss", scores=(scores, "[batch, n] floating"), target=(classes, "[batch] int64"))
        Traceback (most recent call last):
        nlcore.errors.ShapeError: mine/loss: target has shape [4], but [batch] = [8] is needed, as in scores [8, 5].
    """
    sizes: dict[str, int | tuple[int, ...]] = {}
    first: tuple[str, Tensor] | None = None
    for what, (tensor, needed, *advice) in tensors.items():
        wanted = _PARSED.get(needed) or _parse(needed)
        if tensor is None and wanted.optional:
            continue
        if not isinstance(tensor, Tensor):
            kind = f"{wanted.dtype} " if wanted.dtype in _CURES else ""
            raise ContractError(
                f"{name}: {what} is a {type(tensor).__name__}; a {kind}tensor {wanted.shape} is needed.{_said(advice)}"
            )
        reference = tensor if first is None else first[1]
        if not _is(tensor.dtype, wanted.dtype, reference.dtype):
            need = reference.dtype if wanted.dtype == "same" else wanted.dtype
            cure = _said(advice) or _conversion(tensor, wanted, first)
            raise DtypeError(f"{name}: {what} is {tensor.dtype}, but {need} is needed.{cure}")
        if not wanted.fits(tensor.shape, sizes):
            raise ShapeError(f"{name}: {what} {_misshapen(tensor, wanted, sizes, first)}{_said(advice)}")
        if tensor.device != reference.device:
            there = f"{first[0] if first else what} on {reference.device}"
            raise DeviceError(f"{name}: {what} is on {tensor.device}, {there}. Move one with .to(device).")
        first = first or (what, tensor)


def holds(condition: Tensor) -> bool:
    """Return whether a condition on values is met everywhere; synchronises with the device once.

    True where values cannot be read; see `read`.

    Args:
        condition: bool, of any shape.
    """
    return read(condition.all()) is not False


def read(number: Tensor) -> bool | float | None:
    """Return the value of a tensor with one element; synchronises with the device.

    Args:
        number: One element of any shape, of a real dtype or bool.

    Returns:
        The value; None where values cannot be read: under `torch.vmap`, `torch.compile` and on the `meta` device.
    """
    if torch.compiler.is_compiling() or number.is_meta:
        return None
    try:
        return number.item()
    except RuntimeError:  # the values of a tensor that a transform has batched cannot be read
        return None


def working(tensor: Tensor) -> Tensor:
    """Return a tensor in working precision: float64 unchanged, everything else as float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)


def warn_of_a_column(name: str, scores: Tensor) -> None:
    """Warn of scores [batch, 1] for more than one list: the loss of a list of one item is constant.

    A network with one output gives such scores for a list with one item in each row. Only the shape is examined. There
    is no warning under `torch.compile`.

    Args:
        name: Id of the algorithm; the message begins with it.
        scores: [batch, n].

    Example:
        >>> import torch, warnings
        >>> with warnings.catch_warnings(record=True) as seen:
        ...     warnings.simplefilter("always")
        ...     warn_of_a_column("mine/loss", torch.randn(1, 8))
        ...     warn_of_a_column("mine/loss", torch.randn(8, 1))
        >>> print(str(seen[0].message)[:68])
        mine/loss: scores of shape [8, 1] are 8 lists of one item each; loss
    """
    if scores.shape[-1] != 1 or scores.shape[0] < 2 or torch.compiler.is_compiling():
        return
    batch = scores.shape[0]
    warnings.warn(
        f"{name}: scores of shape [{batch}, 1] are {batch} lists of one item each; loss and gradient are 0 whatever "
        f"they are. One list of {batch} items is [1, {batch}]: call scores.squeeze(-1).unsqueeze(0); for several, "
        "scores.reshape(lists, items). Give the target the same shape.",
        NumericalWarning,
        stacklevel=2,
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """The parsed form of an input: `[..., n] floating` has the sizes ("n",), is open, and floating."""

    shape: str
    sizes: tuple[str, ...]
    open: bool
    dtype: str
    optional: bool

    def fits(self, shape: torch.Size, known: dict[str, int | tuple[int, ...]]) -> bool:
        """Return whether a shape is of this form; record the sizes that it names first."""
        extra = len(shape) - len(self.sizes)
        if extra < 0 or (extra and not self.open):
            return False
        if self.open and known.setdefault("...", tuple(shape[:extra])) != tuple(shape[:extra]):
            return False
        for size, length in zip(self.sizes, shape[extra:], strict=True):
            if size.isdigit():
                if length != int(size):
                    return False
            elif known.setdefault(size, length) != length or (length == 0 and size != "batch"):
                return False
        return True


_PARSED: dict[str, _Form] = {}  # not functools.cache, which torch.compile warns about


def _parse(needed: str) -> _Form:
    match = re.fullmatch(r"(\[(\.\.\.)?(?:, )?((?:\w+(?:, )?)*)\])(?: (?!or )(\w+))?( or None)?", needed)
    if match is None:
        raise ValueError(f"{needed!r} is not a shape with a dtype; write them as '[batch, n] floating' or '[..., n]'.")
    shape, ellipsis, sizes, dtype, optional = match.groups()
    if dtype not in ("floating", "real", "same", None) and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"{needed!r}: {dtype!r} is not a dtype; write floating, real, same, or one of torch as int64.")
    names = tuple(filter(None, sizes.split(", ")))
    _PARSED[needed] = _Form(shape, names, ellipsis is not None, dtype or "any", optional is not None)
    return _PARSED[needed]


def _is(dtype: torch.dtype, needed: str, reference: torch.dtype) -> bool:
    kind = _KINDS.get(needed)
    return dtype is getattr(torch, needed) if kind is None else kind(dtype, reference)


def _misshapen(
    tensor: Tensor, wanted: _Form, sizes: dict[str, int | tuple[int, ...]], first: tuple[str, Tensor] | None
) -> str:
    text = f"has shape {list(tensor.shape)}, but {wanted.shape}"
    if first is None:
        least = [f"{size} ≥ 1" for size in wanted.sizes if size != "batch" and not size.isdigit()]
        return f"{text}{' with ' if least else ''}{' and '.join(least)} is needed."
    known = [str(size) for size in sizes.get("...", ())] if wanted.open else []  # type: ignore[union-attr]
    known += [str(sizes.get(size, size)) for size in wanted.sizes]
    return f"{text} = [{', '.join(known)}] is needed, as in {first[0]} {list(first[1].shape)}."


def _conversion(tensor: Tensor, wanted: _Form, first: tuple[str, Tensor] | None) -> str:
    """Return advice on the dtype; of two that must be equal either can be converted, one with a loss of precision."""
    if wanted.dtype == "same" and first is not None:
        return f" Call .to({first[1].dtype}) on it, or .to({tensor.dtype}) on {first[0]}."
    return f" Call {_CURES.get(wanted.dtype, f'.to(torch.{wanted.dtype})')} on it."


def _said(advice: list[str]) -> str:
    return f" {advice[0]}" if advice else ""

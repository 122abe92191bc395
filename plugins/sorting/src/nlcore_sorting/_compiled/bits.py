"""Exponentials and orders of numbers by their bits, compiled.

The exponential function runs in vectors; that of the standard library takes the numbers one by one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nlcore.compiled import kernel

__all__ = ["arrange", "exponentials"]

_HIGH = 355 / 512
"""ln 2 in nine bits, so that its multiples by exponents are exact; `_LOW` is the rest."""
_LOW = -2.1219444005469058e-4

_COUNTED = 256
"""Items up to which comparing all pairs, in vectors and without a branch, is faster than a sort by digits."""


@intrinsic  # type: ignore[untyped-decorator]
def _power(_: Any, exponent: Any, like: Any) -> Any:
    """Return 2 to an int32, of the type of `like`; 0 one below the exponents of normal numbers."""
    digits = 23 if like.bitwidth == 32 else 52
    bias = (1 << like.bitwidth - digits - 2) - 1

    def code(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        bits = ir.IntType(like.bitwidth)
        wide = builder.sext(arguments[0], bits) if like.bitwidth > 32 else arguments[0]
        biased = builder.add(wide, bits(bias))
        return builder.bitcast(builder.shl(biased, bits(digits)), context.get_value_type(like))

    return like(types.int32, like), code


@intrinsic  # type: ignore[untyped-decorator]
def _bits(_: Any, number: Any) -> Any:
    """Return the bits of a number as an integer."""

    def code(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(number.bitwidth))

    return (types.int32 if number.bitwidth == 32 else types.int64)(number), code


@kernel("contracted")
def exponentials(numbers: Any) -> None:
    """Replace numbers [n] that are not above 0, −∞ among them, by their exponentials.

    They are within one unit in the last place; from √½ of the smallest normal number on downwards they are 0.
    """
    real, kind = numbers.dtype.type, np.finfo(numbers.dtype)
    one, lowest = real(1), real((kind.minexp - 1) * math.log(2))
    terms = 7 if kind.bits == 32 else 13  # of the series of exp, up to ln(2)/2
    for j in range(numbers.shape[0]):
        x = max(numbers[j], lowest)
        exponent = np.rint(x * real(1 / math.log(2)))
        rest = (x - exponent * real(_HIGH)) - exponent * real(_LOW)
        series = one
        for k in range(terms, 0, -1):
            series = one + series * (rest * (one / real(k)))
        numbers[j] = series * _power(np.int32(exponent), x)


@kernel("any")
def arrange(values: Any, sign: int, order: Any, work: Any) -> None:
    """Write the indices of numbers to `order`, equal ones by index.

    Smallest first where `sign` is 1, largest first where it is −1. `order` and `work`, which is for use in between,
    are int32 and have room for all.
    """
    if values.shape[0] <= _COUNTED:
        _count(values, sign, order, work)
    else:
        _sort_digits(values, sign, order, work)


@kernel("any")
def _count(values: Any, sign: int, order: Any, place: Any) -> None:
    """Arrange by counting the items that come before each."""
    one, factor = np.int32(1), values.dtype.type(sign)
    for j in range(values.shape[0]):
        own, before = factor * values[j], np.int32(0)
        for k in range(j):
            behind = np.int32(factor * values[k] > own)
            place[k] += behind
            before += one - behind
        place[j] = before
    for j in range(values.shape[0]):
        order[place[j]] = j


@kernel("any")
def _sort_digits(values: Any, sign: int, order: Any, other: Any) -> None:
    """Arrange by a radix sort of the bits, eight at a time."""
    n, size = values.shape[0], values.itemsize
    keys, counts = np.empty(n, np.int64), np.empty(256, np.int64)
    for i in range(n):
        bits = np.int64(_bits(values[i]))
        if bits < 0:  # ordered like the numbers, and −0 as 0
            bits = -(bits & 0x7FFFFFFF) if size == 4 else -(bits & 0x7FFFFFFFFFFFFFFF)
        keys[i] = sign * bits
        order[i] = i
    for place in range(size):
        shift, flip = 8 * place, 128 if place == size - 1 else 0  # the last digit has the sign
        counts[:] = 0
        for i in range(n):
            counts[((keys[i] >> shift) & 255) ^ flip] += 1
        if counts[((keys[0] >> shift) & 255) ^ flip] == n:
            continue
        before = 0
        for digit in range(256):
            counts[digit], before = before, before + counts[digit]
        for k in range(n):
            digit = ((keys[order[k]] >> shift) & 255) ^ flip
            other[counts[digit]] = order[k]
            counts[digit] += 1
        order[:n] = other[:n]

"""Vector instructions on `LANES` neighbouring cells of an anti-diagonal.

The compiler does not vectorise such loops by itself, as it cannot rule out that the rows of one array overlap. Indices
are those of first lanes, and are not checked.

A weight exp(−R/γ) is a pair (f, e) with the value f·2^e, f in [1, 2) and e a whole number, both float64. Sums of
such numbers cannot underflow or overflow, and need no logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["LANES", "NOTHING", "advance", "combine"]

LANES = 8
"""Number of cells side by side: one vector where vectors are widest; the compiler splits it elsewhere."""

NOTHING = -(2.0**50)
"""Exponent of the weight of a cell that no path reaches."""

_TERMS = 13
"""Terms of the series of 2^x, up to ½: the last is below the rounding of float64."""

_FAINT = -120.0
"""Exponent relative to the largest of three weights, below which one counts as 0; all numbers stay normal."""

_WHOLE = 1.5 * 2.0**52
"""Added to a number, it leaves the nearest whole number in the last bits."""

_DOUBLE, _BITS = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(64), LANES)
_ONE = 1023 << 52


class _Code:
    """Emission of vector instructions."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.context, self.b, self.signature, self.arguments = context, builder, signature, arguments

    def _address(self, array: int, place: Any) -> tuple[Any, Any]:
        number = self.signature.args[array].dtype
        data = self.context.make_array(self.signature.args[array])(self.context, self.b, self.arguments[array]).data
        vector = ir.VectorType(self.context.get_value_type(number), LANES)
        return self.b.bitcast(self.b.gep(data, [place]), vector.as_pointer()), number

    def load(self, array: int, place: Any) -> Any:
        """Return lanes of an array as float64."""
        address, number = self._address(array, place)
        lanes = self.b.load(address, align=number.bitwidth // 8)
        return lanes if number.bitwidth == 64 else self.b.fpext(lanes, _DOUBLE)

    def store(self, lanes: Any, array: int, place: Any) -> None:
        address, number = self._address(array, place)
        if number.bitwidth == 32:
            lanes = self.b.fptrunc(lanes, ir.VectorType(ir.FloatType(), LANES))
        self.b.store(lanes, address, align=number.bitwidth // 8)

    def all(self, number: float) -> Any:
        """Return lanes that hold one number."""
        return ir.Constant(_DOUBLE, [number] * LANES)

    def bits(self, number: int) -> Any:
        return ir.Constant(_BITS, [number] * LANES)

    def add(self, one: Any, other: Any) -> Any:
        return self.b.fadd(one, other, flags=("contract",))

    def sub(self, one: Any, other: Any) -> Any:
        return self.b.fsub(one, other)

    def mul(self, one: Any, other: Any) -> Any:
        return self.b.fmul(one, other, flags=("contract",))

    def larger(self, one: Any, other: Any) -> Any:
        return self.b.select(self.b.fcmp_ordered(">", one, other), one, other)

    def offset(self, place: Any, by: int) -> Any:
        return self.b.add(place, ir.Constant(place.type, by))

    def power(self, whole: Any) -> Any:
        """Return 2^k for whole k ≤ 0, and 0 where it is faint."""
        shifted = self.b.shl(self.b.bitcast(self.add(whole, self.all(_WHOLE)), _BITS), self.bits(52))
        power = self.b.bitcast(self.b.add(shifted, self.bits(_ONE)), _DOUBLE)
        return self.b.select(self.b.fcmp_ordered(">=", whole, self.all(_FAINT)), power, self.all(0.0))

    def split_power(self, x: Any) -> tuple[Any, Any]:
        """Return 2^x as (2^r, k) with x = r + k, k whole and |r| ≤ ½."""
        whole = self.sub(self.add(x, self.all(_WHOLE)), self.all(_WHOLE))
        rest = self.sub(x, whole)
        series = self.all(math.log(2) ** _TERMS / math.factorial(_TERMS))
        for k in range(_TERMS - 1, -1, -1):
            series = self.add(self.mul(series, rest), self.all(math.log(2) ** k / math.factorial(k)))
        return series, whole

    def normal(self, f: Any, e: Any) -> tuple[Any, Any]:
        """Return f·2^e with f in [1, 2)."""
        bits = self.b.bitcast(f, _BITS)
        shift = self.b.or_(self.b.lshr(bits, self.bits(52)), self.bits(0x433 << 52))  # as a number above 2^52
        shift = self.sub(self.b.bitcast(shift, _DOUBLE), self.all(2.0**52 + 1023))
        f = self.b.bitcast(self.b.or_(self.b.and_(bits, self.bits((1 << 52) - 1)), self.bits(_ONE)), _DOUBLE)
        return f, self.add(e, shift)


def _advance(
    _: Any, work: Any, p: Any, width: Any, here: Any, last: Any, before: Any, cost: Any, q: Any, plane: Any
) -> tuple[Any, Callable[..., Any]]:
    """Compute the weights of cells from those of their three predecessors, and the shares of these.

    In `work` a row of weights is f, and e `width` behind it. Cell i of row `here` has the predecessors i − 1 of the
    row `before` (diagonal), i − 1 of `last` (up), and i of `last` (left); its cost, in bits, is at `cost`. The shares
    go to `p`, at q, q + plane and q + 2·plane.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        c = _Code(context, builder, signature, arguments)
        _, _, width, here, last, before, cost, q, plane = arguments
        places = [c.offset(before, -1), c.offset(last, -1), last]
        f = [c.load(0, place) for place in places]
        e = [c.load(0, builder.add(place, width)) for place in places]
        highest = c.larger(c.larger(e[0], e[1]), e[2])
        weights = [c.mul(one, c.power(c.sub(exponent, highest))) for one, exponent in zip(f, e, strict=True)]
        total = c.add(c.add(weights[0], weights[1]), weights[2])
        inverse = builder.fdiv(c.all(1.0), c.larger(total, c.all(1e-300)))
        for weight in weights:
            c.store(c.mul(weight, inverse), 1, q)
            q = builder.add(q, plane)
        local, whole = c.split_power(builder.fneg(c.load(0, cost)))
        f, e = c.normal(c.mul(total, local), c.add(highest, whole))
        c.store(f, 0, here)
        c.store(e, 0, builder.add(here, width))
        return context.get_dummy_value()

    whole = types.int64
    return types.void(work, p, *[whole] * 7), code


def _combine(
    _: Any, work: Any, p: Any, here: Any, u0: Any, u1: Any, u2: Any, q0: Any, q1: Any, q2: Any
) -> tuple[Any, Callable[..., Any]]:
    """Add p[q0]·work[u0] + p[q1]·work[u1] + p[q2]·work[u2] to work[here]; the result is 0 where it is faint."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        c = _Code(context, builder, signature, arguments)
        here, places, shares = arguments[2], arguments[3:6], arguments[6:9]
        total = c.load(0, here)
        for place, share in zip(places, shares, strict=True):
            total = c.add(total, c.mul(c.load(0, place), c.load(1, share)))
        size = builder.bitcast(builder.and_(builder.bitcast(total, _BITS), c.bits((1 << 63) - 1)), _DOUBLE)
        kept = builder.fcmp_ordered(">=", size, c.all(1e-200))
        c.store(builder.select(kept, total, c.all(0.0)), 0, here)
        return context.get_dummy_value()

    whole = types.int64
    return types.void(work, p, *[whole] * 7), code


advance = cast(Callable[..., None], intrinsic(_advance))
combine = cast(Callable[..., None], intrinsic(_combine))

"""Vector instructions for kernels: the step of a sweep on `LANES` maps side by side.

The compiler does not vectorise such a loop by itself, as it cannot rule out that costs and distances overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["LANES", "relax"]

LANES = 16
"""Number of maps side by side: one vector of float32 where vectors are widest; the compiler splits it elsewhere."""

_Array = NDArray[Any]


def _relax(_: Any, d: Any, c: Any, v: Any, u1: Any, u2: Any, u3: Any, u4: Any) -> tuple[Any, Callable[..., Any]]:
    """Compute d[v] ← min(d[v], min_k d[u_k] + c[v]) in every lane, k = 1 … 4.

    Compiled as relax(d, c, v, u1, u2, u3, u4), with flat arrays and the indices of first lanes, which are not checked.
    An index that is given twice costs nothing. Returns an integer, 0 if no distance became smaller.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = signature.args[0].dtype
        vector = ir.VectorType(context.get_value_type(number), LANES)
        aligned = number.bitwidth // 8  # all that numpy guarantees

        def lanes(array: int, place: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, arguments[array]).data
            return builder.bitcast(builder.gep(data, [arguments[place]]), vector.as_pointer())

        def least(one: Any, other: Any) -> Any:
            return builder.select(builder.fcmp_ordered("<", one, other), one, other)

        around = [builder.load(lanes(0, place), align=aligned) for place in range(3, 7)]
        nearest = least(least(around[0], around[1]), least(around[2], around[3]))
        reached = builder.fadd(nearest, builder.load(lanes(1, 2), align=aligned))
        here = lanes(0, 2)
        known = builder.load(here, align=aligned)
        closer = builder.fcmp_ordered("<", reached, known)
        builder.store(builder.select(closer, reached, known), here, align=aligned)
        return builder.zext(builder.bitcast(closer, ir.IntType(LANES)), ir.IntType(64))

    return types.int64(d, c, v, u1, u2, u3, u4), code


relax = cast(Callable[[_Array, _Array, int, int, int, int, int], int], intrinsic(_relax))

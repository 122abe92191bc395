"""Simulators [N, 6] → [N, *features] through hand-written autograd Functions, of every kind that users write.

The gradient of each is right. What autograd makes of a derivative of the backward pass differs: right, zero, or an
error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from .torch_functions import MIX, like


class OldStyle(Function):
    """y³, without setup_context."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y**3

    @staticmethod
    def backward(ctx, g):
        return 3 * g * ctx.saved_tensors[0] ** 2


class Once(Function):
    """y², once differentiable."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y * y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0]


class OnceWithContext(Function):
    """tanh y, once differentiable, with setup_context."""

    @staticmethod
    def forward(y):
        return y.tanh()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return g * (1 - ctx.saved_tensors[0].square())


class Numpy(Function):
    """sin y, its derivative by numpy."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return torch.from_numpy(np.sin(y.detach().numpy()))

    @staticmethod
    def backward(ctx, g):
        return torch.from_numpy(g.detach().numpy() * np.cos(ctx.saved_tensors[0].detach().numpy()))


class NumpyLoop(Function):
    """A recursion x_k = x_{k−1}/2 + y_k² in plain Python, with its adjoint."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        rows = y.detach().numpy()
        out = np.empty_like(rows)
        for n, row in enumerate(rows):
            x = 0.0
            for k, number in enumerate(row):
                x = 0.5 * x + number**2
                out[n, k] = x
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx, g):
        rows, incoming = ctx.saved_tensors[0].detach().numpy(), g.detach().numpy()
        out = np.empty_like(rows)
        for n, row in enumerate(rows):
            adjoint = 0.0
            for k in reversed(range(len(row))):
                adjoint = 0.5 * adjoint + incoming[n, k]
                out[n, k] = 2 * row[k] * adjoint
        return torch.from_numpy(out)


class Sorted(Function):
    """The sorted prediction, with places that have no derivative."""

    @staticmethod
    def forward(ctx, y):
        values, places = y.sort(-1)
        ctx.save_for_backward(places)
        ctx.mark_non_differentiable(places)
        return values, places

    @staticmethod
    def backward(ctx, g, _):
        (places,) = ctx.saved_tensors
        return torch.zeros_like(g).scatter(-1, places, g)


class NoneGradients(Function):
    """sin(a y) with a number and a flag, whose gradients are None."""

    @staticmethod
    def forward(ctx, y, factor, flag):
        ctx.save_for_backward(y)
        ctx.factor = factor
        return (factor * y).sin() if flag else y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.factor * (ctx.factor * ctx.saved_tensors[0]).cos(), None, None


class VmapRule(Function):
    """eʸ with setup_context and a generated rule for vmap."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y):
        return y.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class OwnVmap(Function):
    """sin y with setup_context and a rule for vmap written out."""

    @staticmethod
    def forward(y):
        return y.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()

    @staticmethod
    def vmap(info, dimensions, y):
        return OwnVmap.apply(y), dimensions[0]


class WithJvp(Function):
    """Sigmoid, with setup_context and forward mode."""

    @staticmethod
    def forward(y):
        return y.sigmoid()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx, g):
        (p,) = ctx.saved_tensors
        return g * p * (1 - p)

    @staticmethod
    def jvp(ctx, tangent):
        (p,) = ctx.saved_tensors
        return tangent * p * (1 - p)


class Intermediate(Function):
    """e^{sin y}, with an intermediate saved that is neither an input nor an output."""

    @staticmethod
    def forward(ctx, y):
        inside = y.sin()
        out = inside.exp()
        ctx.save_for_backward(y, inside)
        return out

    @staticmethod
    def backward(ctx, g):
        y, inside = ctx.saved_tensors
        return g * inside.exp() * y.cos()


class Attribute(Function):
    """log(1 + y²), its input kept as an attribute."""

    @staticmethod
    def forward(ctx, y):
        ctx.y = y.detach()
        return (1 + y.square()).log()

    @staticmethod
    def backward(ctx, g):
        return g * 2 * ctx.y / (1 + ctx.y.square())


class Item(Function):
    """y |y|, whose backward looks at numbers with .item()."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y * y.abs()

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        if g.abs().max().item() == 0:
            return torch.zeros_like(y)
        return 2 * g * y.abs()


class InPlace(Function):
    """y² + y, whose backward works in place on its own buffer."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y * y + y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        out = torch.empty_like(y)
        out.copy_(y)
        out.mul_(2).add_(1).mul_(g)
        return out


class Detached(Function):
    """√(1 + y²), whose backward is cut from the graph."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return (1 + y * y).sqrt()

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return (g * y / (1 + y * y).sqrt()).detach()


class WithoutGradient(Function):
    """y³/3, whose backward runs under no_grad."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y**3 / 3

    @staticmethod
    def backward(ctx, g):
        with torch.no_grad():
            return g * ctx.saved_tensors[0].square()


class Narrow(Function):
    """sin y in single precision inside, in the dtype of y outside."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y.float().sin().to(y.dtype)

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return (g.float() * y.float().cos()).to(y.dtype)


class WideOutput(Function):
    """cos y, in double precision whatever comes in."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y.double().cos()

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return (-g * y.double().sin()).to(y.dtype)


class TwoInputs(Function):
    """a sin b."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b.sin()

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g * b.sin(), g * a * b.cos()


class TwoOutputs(Function):
    """sin y and y²."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y.sin(), y.square()

    @staticmethod
    def backward(ctx, g, h):
        (y,) = ctx.saved_tensors
        return g * y.cos() + 2 * h * y


class OneOfTwoOutputs(Function):
    """sin y and y², of which one may be left unused: its gradient is then None."""

    @staticmethod
    def forward(ctx, y):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y)
        return y.sin(), y.square()

    @staticmethod
    def backward(ctx, g, h):
        (y,) = ctx.saved_tensors
        out = torch.zeros_like(y)
        if g is not None:
            out = out + g * y.cos()
        return out if h is None else out + 2 * h * y


class Asked(Function):
    """a·b, which computes only the gradients it is asked for."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g * b if ctx.needs_input_grad[0] else None, g * a if ctx.needs_input_grad[1] else None


class Piecewise(Function):
    """2y where y > 0, else y/2."""

    @staticmethod
    def forward(ctx, y):
        up = y > 0
        ctx.save_for_backward(up)
        return torch.where(up, 2 * y, y / 2)

    @staticmethod
    def backward(ctx, g):
        return torch.where(ctx.saved_tensors[0], 2 * g, g / 2)


class Recomputed(Function):
    """tanh(Ay), whose backward runs autograd on a second forward pass."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return (y @ like(MIX, y)).tanh()

    @staticmethod
    def backward(ctx, g):
        with torch.enable_grad():
            y = ctx.saved_tensors[0].detach().requires_grad_()
            return torch.autograd.grad((y @ like(MIX, y)).tanh(), y, g)[0]


class Implicit(Function):
    """The x with x = tanh(Ax/2 + y)/2, differentiated by the implicit function theorem."""

    @staticmethod
    def forward(ctx, y):
        x, a = torch.zeros_like(y), 0.5 * like(MIX, y)
        for _ in range(100):
            x = 0.5 * (x @ a + y).tanh()
        slope = 0.5 * (1 - (2 * x).square())
        ctx.save_for_backward(slope, a)
        return x

    @staticmethod
    def backward(ctx, g):
        slope, a = ctx.saved_tensors
        identity = torch.eye(len(a), dtype=a.dtype)
        system = identity - a * slope.unsqueeze(-2)
        return slope * torch.linalg.solve(system, g.unsqueeze(-1)).squeeze(-1)


class Adjoint(Function):
    """Four Euler steps of x' = sin(Ax), with the discrete adjoint."""

    @staticmethod
    def forward(ctx, y):
        states, x, a = [], y, like(MIX, y)
        for _ in range(4):
            states.append(x.detach().clone())
            x = x + 0.2 * (x @ a).sin()
        ctx.states = states
        return x

    @staticmethod
    def backward(ctx, g):
        a = like(MIX, g)
        for x in reversed(ctx.states):
            g = g + 0.2 * (g * (x @ a).cos()) @ a.T
        return g


class SlopeOfCube(Function):
    """3 g y², with its own backward."""

    @staticmethod
    def forward(ctx, g, y):
        ctx.save_for_backward(g, y)
        return 3 * g * y * y

    @staticmethod
    def backward(ctx, h):
        g, y = ctx.saved_tensors
        return 3 * h * y * y, 6 * h * g * y


class Twice(Function):
    """y³, whose backward is a Function as well."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y * y * y

    @staticmethod
    def backward(ctx, g):
        return SlopeOfCube.apply(g, ctx.saved_tensors[0])


class Dirty(Function):
    """eʸ, written over its input."""

    @staticmethod
    def forward(ctx, y):
        y.exp_()
        ctx.mark_dirty(y)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class RowByRow(Function):
    """y², whose backward walks over the samples."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y.square()

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return torch.stack([2 * g[n] * y[n] for n in range(len(y))])


@dataclass(frozen=True)
class Written:
    """A simulator with a hand-written Function in it.

    Attributes:
        run: `[N, 6] -> [N, *features]`.
        exact: The same without the Function, where central differences of `run` are too coarse.
        tolerance: Largest relative error of a direction.
    """

    run: Any
    exact: Any = None
    tolerance: float = 1e-6


WRITTEN = {
    "without setup_context": Written(lambda z: OldStyle.apply(z).cumsum(-1)),
    "once_differentiable": Written(lambda z: Once.apply(z) + 0.3 * z),
    "once_differentiable, then cumsum": Written(lambda z: Once.apply(z).cumsum(-1)),
    "once_differentiable, with setup_context": Written(lambda z: OnceWithContext.apply(z) + 0.3 * z.roll(1, -1)),
    "numpy": Written(Numpy.apply),
    "numpy, beside a line": Written(lambda z: Numpy.apply(z) + z @ like(MIX, z)),
    "numpy, an adjoint in a loop": Written(lambda z: NumpyLoop.apply(z) + 0.2 * z),
    "an output without a derivative": Written(lambda z: Sorted.apply(z)[0].square()),
    "gradients that are None": Written(lambda z: NoneGradients.apply(z, 1.5, True) * z),
    "generate_vmap_rule": Written(lambda z: VmapRule.apply(z).cumsum(-1)),
    "own vmap": Written(lambda z: OwnVmap.apply(z) * z.roll(1, -1)),
    "own jvp": Written(lambda z: WithJvp.apply(z) * z),
    "saved intermediates": Written(lambda z: Intermediate.apply(z) + z),
    "state as an attribute": Written(lambda z: Attribute.apply(z) + 0.5 * z),
    "backward with .item()": Written(lambda z: Item.apply(z) + 0.5 * z.roll(1, -1)),
    "backward in place": Written(lambda z: InPlace.apply(z).sin()),
    "backward that detaches": Written(lambda z: Detached.apply(z) + z @ like(MIX, z)),
    "backward under no_grad": Written(lambda z: WithoutGradient.apply(z) + 0.4 * z),
    "single precision inside": Written(
        lambda z: Narrow.apply(z) + 0.5 * z, lambda z: z.sin() + 0.5 * z, tolerance=1e-5
    ),
    "double precision outside": Written(lambda z: WideOutput.apply(z).to(z.dtype) + 0.3 * z),
    "two inputs": Written(lambda z: TwoInputs.apply(z, z.roll(1, -1).square())),
    "two outputs": Written(lambda z: torch.cat(TwoOutputs.apply(z), -1)),
    "one of two outputs": Written(lambda z: OneOfTwoOutputs.apply(z)[1] + z),
    "needs_input_grad": Written(lambda z: Asked.apply(z, z.sin())),
    "piecewise": Written(lambda z: Piecewise.apply(z) + 0.2 * z.square()),
    "autograd inside the backward": Written(lambda z: Recomputed.apply(z) + 0.2 * z),
    "implicit differentiation": Written(lambda z: Implicit.apply(z) + 0.2 * z),
    "discrete adjoint": Written(Adjoint.apply),
    "backward by another Function": Written(lambda z: Twice.apply(z) + 0.2 * z),
    "written over its input": Written(lambda z: Dirty.apply(z.clone()) + z),
    "backward sample by sample": Written(lambda z: RowByRow.apply(z).cumsum(-1)),
    "under a checkpoint": Written(
        lambda z: checkpoint(lambda x: Once.apply(x) + 0.3 * x, z, use_reentrant=False) @ like(MIX, z)
    ),
    "in a loop": Written(lambda z: Numpy.apply(z + 0.3 * Numpy.apply(z + 0.3 * Numpy.apply(z)))),
}

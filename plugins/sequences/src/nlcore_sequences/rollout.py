"""Rollouts: a step function applied again and again, supervised through the states it passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Literal, final

import torch
from torch import Tensor

from nlcore.capabilities import keywords
from nlcore.errors import ConfigError, ContractError, NlcoreError
from nlcore.evaluation import full_precision
from nlcore.inputs import check_inputs, holds
from nlcore.protocol import Traits
from nlcore_sequences._constraints import constrained, unconstrained
from nlcore_sequences._example import context_of_example, draw_example
from nlcore_sequences._inputs import ID, named_arguments, read_inputs
from nlcore_sequences._unroll import Inputs, segment_length, unroll, unstable
from nlcore_sequences.config import Constraint, Predicts, RolloutConfig
from nlcore_sequences.systems import SYSTEMS, System

__all__ = ["Rollout"]


@final
@dataclass(frozen=True)
class Rollout:
    r"""A simulated system supervised by its states; a network predicts its controls, parameters or initial state.

    With a step function f, the initial state $s_0$, controls u, parameters p, a function g that returns what is
    observed of a state, and target observations o, the loss with the default criterion is

    $$
    \ell(y, o) = \tfrac12 \sum_{t=1}^{T} \lVert g(s_t) - o_t \rVert^2, \qquad s_t = f(s_{t-1}, u_t, p).
    $$

    The prediction y is the controls, the parameters (with or without the initial state), or the initial state. The
    other inputs are passed as the context. A padded step leaves the state unchanged, and its observation does not
    count, so the loss of a sample is that of its other steps alone. Inputs in half precision are computed in float32,
    and the context is converted to the precision of the prediction.

    A step function maps `(state, control, parameters)`, of the shapes `[batch, *state]`, `[batch]` or `[batch, c]`, and
    `[batch, p]`, to the next state. Controls that a simulator lacks are passed as None, and so are parameters. A
    keyword-only parameter of the function is read from the context entry of the same name. A parameter `dt`, the time
    step `[batch]`, may also be given as 'step'. The function has to be deterministic.

    Shape:
        - prediction: `[batch, T]` or `[batch, T, c]`, the controls; or `[batch, p]`, the parameters or initial state.
        - target: `[batch, T, *observation]`, the observations after each step, or `[batch, *observation]` of the last
          state; anything that a criterion of your own takes.
        - mask: `[batch, T]` or `[batch, T, c]` bool, True at padded steps; for predicted controls.
        - context: dict of tensors, of 'initial' `[batch, *state]`, 'step' `[batch]` (the time step), 'controls',
          'parameters', 'length' `[batch]` (the number of steps of each sample, for any prediction), and the
          keyword-only parameters of the step function.
        - value: half the squared distance of the observations, in their squared units.

    Cost:
        Time and memory O(T) per sample: T evaluations of the step function, one after the other, and as many again for
        each vector–Jacobian product (VJP). With `checkpoint`, by default above 512 steps, only O(√T) states are kept,
        and a VJP runs each segment between them again: up to 1.5 times the time of a gradient. A Gauss–Newton matrix
        takes F VJPs if the F observations are at most twice the m outputs. Otherwise it takes m Jacobian–vector
        products (JVPs) and m VJPs, all in one batch, so a few parameters of a long rollout are cheap. JVPs keep the
        graph of a backward pass, whose memory grows with T even with `checkpoint`.

    When it fails:
        Gradients can grow or vanish exponentially with T. For a chaotic or unstable system they are useless beyond a
        few multiples of its Lyapunov time: shorten the horizon, or observe intermediate states. Parameters that only
        act together (a mass and a gain) are not determined: the curvature is singular along the direction in which they
        compensate each other. A collision or a clamp makes a kink in the loss. A loss that depends on frequencies
        usually has several minima: start from values for which the simulated phase differs from the true one by less
        than half a period over the whole horizon.

    Args:
        system: The name of an example system, a step function, or a `System`, whose default values give an example.
        predicts: `"controls"`, `"parameters"` or `"initial"`.
        initial_size: How many numbers at the end of predicted parameters are the initial state.
        observe: Indices of the observed components, a function `[batch, *state] -> [batch, *observation]`, or `None`.
        supervise: `"trajectory"`, the state after each step, or `"last"`.
        criterion: `"squared_error"`, or a function `(features, target) -> [batch]` that is convex in the features; with
            a parameter `mask`, True at observations that do not count, it takes masks and lengths.
        constrain: For each number along the last dimension of the prediction (one for controls `[batch, T]`):
            `"positive"`, log(1 + eʸ); `"exponential"`, eʸ; `(low, high)`, a scaled sigmoid; or `None`.
        channels: Predicted controls of a step, `[batch, T, channels]`.
        steps: T for a system without controls.
        dt: Time step, if it is not in the context.
        checkpoint: Number of steps between two states that are kept; `"auto"`; or `None`, which keeps all states.
        on_unstable: `"raise"` an error if a rollout is not finite while gradients are recorded, or return `"nan"`.

    Raises:
        ConfigError: An option is of the wrong type or out of range.

    References:
        Backpropagation through time: Werbos, *Backpropagation through time: what it does and how to do it*, Proceedings
        of the IEEE, 1990. Checkpoints: Chen, Xu, Zhang, Guestrin, [Training Deep Nets with Sublinear Memory
        Cost](https://arxiv.org/abs/1604.06174), 2016. Curvature for controls of simulators: Schnell, Holl, Thuerey,
        [Half-Inverse Gradients for Physical Deep Learning](https://arxiv.org/abs/2203.10131), ICLR 2022.

    Example:
        >>> import torch
        >>> def falling(state, control, parameters):
        ...     height, speed = state.split(1, 1)
        ...     speed = speed - 0.1 * parameters
        ...     return torch.cat([height + 0.1 * speed, speed], 1)
        >>> loss = Rollout(falling, predicts="parameters", observe=(0,), steps=10, constrain=("positive",))
        >>> gravity = loss.unconstrained(torch.tensor([[9.81]]))
        >>> start = {"initial": torch.tensor([[20.0, 0.0]])}
        >>> loss.trajectory(gravity, context=start)[0, -1]
        tensor([14.6045, -9.8100])
    """

    system: str | System | Callable[..., Tensor] = "drag"
    _: KW_ONLY
    predicts: Predicts = "controls"
    initial_size: int = 0
    observe: tuple[int, ...] | Callable[[Tensor], Tensor] | None = None
    supervise: Literal["trajectory", "last"] = "trajectory"
    criterion: Literal["squared_error"] | Callable[..., Tensor] = "squared_error"
    constrain: tuple[Constraint | None, ...] = ()
    channels: int | None = None
    steps: int | None = None
    dt: float | None = None
    checkpoint: Literal["auto"] | int | None = "auto"
    on_unstable: Literal["raise", "nan"] = "raise"

    traits: Traits = field(init=False, repr=False, compare=False)
    dynamics: System = field(init=False, repr=False, compare=False)
    names: Mapping[str, bool] = field(init=False, repr=False, compare=False)
    _skips: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Validate the options, except functions, which a configuration cannot hold.

        `dynamics` is the step function with its defaults, and `names` has its keyword-only parameters, each with True
        where it is required.
        """
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        read = RolloutConfig(**{name: one for name, one in given.items() if not callable(one)})
        for name, one in given.items():
            if not callable(one):
                self._set(name, getattr(read, name))
            elif name not in ("system", "observe", "criterion"):
                raise ConfigError(f"Rollout: option {name!r} was given the function {one!r}.")
        system = SYSTEMS[self.system] if isinstance(self.system, str) else self.system
        self._set("dynamics", system if isinstance(system, System) else System(system))
        self._set("names", named_arguments(self.dynamics.step))
        self._set("_skips", not callable(self.criterion) or "mask" in keywords(self.criterion))
        masks, ndim = self.predicts == "controls" and self._skips, 1 if self.channels is None else 2
        self._set("traits", Traits(event_ndim=ndim, takes_mask=masks, takes_context=True))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def time_step(self) -> float | None:
        """The time step where the context lacks it."""
        return self.dynamics.dt if self.dt is None else self.dt

    def __call__(
        self,
        prediction: Tensor,
        target: Any,
        *,
        mask: Tensor | None = None,
        context: Mapping[str, Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each sample.

        Args:
            prediction: [batch, T], [batch, T, c] or [batch, p], as `predicts` says.
            target: The observations, [batch, T, *observation] or [batch, *observation].
            mask: [batch, T] or [batch, T, c] bool, True at padded steps.
            context: The initial state, controls, parameters, lengths, and other arguments of the step function.
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: An input does not fit the prediction or the step function.
            NonFiniteError: A rollout is not finite, with `on_unstable="raise"` and where gradients are recorded.
        """
        features = self.inner(prediction, mask=mask, context=context)
        return self.outer(features, target, mask=mask).to(prediction.dtype)

    def inner(
        self, prediction: Tensor, *, mask: Tensor | None = None, context: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the observations, [batch, T, *observation] or [batch, *observation].

        Observations that do not count are set to the largest number of their dtype, a mark by which `outer` leaves them
        out.
        """
        inputs = read_inputs(self, prediction, mask, context)
        every = self.supervise == "trajectory"
        last, seen = self._unrolled(inputs, self._observe if every else None)
        features = self._observe(last) if seen is None else seen
        if self.on_unstable == "raise" and features.requires_grad and not holds(features.isfinite()):
            raise unstable(ID, inputs, prediction, features)
        padded = inputs.padded
        if padded is None:
            return features
        if every and not self._skips:
            raise ContractError(
                f"{ID}: the context has 'length', and the criterion {self.criterion!r} cannot leave out the "
                f"observations behind it. Give it a parameter `mask`, True at observations that do not count."
            )
        left_out = padded if every else padded.all(1)
        shape = left_out.shape + (1,) * (features.ndim - left_out.ndim)
        return features.masked_fill(left_out.reshape(shape), torch.finfo(features.dtype).max)

    def outer(self, features: Tensor, target: Any, *, mask: Tensor | None = None) -> Tensor:
        """Return the convex loss of the observations, [batch]; those that `inner` has marked do not count."""
        left_out = features == torch.finfo(features.dtype).max
        if callable(self.criterion):
            masked = {"mask": left_out} if self._skips else {}
            value: Tensor = self.criterion(features.masked_fill(left_out, 0.0), target, **masked)
            return value
        check_inputs(
            ID, observation=(features, "[...]"), target=(target, "[...] real", "It is what `observe` returns.")
        )
        errors: Tensor = (features - target.to(features.dtype)).masked_fill(left_out, 0.0)
        return errors.square().flatten(1).sum(1) / 2

    def trajectory(
        self, prediction: Tensor, *, mask: Tensor | None = None, context: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the states after each step, [batch, T, *state].

        Args:
            prediction: As in the call.
            mask: As in the call; the state stays in padded steps.
            context: As in the call.
        """
        last, states = self._unrolled(read_inputs(self, prediction, mask, context), _same)
        return last if states is None else states

    def constrained(self, outputs: Tensor) -> Tensor:
        """Return the values in their ranges that belong to outputs of the network, of the same shape."""
        single = self.predicts == "controls" and self.channels is None
        values = constrained(ID, outputs.unsqueeze(-1) if single else outputs, self.constrain)
        return values.squeeze(-1) if single else values

    def unconstrained(self, values: Tensor) -> Tensor:
        """Return the outputs of the network that belong to given values, the inverse of `constrained`.

        Raises:
            ContractError: A value is not inside its range.
        """
        single = self.predicts == "controls" and self.channels is None
        outputs = unconstrained(ID, values.unsqueeze(-1) if single else values, self.constrain)
        return outputs.squeeze(-1) if single else outputs

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return a prediction, and the observations that belong to another one, in the context of `example_context`.

        There are 6 steps, or the option `steps`. Parameters and initial states are near those of the system.

        Raises:
            ContractError: The step function comes without an initial state, or without the predicted parameters.
        """
        return draw_example(self, batch_size, generator, dtype, device)

    def example_context(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> dict[str, Tensor]:
        """Return the context of the example, which is the same in every call."""
        return context_of_example(self, batch_size, dtype, device)

    def _observe(self, states: Tensor) -> Tensor:
        """Return the observations of states [batch, *state]."""
        if self.observe is None:
            return states
        if not callable(self.observe):
            if not all(-states.shape[-1] <= index < states.shape[-1] for index in self.observe):
                raise ContractError(
                    f"{ID}: observe={self.observe} names components of a state that has {states.shape[-1]}, counted "
                    f"from 0. Give other indices, or a function of the state."
                )
            return states[..., list(self.observe)]
        with full_precision(states.device):
            return self.observe(states)

    def _unrolled(self, inputs: Inputs, observe: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, Tensor | None]:
        """Return the last state, and the observations on the way if they are asked for."""
        segment = segment_length(self.checkpoint, inputs.steps) if inputs.recorded else inputs.steps
        try:
            with full_precision(inputs.state.device):
                return unroll(ID, inputs, observe, segment=segment)
        except (TypeError, AttributeError, IndexError, ValueError, RuntimeError) as error:
            absent = [key for key in ("controls", "parameters") if getattr(inputs, key) is None]
            if absent:
                error.add_note(f"{ID}: the context has no {' and no '.join(map(repr, absent))}, so the step got None.")
            if not isinstance(error, NlcoreError):
                error.add_note(f"{ID}: the rollout has {inputs.shapes()}.")
            raise


def _same(states: Tensor) -> Tensor:
    return states

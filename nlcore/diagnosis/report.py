"""A diagnosis of a loss before any training: the verdict, its figures, and their report."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlcore.arguments import check_arguments
from nlcore.capabilities import Capabilities, read_capabilities
from nlcore.diagnosis.examination import Examination, examine
from nlcore.diagnosis.figures import RHOS
from nlcore.diagnosis.rules import Verdict, judge_loss, judge_outputs
from nlcore.errors import ContractError, NonFiniteError, ShapeError
from nlcore.evaluation import cloned, in_inference, per_sample
from nlcore.newton.loss import NewtonLoss
from nlcore.newton.problem import Problem
from nlcore.soundness import require_valid_weights

__all__ = ["Diagnosis", "diagnose", "finite_or_none"]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The expected effect of curvature on a loss; `print` it to read it.

    There is a verdict for each aim: a low loss, and the outputs themselves. "Further on" means at outputs that leave a
    tenth of the loss: where every network that learns has to come. Figures of the network are NaN or empty without one.

    Attributes:
        verdict: For a low loss: `"gain"`; `"per sample only"`, where one matrix for the batch would diverge;
            `"only a scale"`, where bounding the gradients' lengths suffices; `"nothing to gain"`; `"undecided"`, where
            only a training run decides; `"fix the loss first"`, where float32 gradients are wrong, the graph is cut or
            samples mix; `"opaque"`, without a second derivative.
        reason: Why, in words.
        use: Expressions to train with, the first one first; several where no figure decides between them.
        verdict_outputs: For the outputs themselves: one of these, or `"not determined"`, where the loss of a sample is
            flat along most of their directions; `"per sample only"` is a `"gain"` here.
        reason_outputs: Why, in words.
        use_outputs: Expressions to train with, the first one first.
        loss: Name of the loss.
        curvature: `"GaussNewton"`, `"Hessian"` (every sample's |H|), or `"EmpiricalFisher"`: what the figures are of.
        samples: Number of samples that were examined.
        outputs: Number of outputs of each sample that were examined.
        condition: Of the mean curvature off its null space.
        flat_directions: Size of that null space.
        own_condition: Median over the samples of the condition of their own matrices.
        own_flat_directions: Median over the samples of the size of the null space of their own matrices: directions of
            the outputs that a target does not determine.
        cosine: Between the gradient and the direction of the mean curvature at ρ = 0.01, mean over samples.
        own_cosine: The same with each sample's own matrix.
        cosine_further: `cosine` further on; NaN for an opaque loss, as all that needs a second derivative.
        rho: The smallest damping that `Bounded` allows; infinity where every sample needs its own matrix.
        rho_further: The same further on.
        amplification: 90 % quantile over samples of ‖(C + λI)⁻¹H_i‖ / max(1, ‖H_i‖/‖C‖) at ρ = 1, .1, .01, .001.
        amplification_further: The same further on.
        loss_left: Share of the loss that is left there.
        noise: The relative damping that generalised cross-validation finds for the samples' own matrices: 0.01 and
            more where the target has noise, or parts that look like it. NaN without a Gauss–Newton split, and with
            fewer features than outputs.
        progress: Expression and factor of each direction that `Auto()` probes: how far the loss falls at best along the
            move that the network makes of it, in units of the gradient's fall, at most 2.7. Each half of the samples
            gives directions that are judged on both; the factor is the geometric mean.
        left_out: Those of them that `Auto()` would not take now, since they overstep for single samples or fit noise.
        realised: Cosine of the samples' own Newton steps with the move that the network makes of those of other
            samples.
        cost: Expected time of a step of `Auto()` over that of a plain step, in 500 steps: an estimate from a few timed
            passes, with the network's forward pass taken as half of its backward pass.
        negative: Share of negative eigenvalues of the samples' Hessians.
        gradient_ratio: Largest to median norm of the samples' gradients.
        broken: Share of samples with a loss or gradient that is not finite even in float64.
        float32_error: Largest relative error of a sample's float32 gradient; NaN where not compared.
        float32_value_error: The same of its loss.
        float32_wrong: Share of samples whose float32 gradient is off by more than 1 %.
        float32_vanished: Share with a gradient of exactly zero in float32 alone.
        float32_exploding: Share with one a hundred times too long in float32 alone.
        float32_spread: How many times wider the outputs may become before float32 goes wrong; infinity where thirty
            times did no harm.
        notes: Further remarks on how the figures were obtained.
        spectrum: The eigenvalues of the mean curvature, ascending.
        gradient_norms: Of the samples.
    """

    verdict: Verdict
    reason: str
    use: tuple[str, ...]
    verdict_outputs: Verdict
    reason_outputs: str
    use_outputs: tuple[str, ...]
    loss: str
    curvature: str
    samples: int
    outputs: int
    condition: float
    flat_directions: int
    own_condition: float
    own_flat_directions: int
    cosine: float
    own_cosine: float
    cosine_further: float
    rho: float
    rho_further: float
    amplification: tuple[float, ...]
    amplification_further: tuple[float, ...]
    loss_left: float
    negative: float
    gradient_ratio: float
    broken: float
    float32_error: float
    float32_value_error: float
    float32_wrong: float
    float32_vanished: float
    float32_exploding: float
    float32_spread: float
    noise: float = math.nan
    progress: tuple[tuple[str, float], ...] = ()
    left_out: tuple[str, ...] = ()
    realised: float = math.nan
    cost: float = field(default=math.nan, compare=False)
    notes: tuple[str, ...] = ()
    spectrum: tuple[float, ...] = field(default=(), repr=False)
    gradient_norms: tuple[float, ...] = field(default=(), repr=False)

    def as_dict(self) -> dict[str, str | float | int | None]:
        """Return the figures flat and JSON-able: `None` for what was not measured or is infinite.

        Tuples are spread or joined: `amplification_1`, `amplification_0.1` …, expressions by " | ", `progress` too,
        with its factors, `notes` by spaces; the spectrum and the gradients are left to the object.
        """
        flat: dict[str, str | float | int | None] = {}
        for name, value in vars(self).items():
            if name.startswith("amplification"):
                at = value or (math.nan,) * len(RHOS)
                flat |= {f"{name}_{rho:g}": finite_or_none(one) for rho, one in zip(RHOS, at, strict=True)}
            elif name == "progress":
                flat[name] = " | ".join(f"{expression}: {factor:.3g}" for expression, factor in value)
            elif isinstance(value, tuple) and name not in {"spectrum", "gradient_norms"}:
                flat[name] = (" " if name == "notes" else " | ").join(value)
            elif name not in {"spectrum", "gradient_norms"}:
                flat[name] = finite_or_none(value)
        return flat

    def plot(self, path: str | Path) -> None:
        """Draw the spectrum, the amplification with its limit, and the gradients' norms into a file.

        Args:
            path: Its ending says the format, as in `diagnosis.png`.

        Raises:
            ConfigError: matplotlib is not installed; the message says how to install it.
        """
        from nlcore.diagnosis.picture import draw

        draw(self, Path(path))

    def __repr__(self) -> str:
        return (
            f"Diagnosis({self.verdict!r}, loss={self.loss!r}, condition={self.condition:.3g}, "
            f"cosine={self.cosine:.3g}, use={self.use[0]!r}, verdict_outputs={self.verdict_outputs!r})"
        )

    def __str__(self) -> str:
        rows = [(name, text) for name, text in _rows(self) if text]
        width = max(len(name) for name, _ in rows)
        lines = [f"{self.loss}: {self.samples} samples of {self.outputs} outputs, {self.curvature}", ""]
        lines += [f"  {name:<{width}}  {text}" for name, text in rows]
        if self.progress:
            lines += ["", "  fall of the loss along the network's moves, in units of the gradient's:"]
            lines += [f"  {factor:5.2f}  {one}{', left out' * (one in self.left_out)}" for one, factor in self.progress]
        aims = {"verdict": (self.verdict, self.reason, self.use)}
        aims["verdict for the outputs"] = (self.verdict_outputs, self.reason_outputs, self.use_outputs)
        same = len(set(aims.values())) == 1
        if same:
            del aims["verdict for the outputs"]
        for aim, (verdict, reason, use) in aims.items():
            lines += ["", f"{aim}: {verdict}", _wrapped(reason), "", "use:"]
            lines += [f"  {'or ' if place else ''}{one}" for place, one in enumerate(use)]
        lines += ["", "verdict for the outputs: the same"] if same else []
        if self.notes:
            lines += ["", "notes:", *map(_wrapped, self.notes)]
        return "\n".join(lines)


def diagnose(
    loss: Any,
    prediction: Tensor,
    target: Any,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    context: Any = None,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    """Say before any training what curvature will do for a loss, and for the outputs themselves.

    The verdicts follow from the condition of the mean curvature, from how far its direction turns from the gradient,
    from how much the samples' own curvature differs, from float32 against float64, and from the network. Curvature that
    is the same for all samples at the start may not stay so: a simulator with drag has one Jacobian while nothing
    moves. The figures are therefore taken twice, at the prediction and further on: at outputs that each sample reaches
    by steps of its own, without a network, until a tenth of its loss is left.

    A prediction with its graph, `diagnose(loss, network(inputs), target)`, also shows the network. It is probed as
    `Auto()` does in training, without another forward pass, and keeps its gradients, buffers and random state.

    A loss with a Gauss–Newton split is judged by that matrix, one with two derivatives by every sample's |H|, any
    other by its Fisher matrix alone. Of more than 256 outputs, 128 adjacent ones are looked at and the others held
    fixed; of many samples, so many that their matrices take 8 MiB.

    Args:
        loss: An `AlgorithmicLoss`, or a callable `(prediction, target) -> [batch]`.
        prediction: [batch, *event]: of the untrained network, with its graph if that can be had, or numbers of the
            size that it will give. Fifty samples and more give steady figures.
        target: Passed to the loss; floating-point tensors are also cast to float32 and float64.
        weight: [batch], how much each sample counts.
        mask: [batch, *event] bool, for a loss that takes one. **True = padded, the opposite of an attention mask.**
        context: Tensors that the loss needs beside the prediction, batch first; for a loss that takes them.
        generator: Random numbers of a stochastic loss; its state is not changed. Seeded with zero by default.

    Returns:
        The figures, a verdict for each aim and what to use.

    Raises:
        ContractError: Wrong shape, dtype or device; no sample.
        NonFiniteError: The prediction, or all of the losses, are NaN or infinite.

    Example:
        >>> import torch, nlcore
        >>> totals = nlcore.compose(lambda y: y.cumsum(-1))
        >>> source = torch.Generator().manual_seed(0)
        >>> numbers = torch.randn(50, 16, generator=source)
        >>> found = nlcore.diagnose(totals, torch.zeros(50, 16), numbers.cumsum(-1))
        >>> found.verdict, round(found.condition)
        ('gain', 438)
    """
    if isinstance(loss, NewtonLoss):
        raise ContractError("diagnose examines the loss itself, and was given a NewtonLoss. Pass criterion.loss.")
    if in_inference(prediction, target, weight, mask, context):
        with torch.inference_mode(False):
            prediction, target, given = cloned(
                (prediction, target, {"weight": weight, "mask": mask, "context": context})
            )
            return diagnose(loss, prediction, target, generator=generator, **given)
    devices = [prediction.device] if isinstance(prediction, Tensor) and prediction.is_cuda else []
    with torch.random.fork_rng(devices):  # a loss, or a checkpoint within the network, may draw from it
        return _diagnosed(
            read_capabilities(loss), prediction, target, weight=weight, mask=mask, context=context, generator=generator
        )


def _diagnosed(
    read: Capabilities,
    prediction: Tensor,
    target: Any,
    *,
    weight: Tensor | None,
    mask: Tensor | None,
    context: Any,
    generator: torch.Generator | None,
) -> Diagnosis:
    name = read.name
    check_arguments(read, prediction, target, context)
    if prediction.numel() == 0:
        raise ShapeError(f"{name}: a diagnosis needs samples, and the prediction has shape {[*prediction.shape]}.")
    source = _source(read, prediction, generator)
    problem = Problem.of(
        read, prediction.detach(), target, weight=weight, mask=mask, context=context, generator=source, raising=False
    )
    if weight is not None:
        require_valid_weights(name, weight)
    if not bool((problem.samples.weight > 0).any()):
        raise ContractError(f"{name}: the weight must be positive for some sample that is not padding throughout.")
    finite = per_sample(torch.isfinite(prediction if mask is None else prediction.masked_fill(mask, 0.0))).all(1)
    if not bool(finite.all()):
        samples = [int(i) for i in (~finite).nonzero().flatten()]
        raise NonFiniteError(f"{name}: the prediction is NaN or infinite in the samples {samples[:5]}.", samples)
    with torch.no_grad():  # called as the user would, so that the loss itself reports an error of the call
        problem.evaluation.value(problem.prediction)
    return _told(read, examine(problem, prediction))


def _source(loss: Capabilities, prediction: Tensor, generator: torch.Generator | None) -> torch.Generator | None:
    """Return a generator of its own for a loss that draws random numbers."""
    if generator is None:
        return torch.Generator(prediction.device).manual_seed(0) if loss.traits.stochastic else None
    source = torch.Generator(generator.device)
    source.set_state(generator.get_state())
    return source


def _told(loss: Capabilities, found: Examination) -> Diagnosis:
    here, further, precision, network = found.here, found.further, found.precision, found.network
    low, outputs = judge_loss(found), judge_outputs(found)
    known = found.name != "EmpiricalFisher"
    return Diagnosis(
        verdict=low.verdict,
        reason=low.reason,
        use=low.use,
        verdict_outputs=outputs.verdict,
        reason_outputs=outputs.reason,
        use_outputs=outputs.use,
        loss=loss.name,
        curvature=found.name,
        samples=found.samples,
        outputs=found.outputs,
        condition=here.condition,
        flat_directions=here.flat_directions,
        own_condition=here.own_condition if known else math.nan,
        own_flat_directions=here.own_flat_directions if known else 0,
        cosine=here.cosine,
        own_cosine=here.own_cosine if known else math.nan,
        cosine_further=further.cosine if further else math.nan,
        rho=here.rho if known else math.nan,
        rho_further=further.rho if further else math.nan,
        amplification=here.amplification if known else (),
        amplification_further=further.amplification if further else (),
        loss_left=found.loss_left,
        negative=math.nan if here.negative is None else here.negative,
        gradient_ratio=found.gradient_ratio,
        broken=found.broken,
        float32_error=precision.gradient_error if precision else math.nan,
        float32_value_error=precision.value_error if precision else math.nan,
        float32_wrong=precision.wrong if precision else math.nan,
        float32_vanished=precision.vanished if precision else math.nan,
        float32_exploding=precision.exploding if precision else math.nan,
        float32_spread=found.spread,
        noise=here.noise,
        progress=network.progress,
        left_out=network.left_out,
        realised=network.realised,
        cost=network.cost,
        notes=found.notes,
        spectrum=here.spectrum,
        gradient_norms=found.gradient_norms,
    )


def _rows(found: Diagnosis) -> list[tuple[str, str]]:
    """Return the figures in words, empty where there is none."""
    count = found.flat_directions
    flat = f", {count} flat direction{'s' if count > 1 else ''} left out" if count else ""
    own = "" if math.isnan(found.own_condition) else f" (own matrices {found.own_condition:.3g})"
    at = ", ".join(f"{rho:g}" for rho in RHOS)
    further = "" if math.isnan(found.cosine_further) else f"; further on {found.cosine_further:.3f}"
    of32 = f"{found.float32_wrong:.1%} of the gradients wrong, error at most {found.float32_error:.1e}"
    wide = found.float32_spread
    spread = f"; wrong at outputs {wide:g} times as wide" if 1 < wide < math.inf else ""
    open_ = f"{found.own_flat_directions} of {found.outputs}" if found.own_flat_directions else ""
    cost = "" if math.isnan(found.cost) else f"about {found.cost:.2g} times a plain step, in 500 steps"
    return [
        ("condition of the mean curvature", f"{found.condition:.3g}{own}{flat}"),
        ("flat directions of a sample", open_),
        ("cosine of direction and gradient", f"{found.cosine:.3f}{further}"),
        (f"amplification at ρ = {at}", "  ".join(f"{a:.3g}" for a in found.amplification)),
        ("  further on", "  ".join(f"{a:.3g}" for a in found.amplification_further)),
        ("negative curvature", "" if math.isnan(found.negative) else f"{found.negative:.1%} of the eigenvalues"),
        ("largest to median gradient", f"{found.gradient_ratio:.3g}"),
        ("damping by cross-validation", "" if math.isnan(found.noise) else f"ρ = {found.noise:.2g}"),
        ("Newton steps realised", "" if math.isnan(found.realised) else f"cosine {found.realised:.2f}"),
        ("time of a step of nlcore.Auto()", cost),
        ("not finite", f"{found.broken:.1%} of the samples" if found.broken else ""),
        ("float32 against float64", "" if math.isnan(found.float32_wrong) else of32 + spread),
        ("further on is", "where steps on the outputs themselves leave a tenth of each loss" if further else ""),
    ]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def finite_or_none(value: Any) -> Any:
    """Return a value for JSON, which has neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value

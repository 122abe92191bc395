"""Tuning of a softness: the sharpest value at which float32 gradients are right and still reach the items."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nlcore.config import AlgorithmConfig
from nlcore.diagnosis.report import finite_or_none
from nlcore.errors import ConfigError, DeviceError, DtypeError, NlcoreError, ShapeError, nearest
from nlcore.evaluation import per_sample
from nlcore.registry import default
from nlcore.tuning.reach import Reach

__all__ = ["Tuning", "TuningPoint", "softness_of", "tune"]

WRONG_ALLOWED, VANISHED_ALLOWED = 0.01, 0.1
"""Shares of samples with a wrong float32 gradient, and of items with a vanishing one, that a good value may have."""

_SHARPEST, _SOFTEST = 1e-3, 3.0
"""Softness at the ends, in units of the distance of neighbours and of the range of the outputs of a sample."""

_RATIO, _HALVINGS = 10**0.5, 2
"""Between values that are tried at first; how often the step from the last bad to the first good one is halved."""

Softness = Literal["increasing", "decreasing"]


@dataclass(frozen=True, kw_only=True)
class TuningPoint:
    """One value of the option.

    Attributes:
        value: Of the option.
        error: Largest relative error of a sample's float32 gradient; NaN where it was not compared.
        wrong: Share of the samples whose float32 gradient is off by more than 1 %.
        vanished: Share of the items whose gradient vanishes.
        fault: Why the loss cannot be evaluated with this value; empty where it can.
    """

    value: float
    error: float = math.nan
    wrong: float = math.nan
    vanished: float = math.nan
    fault: str = ""

    @property
    def good(self) -> bool:
        """Whether gradients are right and reach the items."""
        return not self.fault and not self.wrong > WRONG_ALLOWED and self.vanished <= VANISHED_ALLOWED


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A suggested softness and the measurements behind it; `print` it to read it.

    Attributes:
        algorithm: Id or name of the loss.
        option: The option that was varied.
        value: The suggestion; NaN where no value is good.
        reason: Why, in words.
        softness: `"increasing"` where larger values are softer, `"decreasing"` where smaller ones are.
        samples: Number of samples.
        outputs: Number of outputs of a sample.
        gap: Typical distance of neighbouring outputs in a sample: the unit of the softness.
        points: The measurements, from sharp to soft.
    """

    algorithm: str
    option: str
    value: float
    reason: str
    softness: Softness
    samples: int
    outputs: int
    gap: float
    points: tuple[TuningPoint, ...]

    @property
    def gaps(self) -> float:
        """The suggested softness in units of the distance of neighbours."""
        return (self.value if self.softness == "increasing" else 1 / self.value) / self.gap

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, `None` for NaN."""
        flat = dataclasses.asdict(self)
        points = [{name: finite_or_none(value) for name, value in one.items()} for one in flat.pop("points")]
        return {name: finite_or_none(value) for name, value in flat.items()} | {"points": points}

    def plot(self, path: str | Path) -> None:
        """Draw the error and the share of vanished items against the option.

        Args:
            path: Its ending says the format, as in `tuning.png`.

        Raises:
            ConfigError: matplotlib is not installed; the message says how to install it.
        """
        from nlcore.tuning.picture import draw

        usable = [(one.value, one.vanished, one.error) for one in self.points if not one.fault]
        found = "no good value" if math.isnan(self.value) else f"{self.option}={self.value:g}"
        title = f"{self.algorithm}, {self.outputs} outputs: {found}"
        draw(usable, Path(path), option=self.option, suggested=self.value, title=title)

    def __str__(self) -> str:
        size = max(len(self.option), 10)
        lines = [
            f"{self.algorithm}: {self.option} for {self.samples} samples of {self.outputs} outputs, "
            f"neighbours {self.gap:.2g} apart",
            "",
            f"  {self.option:>{size}}  float32 error  wrong  vanished",
        ]
        for one in self.points:
            words = one.fault or f"{one.error:13.1e}  {one.wrong:5.0%}  {one.vanished:8.0%}"
            lines.append(f"  {one.value:>{size}.2g}  {words}{'  <' if one.value == self.value else ''}")
        found = "none" if math.isnan(self.value) else f"{self.option}={self.value:g}, {self.gaps:.2g} times the gap"
        return "\n".join([*lines, "", f"suggested: {found}", f"  {self.reason}"])


def tune(
    algorithm: Any,
    prediction: Tensor,
    target: Any,
    *,
    option: str | None = None,
    softness: Softness | None = None,
    mask: Tensor | None = None,
    context: Any = None,
    **options: Any,
) -> Tuning:
    """Return the sharpest softness at which gradients are right in float32 and still reach the items.

    A sharp relaxation is close to the exact algorithm, and its gradients vanish or lose their digits; a soft one has
    gradients everywhere and blurs the result. The suggestion is the sharpest value for which both hold:

    - at most 1 % of the samples have a float32 gradient that differs from the float64 one by more than 1 %;
    - at most 10 % of the items have a vanishing gradient. For a loss with a method `rank` that is an item whose relaxed
      rank follows its own score at less than 1 % of the mean slope (n − 1)/range. For any other loss it is an output
      for which the gradient forecasts less than 1 % of the fall that moving it within the range would bring, among
      those whose move brings a fall of more than 1 % of the loss.

    Values are tried on a logarithmic grid, from a thousandth of the distance of neighbouring outputs, range/(n − 1), to
    three times their range, so that the grid scales with the scores and with n; between the last bad and the first good
    value the step is halved twice. Softer values than a good one are not preferred. The suggestion holds for outputs
    such as these: repeat it when the scale of the scores has changed.

    Args:
        algorithm: An id, a loss with a configuration, its class, or a function that makes a loss of the option.
        prediction: [batch, *event], outputs as the network gives them; 64 samples are enough.
        target: As for the loss.
        option: The option to vary; by default the one that the configuration declares as softness.
        softness: Whether larger values are softer, `"increasing"`, or `"decreasing"`. By default as declared, else
            `"increasing"`.
        mask: [batch, *event], True at padded outputs.
        context: As for the loss.
        **options: Other options of the algorithm.

    Raises:
        ConfigError: No option is declared as softness, and none is named.
        ShapeError: The batch is empty, or a sample has fewer than two outputs.
        ContractError: The loss does not take these outputs or this target.

    Example:
        >>> import torch
        >>> scores, truth = torch.randn(2, 64, 10, generator=torch.Generator().manual_seed(0))
        >>> found = tune("sorting/neuralsort", scores, truth.argsort(-1).argsort(-1))
        >>> found.option, 0.1 < found.gaps < 10
        ('temperature', True)
    """
    make, config, name = _maker(algorithm, options)
    option, way = _chosen(name, config, option, softness)
    prediction = prediction.detach()
    if prediction.ndim < 2 or len(prediction) == 0 or prediction[0].numel() < 2:
        raise ShapeError(f"{name}: samples of two outputs or more are needed; the shape is {list(prediction.shape)}.")
    gap, width = _scales(prediction, mask)
    reach = Reach(prediction, target, mask, context)

    def measured(soft: float) -> TuningPoint:
        value = _rounded(soft if way == "increasing" else 1 / soft)
        try:
            error, wrong, vanished = reach.at(make(**{option: value}))
        except (DeviceError, DtypeError, ShapeError):
            raise  # the inputs do not fit the loss, at any value
        except NlcoreError as fault:
            return TuningPoint(value=value, fault=str(fault).partition(". ")[0])
        return TuningPoint(value=value, error=error, wrong=wrong, vanished=vanished)

    points, best, reason = _search(measured, _SHARPEST * gap, _SOFTEST * width)
    return Tuning(
        algorithm=name,
        option=option,
        value=math.nan if best is None else best.value,
        reason=reason,
        softness=way,
        samples=len(prediction),
        outputs=prediction[0].numel(),
        gap=gap,
        points=points,
    )


def softness_of(config: type[AlgorithmConfig] | None) -> dict[str, Softness]:
    """Return the options that a configuration declares as softness, with the way in which it grows."""
    found: dict[str, Softness] = {}
    for name, field in ({} if config is None else config.model_fields).items():
        extra = field.json_schema_extra
        way = extra.get("softness") if isinstance(extra, dict) else None
        if way in {"increasing", "decreasing"}:
            found[name] = "increasing" if way == "increasing" else "decreasing"
    return found


def _maker(algorithm: Any, options: dict[str, Any]) -> tuple[Callable[..., Any], type[AlgorithmConfig] | None, str]:
    """Return a function that makes the loss with one option changed, its configuration, and its name."""
    if isinstance(algorithm, str):
        spec = default.registry.spec(algorithm)
        default.registry.make(spec.id, **options)  # an error of the other options is raised at once
        return (
            lambda **one: default.registry.make(spec.id, **{**options, **one}),
            default.registry.config(spec.id),
            spec.id,
        )
    config = getattr(algorithm, "config", None)
    config = config if isinstance(config, type) and issubclass(config, AlgorithmConfig) else None
    if config is None or isinstance(algorithm, type):
        name = getattr(algorithm, "id", None) or getattr(algorithm, "__name__", type(algorithm).__name__)
        return lambda **one: algorithm(**{**options, **one}), config, str(name)
    return lambda **one: dataclasses.replace(algorithm, **{**options, **one}), config, str(algorithm.id)


def _chosen(
    name: str, config: type[AlgorithmConfig] | None, option: str | None, softness: Softness | None
) -> tuple[str, Softness]:
    declared = softness_of(config)
    known = list({} if config is None else config.model_fields)
    if option is None:
        if len(declared) != 1:
            counted = "several options are" if declared else "no option is"
            named = f"name one of {', '.join(known)}" if known else "name one"
            call = f"nlcore.tune(…, option={known[0] if known else 'temperature'!r})"
            raise ConfigError(f"{name}: {counted} declared as softness; {named}, as in {call}.")
        option = next(iter(declared))
    elif config is not None and option not in known:
        raise ConfigError(f"{name}: unknown option {option!r}{nearest(option, known)}; options: {', '.join(known)}.")
    return option, softness or declared.get(option, "increasing")


def _scales(prediction: Tensor, mask: Tensor | None) -> tuple[float, float]:
    """Return the medians over the samples of the distance of neighbours, range/(n − 1), and of the range."""
    flat = per_sample(prediction.double())
    keep = torch.ones_like(flat, dtype=torch.bool) if mask is None else ~per_sample(mask)
    count = keep.sum(1)
    width = flat.masked_fill(~keep, -torch.inf).amax(1) - flat.masked_fill(~keep, torch.inf).amin(1)
    width, count = width[count > 1], count[count > 1]
    width, count = width[width > 0], count[width > 0]
    if len(width) == 0:
        raise ShapeError("The outputs of each sample are all equal and give no scale for a softness: give others.")
    return float((width / (count - 1)).median()), float(width.median())


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _search(
    measured: Callable[[float], TuningPoint], sharpest: float, softest: float
) -> tuple[tuple[TuningPoint, ...], TuningPoint | None, str]:
    """Return the points from sharp to soft, the sharpest good one, and the reason."""
    count = 1 + math.ceil(math.log(softest / sharpest, _RATIO))
    tried = {soft: measured(soft) for soft in (sharpest * _RATIO**i for i in range(count))}
    for _ in range(_HALVINGS):
        places = sorted(tried)
        first = _first_good(places, tried)
        if first in {None, 0}:
            break
        middle = math.sqrt(places[first - 1] * places[first])
        tried[middle] = measured(middle)
    places = sorted(tried)
    points, first = tuple(tried[one] for one in places), _first_good(places, tried)
    if first is None:
        return points, None, "At no value are float32 gradients right and reach the items at once."
    if first == 0:
        return points, points[0], "The sharpest value that was tried is still good: nothing limits it here."
    sharper = points[first - 1]
    words = sharper.fault or (
        f"{sharper.wrong:.1%} of the float32 gradients are wrong"
        if sharper.wrong > WRONG_ALLOWED
        else f"the gradient of {sharper.vanished:.1%} of the items vanishes"
    )
    return points, points[first], f"The next sharper value, {sharper.value:g}: {words}."


def _first_good(places: list[float], tried: dict[float, TuningPoint]) -> int | None:
    """Return the place of the sharpest good value whose softer neighbour is good too, or that is the softest."""
    good = [tried[one].good for one in places]
    return next((i for i, one in enumerate(good) if one and (i + 1 == len(good) or good[i + 1])), None)

"""The tables of the bench of the engine, and its targets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nlcore_bench.engine.run import Figures
from nlcore_bench.engine.workloads import WORKLOADS
from nlcore_bench.tables import Table
from nlcore_bench.timer import Timing

__all__ = ["Target", "tables", "targets"]

_METHODS = ("Fisher", "Gauss–Newton", "Hessian", "bare Fisher", "bare Hessian")
_BY_HAND = "n double backwards"


@dataclass(frozen=True)
class Target:
    """A limit for a figure, and the figure.

    Attributes:
        what: Name of the figure.
        limit: The largest value that meets the target.
        found: The worst value over the lines of the target.
        where: The line with that value.
        floor: The value for the fewest operations on that line; `None` if it was not measured.
    """

    what: str
    limit: float
    found: float
    where: str
    floor: float | None

    @property
    def met(self) -> bool:
        """Whether the limit is kept."""
        return self.found <= self.limit

    def sentence(self) -> str:
        """Return the target in words."""
        verdict = "met" if self.met else "MISSED"
        floor = (
            "" if self.met or self.floor is None else f"; bare, without checks, repair and float64, {self.floor:.2f}"
        )
        return f"{self.what} ≤ {self.limit:g}: {verdict}, {self.found:.2f} at worst ({self.where}{floor})."


def tables(figures: Figures) -> list[Table]:
    """Return the tables that have lines."""
    found = [_loss_part(figures), _steps(figures), _solvers(figures), _defaults(figures)]
    return [table for table in found if table.rows]


def targets(figures: Figures) -> list[Target]:
    """Return the targets whose lines were timed."""
    loss = [((label, n), timings) for (label, n), timings in figures.of("loss")]
    step = [((network, label, n), timings) for (network, label, n), timings in figures.of("step")]
    closed = ("NeuralSort", "SoftSort")
    tens = [line for line in loss if line[0][1] == "10"]
    cnn, mlp = ([line for line in step if line[0][0] == network] for network in ("CNN", "MLP"))
    found = [
        _worst("Fisher / plain, whole step with the CNN", 1.05, "Fisher", cnn),
        _worst("Fisher / plain, whole step with the MLP", 1.05, "Fisher", mlp),
        _worst("Hessian / plain, whole step with the CNN", 1.3, "Hessian", cnn),
        _worst("Hessian / n double backwards, loss part at n = 10", 0.5, "Hessian", tens, _BY_HAND),
        _worst("closed-form Hessian / plain, loss part at n = 10", 3, "Hessian", _of(closed, tens, 0)),
        _worst("closed-form Hessian / plain, whole step with the CNN", 1.05, "Hessian", _of(closed, cnn, 1)),
        _worst("closed-form Hessian / plain, whole step with the MLP", 1.05, "Hessian", _of(closed, mlp, 1)),
    ]
    return [target for target in (*found, *_default_targets(figures)) if target is not None]


def _default_targets(figures: Figures) -> Iterator[Target]:
    """Yield the targets of the default: over a short and a long run for each kind of workload, and its memory."""
    short, long = (f"default / plain over {steps} steps" for steps in figures.steps)
    kinds = ("CNN", "MLP", "other")
    lines = [(WORKLOADS[label], label, cost) for label, cost in figures.defaults.items()]
    for kind, name in zip(kinds, ("CNN", "MLP", "the others"), strict=True):
        own = [line for line in lines if line[0].kind == kind]
        if not own:
            continue
        work, label, cost = max(own, key=lambda line: line[2].short)
        yield Target(f"{short}, {name}", work.limits.short, cost.short, label, None)
        lasting = [(one.long, name, work.limits.long) for work, name, one in own if one.long and work.limits.long]
        if lasting:
            found, label, limit = max(lasting)
            yield Target(f"{long}, {name}", limit, found, label, None)
    if lines:
        work, label, cost = max(lines, key=lambda line: line[2].memory)
        yield Target("memory of the default / plain", work.limits.memory, cost.memory, label, None)


Line = tuple[tuple[str, ...], dict[str, Timing]]


def _of(labels: Sequence[str], lines: Sequence[Line], position: int) -> list[Line]:
    return [line for line in lines if line[0][position] in labels]


def _worst(what: str, limit: float, method: str, lines: Sequence[Line], base: str = "plain") -> Target | None:
    """Return the target at the line on which `method` is slowest relative to `base`."""
    if not lines:
        return None

    def ratio(line: Line) -> float:
        return _over(line[1], method, base)

    worst = max(lines, key=ratio)
    bare = f"bare {method}"
    floor = _over(worst[1], bare, base) if bare in worst[1] else None
    return Target(what, limit, ratio(worst), ", ".join(worst[0][:-1]) + f", n = {worst[0][-1]}", floor)


def _over(timings: dict[str, Timing], method: str, base: str) -> float:
    return timings[method].ratio[1] / timings[base].ratio[1]


def _loss_part(figures: Figures) -> Table:
    rows = []
    for (label, n), timings in figures.of("loss"):
        share = f"{_over(timings, 'Hessian', _BY_HAND):.2f}"
        rows.append((label, n, _milliseconds(timings["plain"]), *_ratios(timings, (*_METHODS, _BY_HAND)), share))
    return Table(
        title="The loss part: forward and backward with respect to the prediction, batch 100",
        head=(
            "loss",
            "n",
            "plain, ms",
            *(f"{name} ×" for name in (*_METHODS, _BY_HAND)),
            "Hessian / n double backwards",
        ),
        rows=tuple(rows),
        notes=(
            "× is the processor time over that of plain training in the same round: median (quartiles).",
            "The Hessians of the row-wise NeuralSort and SoftSort and of the prefix sum are in closed form, the others "
            "by automatic differentiation, that of the network compiled where numba is installed, with the eigenvalues "
            "of every sample's matrix repaired.",
            "n double backwards is the Hessian by hand, one backward pass through the gradient for each output, "
            "without its solve.",
            "Bare is a lower bound: the fewest operations of such a step, in float32, without checks and repair.",
        ),
    )


def _steps(figures: Figures) -> Table:
    rows = [
        (network, label, n, _milliseconds(timings["plain"]), *_ratios(timings, _METHODS))
        for (network, label, n), timings in figures.of("step")
    ]
    return Table(
        title="A whole training step: network, loss, backward, Adam; batch of 100 lists",
        head=("network", "loss", "n", "plain, ms", *(f"{name} ×" for name in _METHODS)),
        rows=tuple(rows),
        words=2,
        notes=(
            "The MLP has the layers 256-64-32-1 on pictures of 8×32 pixels, as in `nlcore bench ranking`; the CNN "
            "those of the paper's ranking network (5×5 convolutions to 32 and 64 channels, 64 hidden units) on the "
            "same pictures of four digits scaled to 16×64, since no larger ones ship with scikit-learn.",
        ),
    )


def _solvers(figures: Figures) -> Table:
    names = ("Fisher, dense", "Fisher, kernel", "Gauss–Newton, dense", "Gauss–Newton, cg", "Hessian, each |H|")
    rows = []
    for (size, count), timings in figures.of("solver"):
        best = {min(pair, key=lambda one: timings[one].milliseconds[1]) for pair in _pairs(names, timings)}
        cells = [
            _milliseconds(timings[name]) + ("*" if name in best else "") if name in timings else "–" for name in names
        ]
        rows.append((count, size, _milliseconds(timings["plain"]), *cells))
    return Table(
        title="Which solver at which size: the loss part of a cheap composed loss, ms",
        head=("N", "m", "plain", *names),
        rows=tuple(rows),
        words=0,
        notes=(
            "* marks the faster of dense and kernel, and of dense and conjugate gradients; – would take too long here.",
            "Gauss–Newton by conjugate gradients solves N right-hand sides with N-fold products, so its time grows as "
            "N²; forming the matrix takes m products and m³.",
        ),
    )


def _defaults(figures: Figures) -> Table:
    short, long = figures.steps
    rows = []
    for label, cost in figures.defaults.items():
        limits = WORKLOADS[label].limits
        beside = [_beside(cost.short, limits.short), _beside(cost.long, limits.long)]
        numbers = (_short(cost.milliseconds), f"{cost.floor:.2f}", str(cost.probes))
        rows.append((label, *numbers, *beside, _beside(cost.memory, limits.memory)))
    return Table(
        title="The default beside a plain step",
        head=(
            "workload",
            "plain, ms",
            "least of a probe ×",
            "probes",
            f"{short} steps ×",
            f"{long} steps ×",
            "memory ×",
        ),
        rows=tuple(rows),
        notes=(
            "The default is `nlcore.NewtonLoss(loss)`. × is in units of plain training; the target stands in brackets.",
            f"Two networks are trained for {short} and for {long} steps, in turns of ten steps on the same batches. A "
            "cell is the processor time of all steps with the default, with the checks of the first step, over that "
            "of plain training; for the short run the median of three runs, or of one where steps are long.",
            "The least of a probe is a lower bound of its time, in units of a plain step: one backward pass of the "
            "network with a graph of its own, for each of two directions a backward pass to the parameters and one "
            "through the first backward pass, and one evaluation of the loss. A plain step is forward, loss, backward "
            "and Adam.",
            "Probes are counted in the longest run. If the losses of three consecutive steps are far above their "
            "running mean, probes become as frequent as at the start, so that their number can exceed the plan.",
            "Memory is the peak of the bytes in tensors during the first eight steps, which include two probes and the "
            "tensors that these keep from one batch to the next. Parameters, gradients, the moments of Adam and the "
            "batch are counted, the work space inside an operation of torch is not.",
            "The MLP reads 16 digits (64-128-64-1, batch 50, m = 16); the CNN (16 and 32 channels) scores 4 lists of "
            "5 pictures of 16×64 pixels; the small MLP (10-48-6, batch 32) classifies. approx_ndcg, spearman and "
            "neural_ndcg see 16 lists of 100 items, scored by 20-64-1. The sequences of 16 384 elements, 8 in a batch, "
            "are read by 8-32-1 from 8 features each. The oscillators have 96 controls, batch 128; heat, linear, has "
            "144 outputs, batch 50.",
        ),
    )


def _beside(figure: float | None, limit: float | None) -> str:
    """Return a figure with its target."""
    return "–" if figure is None or limit is None else f"{figure:.2f} (≤ {limit:g})"


def _pairs(names: Sequence[str], timings: dict[str, Timing]) -> Iterable[tuple[str, str]]:
    pairs = ((names[0], names[1]), (names[2], names[3]))
    return (pair for pair in pairs if pair[0] in timings and pair[1] in timings)


def _ratios(timings: dict[str, Timing], names: Sequence[str]) -> Iterable[str]:
    for name in names:
        if name not in timings:
            yield "–"
            continue
        low, middle, high = (_short(one) for one in timings[name].ratio)
        yield f"{middle} ({low}–{high})"


def _milliseconds(timing: Timing) -> str:
    return _short(timing.milliseconds[1])


def _short(number: float) -> str:
    """Return a number with three digits, or with two decimals below ten."""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"

"""Any linear operator: a matrix, or a function with its transpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias, final

import torch
from torch import Tensor

from nlcore.config import AlgorithmConfig
from nlcore.errors import ConfigError, ContractError, ShapeError
from nlcore.inputs import holds
from nlcore.protocol import CurvatureOperator, Traits
from nlcore_sequences._linear import LinearLoss
from nlcore_sequences._spectra import singular_spectrum
from nlcore_sequences.config import LinearOperatorConfig

__all__ = ["LinearOperator"]

Rows: TypeAlias = Callable[[Tensor], Tensor]

_EXAMPLE = ((1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0))
_LARGEST_SVD = 2048


@final
class LinearOperator(LinearLoss):
    r"""Numbers supervised by their image under a linear operator A.

    $$
    \ell(y, t) = \tfrac12 \lVert A y - t \rVert^2.
    $$

    The gradient is $A^\top (A y - t)$ and the Hessian $A^\top A$, the same for every sample. A is a matrix of any
    shape. In its place, the class takes a linear function of the prediction, such as `lambda y: y.cumsum(1)`,
    optionally with its transpose. Examples are differences, tomography, a discretised integral equation, and sums over
    groups, such as several electricity meters of which only the common total is known. The loss takes no mask, since A
    fixes the number of elements. Half precision is computed in float32.

    Shape:
        - prediction: `[batch, m]`, the numbers.
        - target: `[batch, k]`, what Ay should be, in the dtype of the prediction.
        - value: half the squared distance of the image to the target, in squared units of the target.

    Cost:
        Time O(km) per sample, or that of the function. With more than 256 outputs, a Newton step uses the singular
        values of A, computed once in O(km·min(k, m)), if A is a matrix with min(k, m) ≤ 2 048. With more than 256
        outputs and a larger matrix or a function, the default has only the gradient and directions with the empirical
        Fisher matrix; `GaussNewton(solver="cg")` needs only products with A and Aᵀ.

    When it fails:
        If the columns of A are linearly dependent, as with fewer rows than columns, many predictions have the same
        image. `null_dimension` is the number of dimensions of the outputs that the target leaves open. With damping, a
        Newton step does not move along them; without, it raises a `SingularCurvatureError`.

    Args:
        matrix: A as rows of numbers or a tensor [k, m]; or a function that maps rows [batch, m] to [batch, k].
        transpose: With a function, the one that maps rows [batch, k] to [batch, m] by Aᵀ; without it Aᵀ is taken by
            differentiation.

    Raises:
        ConfigError: The matrix is empty, ragged, not finite or not a matrix, or `transpose` is given with a matrix.

    References:
        For disaggregation: Chow, Lin, [Best Linear Unbiased Interpolation, Distribution, and Extrapolation of Time
        Series by Related Series](https://doi.org/10.2307/1928739), 1971.

    Example:
        >>> import torch
        >>> pairs = LinearOperator([[1, 1, 0, 0], [0, 0, 1, 1]])
        >>> pairs(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[3.0, 5.0]]))
        tensor([2.])
        >>> pairs.null_dimension
        2
    """

    id: ClassVar[str] = "sequences/linear_operator-v1"
    config: ClassVar[type[AlgorithmConfig]] = LinearOperatorConfig
    traits: ClassVar[Traits] = Traits(psd_hessian=True, constant_curvature=True)
    _features: ClassVar[str] = "k"

    def __init__(
        self, matrix: Sequence[Sequence[float]] | Tensor | Rows = _EXAMPLE, *, transpose: Rows | None = None
    ) -> None:
        if not callable(matrix) and transpose is not None:
            raise ConfigError("LinearOperator: transpose belongs to a function; that of a matrix is known.")
        self._transpose, self._checked = transpose, set[int]()
        self._spectra: dict[str, CurvatureOperator] = {}
        if isinstance(matrix, Tensor):
            if matrix.ndim != 2 or 0 in matrix.shape or not matrix.is_floating_point():
                raise ConfigError(
                    f"LinearOperator: matrix is {matrix.dtype} of shape {list(matrix.shape)}; give floating-point "
                    f"numbers [k, m]."
                )
            if not holds(torch.isfinite(matrix)):
                raise ConfigError("LinearOperator: matrix holds NaN or infinity.")
            self._matrix: Any = matrix.detach().clone()
        else:
            self._matrix = matrix if callable(matrix) else LinearOperatorConfig(matrix=matrix).matrix  # type: ignore[arg-type]
        self._rows = None if callable(matrix) else torch.as_tensor(self._matrix, dtype=torch.float64)

    def __repr__(self) -> str:
        if isinstance(self.matrix, tuple):
            return f"LinearOperator(matrix={self.matrix!r})"
        what = getattr(self.matrix, "__qualname__", None) or f"a tensor {list(self.matrix.shape)}"
        return f"LinearOperator({what})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LinearOperator):
            return NotImplemented
        mine, its = self._matrix, other._matrix
        if isinstance(mine, Tensor) and isinstance(its, Tensor):
            return mine.dtype == its.dtype and mine.device == its.device and torch.equal(mine, its)
        return type(mine) is type(its) and mine == its and self._transpose == other._transpose

    def __hash__(self) -> int:
        return hash(tuple(self._matrix.shape) if isinstance(self._matrix, Tensor) else (self._matrix, self._transpose))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(LinearOperator, transpose=self._transpose), (self._matrix,)

    @property
    def matrix(self) -> Any:
        """A as it was given: rows of numbers, a tensor or a function."""
        return self._matrix

    @property
    def null_dimension(self) -> int:
        """Dimension of the null space of A, by its singular values.

        Raises:
            ConfigError: A is a function.
        """
        if self._rows is None:
            raise ConfigError("LinearOperator: the null space of a function is not known; give a matrix.")
        return self._rows.shape[1] - int(torch.linalg.matrix_rank(self._rows))

    def _image(self, numbers: Tensor, mask: Tensor | None) -> Tensor:
        if self._rows is not None:
            if numbers.shape[1] != self._rows.shape[1]:
                raise ShapeError(
                    f"{self.id}: prediction has {numbers.shape[1]} elements, and the matrix {self._rows.shape[1]} "
                    f"columns."
                )
            return numbers @ self._rows.to(numbers).mT
        if self._transpose is None:
            return self._called(self.matrix, numbers)
        self._check_transpose(numbers)
        image: Tensor = _Applied.apply(numbers, self.matrix, self._transpose)  # type: ignore[no-untyped-call]
        return image

    def _called(self, function: Rows, numbers: Tensor) -> Tensor:
        image = function(numbers)
        if not isinstance(image, Tensor) or image.ndim != 2 or len(image) != len(numbers):
            got = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ShapeError(
                f"{self.id}: the function must map {list(numbers.shape)} to [{len(numbers)}, k], and returned {got}."
            )
        return image

    def _check_transpose(self, numbers: Tensor) -> None:
        """Compare u·(Av) with (Aᵀu)·v, once for each m."""
        m = numbers.shape[1]
        if m in self._checked or torch.compiler.is_compiling():
            return
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            v = torch.randn(1, m, generator=generator, dtype=torch.float64).to(numbers)
            image = self._called(self.matrix, v)
            u = torch.randn(image.shape, generator=generator, dtype=torch.float64).to(image)
            pulled = self._transpose(u) if self._transpose is not None else v
            if not isinstance(pulled, Tensor) or pulled.shape != v.shape:
                got = list(pulled.shape) if isinstance(pulled, Tensor) else type(pulled).__name__
                raise ShapeError(
                    f"{self.id}: transpose must map {list(u.shape)} to {list(v.shape)}, and returned {got}."
                )
            forward, backward = float((u * image).sum()), float((pulled * v).sum())
            size = float(u.norm() * image.norm()) + float(pulled.norm() * v.norm())
        if abs(forward - backward) > torch.finfo(v.dtype).eps ** 0.5 * size:
            raise ContractError(
                f"{self.id}: transpose is not the transpose of the function: u·(Av) = {forward:.6g}, and (Aᵀu)·v = "
                f"{backward:.6g} for random u and v. Correct it, or leave it out: then it is taken by differentiation."
            )
        self._checked.add(m)

    def _operator(self, event: torch.Size, device: torch.device) -> CurvatureOperator | None:
        if self._rows is None or min(self._rows.shape) > _LARGEST_SVD:
            return None
        if str(device) not in self._spectra:
            self._spectra[str(device)] = singular_spectrum(self._rows.to(device))
        return self._spectra[str(device)]

    def _example_event(self) -> tuple[int, ...]:
        return (6,) if self._rows is None else (self._rows.shape[1],)


class _Applied(torch.autograd.Function):
    """A function of rows with a given transpose, differentiable any number of times."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, function: Rows, transpose: Rows) -> Tensor:
        return function(rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.function, ctx.transpose = inputs

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None]:
        pulled: Tensor = _Applied.apply(cotangent, ctx.transpose, ctx.function)  # type: ignore[no-untyped-call]
        return pulled, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        image: Tensor = _Applied.apply(tangent, ctx.function, ctx.transpose)  # type: ignore[no-untyped-call]
        return image

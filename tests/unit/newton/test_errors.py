"""Every wrong use: the right class of error, a message with the values at fault, and what falls back to what."""

from __future__ import annotations

import pytest
import torch

import nlcore
from nlcore import (
    Auto,
    Bounded,
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    NewtonLoss,
    Relative,
    Result,
    Traits,
    compose,
    newton_step,
)
from nlcore.builtin.losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, SquaredError
from nlcore.errors import (
    ConfigError,
    ContractError,
    DtypeError,
    NonFiniteError,
    ShapeError,
    SingularCurvatureError,
    UnsupportedCurvatureError,
)

from .losses import SPLIT, Wavy, data, half_square


def both_ways(loss, prediction, target, **options):
    """Yield a call of the function and calls of the module with and without gradients."""
    yield lambda: newton_step(loss, prediction, target, EmpiricalFisher(), **options)
    yield lambda: NewtonLoss(loss, EmpiricalFisher())(prediction, target, **options)
    if isinstance(prediction, torch.Tensor) and prediction.is_floating_point():
        yield lambda: NewtonLoss(loss, EmpiricalFisher())(prediction.clone().requires_grad_(), target, **options)


def refused(error, message, loss, prediction, target):
    for call in both_ways(loss, prediction, target):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (lambda y: y.sum(), r"shape \[\]"),
        (lambda y: y, r"shape \[5, 4\]"),
        (lambda y: y.sum(0), r"shape \[4\]"),
        (lambda y: y.sum(1, keepdim=True), r"shape \[5, 1\]"),
        (lambda y: 1.0, "a float"),
        (lambda y: None, "a NoneType"),
        (lambda y: (y.sum(1), y), "a tuple"),
    ],
)
def test_a_loss_must_return_one_number_a_sample(result, got):
    def my_loss(prediction, target):
        return result(prediction)

    message = rf"my_loss: a loss must return one number per sample, shape \[5\], but returned {got} for .* \[5, 4\]"
    refused(ShapeError, message, my_loss, *data())


def test_a_function_inside_a_function_goes_by_its_own_name():
    def my_loss(prediction, target):
        return prediction.sum()

    refused(ShapeError, r"^my_loss: a loss must return", my_loss, *data())


def test_the_remedy_for_a_wrong_shape_fits_what_the_loss_returned():
    def unreduced(prediction, target):
        return torch.nn.functional.mse_loss(prediction, target, reduction="none")

    refused(ShapeError, r"Sum over all dimensions but the first", unreduced, torch.zeros(5, 4), torch.ones(5, 4))
    refused(ShapeError, r"reduction='none'", torch.nn.functional.mse_loss, torch.zeros(5, 4), torch.ones(5, 4))


def test_a_newton_loss_of_a_newton_loss_is_refused():
    criterion = nlcore.NewtonLoss(nlcore.make("core/squared_error"))
    with pytest.raises(ContractError, match=r"a NewtonLoss already.*criterion\.loss"):
        nlcore.NewtonLoss(criterion)
    with pytest.raises(ContractError, match=r"was given a NewtonLoss.*criterion\.loss"):
        nlcore.diagnose(criterion, torch.zeros(5, 4), torch.ones(5, 4))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_a_loss_must_return_floats(dtype):
    def my_loss(prediction, target):
        return torch.zeros(prediction.shape[0], dtype=dtype)

    refused(DtypeError, rf"my_loss: a loss must return a floating-point tensor, but returned {dtype}", my_loss, *data())


@pytest.mark.parametrize("loss", [half_square, Wavy(), SquaredError(), CrossEntropy()])
def test_a_target_of_another_batch(loss):
    prediction, target = data()
    refused(ShapeError, r"\[5, 4\].*\[3, 4\]", loss, prediction, target[:3])


def test_a_nested_target_of_another_batch():
    prediction, target = data()
    refused(ShapeError, r"\[5, 4\].*\[2\]", half_square, prediction, {"a": target, "b": [torch.zeros(2)]})
    refused(ShapeError, r"\[5, 4\].*\[\]", half_square, prediction, torch.zeros(()))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.complex64])
def test_a_prediction_that_is_no_float(dtype):
    refused(DtypeError, rf"floating-point dtype, but is {dtype}", half_square, torch.ones(5, 4).to(dtype), data()[1])


@pytest.mark.parametrize("prediction", [[[1.0]], None, 1.0, "y"], ids=repr)
def test_a_prediction_that_is_no_tensor(prediction):
    refused(DtypeError, type(prediction).__name__, half_square, prediction, data()[1])


def test_a_prediction_without_a_batch_or_outputs():
    refused(ShapeError, r"has shape \[\]", half_square, torch.zeros(()), torch.zeros(1))
    refused(ShapeError, r"must have 2 dimensions.*\[5\].*unsqueeze\(1\)", Wavy(), torch.zeros(5), torch.zeros(5))
    refused(ShapeError, r"2 dimensions.*\[5, 2, 1\].*squeeze\(-1\)", Wavy(), torch.zeros(5, 2, 1), torch.zeros(5))
    refused(ShapeError, r"\[5, 2, 2\].*Traits\(event_ndim=2\)", Wavy(), torch.zeros(5, 2, 2), torch.zeros(5))
    refused(ShapeError, r"3 dimensions.*\[5, 2\].*unsqueeze\(0\)", Wavy(Traits(event_ndim=2)), *data(5, 2))
    with pytest.raises(ShapeError, match=r"\[5, 0\] has no outputs"):
        newton_step(half_square, torch.zeros(5, 0), torch.zeros(5, 0))
    with pytest.raises(ShapeError, match=r"\[0, 0\] has no outputs"):
        newton_step(half_square, torch.zeros(0, 0), torch.zeros(0, 0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("curvature", [EmpiricalFisher(), Hessian(), Hessian(psd="none", damping=30.0)])
@pytest.mark.parametrize("backend", ["func", "autograd"])
def test_a_prediction_that_is_not_finite(backend, curvature, bad):
    prediction, target = data(12)
    prediction[3, 1] = prediction[7, 0] = bad
    with pytest.raises(NonFiniteError, match=r"Wavy: the prediction .* 2 of 12 samples: 3, 7") as caught:
        newton_step(Wavy(), prediction, target, curvature, backend=backend)
    assert caught.value.samples == (3, 7)
    assert "fallback" in str(caught.value)
    step = newton_step(Wavy(), prediction, target, curvature, backend=backend, on_failure="fallback")
    rest = [i for i in range(12) if i not in (3, 7)]
    expected = newton_step(Wavy(), prediction[rest], target[rest], curvature, backend=backend)
    torch.testing.assert_close(step.direction[rest], expected.direction, rtol=1e-12, atol=0)
    assert torch.equal(step.direction[[3, 7]], torch.zeros(2, 4, dtype=torch.float64))
    assert step.samples(Result.nonfinite) == (3, 7)
    assert step.stats["nonfinite"] == 2


def test_a_target_that_is_not_finite_is_named():
    def ignoring(prediction, target, *, mask=None):
        return ((prediction - target).square() * ~mask).sum(1)

    prediction, target = data()
    target[1, 3] = target[4, 0] = float("nan")
    mask = torch.zeros(5, 4, dtype=torch.bool)
    with pytest.raises(NonFiniteError, match=r"2 of 5 samples: 1, 4\. The target .* in 2 of them.*mask") as caught:
        newton_step(half_square, prediction, target)
    assert caught.value.samples == (1, 4)
    mask[1, 3] = mask[4, 0] = True
    with pytest.raises(NonFiniteError, match=r"2 of 5 samples: 1, 4\. The target .* in 2 of them.*masked_fill"):
        newton_step(ignoring, prediction, target, mask=mask)
    mask[4, 0] = False
    with pytest.raises(NonFiniteError, match=r"1 of 5 samples: 4\. The target .* in 1 of them.*mask"):
        newton_step(SquaredError(), prediction, target, mask=mask)


def test_many_samples_at_fault_are_shortened():
    prediction, target = data(30)
    prediction[5:25] = float("nan")
    with pytest.raises(NonFiniteError, match=r"20 of 30 samples: 5, 6, 7, 8, 9, 10, 11, 12, … \(20 in all\)") as caught:
        newton_step(Wavy(), prediction, target)
    assert caught.value.samples == tuple(range(5, 25))


@pytest.mark.parametrize("backend", ["func", "autograd"])
@pytest.mark.parametrize("curvature", [EmpiricalFisher(), Hessian()])
def test_a_gradient_that_is_nan_at_a_finite_value(curvature, backend):
    def root(prediction, target):
        return (prediction - target).square().sum(1).sqrt() ** 3 + (prediction - target).square().sum(1)

    prediction, target = data()
    target[2] = prediction[2]
    with pytest.raises(NonFiniteError, match=r"root: the loss or its gradient .* 1 of 5 samples: 2") as caught:
        newton_step(root, prediction, target, curvature, backend=backend)
    assert caught.value.samples == (2,)
    step = newton_step(root, prediction, target, curvature, backend=backend, on_failure="fallback")
    rest = [0, 1, 3, 4]
    expected = newton_step(root, prediction[rest], target[rest], curvature, backend=backend)
    torch.testing.assert_close(step.direction[rest], expected.direction, rtol=1e-12, atol=0)
    assert torch.equal(step.direction[2], torch.zeros(4, dtype=torch.float64))


def kinked(prediction, target):
    """Σ |y − t|^1.5: at y = t the gradient is zero and the second derivative is not a number."""
    return (prediction - target).abs().pow(1.5).sum(1)


HESSIANS = [
    Hessian(damping=Relative(0.1)),
    Hessian(damping=0.5, psd="clip"),
    Hessian(damping=0.5, psd="none"),
    Hessian(damping=0.5, psd_scope="batch"),
    Hessian(damping=0.5, aggregate="sample"),
]


@pytest.mark.parametrize("backend", ["func", "autograd"])
@pytest.mark.parametrize("curvature", HESSIANS)
def test_a_hessian_that_is_nan_where_value_and_gradient_are_not(curvature, backend):
    """Only that sample falls back, to its plain gradient, and the mean is over the others."""
    prediction, target = data()
    target[2, 1] = prediction[2, 1]
    newton_step(kinked, prediction, target, EmpiricalFisher(), backend=backend)
    with pytest.raises(NonFiniteError, match=r"kinked: the curvature .* 1 of 5 samples: 2.*EmpiricalFisher") as caught:
        newton_step(kinked, prediction, target, curvature, backend=backend)
    assert caught.value.samples == (2,)
    step = newton_step(kinked, prediction, target, curvature, backend=backend, on_failure="fallback")
    rest = [0, 1, 3, 4]
    expected = newton_step(kinked, prediction[rest], target[rest], curvature, backend=backend)
    torch.testing.assert_close(step.direction[rest], expected.direction, rtol=1e-12, atol=0)
    assert torch.equal(step.direction[2], step.gradient[2])
    assert step.gradient[2].abs().sum() > 0
    assert step.codes.tolist() == [0, 0, 3, 0, 0]


@pytest.mark.filterwarnings("ignore:.*second derivative.* is zero:nlcore.errors.NumericalWarning")
@pytest.mark.parametrize("curvature", [Hessian(damping=1e-6, psd="none"), Hessian(damping=1e-6), "split"], ids=str)
def test_a_direction_beyond_the_range_of_the_dtype_is_not_finite(curvature):
    """A gradient of 1e35 over λ = 1e-6 is 1e41, which float32 cannot hold."""

    def steep(prediction, target):
        return 1e35 * prediction.sum(1)

    loss = steep
    if curvature == "split":
        loss, curvature = compose(lambda y: y, steep), GaussNewton(damping=1e-6)
    prediction, target = data(dtype=torch.float32)
    step = newton_step(loss, prediction, target, curvature, on_failure="fallback")
    assert torch.isfinite(step.direction).all()
    assert step.stats["nonfinite"] == 5
    with pytest.raises(NonFiniteError):
        newton_step(loss, prediction, target, curvature)


@pytest.mark.parametrize("solver", ["cholesky", "eigen"])
@pytest.mark.parametrize("psd", ["none", "clip", "abs"])
@pytest.mark.parametrize("loss", [CrossEntropy(), lambda y, t: CrossEntropy()(y, t)], ids=["supplied", "derived"])
def test_a_shift_invariant_loss_without_damping_is_singular(loss, psd, solver):
    prediction, target = data(6, 4)[0], torch.tensor([0, 1, 2, 3, 0, 1])
    curvature = Hessian(damping=0.0, psd=psd, solver=solver)
    with pytest.raises(SingularCurvatureError, match=r"λ = 0 is singular .*6 of 6 samples: 0, 1, 2.*Relative\(0\.1\)"):
        newton_step(loss, prediction, target, curvature)
    step = newton_step(loss, prediction, target, curvature, on_failure="fallback")
    assert torch.equal(step.direction, step.gradient)
    assert step.stats["singular"] == 6
    assert step.result is Result.singular
    assert newton_step(loss, prediction, target, Hessian(damping=1e-9, psd=psd, solver=solver)).result is Result.ok


@pytest.mark.parametrize("solver", ["cholesky", "eigen", "kernel"])
def test_a_fisher_of_few_samples_without_damping_is_singular(solver):
    with pytest.raises(SingularCurvatureError, match="λ = 0 is singular"):
        newton_step(half_square, *data(3, 4), EmpiricalFisher(damping=0.0, solver=solver))
    assert newton_step(half_square, *data(5, 4), EmpiricalFisher(damping=0.0, solver="cholesky")).result is Result.ok


def test_a_kernel_solve_needs_no_inverse_of_the_large_matrix():
    """K + λI of two orthogonal gradients is well conditioned, however small λ is beside it."""

    def linear(prediction, target):
        return (prediction * target).sum(1)

    target = 1e8 * torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    step = newton_step(linear, torch.zeros_like(target), target, EmpiricalFisher(damping=1e-3, solver="kernel"))
    torch.testing.assert_close(step.direction, target / (1e16 / 2 + 1e-3), rtol=1e-12, atol=0)


@pytest.mark.parametrize("solver", ["cholesky", "eigen"])
def test_own_matrices_that_are_singular_are_named_one_by_one(solver):
    prediction, target = data()
    target = torch.stack([target, torch.ones_like(target)], -1)
    target[3, 2, 1] = 0.0

    def bowl(y, t):
        return (t[..., 1] * (y - t[..., 0]).square()).sum(1)

    curvature = Hessian(damping=0.0, aggregate="sample", solver=solver, max_ratio=None)
    with pytest.raises(SingularCurvatureError) as caught:
        newton_step(bowl, prediction, target, curvature)
    assert caught.value.samples == (3,)
    step = newton_step(bowl, prediction, target, curvature, on_failure="fallback")
    assert step.codes.tolist() == [0, 0, 0, 2, 0]
    assert torch.equal(step.direction[3], step.gradient[3])
    torch.testing.assert_close(step.target[[0, 1, 2, 4]], target[[0, 1, 2, 4], :, 0], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    "options", [{"normalize": True, "max_ratio": None}, {"normalize": True}, {"max_ratio": 1.0}], ids=str
)
def test_one_singular_sample_leaves_the_lengths_of_the_others_alone(options):
    prediction, target = data()
    target = torch.stack([target, torch.ones_like(target)], -1)
    target[3, 2, 1] = 0.0

    def bowl(y, t):
        return (t[..., 1] * (y - t[..., 0]).square()).sum(1) + y[:, 2] * (1 - t[:, 2, 1])

    curvature = Hessian(damping=0.0, aggregate="sample", **options)
    step = newton_step(bowl, prediction, target, curvature, on_failure="fallback")
    rest = [0, 1, 2, 4]
    expected = newton_step(bowl, prediction[rest], target[rest], curvature)
    torch.testing.assert_close(step.direction[rest], expected.direction, rtol=1e-12, atol=0)
    assert torch.equal(step.direction[3], step.gradient[3])
    assert step.codes.tolist() == [0, 0, 0, 2, 0]


@pytest.mark.parametrize("aggregate", ["batch", "sample"])
def test_a_sample_that_does_not_count_is_never_at_fault(aggregate):
    prediction, target = data()
    curvature = Hessian(damping=0.0, psd="none", aggregate=aggregate, max_ratio=None)
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])
    step = newton_step(half_square, prediction, target, curvature, weight=weight)
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(step.target[kept], target[kept], rtol=1e-14, atol=1e-14)


def test_a_loss_of_order_one_has_no_hessian():
    message = r"AbsoluteError has derivatives of order 1: .*nlcore\.EmpiricalFisher\(\)"
    with pytest.raises(UnsupportedCurvatureError, match=message):
        NewtonLoss(AbsoluteError(), Hessian())
    with pytest.raises(UnsupportedCurvatureError, match=message):
        newton_step(AbsoluteError(), *data(), Hessian())
    NewtonLoss(AbsoluteError(), EmpiricalFisher())
    NewtonLoss(AbsoluteError())


def test_a_loss_of_order_one_with_a_split_is_sent_to_it():
    class Split(Wavy):
        def inner(self, prediction):
            return prediction

        def outer(self, features, target):
            return self(features, target)

    with pytest.raises(UnsupportedCurvatureError, match=r"GaussNewton\(\) or nlcore\.EmpiricalFisher"):
        NewtonLoss(Split(Traits(order=1)), Hessian())


def test_a_loss_of_order_zero_trains_only_with_its_own_gradient():
    with pytest.raises(UnsupportedCurvatureError, match=r"order 0.*gradient\(prediction, target\)"):
        NewtonLoss(Wavy(Traits(order=0)), EmpiricalFisher())


@pytest.mark.parametrize("loss", [Wavy(), half_square, SquaredError()])
def test_a_loss_without_a_split_has_no_gauss_newton_matrix(loss):
    for call in (lambda: NewtonLoss(loss, GaussNewton()), lambda: newton_step(loss, *data(), GaussNewton())):
        with pytest.raises(UnsupportedCurvatureError, match=r"no Gauss–Newton split.*nlcore\.compose\(inner, outer\)"):
            call()


def bad_split(inner, outer):
    class Split(Wavy):
        def inner(self, prediction):
            return inner(prediction)

        def outer(self, features, target):
            return outer(features)

    return Split()


def test_a_wrong_split_is_named():
    def rows(features):
        return features.flatten(1).sum(1)

    for backend in ("func", "autograd"):
        with pytest.raises(
            ShapeError, match=r"Split\.inner must return a tensor with the batch of 5 in front.*\[4, 5\]"
        ):
            newton_step(bad_split(lambda y: y.mT, rows), *data(), GaussNewton(), backend=backend)
        with pytest.raises(ShapeError, match=r"Split\.outer must return one number per sample, shape \[5\].*\[\]"):
            newton_step(bad_split(lambda y: y, torch.sum), *data(), GaussNewton(), backend=backend)


@pytest.mark.parametrize("member", ["inner", "outer"])
def test_a_split_that_returns_no_tensor_is_named(member):
    def nothing(_):
        return None

    pair = {"inner": lambda y: y, "outer": lambda f: f.sum(1), member: nothing}
    with pytest.raises(ContractError, match=rf"Split\.{member}"):
        newton_step(bad_split(**pair), *data(), GaussNewton())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"damping": 0.1}, r"Use nlcore\.NewtonLoss\(loss, nlcore\.Hessian\(damping=0\.1\)\)"),
        ({"aim": "outputs"}, r"Use nlcore\.NewtonLoss\(loss, nlcore\.Auto\(aim='outputs'\)\)"),
        ({"weighting": "normalized"}, r"nlcore\.EmpiricalFisher\(weighting='normalized'\)"),
        ({"redution": "sum"}, r"NewtonLoss\(redution='sum'\): .* \(did you mean 'reduction'\?\)"),
        ({"lr": 0.1}, r"there is no such option\. Options: curvature, reduction, .*, process_group\."),
    ],
    ids=str,
)
def test_an_option_in_the_wrong_place_is_shown_the_right_one(option, message):
    with pytest.raises(ConfigError, match=message):
        NewtonLoss(SPLIT, **option)


@pytest.mark.parametrize("curvature", [Hessian, EmpiricalFisher, GaussNewton, Auto, 0.1, "hessian", []], ids=repr)
def test_a_curvature_is_an_instance(curvature):
    for call in (lambda: NewtonLoss(SPLIT, curvature), lambda: newton_step(SPLIT, *data(), curvature)):
        with pytest.raises(ConfigError, match=r"is not a curvature.*an instance") as caught:
            call()
        assert repr(curvature) in str(caught.value)


@pytest.mark.parametrize("loss", [Wavy, SquaredError, None, 1.0, "core/squared_error"], ids=repr)
def test_a_loss_is_an_instance_or_a_function(loss):
    for call in (lambda: NewtonLoss(loss), lambda: newton_step(loss, *data())):
        with pytest.raises(ContractError, match="AlgorithmicLoss or a callable") as caught:
            call()
        assert repr(loss) in str(caught.value)


def test_traits_are_traits():
    with pytest.raises(ContractError, match=r"Wavy\.traits is \{'order': 2\}"):
        NewtonLoss(Wavy({"order": 2}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hessian(psd="ab"), r"Hessian\(psd='ab'\): choose one of .*did you mean 'abs'"),
        (lambda: Hessian(psd=None), r"Hessian\(psd=None\)"),
        (lambda: Hessian(psd_scope="sampel"), r"psd_scope='sampel'.*did you mean 'sample'"),
        (lambda: Hessian(aggregate="batches"), r"aggregate='batches'.*did you mean 'batch'"),
        (lambda: GaussNewton(aggregate="smaple"), r"GaussNewton\(aggregate='smaple'.*did you mean 'sample'"),
        (lambda: Hessian(solver="choleski"), r"solver='choleski'.*did you mean 'cholesky'"),
        (lambda: GaussNewton(solver="eig"), r"solver='eig'.*did you mean 'eigen'"),
        (lambda: EmpiricalFisher(solver="kernels"), r"solver='kernels'.*did you mean 'kernel'"),
        (lambda: Hessian(max_ratio=0), r"max_ratio=0\)"),
        (lambda: Hessian(max_ratio=float("nan")), r"max_ratio=nan"),
        (lambda: GaussNewton(max_ratio=-1.0), r"max_ratio=-1\.0"),
        (lambda: GaussNewton(max_ratio=True), r"max_ratio=True"),
        (lambda: EmpiricalFisher(max_step="1"), r"max_step='1'"),
        (lambda: Hessian(chunk_size=0), r"chunk_size=0"),
        (lambda: Hessian(chunk_size=True), r"chunk_size=True"),
        (lambda: Hessian(normalize=1), r"Hessian\(normalize=1\)"),
        (lambda: GaussNewton(normalize="yes"), r"GaussNewton\(normalize='yes'\)"),
        (lambda: Hessian(damping=Bounded(), psd="none"), r"damping=Bounded\(.*psd='none'"),
        (lambda: GaussNewton(chunk_size=-2), r"chunk_size=-2"),
        (lambda: NewtonLoss(Wavy(), reduction="means"), r"reduction='means'.*did you mean 'mean'"),
        (lambda: NewtonLoss(Wavy(), reduction=None), r"reduction=None"),
        (lambda: NewtonLoss(Wavy(), value="orignal"), r"value='orignal'.*did you mean 'original'"),
        (lambda: NewtonLoss(Wavy(), on_failure="rise"), r"on_failure='rise'.*did you mean 'raise'"),
        (lambda: NewtonLoss(Wavy(), backend="autgrad"), r"backend='autgrad'.*did you mean 'autograd'"),
    ],
)
def test_wrong_options_name_the_near_one(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    "options",
    [{"on_failure": "fall back"}, {"backend": "function"}, {"on_failure": None}, {"backend": "supplied"}],
    ids=str,
)
def test_the_function_refuses_what_the_module_refuses(options):
    with pytest.raises(ConfigError):
        NewtonLoss(Wavy(), EmpiricalFisher(), **options)
    with pytest.raises(ConfigError):
        newton_step(Wavy(), *data(), EmpiricalFisher(), **options)


@pytest.mark.parametrize("loss", [SquaredError(), AbsoluteError(), BinaryCrossEntropy()])
def test_builtin_losses_want_targets_like_the_prediction(loss):
    prediction, target = data()
    refused(ShapeError, r"core/.*\[5, 3\].*\[5, 4\]", loss, prediction, target[:, :3])
    refused(ShapeError, r"core/.*\[5\].*\[5, 4\]", loss, prediction, target[:, 0])
    refused(ContractError, r"core/.*dict.*\[batch, m\]", loss, prediction, {})
    refused(DtypeError, r"core/.*torch\.int64", loss, prediction, torch.zeros(5, 4, dtype=torch.int64))


@pytest.mark.parametrize("loss", [SquaredError(), AbsoluteError(), BinaryCrossEntropy(), CrossEntropy()])
def test_builtin_losses_keep_the_dtype_of_the_prediction(loss):
    """A float64 target must not turn a float32 loss into a float64 one."""
    prediction, target = data(dtype=torch.float32)
    value = loss(prediction, target.double().softmax(-1))
    assert value.dtype == torch.float32


def test_cross_entropy_wants_classes():
    prediction, _ = data()
    refused(ContractError, r"0 … 3; .* -1 … 2", CrossEntropy(), prediction, torch.tensor([0, 1, 2, -1, 0]))
    refused(ContractError, r"0 … 3; .* 0 … 4", CrossEntropy(), prediction, torch.tensor([0, 1, 2, 4, 0]))
    refused(ShapeError, r"\[5, 1\], but \[batch\] = \[5\]", CrossEntropy(), prediction, torch.zeros(5, 1).long())
    refused(DtypeError, r"torch\.int32", CrossEntropy(), prediction, torch.zeros(5, 4, dtype=torch.int32))
    for dtype in (torch.int32, torch.float32):
        refused(DtypeError, rf"{dtype}, but int64.*long", CrossEntropy(), prediction, torch.zeros(5).to(dtype))
    one_hot = torch.eye(5, 4, dtype=torch.int64)
    refused(ShapeError, r"\[5, 4\], but \[batch\] = \[5\].*float", CrossEntropy(), prediction, one_hot)


def test_several_tensors_as_a_prediction_are_to_be_joined():
    y, target = data()
    refused(DtypeError, r"is a tuple\. Join its tensors, as in torch\.cat", half_square, (y, y), target)
    refused(DtypeError, r"is a NoneType\.$", half_square, None, target)

"""Several inputs and outputs: branches of an input each, several heads, and the losses of both."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cconv import gradcheck, nn, optim


def images(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def two_towers(named=False, dtype=np.float64):
    """Pictures through a convolution, numbers through a linear map, and both into one."""
    options = {"rng": 0, "dtype": dtype}
    picture = nn.Sequential(nn.Conv2d(1, 4, 3, **options), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    numbers = nn.Sequential(nn.Linear(3, 5, **options), nn.Tanh())
    towers = nn.Each(picture=picture, numbers=numbers) if named else nn.Each(picture, numbers)
    return nn.Sequential(towers, nn.Concat(), nn.Linear(21, 3, rng=1, dtype=dtype))


def with_auxiliary_head(dtype=np.float64):
    """A head in the middle beside the one at the end, as GoogLeNet has it."""
    options = {"rng": 0, "dtype": dtype}
    stem = nn.Sequential(nn.Conv2d(1, 4, 3, **options), nn.Tanh())
    early = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3, **options))
    late = nn.Sequential(nn.Conv2d(4, 5, 3, **options), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    late.append(nn.Linear(5, 3, **options))
    return nn.Sequential(stem, nn.Parallel(late, early, merge=None))


@pytest.mark.parametrize("named", [False, True])
def test_gradcheck_of_several_inputs_and_outputs(named):
    x = {"picture": images(2, 1, 6, 6), "numbers": images(2, 3)} if named else (images(2, 1, 6, 6), images(2, 3))
    report = gradcheck(two_towers(named), x)
    assert report, str(report)
    assert ("x['numbers']" if named else "x[1]") in str(report)
    assert gradcheck(with_auxiliary_head(), images(2, 1, 8, 8))

    class Wrong(nn.Each):
        def forward(self, x, train=True):
            y, backward = super().forward(x, train)
            return y, lambda grad_y, need_x=True: backward(grad_y, need_x)[::-1] if need_x else backward(grad_y, False)

    assert not gradcheck(Wrong(nn.Tanh(), nn.Tanh()), (images(2, 3), images(2, 3, seed=1)))
    assert "for grad_x[1], expected shape (2, 3)" in str(
        gradcheck(Wrong(nn.Tanh(), nn.Tanh()), (images(2, 4), images(2, 3)))
    )


def numerical(function, array, index, step=1e-6):
    before = array[index]
    array[index] = before + step
    up = function()
    array[index] = before - step
    down = function()
    array[index] = before
    return (up - down) / (2 * step)


class Halves(nn.Layer):
    """(N, 2 C, ...) as two inputs, so that gradcheck's single array reaches layers of several."""

    def __init__(self, named=False):
        self.named = named

    def forward(self, x, train=True):
        first, second = np.split(x, 2, 1)

        def backward(grad_y, need_x=True):
            grads = [grad_y["a"], grad_y["b"]] if self.named else grad_y
            return np.concatenate(grads, 1) if need_x else None

        return {"a": first, "b": second} if self.named else (first, second), backward


@pytest.mark.parametrize("join", [nn.Concat(), nn.Concat(-1), nn.Sum()], ids=str)
@pytest.mark.parametrize("named", [False, True])
def test_gradients(named, join):
    branches = nn.Conv2d(2, 3, 3, padding=1, rng=0), nn.Sequential(nn.Conv2d(2, 3, 1, rng=1), nn.Tanh())
    each = nn.Each(a=branches[0], b=branches[1]) if named else nn.Each(*branches)
    report = gradcheck(nn.Sequential(Halves(named), each, join), images(2, 4, 5, 4))
    assert report, str(report)


def test_gradients_of_several_heads():
    heads = nn.Parallel(nn.Conv2d(3, 2, 3, rng=0), nn.Tanh(), nn.Identity(), merge=None)
    pooled = nn.Each(nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2), nn.AdaptiveAvgPool2d(2))
    report = gradcheck(nn.Sequential(nn.Conv2d(1, 3, 1, rng=2), heads, pooled, nn.Concat()), images(2, 1, 6, 5))
    assert report, str(report)


def test_several_branches_of_the_same_inputs():
    """x, a tuple, goes to both; the gradients of the two add up input by input."""
    both = nn.Parallel(nn.Sum(), nn.Sequential(nn.Each(nn.Tanh(), nn.Identity()), nn.Concat()), dim=1)
    report = gradcheck(nn.Sequential(Halves(), both), images(2, 4, 3))
    assert report, str(report)


@pytest.mark.parametrize("named", [False, True])
def test_two_towers(named):
    model = two_towers(named)
    pictures, numbers, labels = images(6, 1, 6, 6), images(6, 3, seed=1), np.array([0, 1, 2, 0, 1, 2])
    x = {"picture": pictures, "numbers": numbers} if named else (pictures, numbers)
    assert next(iter(model.state_dict())) == ("0.picture.0.weight" if named else "0.0.0.weight")
    criterion = nn.CrossEntropyLoss()
    logits, backward = model.forward(x)
    assert_array_equal(logits, model(x))
    grads = backward(criterion.forward(logits, labels)[1]())
    by_input = [grads["picture"], grads["numbers"]] if named else grads
    for array, grad in zip((pictures, numbers), by_input, strict=True):
        index = tuple(n // 2 for n in array.shape)
        assert_allclose(grad[index], numerical(lambda: criterion(model(x), labels), array, index), rtol=1e-6)
    for parameter in model.parameters():
        index = tuple(n - 1 for n in parameter.value.shape)
        expected = numerical(lambda: criterion(model(x), labels), parameter.value, index)
        assert_allclose(parameter.grad[index], expected, rtol=1e-5, atol=1e-10)
    model.zero_grad()
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        logits, backward = model.forward(x)
        loss, loss_backward = criterion.forward(logits, labels)
        assert backward(loss_backward(), need_x=False) is None
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.1 and (model(x).argmax(1) == labels).all()


def test_an_auxiliary_head():
    model, x, labels = with_auxiliary_head(), images(6, 1, 8, 8), np.array([0, 1, 2, 0, 1, 2])
    criterion = nn.MultiLoss([nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)], weights=(1, 0.3))

    def value():
        main, auxiliary = model(x)
        losses = nn.CrossEntropyLoss()(main, labels), nn.CrossEntropyLoss(label_smoothing=0.1)(auxiliary, labels)
        return losses[0] + 0.3 * losses[1]

    outputs, backward = model.forward(x)
    loss, loss_backward = criterion.forward(outputs, (labels, labels))
    assert_allclose(loss, value(), rtol=1e-13)
    grad_x = backward(loss_backward())
    assert_allclose(grad_x[1, 0, 3, 4], numerical(value, x, (1, 0, 3, 4)), rtol=1e-6)
    for parameter in model.parameters():
        index = tuple(n // 2 for n in parameter.value.shape)
        assert_allclose(parameter.grad[index], numerical(value, parameter.value, index), rtol=1e-5, atol=1e-10)
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    for _ in range(80):
        optimizer.zero_grad()
        outputs, backward = model.forward(x)
        loss, loss_backward = criterion.forward(outputs, (labels, labels))
        backward(loss_backward(), need_x=False)
        optimizer.step()
    assert (model(x)[0].argmax(1) == labels).all()


def test_a_head_without_a_gradient():
    model, x = with_auxiliary_head(), images(2, 1, 8, 8)
    outputs, backward = model.forward(x)
    backward((np.ones_like(outputs[0]), None))
    assert not model[1][1][2].weight.grad.any() and model[1][0][4].weight.grad.any()


def test_gradients_are_cast():
    model = two_towers(dtype=np.float32)
    y, backward = model.forward((images(2, 1, 6, 6), images(2, 3)))
    assert y.dtype == np.float32
    grads = backward(np.ones_like(y, np.float64))
    assert [grad.dtype for grad in grads] == [np.float32, np.float32]
    heads = nn.Parallel(nn.Identity(), nn.Linear(3, 2), merge=None)
    _, backward = heads.forward(images(4, 3, dtype=np.float32))
    assert backward([np.ones((4, 3)), np.ones((4, 2))]).dtype == np.float32


def test_losses_by_name():
    criterion = nn.MultiLoss({"kind": nn.CrossEntropyLoss(), "age": nn.MSELoss()}, weights={"age": 0.1, "kind": 1})
    outputs = {"age": images(4, 1), "kind": images(4, 3)}
    targets = {"kind": np.array([0, 1, 2, 0]), "age": images(4, 1, seed=1)}
    loss, backward = criterion.forward(outputs, targets)
    parts = nn.CrossEntropyLoss()(outputs["kind"], targets["kind"]), nn.MSELoss()(outputs["age"], targets["age"])
    assert_allclose(loss, parts[0] + 0.1 * parts[1])
    grads = backward(2.0)
    assert set(grads) == {"kind", "age"}
    expected = 0.2 * nn.MSELoss().forward(outputs["age"], targets["age"])[1]()
    assert_allclose(grads["age"], expected)
    with pytest.raises(RuntimeError, match="loss_backward was called before"):
        backward()


def test_repr():
    assert repr(nn.Parallel(nn.Tanh(), merge=None)) == "Parallel(merge=None\n  (0): Tanh()\n)"
    assert repr(nn.Each(a=nn.Tanh())) == "Each(\n  (a): Tanh()\n)"
    criterion = nn.MultiLoss([nn.MSELoss(), nn.L1Loss()], (1, 0.5))
    assert repr(criterion) == "MultiLoss(losses=[MSELoss(), L1Loss()], weights=(1.0, 0.5))"
    assert (nn.Concat(), nn.Concat(-1)).__repr__() == "(Concat(), Concat(dim=-1))"


def test_summary():
    lines = str(two_towers().summary(((1, 6, 6), (3,))))
    assert "0.0.0 Conv2d" in lines and "1 Concat" in lines and "(N, 21)" in lines


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Each(), ValueError, "Each: give branches, either all with a name or all without"),
        (lambda: nn.Each(nn.Tanh(), a=nn.Tanh()), ValueError, "Each: give branches"),
        (lambda: nn.Each(nn.Tanh), TypeError, r"Each\[0\]: expected a layer, got the class Tanh: write Tanh\(\)"),
        (lambda: two_towers()(images(2, 1, 6, 6)), TypeError,
         r"Sequential\[0\] Each: x must be a tuple of 2 arrays, got an array \(2, 1, 6, 6\)"),
        (lambda: two_towers()((images(2, 1, 6, 6),)), ValueError, "Each: x has 1 arrays, there are 2 branches"),
        (lambda: two_towers(True)((images(2, 1, 6, 6), images(2, 3))), TypeError,
         "Each: x must be a dict of 'picture', 'numbers', got a tuple of 2"),
        (lambda: two_towers(True)({"picture": 0}), ValueError, r"x has \['picture'\], branches are \['picture', 'num"),
        (lambda: two_towers()((images(2, 1, 6, 6), images(2, 4))), ValueError,
         r"Sequential\[0\] Each\[1\] Sequential\[0\] Linear: in_features=3, but x \(2, 4\) has 4: use Linear\(4, 5\)"),
        (lambda: two_towers()((images(2, 1, 6, 6), images(3, 3))), ValueError,
         r"Sequential\[1\] Concat: x\[1\]: has \(3, 5\), the first has \(2, 16\): they must be equal but for dim 1"),
        (lambda: nn.Sum()({"a": images(2, 3), "b": images(2, 4)}), ValueError,
         r"Sum: x\['b'\]: has \(2, 4\), the first has \(2, 3\): they must be equal"),
        (lambda: nn.Concat()(images(2, 3)), TypeError, r"Concat: x must be a tuple or dict of arrays, got an array"),
        (lambda: nn.Concat(2)((images(2, 3), images(2, 3))), ValueError, r"Concat: dim must be in -2..1"),
        (lambda: nn.Conv2d(1, 1, 1)((images(2, 3),)), TypeError, "Conv2d: x is a tuple of 1, expected one array"),
        (lambda: nn.Parallel(nn.Parallel(nn.Tanh(), merge=None), nn.Tanh())(images(2, 3)), TypeError,
         r"Parallel\[0\] Parallel: gives a tuple of 1, expected an array"),
        (lambda: with_auxiliary_head().forward(images(2, 1, 8, 8))[1](images(2, 3)), TypeError,
         "backward: grad_y must be a tuple of 2, as the output is, got ndarray"),
        (lambda: nn.Tanh().forward(images(2, 3))[1]((images(2, 3),)), TypeError,
         "backward: the output is one array, grad_y a tuple of 1"),
        (lambda: nn.MultiLoss([]), TypeError, r"MultiLoss: losses must be a sequence or dict of losses, got \[\]"),
        (lambda: nn.MultiLoss([nn.MSELoss()], (1, 2)), ValueError, "MultiLoss: weights must be a tuple of 1, got 2"),
        (lambda: nn.MultiLoss([nn.MSELoss()], (-1,)), ValueError, "MultiLoss: weights must be at least 0, got -1"),
        (lambda: nn.MultiLoss([nn.MSELoss()])(images(2, 3), (0,)), TypeError, "outputs must be a tuple of 1, got ndar"),
        (lambda: nn.MultiLoss([nn.MSELoss()])((images(2, 3),), (images(2, 4),)), ValueError,
         r"MultiLoss\[0\] mse_loss: target has shape \(2, 4\)"),
        (lambda: nn.MultiLoss({"a": nn.MSELoss("none")})({"a": images(2)}, {"a": images(2)}), ValueError,
         r"MultiLoss\['a'\] reduction='none' gives no number"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.torch
def test_two_towers_and_two_heads_as_in_torch():
    torch = pytest.importorskip("torch")
    model = nn.Sequential(
        nn.Each(nn.Sequential(nn.Conv2d(2, 3, 3, rng=0, dtype=np.float64), nn.ReLU(), nn.Flatten()),
                nn.Linear(4, 6, rng=1, dtype=np.float64)),
        nn.Concat(), nn.Linear(33, 8, rng=2, dtype=np.float64), nn.Tanh(),
        nn.Parallel(nn.Linear(8, 3, rng=3, dtype=np.float64), nn.Linear(8, 1, rng=4, dtype=np.float64), merge=None),
    )  # fmt: skip
    x, labels, ages = (images(5, 2, 5, 5), images(5, 4)), np.array([0, 1, 2, 1, 0]), images(5, 1)
    criterion = nn.MultiLoss((nn.CrossEntropyLoss(), nn.MSELoss()), (1, 0.3))
    outputs, backward = model.forward(x)
    loss, loss_backward = criterion.forward(outputs, (labels, ages))
    grads = backward(loss_backward())

    T = torch.nn.functional
    p = {name: torch.tensor(value, requires_grad=True) for name, value in model.state_dict().items()}
    a, b = (torch.tensor(array, requires_grad=True) for array in x)
    pictures = torch.relu(T.conv2d(a, p["0.0.0.weight"], p["0.0.0.bias"])).flatten(1)
    both = torch.cat([pictures, T.linear(b, p["0.1.weight"], p["0.1.bias"])], 1)
    both = torch.tanh(T.linear(both, p["2.weight"], p["2.bias"]))
    first, second = (T.linear(both, p[f"4.{i}.weight"], p[f"4.{i}.bias"]) for i in (0, 1))
    total = T.cross_entropy(first, torch.tensor(labels)) + 0.3 * T.mse_loss(second, torch.tensor(ages))
    total.backward()
    assert_allclose(loss, total.item(), rtol=1e-12)
    for got, twin in zip(grads, (a, b), strict=True):
        assert_allclose(got, twin.grad.numpy(), rtol=1e-10, atol=1e-14)
    for name, parameter in model.named_parameters():
        assert_allclose(parameter.grad, p[name].grad.numpy(), rtol=1e-10, atol=1e-14)

"""Layers written by hand, as a reader of a text book would, with the slips that such layers have."""

import itertools

import numpy as np

from cconv import nn

ACTIVATIONS = {
    "": (lambda z: z, np.ones_like),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "ReLU": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "leaky ReLU": (lambda z: np.where(z > 0, z, 0.07 * z), lambda z: np.where(z > 0, 1, 0.07)),
    "softplus": (lambda z: np.log1p(np.exp(z)), lambda z: 1 / (1 + np.exp(-z))),
    "ELU": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), lambda z: np.exp(np.minimum(z, 0))),
}
OF_OUTPUT = {"sigmoid": lambda y: y * (1 - y), "tanh": lambda y: 1 - y * y}


def factor(slip, name, z):
    """What a layer multiplies grad_y by where f'(z) is due."""
    f, slope = ACTIVATIONS[name]
    if slip == "derivative_missing":
        return np.ones_like(z)
    if slip == "derivative_at_output":
        return slope(f(z))
    if slip == "derivative_formula_at_input":
        return OF_OUTPUT[name](z)
    if slip == "derivative_twice":
        return slope(z) ** 2
    if slip == "zero":
        return np.array([[1 if int(v) & 0 else 0 for v in row] for row in z.reshape(len(z), -1)]).reshape(z.shape)
    return slope(z)


class Elementwise(nn.Layer):
    def __init__(self, name, slip=""):
        self.name, self.slip = name, slip

    def forward(self, x, train=True):
        y = ACTIVATIONS[self.name][0](x)

        def backward(grad_y, need_x=True):
            return grad_y * factor(self.slip, self.name, x) if need_x else None

        return y, backward


class Dense(nn.Layer):
    def __init__(self, inputs, outputs, activation="", slip="", turned=False, seed=0):
        rng = np.random.default_rng(seed)
        weight = rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        self.weight = nn.Parameter(weight.T if turned else weight)
        self.bias = nn.Parameter(rng.normal(size=outputs) / 4)
        self.activation, self.slip, self.turned = activation, slip, turned

    def forward(self, x, train=True):
        slip = self.slip
        w = self.weight.value.T if self.turned else self.weight.value
        z = x @ w.T + self.bias.value
        y = ACTIVATIONS[self.activation][0](z)

        def backward(grad_y, need_x=True):
            if slip == "ignores_grad_y":
                grad_y = np.ones_like(grad_y)
            if slip == "not_linear_in_grad_y":
                grad_y = grad_y * grad_y
            d = grad_y * factor(slip, self.activation, z)
            n = len(x)
            grad_w, grad_b, grad_x = d.T @ x, d.sum(0), d @ w
            if slip == "bias_averaged":
                grad_b = d.mean(0)
            if slip == "bias_missing":
                grad_b = None
            if slip == "bias_zero":
                grad_b = grad_b * 0
            if slip == "bias_last_example":
                grad_b = d[-1]
            if slip == "bias_first_example":
                grad_b = d[0]
            if slip == "bias_from_weight":
                grad_b = grad_w.mean(1)
            if slip == "weight_averaged":
                grad_w = grad_w / n
            if slip == "averaged":
                grad_w, grad_b, grad_x = grad_w / n, grad_b / n, grad_x / n
            if slip == "averaged_twice":
                grad_w, grad_b = grad_w / n**2, grad_b / n**2
            if slip == "summed":
                grad_w, grad_b = grad_w * n, grad_b * n
            if slip == "sign":
                grad_w = -grad_w
            if slip == "sign_x":
                grad_x = -grad_x
            if slip == "learning_rate":
                grad_w = 0.01 * grad_w
            if slip == "transposed_weight":
                grad_x = d @ w.T
            if slip == "swapped":
                grad_x = d.sum(1, keepdims=True) * x
            if slip == "swapped_shape":
                grad_x = grad_w
            if slip == "weight_last_example":
                grad_w = np.outer(d[-1], x[-1])
            if slip == "weight_from_weight":
                grad_w = d.sum(0)[:, None] * w
            if slip == "x_one_channel":
                grad_x = d[:, -1:] * w[-1:]
            if slip == "float32":
                grad_x = grad_x.astype(np.float32)
            if slip == "averaged_and_missing":
                grad_w = (grad_y.T @ x) / n
            if slip == "unknown":
                grad_w = grad_w * np.cos(np.arange(grad_w.size)).reshape(grad_w.shape)
            if slip == "random_wrong":
                grad_x = np.sort(grad_x, axis=None).reshape(grad_x.shape)
            if slip == "grad_y_changed":
                grad_y *= 2
            if slip == "value_changed":
                self.weight.value[...] = self.weight.value - 0.1 * d.T @ x
            if slip == "overwritten":
                self.weight.grad = grad_w.T if self.turned else grad_w
            else:
                self.weight.add_grad(grad_w.T if self.turned else grad_w)
            self.bias.add_grad(grad_b)
            return grad_x if need_x else None

        return y, backward


def windows(size, kernel, stride, pad):
    return (size + 2 * pad - kernel) // stride + 1


class Conv(nn.Layer):
    """A convolution by loops over output positions."""

    def __init__(self, channels, filters, kernel, stride=1, pad=0, activation="", slip="", true=False, seed=0):
        rng = np.random.default_rng(seed)
        self.weight = nn.Parameter(rng.normal(size=(filters, channels, *kernel)) / 3)
        self.bias = nn.Parameter(rng.normal(size=filters) / 4)
        self.stride, self.pad, self.activation, self.slip, self.true = stride, pad, activation, slip, true

    def forward(self, x, train=True):
        slip, s, p = self.slip, self.stride, self.pad
        w = self.weight.value[:, :, ::-1, ::-1] if self.true else self.weight.value
        n, _, height, width = x.shape
        k, _, r, c = w.shape
        framed = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), mode="wrap" if slip == "padding_wraps" else "constant")
        rows, columns = windows(height, r, s, p), windows(width, c, s, p)
        z = np.empty((n, k, rows, columns))
        for i in range(rows):
            for j in range(columns):
                window = framed[:, :, i * s : i * s + r, j * s : j * s + c]
                z[:, :, i, j] = np.einsum("nchw,kchw->nk", window, w) + self.bias.value
        y = ACTIVATIONS[self.activation][0](z)

        def backward(grad_y, need_x=True):
            d = grad_y * factor(slip, self.activation, z)
            read = framed
            if slip == "padding_wraps":
                read = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
            if slip == "weight_padding_off":
                read = np.roll(framed, -1, 3)
                read[:, :, :, -1] = 0
            grad_frame, grad_w = np.zeros((n, x.shape[1], height + 2 * p + r, width + 2 * p + c)), np.zeros_like(w)
            back = w[:, :, ::-1, ::-1] if slip == "filter_not_flipped" else w
            for i in range(rows):
                for j in range(columns):
                    a, b = (i, j) if slip == "stride_not_expanded" else (i * s, j * s)
                    part = np.einsum("nk,kchw->nchw", d[:, :, i, j], back)
                    if slip == "overlap_overwritten":
                        grad_frame[:, :, a : a + r, b : b + c] = part
                    else:
                        grad_frame[:, :, a : a + r, b : b + c] += part
                    if slip == "weight_stride_not_expanded":
                        window = read[:, :, i : i + r, j : j + c]
                    else:
                        window = read[:, :, i * s : i * s + r, j * s : j * s + c]
                    grad_w += np.einsum("nk,nchw->kchw", d[:, :, i, j], window)
            off = {"padding_off": -1, "padding_uncut": -p, "padding_off_right": 1}.get(slip, 0)
            grad_frame = np.pad(grad_frame, ((0, 0), (0, 0), (2, 2), (2, 2)))
            grad_x = grad_frame[:, :, 2 + p + off :, 2 + p + off :][:, :, :height, :width]
            grad_b = d.sum((0, 2, 3))
            if slip == "weight_flipped":
                grad_w = grad_w[:, :, ::-1, ::-1]
            if slip == "bias_last_term":
                grad_b = d[-1, :, -1, -1]
            if slip == "bias_last_example":
                grad_b = d[-1].sum((1, 2))
            if slip == "bias_first_position":
                grad_b = d[:, :, 0, 0].sum(0)
            if slip == "bias_mean":
                grad_b = d.mean((0, 2, 3))
            if slip == "bias_over_examples":
                grad_b = d.sum((2, 3)).mean(0)
            if slip == "bias_from_weight":
                grad_b = grad_w.mean((1, 2, 3))
            if slip == "averaged":
                grad_w, grad_b = grad_w / n, grad_b / n
            if slip == "averaged_twice":
                grad_w = grad_w / n**2
            if slip == "positions_averaged":
                grad_w = grad_w / (rows * columns)
            if slip == "x_one_channel":
                grad_x = np.zeros_like(x)
                one = np.zeros_like(d)
                one[:, -1] = d[:, -1]
                full = np.zeros((n, x.shape[1], height + 2 * p + r, width + 2 * p + c))
                for i in range(rows):
                    for j in range(columns):
                        full[:, :, i * s : i * s + r, j * s : j * s + c] += np.einsum(
                            "nk,kchw->nchw", one[:, :, i, j], w
                        )
                grad_x = full[:, :, p : p + height, p : p + width]
            self.weight.add_grad(grad_w[:, :, ::-1, ::-1] if self.true else grad_w)
            if slip != "bias_missing":
                self.bias.add_grad(grad_b)
            return np.ascontiguousarray(grad_x) if need_x else None

        return y, backward


class MaxPool(nn.Layer):
    def __init__(self, size, slip=""):
        self.size, self.slip = size, slip

    def forward(self, x, train=True):
        n, c, h, w = x.shape
        k, slip = self.size, self.slip
        cells = x.reshape(n, c, h // k, k, w // k, k).swapaxes(3, 4).reshape(n, c, h // k, w // k, k * k)
        y = cells.max(-1)

        def backward(grad_y, need_x=True):
            g = np.zeros_like(cells)
            best = cells.argmax(-1)[..., None]
            if slip == "first_of_window":
                best = best * 0
            np.put_along_axis(g, best, grad_y[..., None], -1)
            if slip == "ties":
                g = (cells == y[..., None]) * grad_y[..., None]
            if slip == "whole_window":
                g = np.broadcast_to(grad_y[..., None], cells.shape)
            if slip == "window_averaged":
                g = np.broadcast_to(grad_y[..., None] / k**2, cells.shape)
            if slip == "spread":
                tied = cells == y[..., None]
                g = tied * grad_y[..., None] / tied.sum(-1, keepdims=True)
            return g.reshape(n, c, h // k, w // k, k, k).swapaxes(3, 4).reshape(x.shape)

        return y, backward


class AveragePool(nn.Layer):
    def __init__(self, size, slip=""):
        self.size, self.slip = size, slip

    def forward(self, x, train=True):
        n, c, h, w = x.shape
        k = self.size
        y = x.reshape(n, c, h // k, k, w // k, k).mean((3, 5))

        def backward(grad_y, need_x=True):
            g = grad_y.repeat(k, 2).repeat(k, 3) / k**2
            if self.slip == "summed":
                g = g * k**2
            if self.slip == "first_of_window":
                g = np.zeros_like(x)
                g[:, :, ::k, ::k] = grad_y
            return g

        return y, backward


class Perceptron(nn.Layer):
    """A whole network in one layer."""

    def __init__(self, sizes, hidden, last, slip="", turned=False):
        rng = np.random.default_rng(0)
        shapes = list(itertools.pairwise(sizes))
        self.weights = [nn.Parameter(rng.normal(size=s if turned else s[::-1]) / np.sqrt(s[0])) for s in shapes]
        self.biases = [nn.Parameter(rng.normal(size=s[1]) / 4) for s in shapes]
        self.hidden, self.last, self.slip, self.turned = hidden, last, slip, turned

    def forward(self, x, train=True):
        inputs, sums, count = [x], [], len(self.weights)
        for layer in range(count):
            w = self.weights[layer].value
            sums.append(inputs[-1] @ (w if self.turned else w.T) + self.biases[layer].value)
            inputs.append(ACTIVATIONS[self.hidden if layer < count - 1 else self.last][0](sums[-1]))

        def backward(grad_y, need_x=True):
            d = grad_y
            for layer in reversed(range(count)):
                name = self.hidden if layer < count - 1 else self.last
                slip = self.slip
                if slip.startswith("hidden:"):
                    slip = slip[7:] if layer < count - 1 else ""
                passed = d
                d = d * factor(slip if slip != "passed" else "", name, sums[layer])
                if slip == "passed" and layer < count - 1:
                    grad = d.T @ inputs[layer]
                    through = passed
                else:
                    grad, through = d.T @ inputs[layer], d
                self.weights[layer].add_grad(grad.T if self.turned else grad)
                self.biases[layer].add_grad(d.sum(0))
                w = self.weights[layer].value
                d = through @ (w.T if self.turned else w)
            return d if need_x else None

        return inputs[-1], backward

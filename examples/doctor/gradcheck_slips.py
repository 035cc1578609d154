"""Layers written by hand, each with a slip that people have been stuck with, and what gradcheck says of it."""

import numpy as np

from cconv import gradcheck, manual_seed, nn


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Logistic(nn.Layer):
    """sigmoid(x @ weight.T + bias)"""

    def __init__(self, inputs, outputs):
        self.weight = nn.Parameter(np.random.default_rng(0).normal(0, 0.1, (outputs, inputs)))
        self.bias = nn.Parameter(np.zeros(outputs))

    def forward(self, x, train=True):
        y = sigmoid(x @ self.weight.value.T + self.bias.value)

        def backward(grad_y, need_x=True):
            return self.gradients(x, y, grad_y)

        return y, backward


class DerivativeAtTheActivation(Logistic):
    def gradients(self, x, y, grad_y):
        delta = grad_y * sigmoid(y) * (1 - sigmoid(y))  # y is sigmoid(z) already
        self.weight.add_grad(delta.T @ x)
        self.bias.add_grad(delta.sum(0))
        return delta @ self.weight.value


class WeightGradientReturned(Logistic):
    def gradients(self, x, y, grad_y):
        delta = grad_y * y * (1 - y)
        self.weight.add_grad(delta.T @ x)
        self.bias.add_grad((delta.T @ x).mean(1))  # the mean of the weights' gradients
        return delta.sum(1, keepdims=True) * x  # error times input: error times weight is due


class Hidden(nn.Linear):
    """A ReLU layer that passes errors back without its derivative."""

    def forward(self, x, train=True):
        z, backward = super().forward(x, train)
        return np.maximum(z, 0), backward


class PrintedReLU(nn.Layer):
    def forward(self, x, train=True):
        y = np.maximum(x, 0)
        slope = np.array([1 if int(value) & 0 else 0 for value in y.flat]).reshape(y.shape)
        return y, lambda grad_y, need_x=True: grad_y * slope


class Convolution(nn.Conv2d):
    """The filter is not flipped on the way back."""

    def forward(self, x, train=True):
        y, backward = super().forward(x, train)

        def unflipped(grad_y, need_x=True):
            backward(grad_y, need_x=False)
            turned = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=self.padding, dtype=x.dtype)
            turned.weight.value = self.weight.value[:, :, ::-1, ::-1]
            return turned.forward(x)[1](grad_y)

        return y, unflipped


def main():
    manual_seed(0)
    rng = np.random.default_rng(0)
    rows, images = rng.random((4, 8)), rng.random((2, 3, 6, 6))
    perceptron = nn.Sequential(nn.Linear(8, 7), Hidden(7, 6), Hidden(6, 5), nn.Linear(5, 3))
    for layer, x in (
        (DerivativeAtTheActivation(8, 3), rows),
        (WeightGradientReturned(8, 1), rows),
        (perceptron, rows),
        (PrintedReLU(), rows - 0.5),
        (Convolution(3, 2, 3, padding=1), images),
    ):
        for finding in gradcheck(layer, x).diagnosis:
            place = " ".join(part for part in (finding.layer, finding.kind, finding.array) if part)
            print(f"{place}: {finding.text}\n    {finding.hint}")
        print()


if __name__ == "__main__":
    main()

"""Patient 5: a convolution written by hand, with one of the classic slips.

    python examples/doctor/patient_5_convolution_slips.py     (half a minute)

Who was stuck: many, each with a convolution and a pooling of their own, to understand how they work. Forward is soon
right, as one can look at it. Backward is a page of indices, and its slips make no noise: the network learns, only less
well, or not with a stride, or not at the border.

Below are a convolution and a max pooling as they should be, and six slips, each a method that is written differently.
gradcheck compares each gradient with differences of what forward gives, and then tries the slips that people make: one
of them gives just these wrong numbers.
"""

import numpy as np
from ward import tell

import cconv
from cconv import data, nn, optim


class Convolution(nn.Layer):
    """y[k, i, j] = bias[k] + sum over c, r, s of weight[k, c, r, s] * framed[c, i * stride + r, j * stride + s]."""

    def __init__(self, channels, filters, size=3, stride=1, padding=1, seed=0):
        rng = np.random.default_rng(seed)
        spread = np.sqrt(2 / (channels * size * size))
        self.weight = nn.Parameter(rng.normal(0, spread, (filters, channels, size, size)).astype(np.float32))
        self.bias = nn.Parameter(np.zeros(filters, np.float32))
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x, train=True):
        p = self.padding
        framed = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        height, width = ((n - self.size) // self.stride + 1 for n in framed.shape[2:])
        y = np.zeros((len(x), len(self.weight.value), height, width), x.dtype)
        for r, s, rows, columns in self.taps(height, width):
            y += np.einsum("nchw,kc->nkhw", framed[:, :, rows, columns], self.weight.value[:, :, r, s])

        def backward(error, need_x=True):
            self.weight.add_grad(self.to_weight(error, framed))
            self.bias.add_grad(self.to_bias(error))
            return self.cut(self.to_frame(error, framed.shape), x.shape)

        return y + self.bias.value[:, None, None], backward

    def taps(self, height, width):
        """Each place of the filter, and the rows and columns of the image that it meets."""
        for r, s in np.ndindex(self.size, self.size):
            yield r, s, slice(r, r + height * self.stride, self.stride), slice(s, s + width * self.stride, self.stride)

    def to_weight(self, error, framed):
        grad = np.empty_like(self.weight.value)
        for r, s, rows, columns in self.taps(*error.shape[2:]):
            grad[:, :, r, s] = np.einsum("nkhw,nchw->kc", error, framed[:, :, rows, columns])
        return grad

    def to_bias(self, error):
        return error.sum((0, 2, 3))

    def to_frame(self, error, shape):
        grad = np.zeros(shape, error.dtype)
        for r, s, rows, columns in self.taps(*error.shape[2:]):
            grad[:, :, rows, columns] += np.einsum("nkhw,kc->nchw", error, self.weight.value[:, :, r, s])
        return grad

    def cut(self, grad, shape):
        p = self.padding
        return grad[:, :, p : p + shape[2], p : p + shape[3]]


class FilterNotFlipped(Convolution):
    def to_frame(self, error, shape):
        grad = np.zeros(shape, error.dtype)
        for r, s, rows, columns in self.taps(*error.shape[2:]):
            grad[:, :, rows, columns] += np.einsum("nkhw,kc->nchw", error, self.weight.value[:, :, -1 - r, -1 - s])
        return grad


class StrideNotExpanded(Convolution):
    """Errors belong `stride` places apart; here they lie side by side."""

    def to_frame(self, error, shape):
        grad = np.zeros(shape, error.dtype)
        height, width = error.shape[2:]
        for r, s in np.ndindex(self.size, self.size):
            grad[:, :, r : r + height, s : s + width] += np.einsum(
                "nkhw,kc->nchw", error, self.weight.value[:, :, r, s]
            )
        return grad


class BiasNotSummed(Convolution):
    """`=` where `+=` is due: the last position of the last image is what stays."""

    def to_bias(self, error):
        for n, i, j in np.ndindex(len(error), *error.shape[2:]):
            grad = error[n, :, i, j]
        return grad


class AveragedTwice(Convolution):
    """The loss is a mean over the images already."""

    def to_weight(self, error, framed):
        return super().to_weight(error, framed) / len(error)


class PaddingOffByOne(Convolution):
    def cut(self, grad, shape):
        p = self.padding - 1
        return grad[:, :, p : p + shape[2], p : p + shape[3]]


class MaxPooling(nn.Layer):
    """The largest of each 2x2 cells."""

    def forward(self, x, train=True):
        n, c, height, width = x.shape
        windows = x.reshape(n, c, height // 2, 2, width // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, -1, 4)
        largest = windows.max(-1)

        def backward(error, need_x=True):
            share = self.receivers(windows, largest) * error.reshape(n, c, -1, 1)
            return share.reshape(n, c, height // 2, width // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(x.shape)

        return largest.reshape(n, c, height // 2, width // 2), backward

    def receivers(self, windows, largest):
        """The cells that the error goes to: the first that is the largest."""
        return np.arange(4) == windows.argmax(-1)[..., None]


class EveryTiedCell(MaxPooling):
    """Of equal cells each gets the whole error: after a ReLU, whose zeros are equal, that is often."""

    def receivers(self, windows, largest):
        return windows == largest[..., None]


def slips():
    """Each slip: a layer that has it, and an input."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 2, 6, 6))
    for kind in (FilterNotFlipped, StrideNotExpanded, BiasNotSummed, AveragedTwice, PaddingOffByOne):
        stride = 2 if kind is StrideNotExpanded else 1
        yield kind(2, 4, stride=stride), images
    yield EveryTiedCell(), np.maximum(images, 0)


def network(convolution=Convolution, pooling=MaxPooling, stride=1):
    """On digits of 8x8. With a stride of 2 the second convolution does what the second pooling did."""
    return nn.Sequential(
        convolution(1, 8, seed=0), nn.ReLU(), pooling(),
        convolution(8, 16, stride=stride, seed=1), nn.ReLU(), *([pooling()] if stride == 1 else []),
        nn.Flatten(), nn.Linear(16 * 2 * 2, 10, rng=2),
    )  # fmt: skip


def figure(model, seed=0):
    """Train, and return the share of test images that are named rightly."""
    train, test = data.digits()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optimizer, seed=seed, progress=False)
    trainer.fit(train, epochs=10, batch_size=32)
    return np.mean(model(test.x).argmax(1) == test.y)


def main():
    print("--- What the doctor says of six layers, and what each does to a network on digits\n")
    for layer, x in slips():
        kind = type(layer)
        model = network(pooling=kind) if isinstance(layer, MaxPooling) else network(kind, stride=layer.stride)
        tell(cconv.gradcheck(layer, x))
        print(f"  10 epochs with it: {figure(model):.1%} of the test images right\n")

    print("--- Cured\n")
    rng = np.random.default_rng(0)
    for layer in (Convolution(2, 4), Convolution(2, 4, stride=2), MaxPooling()):
        good = cconv.gradcheck(layer, rng.normal(size=(3, 2, 6, 6)))
        print(f"gradcheck of {type(layer).__name__}: {'ok' if good else 'not ok'}, error {good.max_error:.0e}")
    for stride in (1, 2):
        print(f"10 epochs, stride {stride}: {figure(network(stride=stride)):.1%} of the test images right")


if __name__ == "__main__":
    main()

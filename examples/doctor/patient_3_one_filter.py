"""Patient 3: one filter, and a classifier that hands back the wrong gradient.

    python examples/doctor/patient_3_one_filter.py     (some seconds)

Who was stuck: someone who wanted to understand convolutions, and so took as little as possible: one filter of 3x3x3
with a ReLU, a logistic output, colour images of 0 to 255, one at a time. What they saw: gradients of 1000 to 2000,
weights at -50,000 after the first step, and from then on zeros out of the filter. What they were told: a smaller
learning rate, other weights at the start, another activation.

All of that was wrong with it, too. But the cause sits in one line of the classifier's backward, which nobody asked to
see: it returned error * input, which is its *weight's* gradient. What is due there is error * weight.

The images are made here: circles (label 0) and crosses (label 1), of any two colours.
"""

import numpy as np
from ward import circles_and_crosses, tell

import cconv
from cconv import nn, optim


class Filter(nn.Layer):
    """One 3x3 filter over three colours, the image's size kept, as its author had it."""

    def __init__(self, seed=0):
        self.weight = nn.Parameter(np.random.default_rng(seed).uniform(0, 1, (3, 3, 3)).astype(np.float32))

    def forward(self, x, train=True):
        weight, (height, width) = self.weight.value, x.shape[2:]
        # What lies beyond the border? Read there with an index of -1, and it is the other side of the image.
        moved = {(r, c): np.roll(x, (1 - r, 1 - c), (2, 3)) for r in range(3) for c in range(3)}
        z = sum((moved[r, c] * weight[:, r, c, None, None]).sum(1, keepdims=True) for r, c in moved)

        def backward(grad_y, need_x=True):
            framed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
            grad = np.empty_like(weight)
            for r, c in moved:
                grad[:, r, c] = (grad_y * framed[:, :, r : r + height, c : c + width]).sum((0, 2, 3))
            self.weight.add_grad(grad)
            return sum(np.roll(grad_y * weight[:, r, c, None, None], (r - 1, c - 1), (2, 3)) for r, c in moved)

        return z, backward


class Classifier(nn.Layer):
    """A weighted sum of all pixels, as its author had it. (The logistic function is in the loss.)"""

    def __init__(self, inputs):
        self.weight = nn.Parameter(np.random.default_rng(1).uniform(0, 1, (1, inputs)).astype(np.float32))
        self.bias = nn.Parameter(np.zeros(1, np.float32))

    def forward(self, x, train=True):
        def backward(error, need_x=True):
            grad_weight = error.T @ x
            self.weight.add_grad(grad_weight)
            self.bias.add_grad(grad_weight.mean(1))
            return error * x

        return x @ self.weight.value.T + self.bias.value, backward


class ClassifierCured(Classifier):
    def forward(self, x, train=True):
        def backward(error, need_x=True):
            self.weight.add_grad(error.T @ x)
            self.bias.add_grad(error.sum(0))
            return error @ self.weight.value

        return x @ self.weight.value.T + self.bias.value, backward


def as_its_author_had_it():
    return nn.Sequential(Filter(), nn.ReLU(), nn.Flatten(), Classifier(16 * 16))


def column(y):
    """Labels as the single output needs them, (N, 1)."""
    return y[:, None].astype(np.float32)


def first_step(model, x, y, lr):
    """One image, one step by hand, with a look at the gradients on their way."""
    logits, backward = model.forward(x[:1])
    _, loss_backward = nn.BCEWithLogitsLoss().forward(logits, column(y[:1]))
    error = loss_backward()
    at_filter = model[3].forward(model[:3](x[:1]))[1](error)
    model.zero_grad()
    backward(error)
    optim.SGD(model.parameters(), lr=lr).step()
    print(f"error of the output {error[0, 0]:.0f}")
    print(f"gradients that come back to the filter: {at_filter.min():.0f} to {at_filter.max():.0f}")
    print(
        f"weights of the filter after the step: {model[0].weight.value.min():.0f} to {model[0].weight.value.max():.0f}"
    )
    print(f"largest output of the ReLU, 10 images: {model[:2](x[:10]).max():.0f}")


def right(model, x, y):
    return np.mean((model(x)[:, 0] > 0) == y)


def trained(model, x, y, lr, epochs, seed=0):
    optimizer = optim.SGD(model.parameters(), lr=lr)
    trainer = cconv.Trainer(model, nn.BCEWithLogitsLoss(), optimizer, seed=seed, progress=False)
    trainer.fit((x, column(y)), epochs, batch_size=1)
    return trainer


def cured(x, seed=0):
    """Inputs near 1, weights of both signs, zeros beyond the border, and the gradients that are due."""
    rng = np.random.default_rng(seed)
    classifier = ClassifierCured(16 * 16)
    classifier.weight.value = rng.normal(0, 1 / 16, (1, 16 * 16))
    scale = nn.Normalize(x.mean((0, 2, 3)), x.std((0, 2, 3)))
    return nn.Sequential(scale, nn.Conv2d(3, 1, 3, padding=1, rng=rng), nn.ReLU(), nn.Flatten(), classifier)


def main():
    x, y = circles_and_crosses(400, seed=0)
    fresh, labels = circles_and_crosses(300, seed=1)
    print("--- The network as its author had it, and its first step (a circle)\n")
    model = as_its_author_had_it()
    circles = np.argsort(y, kind="stable")
    first_step(model, x[circles], y[circles], lr=0.002)
    after = cconv.check(model, x, column(y), nn.BCEWithLogitsLoss())

    print("\n--- What the doctor says before that step\n")
    model = as_its_author_had_it()
    optimizer = optim.SGD(model.parameters(), lr=0.002)
    print(cconv.check(model, x, column(y), nn.BCEWithLogitsLoss(), optimizer=optimizer))

    print("\n--- ... and first of all after it: a dead filter\n")
    print(after[0])

    print("\n--- ... of the layers, one by one\n")
    for layer, given in ((model[0], x[:2]), (model[3], model[:3](x[:2]))):
        tell(cconv.gradcheck(layer, given / 255, samples=30))

    print("\n--- The figure before\n")
    model = as_its_author_had_it()
    trainer = trained(model, x, y, lr=0.002, epochs=1)
    print(f"1 epoch: {right(model, fresh, labels):.1%} of 300 new images right, "
          f"outputs from {model(fresh).min():.3g} to {model(fresh).max():.3g}")  # fmt: skip

    print("\n--- What the doctor saw in that epoch, without being asked\n")
    print(trainer.report[0])

    print("\n--- Cured\n")
    model = cured(x)
    trained(model, x, y, lr=0.02, epochs=20)
    print(f"20 epochs: {right(model, fresh, labels):.1%} of 300 new images right")


if __name__ == "__main__":
    main()

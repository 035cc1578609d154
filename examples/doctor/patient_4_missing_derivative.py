"""Patient 4: errors passed back without the derivative.

    CCONV_DATA=folder python examples/doctor/patient_4_missing_derivative.py     (half a minute)

Who was stuck: someone with a perceptron of four layers of units (64, 40, 30, 10) and ReLUs, every line of it their own.
The last layer's error was right. On its way back through the hidden layers it was multiplied by the weights, and not by
the derivative of the ReLU. What they saw: a network that learns, though never well, and with a learning rate that suits
others runs off to infinity after some epochs. There is no error message, and no single number that looks wrong.

A ReLU that gave 0 does not change when its input changes a little: no error may go back through it. Without the
derivative units are blamed for what they had no part in.
"""

import numpy as np
from ward import tell

import cconv
from cconv import data, nn, optim


class Hidden(nn.Layer):
    """A layer of ReLU units, as its author had it."""

    def __init__(self, inputs, units, rng):
        self.weight = nn.Parameter(rng.normal(0, np.sqrt(2 / inputs), (units, inputs)).astype(np.float32))
        self.bias = nn.Parameter(np.zeros(units, np.float32))

    def forward(self, x, train=True):
        z = x @ self.weight.value.T + self.bias.value

        def backward(error, need_x=True):
            self.weight.add_grad(error.T @ x)
            self.bias.add_grad(error.sum(0))
            return error @ self.weight.value

        return np.maximum(z, 0), backward


class HiddenCured(Hidden):
    def forward(self, x, train=True):
        y, as_before = super().forward(x, train)
        return y, lambda error, need_x=True: as_before(error * (y > 0))


def network(kind, seed=0):
    rng = np.random.default_rng(seed)
    return nn.Sequential(nn.Flatten(), kind(64, 40, rng), kind(40, 30, rng), nn.Linear(30, 10, rng=rng))


def figure(kind, lr, seed=0, epochs=30):
    """Train, and return the trainer and the share of test images that are named rightly; None if it broke off."""
    train, test = data.optdigits()
    model = network(kind, seed)
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    schedule = optim.CosineAnnealingLR(optimizer, epochs)
    trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule, seed=seed, progress=False)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            trainer.fit(train, epochs, batch_size=32)
    except FloatingPointError:
        return trainer, None
    return trainer, np.mean(model(test.x).argmax(1) == test.y)


def show(kind):
    for lr in (0.01, 0.05):
        found = [figure(kind, lr, seed) for seed in range(5)]
        figures = [f for _, f in found if f is not None]
        said = ", ".join(f"{f:.2%}" for f in figures) or "all of them ran off to infinity"
        mean = f": mean {np.mean(figures):.2%} of the test images right" if len(figures) == 5 else ""
        print(f"learning rate {lr}, 5 seeds: {said}{mean}")
    return found[0][0]


def main():
    train, _ = data.optdigits()
    model = network(Hidden)
    print("--- What the doctor says of the network as its author had it\n")
    tell(cconv.gradcheck(model, train.x[:4]))
    print("\n--- ... and before training, when nobody thought of checking gradients\n")
    print(cconv.check(model, train.x, train.y, nn.CrossEntropyLoss()))

    print("\n--- The figure before\n")
    trainer = show(Hidden)
    print("\n--- What the doctor saw in such a training, without being asked\n")
    print(trainer.report)

    print("\n--- Cured: error * (y > 0)\n")
    print("gradcheck:", "ok" if cconv.gradcheck(network(HiddenCured), train.x[:4]) else "not ok")
    show(HiddenCured)


if __name__ == "__main__":
    main()

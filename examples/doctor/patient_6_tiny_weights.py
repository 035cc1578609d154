"""Patient 6: weights of a ten-thousandth, and a derivative that is always zero.

    CCONV_DATA=folder python examples/doctor/patient_6_tiny_weights.py     (a minute)

Who was stuck: readers of an article that builds a convolutional network from nothing. It says that drawing weights
between -0.0001 and 0.0001 is "a common strategy", and prints the derivative of the ReLU as

    1 if output & 0 else 0

What they saw: LeNet-5 on MNIST at 11.35 % of the test images, which is what always saying 1 gives; with SGD as with
Adam, in the first epoch as in the second.

With such weights a layer's outputs are a thousandth of its inputs, and the next layer's a thousandth of that. After a
few layers nothing is left of the image but rounding, and as little of the error comes back. As to the derivative, `& 0`
is 0 for every number, and a factor of zero stops all learning below it; it should be `output > 0`.
"""

import numpy as np
from ward import tell

import cconv
from cconv import data, models, nn, optim


class PrintedReLU(nn.Layer):
    """The activation as the article prints it."""

    def forward(self, x, train=True):
        output = np.maximum(x, 0)

        def backward(grad_y, need_x=True):
            derivative = np.array([1 if int(value) & 0 else 0 for value in output.flat], x.dtype)
            return grad_y * derivative.reshape(x.shape)

        return output, backward


def as_the_article_has_it(seed=0):
    cconv.manual_seed(seed)
    model = models.lenet5()
    for parameter in model.parameters():
        nn.init.uniform(parameter, -1e-4, 1e-4)
    return model


def cured(model):
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.he_uniform(layer.weight)
    return model


def figures(model, train, test, kind, lr, epochs=2, seed=0):
    """Train, and return the share of test images that are named rightly after each epoch."""
    optimizer = kind(model.parameters(), lr=lr)
    trainer = cconv.Trainer(model, nn.CrossEntropyLoss(), optimizer, seed=seed, progress=False)
    history = trainer.fit(train, epochs, batch_size=64, validation=test)
    return [record["val_accuracy"] for record in history]


OPTIMIZERS = {"SGD(lr=0.1)": (optim.SGD, 0.1), "Adam(lr=0.001)": (optim.Adam, 1e-3)}


def main():
    train, test = data.mnist()
    print("--- The network as the article has it\n")
    for name, (kind, lr) in OPTIMIZERS.items():
        found = figures(as_the_article_has_it(), train, test, kind, lr)
        print(f"{name}, 2 epochs: {', '.join(f'{f:.2%}' for f in found)} of the test images right")

    print("\n--- What the doctor says\n")
    model = as_the_article_has_it()
    report = cconv.check(model, train.x, train.y, nn.CrossEntropyLoss(), optimizer=optim.Adam(model.parameters()))
    print(report)

    print("\n--- ... and of its cures, each tried for 50 steps\n")
    print(report.try_cures())

    print("\n--- ... of the printed derivative\n")
    tell(cconv.gradcheck(PrintedReLU(), np.random.default_rng(0).normal(size=(4, 8))))
    print()
    print(cconv.check(models.lenet5(activation=PrintedReLU, rng=0), train.x, train.y, nn.CrossEntropyLoss()))

    print("\n--- Cured: nn.init.he_uniform, and nn.ReLU\n")
    for name, (kind, lr) in OPTIMIZERS.items():
        found = figures(cured(as_the_article_has_it()), train, test, kind, lr)
        print(f"{name}, 2 epochs: {', '.join(f'{f:.2%}' for f in found)} of the test images right")


if __name__ == "__main__":
    main()

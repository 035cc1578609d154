"""Patient 2: the label itself as the target.

    CCONV_DATA=folder python examples/doctor/patient_2_labels_as_targets.py     (half a minute)

Who was stuck: someone with a perceptron of 64, 30 and 10 units, all logistic, on digits of 8x8 pixels, values 0 to 16.
The error of each output was computed as label minus activation, and the label was the digit: 7 minus 0.53. What they
saw: after a while every output is 1, for every image.

A logistic output ends at 1. For a 7 each of the ten outputs is told to go up by 6 more, so all go to 1 and stay. What
is due is a row of ten targets, a 1 for the digit and a 0 for the others ("one-hot").

There was a second slip, which a program that learns nothing hides: the derivative of the logistic function, s(z) *
(1 - s(z)), was given the activation s(z) in the place of z. gradcheck compares a layer's gradient with differences of
its output, and says so.
"""

import numpy as np

import cconv
from cconv import data, nn, optim


def sigmoid(z):
    return (1 + np.tanh(z / 2)) / 2  # 1 / (1 + exp(-z)), and no overflow


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))


class Logistic(nn.Layer):
    """The activation as its author had it."""

    def forward(self, x, train=True):
        activation = sigmoid(x)

        def backward(grad_y, need_x=True):
            return grad_y * sigmoid_prime(activation)

        return activation, backward


class LogisticCured(nn.Layer):
    def forward(self, x, train=True):
        def backward(grad_y, need_x=True):
            return grad_y * sigmoid_prime(x)

        return sigmoid(x), backward


class LabelMinusActivation(nn.Loss):
    """Half of the squared error; the label is a digit, 0 to 9."""

    def forward(self, logits, target):
        error = target[:, None] - logits
        return np.mean(error**2) / 2, lambda grad_loss=1.0: -grad_loss * error / error.size


def network(activation, seed=0):
    cconv.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 30), activation(), nn.Linear(30, 10), activation())


def trained(model, x, y, loss, lr, epochs, seed=0):
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    cconv.Trainer(model, loss, optimizer, metrics=[], seed=seed, progress=False).fit((x, y), epochs, batch_size=32)
    return model


def as_its_author_had_it():
    train, test = data.optdigits(scale=False)
    return network(Logistic), train, test, LabelMinusActivation()


def cured(seed):
    """One-hot targets, values 0 to 1, the derivative where it belongs. Returns the share of test images right."""
    train, test = data.optdigits()
    model = network(LogisticCured, seed)
    trained(model, train.x, np.eye(10, dtype=np.float32)[train.y], nn.MSELoss(), lr=2.0, epochs=60, seed=seed)
    return np.mean(model(test.x).argmax(1) == test.y)


def main():
    print("--- The network as its author had it: values 0 to 16, error = label - activation\n")
    model, train, test, loss = as_its_author_had_it()
    print("--- What the doctor says, before training\n")
    report = cconv.check(model, train.x, train.y, loss, optimizer=optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    print(report)
    print("\n--- ... and of its cures, each tried for 200 steps\n")
    print(report.try_cures(steps=200))
    print("\n--- ... of the activation alone\n")
    print(cconv.gradcheck(model[2], np.linspace(-3, 3, 8)[None]))

    print("\n--- After 3 epochs\n")
    trained(model, train.x, train.y, loss, lr=0.1, epochs=3)
    print(f"outputs for two images:\n{model(test.x[:2])}")
    print(f"{np.mean(model(test.x).argmax(1) == test.y):.2%} of the test images right\n")
    print(cconv.check(model, train.x, train.y, loss))

    print("\n--- Cured: y = np.eye(10)[y], x / 16, and the derivative at z\n")
    figures = [cured(seed) for seed in range(5)]
    print(f"5 seeds: {', '.join(f'{f:.2%}' for f in figures)}: mean {np.mean(figures):.2%} of the test images right")


if __name__ == "__main__":
    main()

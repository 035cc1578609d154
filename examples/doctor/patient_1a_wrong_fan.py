"""Patient 1a: weights scaled by the size of the images.

    CCONV_DATA=folder python examples/doctor/patient_1a_wrong_fan.py     (two minutes)

Who was stuck: someone with two sigmoid convolutions on MNIST, pixels as they come, 0 to 255. A paper says that weights
should lie within sqrt(6 / (fan in + fan out)); they took the fans to be the images before and after, 28 * 28 and
24 * 24. What they saw: sums near 20 in the second layer, and every output 1.

The fan of a convolution is the number of terms in one sum: the taps of its filter, 5 * 5 for one channel, however large
the image is. So the doctor has two warnings. But it has no error, and it adds that the weights that they wrote down
*cannot* give sums of 20. Indeed this network learns. The one that they had was drawn otherwise: see patient 1b.
"""

import numpy as np

import cconv
from cconv import data, nn, optim

BOUND = np.sqrt(6 / (28 * 28 + 24 * 24))


def as_its_author_had_it(low=-BOUND, high=BOUND, seed=0):
    cconv.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.Sigmoid(), nn.MaxPool2d(2),
        nn.Conv2d(20, 40, 5), nn.Sigmoid(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(40 * 4 * 4, 10), nn.Sigmoid(),
    )  # fmt: skip
    for layer in (model[0], model[3], model[7]):
        nn.init.uniform(layer.weight, low, high)
        nn.init.zeros(layer.bias)
    return model


def cured(model):
    """The same network, with the fan counted in filter taps. (The other cure is in the data: x / 255.)"""
    for layer in (model[0], model[3], model[7]):
        nn.init.xavier_uniform(layer.weight)
    return model


def pixels(part):
    """The images as bytes have them, 0 to 255."""
    return 255 * part.x


def one_hot(y):
    return np.eye(10, dtype=np.float32)[y]


def figure(model, x, y, test_x, test_y, epochs, seed=0):
    """Train, and return the share of test images that are named rightly."""
    optimizer = optim.Adam(model.parameters())
    schedule = optim.OneCycleLR(optimizer, 5e-3, epochs * -(-len(x) // 32))
    trainer = cconv.Trainer(model, nn.MSELoss(), optimizer, schedule=schedule, seed=seed, progress=False)
    trainer.fit((x, one_hot(y)), epochs, batch_size=32)
    return np.mean(model(test_x).argmax(1) == test_y)


def main():
    train, test = data.mnist()
    print("--- The network as its author had it: pixels of 0 to 255, weights within sqrt(6 / (28 * 28 + 24 * 24))\n")
    model = as_its_author_had_it()
    sums = model[:4](pixels(train)[:1000])
    print(
        f"sums in the second layer: mean {sums.mean():.2f}, spread {sums.std():.2f}, largest {sums.max():.1f}: no 20\n"
    )

    print("--- What the doctor says\n")
    print(cconv.check(model, pixels(train), one_hot(train.y), nn.MSELoss()))

    print("\n--- The figure before\n")
    print(f"4 epochs: {figure(model, pixels(train), train.y, pixels(test), test.y, 4):.2%} of the test images right")
    print("It learns. What its author saw was another network: see patient 1b.")

    print("\n--- Cured: x / 255, and nn.init.xavier_uniform\n")
    model = cured(as_its_author_had_it())
    print(f"4 epochs: {figure(model, train.x, train.y, test.x, test.y, 4):.2%} of the test images right")


if __name__ == "__main__":
    main()

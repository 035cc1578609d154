"""Patient 1b: weights that are all positive.

    CCONV_DATA=folder python examples/doctor/patient_1b_positive_weights.py     (about a minute)

The network of patient 1a, whose author saw sums near 20 in the second layer and every output 1. With the weights that
they wrote down this cannot be. With weights drawn from 0 to the bound, instead of from minus the bound, it can: a
random number of 0..1 that was scaled and never shifted. A sum of 500 terms that are all positive grows with their
number; were they of both signs, they would balance. At a sum of 15 a sigmoid is 1 to six digits, and flat: no gradient
comes through, and no learning rate helps.
"""

from patient_1a_wrong_fan import BOUND, as_its_author_had_it, cured, figure, one_hot, pixels

import cconv
from cconv import data, nn


def main():
    train, test = data.mnist()
    print("--- The network as its author had it: weights from 0 to sqrt(6 / (28 * 28 + 24 * 24))\n")
    model = as_its_author_had_it(0, BOUND)
    sums = model[:4](pixels(train)[:1000])
    print(f"sums in the second layer: mean {sums.mean():.1f}, spread {sums.std():.1f}")
    print(f"outputs for three images:\n{model(pixels(train)[:3])}\n")

    print("--- What the doctor says\n")
    print(cconv.check(model, pixels(train), one_hot(train.y), nn.MSELoss()))

    print("\n--- The figure before\n")
    print(f"1 epoch: {figure(model, pixels(train), train.y, pixels(test), test.y, 1):.2%} of the test images right")

    print("\n--- Cured: nn.init.xavier_uniform, and x / 255\n")
    model = cured(as_its_author_had_it())
    print(f"4 epochs: {figure(model, train.x, train.y, test.x, test.y, 4):.2%} of the test images right")


if __name__ == "__main__":
    main()

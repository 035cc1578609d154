"""The advice that the patients got, tried.

    CCONV_DATA=folder python examples/doctor/advice.py     (two minutes)

None of the five networks was helped by the people who answered, though much of what they said is sound in general. Here
each piece of advice is given to the patient that got it, or could have: trained for a short while without and with it,
all else as it was. The last rows are the cures that the pages have, trained as shortly; patient 1a was not ill.

    cures          as good a figure as the cure
    helps          better than before, and short of the cure
    does nothing
    harms          worse than before
"""

import time

import numpy as np
import patient_1a_wrong_fan as wrong_fan
import patient_2_labels_as_targets as labels
import patient_3_one_filter as one_filter
import patient_6_tiny_weights as tiny
from ward import circles_and_crosses

from cconv import data, nn, optim

# What two trainings may differ by without a reason; patient 3 has 300 test images, and two answers.
ROOM = {"1a": 0.02, "1b": 0.02, "2": 0.02, "3": 0.06, "6": 0.02}


# --- patients 1a and 1b: two sigmoid convolutions, 10,000 images of MNIST, 3 epochs -------------------------------


def convolutions(low, high, scale=255.0, change=None):
    model = wrong_fan.as_its_author_had_it(low, high)
    model = change(model) if change else model
    train, test = data.mnist()
    x, test_x = (np.float32(scale) * part.x[:10000] for part in (train, test))
    return wrong_fan.figure(model, x, train.y[:10000], test_x, test.y, epochs=3)


def with_norms(model):
    """Each convolution's outputs with mean 0 and spread 1."""
    model[0] = nn.Sequential(model[0], nn.BatchNorm2d(20))
    model[3] = nn.Sequential(model[3], nn.BatchNorm2d(40))
    return model


# --- patient 2: a perceptron on digits of 8x8, 20 epochs ----------------------------------------------------------


def perceptron(change=None, scale=1.0, one_hot=False):
    model, train, test, loss = labels.as_its_author_had_it()
    y = train.y
    if one_hot:
        model, loss, y = labels.network(labels.LogisticCured), nn.MSELoss(), np.eye(10, dtype=np.float32)[y]
    if change:
        change(model)
    with np.errstate(over="ignore"):
        labels.trained(model, np.float32(scale) * train.x, y, loss, lr=2.0 if one_hot else 0.1, epochs=20)
        return np.mean(model(np.float32(scale) * test.x).argmax(1) == test.y)


def connected_to_a_tenth(model):
    """Of the inputs of each unit nine tenths are cut off."""
    for layer in (model[1], model[3]):
        rng = np.random.default_rng(0)
        layer.weight.value = np.where(rng.random(layer.weight.value.shape) < 0.1, layer.weight.value, 0)


def uniform(low, high):
    def change(model):
        for path, parameter in model.named_parameters():
            if path.endswith("weight"):
                nn.init.uniform(parameter, low, high, rng=0)

    return change


# --- patient 3: one filter, circles and crosses, 3 epochs ---------------------------------------------------------


class Scaled(nn.Layer):
    """A layer whose parameters' gradients are scaled."""

    def __init__(self, layer, by):
        self.layer, self.by = layer, by

    def forward(self, x, train=True):
        y, backward = self.layer.forward(x, train)

        def scaled(grad_y, need_x=True):
            return backward(np.float32(self.by) * grad_y, need_x)

        return y, scaled


def classifier(scale=1.0, change=None, model=None, lr=0.002, epochs=3):
    x, y = circles_and_crosses(400, seed=0)
    fresh, fresh_y = circles_and_crosses(300, seed=1)
    model = model or one_filter.as_its_author_had_it()
    if change:
        change(model)
    try:
        with np.errstate(all="ignore"):
            one_filter.trained(model, np.float32(scale) * x, y, lr=lr, epochs=epochs)
    except FloatingPointError:  # numbers that run off to infinity
        return np.nan
    return one_filter.right(model, np.float32(scale) * fresh, fresh_y)


def tanh(model):
    model[1] = nn.Tanh()


def maxout(model):
    """Two filters, and the larger of what they give."""
    two = nn.Parallel(one_filter.Filter(), one_filter.Filter(seed=2), merge="concat")
    model[0], model[1] = two, nn.Maxout(2)


def scaled_gradients(by):
    def change(model):
        model[0] = Scaled(model[0], by)

    return change


def all_of_it(model):
    """Every piece of advice at once, and the gradient still wrong."""
    uniform(-0.1, 0.1)(model)
    tanh(model)
    scaled_gradients(0.01)(model)


def cured_filter():
    x, _ = circles_and_crosses(400, seed=0)
    return classifier(model=one_filter.cured(x), lr=0.02)


# --- patient 6: LeNet-5 with weights of a ten-thousandth, 10,000 images, an epoch ---------------------------------


def lenet(change):
    train, test = data.mnist()
    model = tiny.as_the_article_has_it()
    change(model)
    part = train.x[:10000], train.y[:10000]
    return tiny.figures(model, part, test, optim.Adam, 1e-3, epochs=1)[-1]


# --- the table ----------------------------------------------------------------------------------------------------

BOUND = wrong_fan.BOUND
PATIENTS = {
    "1a": (lambda: convolutions(-BOUND, BOUND), None),
    "1b": (lambda: convolutions(0, BOUND), lambda: convolutions(0, BOUND, 1.0, wrong_fan.cured)),
    "2": (perceptron, lambda: perceptron(scale=1 / 16, one_hot=True)),
    "3": (classifier, cured_filter),
    "6": (lambda: lenet(lambda model: None), lambda: lenet(tiny.cured)),
}
ADVICE = [
    ("divide by 255", "1a", lambda: convolutions(-BOUND, BOUND, 1.0)),
    ("initialise in 0..1", "1a", lambda: convolutions(0, 1)),
    ("divide by 255", "1b", lambda: convolutions(0, BOUND, 1.0)),
    ("normalise convolution outputs", "1b", lambda: convolutions(0, BOUND, change=with_norms)),
    ("weights in +-0.1", "1b", lambda: convolutions(-0.1, 0.1)),
    ("initialise in 0..1", "2", lambda: perceptron(uniform(0, 1))),
    ("weights in +-0.1", "2", lambda: perceptron(uniform(-0.1, 0.1))),
    ("connectivity 0.1", "2", lambda: perceptron(connected_to_a_tenth)),
    ("divide by 16 (for 255)", "2", lambda: perceptron(scale=1 / 16)),
    ("tanh for ReLU", "3", lambda: classifier(change=tanh)),
    ("maxout", "3", lambda: classifier(change=maxout)),
    ("weights in +-0.1", "3", lambda: classifier(change=uniform(-0.1, 0.1))),
    ("scale convolution gradients by 0.01", "3", lambda: classifier(change=scaled_gradients(0.01))),
    ("scale convolution gradients by 1e-8", "3", lambda: classifier(change=scaled_gradients(1e-8))),
    ("divide by 255", "3", lambda: classifier(scale=1 / 255)),
    ("+-0.1, tanh, gradients by 0.01, by 255", "3", lambda: classifier(scale=1 / 255, change=all_of_it)),
    ("weights in +-0.1", "6", lambda: lenet(uniform(-0.1, 0.1))),
]


def verdict(patient, before, after, cured):
    room = ROOM[patient]
    if np.isnan(after) or after < before - room:
        return "harms"
    if after <= before + room:
        return "does nothing"
    return "cures" if cured is not None and after >= cured - room else "helps"


def table(advice=ADVICE):
    """Rows (advice, patient, before, after, verdict, seconds), and the cures of the patients at the end."""
    known, seconds = {}, {}
    for name, patient, tried in advice:
        if patient not in known:
            before, cure = PATIENTS[patient]
            before, begun = before(), time.perf_counter()
            known[patient] = before, cure and cure()
            seconds[patient] = time.perf_counter() - begun
        before, cured = known[patient]
        begun = time.perf_counter()
        after = tried()
        yield name, patient, before, after, verdict(patient, before, after, cured), time.perf_counter() - begun
    for patient, (_, cure) in PATIENTS.items():
        if cure and patient in known:
            before, cured = known[patient]
            yield "the cure", patient, before, cured, verdict(patient, before, cured, cured), seconds[patient]


def main():
    print(f"| {'advice':<38} | patient | before |    after | verdict      | seconds |")
    print(f"|{'-' * 40}|---------|-------:|---------:|--------------|--------:|")
    for name, patient, before, after, said, seconds in table():
        figure = "infinity" if np.isnan(after) else f"{after:.1%}"
        print(f"| {name:<38} | {patient:<7} | {before:6.1%} | {figure:>8} | {said:<12} | {seconds:7.1f} |", flush=True)


if __name__ == "__main__":
    main()

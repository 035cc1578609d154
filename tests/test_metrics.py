"""Scores against scikit-learn's, and their running forms over batches."""

import json
import warnings

import numpy as np
import pytest

from cconv import metrics
from cconv.train.metrics import Means, accuracy, named_metrics

sk = pytest.importorskip("sklearn.metrics")


def drawn(seed):
    """Labels, predictions and weights, of few or many classes, integers or strings."""
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(1, 60)), int(rng.integers(1, 7))
    y, p = rng.integers(0, classes, (2, count))
    p = np.where(rng.random(count) < 0.5, y, p)
    weight = [None, rng.random(count), rng.integers(0, 3, count)][seed % 3]
    if weight is not None and not weight.sum():
        weight = weight + 1
    if seed % 5 == 0:
        y, p = (np.array([f"l{label}" for label in labels]) for labels in (y, p))
    return y, p, weight


@pytest.fixture(autouse=True)
def _silent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("seed", range(60))
def test_scores_are_scikit_learns(seed):
    y, p, weight = drawn(seed)
    rng = np.random.default_rng(seed)
    options = {"normalize": bool(seed % 2), "sample_weight": weight}
    assert metrics.accuracy_score(y, p, **options) == pytest.approx(sk.accuracy_score(y, p, **options), rel=1e-14)
    options["normalize"] = (None, "true", "pred", "all")[seed % 4]
    ours, theirs = metrics.confusion_matrix(y, p, **options), sk.confusion_matrix(y, p, **options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    present = np.unique(np.concatenate([y, p]))
    unseen = "zz" if y.dtype.kind == "U" else 99
    for labels in (None, present[::-1], [*present[:2].tolist(), unseen]):
        if labels is not None and np.isin(y, labels).any():
            np.testing.assert_array_equal(
                metrics.confusion_matrix(y, p, labels=labels), sk.confusion_matrix(y, p, labels=labels)
            )
        for average in (None, "micro", "macro", "weighted"):
            zero = (0, 1, np.nan, "warn")[rng.integers(4)]
            options = {"labels": labels, "average": average, "sample_weight": weight, "zero_division": zero}
            ours = metrics.precision_recall_fscore_support(y, p, beta=0.7, **options)
            theirs = sk.precision_recall_fscore_support(y, p, beta=0.7, **options)
            for a, b in zip(ours, theirs, strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    np.testing.assert_allclose(a, b, rtol=1e-13)
                    assert np.shape(a) == np.shape(b)
            for i, name in enumerate(("precision_score", "recall_score")):
                np.testing.assert_array_equal(getattr(metrics, name)(y, p, **options), ours[i])
            np.testing.assert_allclose(metrics.f1_score(y, p, **options), sk.f1_score(y, p, **options), rtol=1e-13)


@pytest.mark.parametrize("seed", range(20))
def test_binary_scores(seed):
    rng = np.random.default_rng(seed)
    y, p = rng.integers(0, 2, (2, 9))
    for name in ("precision_score", "recall_score", "f1_score"):
        for pos_label in (0, 1):
            options = {"pos_label": pos_label, "zero_division": 0}
            if pos_label in y:
                assert getattr(metrics, name)(y, p, **options) == getattr(sk, name)(y, p, **options)


@pytest.mark.parametrize("seed", range(20))
def test_top_k_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(3, 8))
    score = rng.integers(0, 4, (40, classes)).astype(float)  # ties
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, 40 - classes)])
    weight = rng.random(40)
    for k in (1, 2, classes + 1):
        for options in ({}, {"sample_weight": weight}, {"normalize": False}):
            ours = metrics.top_k_accuracy_score(y, score, k=k, **options)
            assert ours == pytest.approx(sk.top_k_accuracy_score(y, score, k=k, **options), rel=1e-14)
    named = np.array(list("abcdefgh"))[:classes]
    assert metrics.top_k_accuracy_score(named[y], score) == metrics.top_k_accuracy_score(y, score)
    assert metrics.top_k_accuracy_score(y[:2], score[:2], labels=range(classes)) == sk.top_k_accuracy_score(
        y[:2], score[:2], labels=range(classes)
    )


def test_what_is_undefined_warns_by_default():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="recall_score: recall is 0/0 for a label and taken as 0"):
            metrics.recall_score([0, 0], [0, 1], average="macro")
        metrics.precision_score([0, 0], [0, 1], average="macro")  # its own divisions are defined
        metrics.recall_score([0, 0], [0, 1], average="macro", zero_division=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.accuracy_score([1, 2], [1]), ValueError, "y_true has 2 labels, y_pred 1"),
        (lambda: metrics.accuracy_score([], []), ValueError, "accuracy_score: y_true is empty"),
        (lambda: metrics.accuracy_score([1], ["a"]), TypeError, "labels must be of one kind"),
        (lambda: metrics.accuracy_score([1], [[0.5, 0.5]]), ValueError, r"y_pred has shape \(1, 2\).*argmax\(1\)"),
        (
            lambda: metrics.accuracy_score([1], [0.5]),
            ValueError,
            r"y_pred holds numbers that are no labels, such as 0\.5",
        ),
        (lambda: metrics.accuracy_score([1], [np.nan]), ValueError, "such as nan"),
        (lambda: metrics.f1_score([0, 1, 2], [0, 1, 2]), ValueError, "average='binary' takes two labels, got 3"),
        (lambda: metrics.f1_score([0, 2], [0, 2]), ValueError, r"pos_label must be one of \[0, 2\], got 1"),
        (lambda: metrics.f1_score([0], [0], average="best"), ValueError, "average must be one of None, 'binary'"),
        (lambda: metrics.f1_score([0], [0], zero_division=2), ValueError, "zero_division must be 'warn', 0, 1 or nan"),
        (lambda: metrics.confusion_matrix([0], [0], normalize="rows"), ValueError, "normalize must be one of 'true'"),
        (lambda: metrics.confusion_matrix([0], [0], labels=[1, 1]), ValueError, "labels must be different labels"),
        (lambda: metrics.confusion_matrix([0], [0], sample_weight=[1, 2]), ValueError, "sample_weight has shape"),
        (lambda: metrics.top_k_accuracy_score([0], [1.0]), ValueError, r"y_score has shape \(1,\)"),
        (lambda: metrics.top_k_accuracy_score([5], [[1.0, 2.0]]), ValueError, "y_true holds .*5"),
        (lambda: metrics.top_k_accuracy_score([0], [[1.0, 2.0]], k=0), ValueError, "k must be at least 1"),
        (lambda: metrics.TopKAccuracy(0), ValueError, "TopKAccuracy: k must be at least 1"),
        (lambda: metrics.F1("samples"), ValueError, "F1: average must be one of None, 'auto'"),
        (lambda: metrics.F1().update(np.zeros((2, 3)), np.array([0, 3])), ValueError, r"integers of 0\.\.2, got 3"),
        (lambda: metrics.F1().update(np.zeros((2, 3)), np.zeros((2, 2))), ValueError, "do not go with labels"),
        (lambda: metrics.F1("binary").update(np.zeros((2, 3)), np.zeros(2, int)), ValueError, "takes two classes"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Over batches


def filled(metric, outputs, y, size=7):
    metric.reset()
    for start in range(0, len(y), size):
        metric.update(outputs[start : start + size], y[start : start + size])
    return metric.compute()


@pytest.mark.parametrize("shape", [(40, 5), (12, 4, 3, 2)], ids=["labels", "maps"])
@pytest.mark.parametrize("kind", [metrics.Precision, metrics.Recall, metrics.F1])
def test_running_scores_are_those_of_one_batch(shape, kind):
    rng = np.random.default_rng(3)
    outputs = rng.standard_normal(shape).astype(np.float32)
    outputs[:, 2] -= 9  # a class that is never predicted
    y = rng.integers(0, shape[1] - 1, shape[:1] + shape[2:])
    score = getattr(metrics, f"{kind.__name__.lower()}_score")
    flat, predicted = y.ravel(), outputs.argmax(1).ravel()
    for average in ("macro", "micro", "weighted"):
        for zero in (0, 1, np.nan):
            expected = score(flat, predicted, average=average, zero_division=zero)
            assert filled(kind(average, zero_division=zero), outputs, y) == expected
    assert filled(kind(), outputs, y) == score(flat, predicted, average="macro", zero_division=0)
    np.testing.assert_array_equal(
        filled(kind(None), outputs, y), score(flat, predicted, labels=range(shape[1]), average=None, zero_division=0)
    )
    kept = flat != 1
    expected = score(flat[kept], predicted[kept], average="macro", zero_division=0)
    assert filled(kind(ignore_index=1), outputs, y) == expected


def test_running_matrix_and_top_k():
    rng = np.random.default_rng(0)
    outputs, y = rng.standard_normal((50, 6)), rng.integers(0, 6, 50)
    matrix = filled(metrics.ConfusionMatrix(), outputs, y)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(y, outputs.argmax(1), labels=range(6)))
    assert matrix.dtype == np.int64
    for k in (1, 3, 6, 9):
        expected = metrics.top_k_accuracy_score(y, outputs, k=k, labels=range(6))
        assert filled(metrics.TopKAccuracy(k), outputs, y) == pytest.approx(expected, rel=1e-14)
    equal = np.zeros((4, 3))
    assert filled(metrics.TopKAccuracy(1), equal, np.array([0, 1, 2, 0])) == accuracy(equal, np.array([0, 1, 2, 0]))
    nan = np.array([[np.nan, 1, 2]])
    assert [filled(metrics.TopKAccuracy(2), nan, np.array([label])) for label in range(3)] == [0, 1, 1]


@pytest.mark.parametrize("column", [False, True])
def test_single_logits_are_two_classes(column):
    rng = np.random.default_rng(0)
    outputs, y = rng.standard_normal(30), rng.integers(0, 2, 30)
    expected = metrics.f1_score(y, (outputs > 0).astype(int))
    matrix = metrics.confusion_matrix(y, (outputs > 0).astype(int))
    if column:
        outputs, y = outputs[:, None], y.astype(np.float32)[:, None]
    assert filled(metrics.F1(), outputs, y) == expected
    np.testing.assert_array_equal(filled(metrics.ConfusionMatrix(), outputs, y), matrix)


def test_one_hot_labels_count_as_labels():
    rng = np.random.default_rng(0)
    outputs, y = rng.standard_normal((30, 4)), rng.integers(0, 4, 30)
    for metric in (metrics.F1(), metrics.TopKAccuracy(2), metrics.ConfusionMatrix()):
        np.testing.assert_array_equal(filled(metric, outputs, y), filled(metric, outputs, np.eye(4)[y]))


# Means


class Largest:
    """A running metric of one's own."""

    def reset(self):
        self.found = -np.inf

    def update(self, outputs, y):
        self.found = max(self.found, float(outputs.max()))

    def compute(self):
        return self.found


def given(seed=0):
    rng = np.random.default_rng(seed)
    return [(float(rng.random()), rng.standard_normal((size, 6)), rng.integers(0, 6, size)) for size in (7, 7, 3)]


EVERY = (
    *("accuracy", "top1", "top3", "precision", "recall", "f1", "f1_micro", "recall_weighted", "confusion_matrix"),
    ("per_class", metrics.F1(None)),
    ("spread", lambda outputs, y: np.ptp(outputs)),
)


def test_means_take_functions_and_running_metrics():
    batches = given()
    means = Means(named_metrics((*EVERY, Largest())))
    for batch in batches:
        means.add(*batch)
    found = means.result()
    outputs, y = (np.concatenate(parts) for parts in list(zip(*batches, strict=True))[1:])
    p = outputs.argmax(1)
    assert list(found) == ["loss", *EVERY[:9], "per_class", "spread", "largest"]
    assert found["loss"] == sum(loss * len(labels) for loss, _, labels in batches) / 17
    assert found["accuracy"] == pytest.approx(np.mean(p == y), rel=1e-15) and found["top1"] == np.mean(p == y)
    assert found["f1"] == sk.f1_score(y, p, average="macro")
    assert found["recall_weighted"] == pytest.approx(sk.recall_score(y, p, average="weighted"), rel=1e-14)
    assert found["confusion_matrix"] == sk.confusion_matrix(y, p).tolist()
    assert found["largest"] == outputs.max()
    json.dumps(found, allow_nan=False)
    assert set(means.numbers()) == {"loss", "accuracy", "spread"}


def test_means_of_nothing():
    means = Means(named_metrics(("accuracy", "f1", "top5")))
    assert np.isnan(means.numbers()["loss"])
    with pytest.raises(ValueError, match="Trainer: the data gave no batch"):
        means.result()
    for metric in (metrics.F1(), metrics.TopKAccuracy()):
        assert np.isnan(metric.compute())
    assert metrics.ConfusionMatrix().compute().shape == (0, 0)


def test_two_means_share_nothing():
    metric = metrics.F1()
    one, two = (Means(named_metrics([metric])) for _ in range(2))
    one.add(*given()[0])
    before = one.result()
    two.add(*given(1)[0])
    assert one.result() == before != two.result()


def test_means_go_on_from_their_state():
    batches = [(loss, (o, o), (y, y)) for loss, o, y in given()]
    chosen = ((1, "accuracy"), (0, "f1"), ("named", (1, metrics.TopKAccuracy(2))))
    for wanted, run in ((EVERY, given()), (chosen, batches)):
        whole, first, second = (Means(named_metrics(wanted)) for _ in range(3))
        for batch in run:
            whole.add(*batch)
        first.add(*run[0])
        state = first.state_dict()
        # As a file keeps it: arrays apart, all else as JSON.
        state = {k: v.copy() if isinstance(v, np.ndarray) else json.loads(json.dumps(v)) for k, v in state.items()}
        second.load_state_dict(state)
        for batch in run[1:]:
            second.add(*batch)
        assert second.result() == whole.result()
    assert list(whole.result()) == ["loss", "accuracy_1", "f1_0", "named"]


def test_a_state_of_other_metrics_is_refused():
    one, other = Means(named_metrics(("accuracy", "f1"))), Means(named_metrics(("accuracy", "top5")))
    one.add(*given()[0])
    with pytest.raises(ValueError, match=r"of other metrics: missing running\.top5; unexpected running\.f1\.counts"):
        other.load_state_dict(one.state_dict())
    own = Means(named_metrics([Largest()]))
    own.add(*given()[0])
    again = Means(named_metrics([Largest()]))
    again.load_state_dict(own.state_dict())
    assert again.result() == own.result()
    strange = Largest()
    strange.reset = lambda: setattr(strange, "found", -np.inf)
    own = Means(named_metrics([strange]))
    with pytest.raises(TypeError, match="'largest' counts over an epoch and has no state_dict"):
        own.state_dict()


def test_the_loss_is_that_of_one_large_batch():
    from cconv import nn

    rng = np.random.default_rng(0)
    outputs, y, weight = rng.standard_normal((20, 4)), rng.integers(0, 4, 20), rng.random(20)
    weight[:5] = 0
    criterion, means = nn.CrossEntropyLoss(), Means({})
    for i in range(0, 20, 5):
        part = slice(i, i + 5)
        loss = criterion.forward(outputs[part], y[part], sample_weight=weight[part])[0]
        means.add(float(loss), outputs[part], y[part], weight[part])
    expected = criterion.forward(outputs, y, sample_weight=weight)[0]
    assert means.result()["loss"] == pytest.approx(float(expected), rel=1e-12)


def test_a_running_metric_as_a_class_is_refused():
    with pytest.raises(TypeError, match="holds the class F1, expected an instance"):
        named_metrics([metrics.F1])

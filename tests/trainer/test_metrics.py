"""Metrics from counts and from predictions agree, and with scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from tlui.trainer.metrics import confusion_counts, from_confusion, from_predictions, per_class


def predictions(classes, count=200, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    odds = rng.random((count, classes)) + 1.5 * np.eye(classes)[labels] * rng.random((count, 1))
    return labels, (odds / odds.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 3, 7])
class TestAgreement:
    def test_counts_give_what_scikit_learn_gives(self, classes):
        labels, probabilities = predictions(classes)
        predicted = probabilities.argmax(1)
        found = from_confusion(confusion_counts(labels, predicted, classes))
        average = "binary" if classes == 2 else "macro"
        expected = sk.precision_recall_fscore_support(labels, predicted, average=average)
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert found[name] == pytest.approx(value)

    def test_predictions_give_the_same_and_more(self, classes):
        labels, probabilities = predictions(classes)
        found = from_predictions(labels, probabilities)
        counted = from_confusion(confusion_counts(labels, probabilities.argmax(1), classes))
        for name, value in counted.items():
            assert found[name] == pytest.approx(value)
        assert found["loss"] == pytest.approx(sk.log_loss(labels, probabilities), rel=1e-5)
        scores = probabilities[:, 1] if classes == 2 else probabilities.astype(np.float64)
        scores = scores if classes == 2 else scores / scores.sum(1, keepdims=True)
        area = sk.roc_auc_score(labels, scores, multi_class="ovr")
        assert found["roc_auc"] == pytest.approx(area)
        assert ("weighted_f1" in found) == (classes > 2)
        assert ("top5_accuracy" in found) == (classes > 5)


class TestEdges:
    def test_a_class_never_predicted_counts_zero(self):
        found = from_confusion(np.array([[3, 0, 0], [1, 0, 0], [0, 0, 2]]))
        assert found["precision"] == pytest.approx((0.75 + 0 + 1) / 3)

    def test_a_class_absent_from_the_split_has_no_roc_auc(self):
        labels, probabilities = predictions(3)
        keep = labels != 2
        found = from_predictions(labels[keep], probabilities[keep])
        assert math.isnan(found["roc_auc"])
        counted = from_confusion(confusion_counts(labels[keep], probabilities[keep].argmax(1), 3))
        assert found["f1"] == pytest.approx(counted["f1"])

    def test_certain_and_wrong_is_a_finite_loss(self):
        found = from_predictions(np.array([0, 1]), np.array([[0, 1], [0, 1]], np.float32))
        assert math.isfinite(found["loss"])

    def test_no_image_at_all(self):
        assert all(math.isnan(v) for v in from_confusion(np.zeros((3, 3))).values())

    def test_per_class_rows(self):
        rows = per_class(np.array([0, 0, 1]), np.array([0, 1, 1]), ["[red]a", "b"])
        assert rows[0] == {
            "name": "[red]a",
            "precision": 1.0,
            "recall": 0.5,
            "f1": pytest.approx(2 / 3),
            "support": 2,
        }

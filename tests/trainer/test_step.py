"""One training step does what Keras's own does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlui.recipe.optimizers import SGD, Adam, AdamW, RMSprop
from tlui.recipe.schema import Head
from tlui.trainer.objective import Objective, objective_for
from tlui.trainer.optimizers import make_optimizer
from tlui.trainer.step import Learner, Table, to_array

CLASSES = 3


def model_of(outputs=CLASSES, dropout=0.0):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(outputs)]
    if dropout:
        layers.insert(1, keras.layers.Dropout(dropout, seed=4))
    return keras.Sequential([keras.Input((5,)), *layers])


def data(count=20, classes=CLASSES):
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, 5)).astype(np.float32), rng.integers(0, classes, count)


def batches(x, labels, classes, size=8):
    for i in range(0, len(x), size):
        label = tf.constant(labels[i : i + size], tf.int32)
        rows = tf.range(i, i + len(label), dtype=tf.int64)
        yield rows, tf.constant(x[i : i + size]), tf.one_hot(label, classes), label


def learner_of(model, optimizer, objective):
    def forward(x, training):
        return model(x, training=training)

    return Learner(forward, model.trainable_variables, optimizer, objective)


OPTIMIZERS = [
    (Adam(name="adam"), keras.optimizers.Adam(0.05)),
    (AdamW(name="adamw", weight_decay=0.1), keras.optimizers.AdamW(0.05, weight_decay=0.1)),
    (SGD(name="sgd", momentum=0.9, nesterov=True), keras.optimizers.SGD(0.05, 0.9, True)),
    (RMSprop(name="rmsprop"), keras.optimizers.RMSprop(0.05)),
    (
        Adam(name="adam", global_clipnorm=0.1),
        keras.optimizers.Adam(0.05, global_clipnorm=0.1),
    ),
    (SGD(name="sgd", clipvalue=0.01), keras.optimizers.SGD(0.05, clipvalue=0.01)),
    (SGD(name="sgd", clipnorm=0.02), keras.optimizers.SGD(0.05, clipnorm=0.02)),
]


class TestAgainstKeras:
    @pytest.mark.parametrize("given,theirs", OPTIMIZERS, ids=lambda o: getattr(o, "name", ""))
    def test_weights_after_three_steps(self, given, theirs):
        x, labels = data()
        objective = Objective(CLASSES, label_smoothing=0.1, class_weights=(0.5, 1.0, 2.0))
        ours, other = model_of(), model_of()
        learner = learner_of(ours, make_optimizer(given, 0.05), objective)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
        other.compile(theirs, loss, jit_compile=False)
        for _, part, y, label in batches(x, labels, CLASSES):
            learner.step((None, part, y, label), 0.05)
            weight = np.array([0.5, 1.0, 2.0])[label.numpy()]
            other.train_on_batch(part, y, sample_weight=weight)
        for a, b in zip(ours.weights, other.weights, strict=True):
            np.testing.assert_allclose(to_array(a), to_array(b), rtol=1e-5, atol=1e-6)

    def test_sigmoid_head(self):
        x, labels = data(classes=2)
        ours, other = model_of(1), model_of(1)
        learner = learner_of(ours, make_optimizer(Adam(name="adam"), 0.05), Objective(2, True, 0.2))
        loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)
        other.compile(keras.optimizers.Adam(0.05), loss, jit_compile=False)
        for _, part, y, label in batches(x, labels, 2):
            learner.step((None, part, y, label), 0.05)
            other.train_on_batch(part, label[:, None])
        for a, b in zip(ours.weights, other.weights, strict=True):
            np.testing.assert_allclose(to_array(a), to_array(b), rtol=1e-5, atol=1e-6)

    def test_loss_scaling_changes_nothing_but_rounding(self):
        x, labels = data()
        found = []
        for scale in (False, True):
            model = model_of()
            optimizer = make_optimizer(Adam(name="adam"), 0.05, scale)
            learner = learner_of(model, optimizer, Objective(CLASSES))
            for batch in batches(x, labels, CLASSES):
                learner.step(batch, 0.05)
            found.append([to_array(v) for v in model.weights])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


class TestWaysToRun:
    @pytest.mark.parametrize("given", [given for given, _ in OPTIMIZERS], ids=str)
    def test_one_by_one_several_a_call_and_over_a_table_are_the_same_bits(self, given):
        x, labels = data(40)
        rates = np.array([0.05, 0.04, 0.03, 0.02, 0.01], np.float32)

        def fresh():
            model = model_of(dropout=0.4)
            optimizer = make_optimizer(given, 0.1)
            return model, learner_of(model, optimizer, Objective(CLASSES))

        one, learner = fresh()
        for batch, rate in zip(batches(x, labels, CLASSES), rates, strict=True):
            learner.step(batch, rate)
        expected, metrics = [to_array(v) for v in one.variables], learner.counts.metrics()

        several, learner = fresh()
        spec = (np.arange(40), x, np.eye(3, dtype=np.float32)[labels], labels.astype(np.int32))
        iterator = iter(tf.data.Dataset.from_tensor_slices(spec).batch(8))
        learner.steps(iterator, rates[:3])
        learner.steps(iterator, rates[3:])
        for a, b in zip(several.variables, expected, strict=True):
            assert to_array(a).tobytes() == b.tobytes()

        tabled, learner = fresh()
        table = Table(*(tf.constant(part) for part in spec[1:]), batch_size=8)
        learner.table_steps(table, np.arange(40), 0, rates[:2])
        learner.table_steps(table, np.arange(40), 2, rates[2:])
        for a, b in zip(tabled.variables, expected, strict=True):
            assert to_array(a).tobytes() == b.tobytes()
        assert learner.counts.metrics() == metrics

    def test_a_partial_last_batch_is_not_traced_anew(self):
        x, labels = data(20)
        traced = []
        model = model_of()

        def forward(x, training):
            traced.append(x.shape)
            return model(x, training=training)

        learner = Learner(
            forward,
            model.trainable_variables,
            make_optimizer(Adam(name="adam"), 0.1),
            Objective(CLASSES),
        )
        for batch in batches(x, labels, CLASSES):
            learner.step(batch, 0.1)
        assert len(traced) == 1


class TestCounts:
    def test_metrics_of_what_was_predicted(self):
        x, labels = data(20)
        model = model_of()
        learner = learner_of(model, make_optimizer(SGD(name="sgd"), 0.0), Objective(CLASSES))
        for batch in batches(x, labels, CLASSES):
            learner.step(batch, 0.0)
        logits = model(x).numpy()
        found = learner.counts.metrics()
        assert found["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean())
        losses = Objective(CLASSES).plain_losses(logits, labels)
        assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
        saved = learner.counts.arrays()
        learner.counts.reset()
        assert learner.counts.totals() == (0.0, 0, 0)
        learner.counts.restore(saved)
        assert learner.counts.metrics() == found


class TestObjective:
    def test_balanced_weights(self):
        labels = np.array([0, 0, 0, 1])
        found = objective_for(Head(class_weights="balanced"), ["a", "b"], labels)
        assert found.class_weights == pytest.approx((4 / (2 * 3), 4 / (2 * 1)))

    def test_a_strange_class_is_named(self):
        from tlui.errors import TluiError

        with pytest.raises(TluiError, match="cat: no such class"):
            objective_for(Head(class_weights={"cat": 2.0}), ["a", "b"], np.array([0, 1]))

    def test_probabilities_and_choice_of_a_sigmoid(self):
        logits = np.array([[0.0], [2.0], [-3.0]], np.float32)
        objective = Objective(2, sigmoid=True)
        found = objective.probabilities(logits)
        np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-logits[:, 0])), rtol=1e-6)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
        assert objective.chosen(logits).astype(int).tolist() == [0, 1, 0]
        assert objective.predicted(tf.constant(logits)).numpy().tolist() == [0, 1, 0]
        expected = -np.log(found[[0, 1, 2], [1, 0, 0]])
        np.testing.assert_allclose(
            objective.plain_losses(logits, np.array([1, 0, 0])), expected, rtol=1e-5
        )

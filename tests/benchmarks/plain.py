"""What tlui is compared with: transfer learning as a plain Keras script does it.

    python plain.py FOLDER --work head --epochs 10 --rate 1e-3 --size 224

Frozen backbone with a new head, `model.fit`, then metrics and predictions of the three splits.
Works: head (backbone frozen), augmented (the same with flips and rotations), top20 (its last 20
layers learn too), full (everything learns).
"""

import argparse
import json
import resource
import time

import keras
import numpy as np
from sklearn.metrics import classification_report, confusion_matrix, roc_auc_score

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--work", choices=["head", "augmented", "top20", "full"], default="head")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--rate", type=float, default=1e-3)
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--batch", type=int, default=32)
given = parser.parse_args()

keras.utils.set_random_seed(1)
shape = (given.size, given.size)
common = {"image_size": shape, "batch_size": given.batch, "label_mode": "categorical", "seed": 1}
train = keras.utils.image_dataset_from_directory(
    f"{given.folder}/train", validation_split=0.15, subset="training", **common
)
val = keras.utils.image_dataset_from_directory(
    f"{given.folder}/train", validation_split=0.15, subset="validation", **common
)
test = keras.utils.image_dataset_from_directory(f"{given.folder}/test", shuffle=False, **common)
classes = train.class_names
train, val, test = (part.prefetch(2) for part in (train, val, test))

backbone = keras.applications.MobileNetV2(
    input_shape=(*shape, 3), alpha=0.35, include_top=False, weights="imagenet"
)
backbone.trainable = given.work in ("full", "top20")
if given.work == "top20":
    for layer in backbone.layers[:-20]:
        layer.trainable = False

image = keras.Input((*shape, 3))
x = image
if given.work == "augmented":
    x = keras.layers.RandomFlip("horizontal")(x)
    x = keras.layers.RandomRotation(15 / 360)(x)
x = keras.applications.mobilenet_v2.preprocess_input(x)
x = backbone(x, training=False)
x = keras.layers.GlobalAveragePooling2D()(x)
x = keras.layers.Dropout(0.2)(x)
model = keras.Model(image, keras.layers.Dense(len(classes), activation="softmax")(x))
model.compile(
    optimizer=keras.optimizers.Adam(given.rate),
    loss="categorical_crossentropy",
    metrics=[
        "accuracy",
        keras.metrics.Precision(name="precision"),
        keras.metrics.Recall(name="recall"),
        keras.metrics.F1Score(average="macro", name="f1"),
    ],
)
began = time.perf_counter()
model.fit(train, validation_data=val, epochs=given.epochs, verbose=2)
trained = time.perf_counter() - began

for name, part in (("train", train), ("val", val), ("test", test)):
    print(name, model.evaluate(part, verbose=0, return_dict=True))
labels = np.concatenate([y for _, y in test]).argmax(axis=1)
began = time.perf_counter()
probabilities = model.predict(test, verbose=0)
inference = time.perf_counter() - began
print(classification_report(labels, probabilities.argmax(axis=1), target_names=classes))
print(confusion_matrix(labels, probabilities.argmax(axis=1)))
print("ROC AUC", roc_auc_score(labels, probabilities, multi_class="ovr"))
model.save("model.keras")
found = {
    "test_accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
    "train_seconds": trained,
    "inference_seconds": inference,
    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}
with open("plain.json", "w") as file:
    json.dump(found, file)

"""Backbone weights: Keras's cache, files of every kind, other runs, and what is refused."""

import hashlib
import importlib
import io
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from tlui.errors import TluiError
from tlui.recipe.schema import Backbone
from tlui.trainer.model.backbones import build_backbone
from tlui.trainer.model.build import build
from tlui.trainer.model.network import save_portable
from tlui.trainer.model.variables import named_variables
from tlui.trainer.model.weights import backbone_variables, backbone_with_weights, load_file

MOBILE = Backbone(name="MobileNetV2", alpha=0.35, weights="none")
SMALL = Backbone(name="SmallConvNet", weights="none")


def randomise(model, seed=0):
    chance = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(chance.uniform(0.1, 1, variable.shape))
    return model


def use_keras_home(monkeypatch, path):
    """What KERAS_HOME does to a process that starts; Keras reads it when it is imported."""
    monkeypatch.setenv("KERAS_HOME", str(path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(path))


def same(one, two):
    a, b = backbone_variables(one), backbone_variables(two)
    assert list(a) == list(b)
    return all((a[k].numpy() == b[k].numpy()).all() for k in a if "seed" not in k)


@pytest.fixture(scope="module")
def source():
    """A MobileNetV2 with weights of its own."""
    return randomise(build_backbone(MOBILE, 32))


@pytest.mark.parametrize("name", ["whole.h5", "alone.weights.h5", "whole.keras"])
def test_files_keras_writes_are_read(source, tmp_path, name):
    path = tmp_path / name
    if name == "alone.weights.h5":
        source.save_weights(path)
    else:
        source.save(path)
    model = build_backbone(MOBILE, 32)
    load_file(model, path)
    assert same(model, source)


@pytest.mark.parametrize("name", ["top.h5", "top.weights.h5", "top.keras"])
def test_a_backbone_with_its_top_fits_by_name(tmp_path, name):
    full = randomise(
        keras.applications.MobileNetV2(alpha=0.35, weights=None, input_shape=(32, 32, 3), classes=7)
    )
    full.save_weights(tmp_path / name) if "weights" in name else full.save(tmp_path / name)
    model = build_backbone(MOBILE, 32)
    load_file(model, tmp_path / name)
    kernels = [m.get_layer("block_16_project").kernel.numpy() for m in (model, full)]
    np.testing.assert_array_equal(*kernels)


@pytest.mark.parametrize("name", ["classifier.h5", "classifier.weights.h5", "classifier.keras"])
def test_a_backbone_inside_a_whole_classifier(source, tmp_path, name):
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(3, 1)(image)
    x = layers.Dense(4)(layers.GlobalAveragePooling2D()(source(x)))
    whole = keras.Model(image, x)
    whole.save_weights(tmp_path / name) if "weights" in name else whole.save(tmp_path / name)
    model = build_backbone(MOBILE, 32)
    load_file(model, tmp_path / name)
    assert same(model, source)


def test_our_own_saved_network_is_a_weights_file(experiment, tmp_path):
    network = build(experiment(size=32), 3, seed=5)
    save_portable(network, tmp_path / "model.keras")
    again = build(experiment(size=32, weights=str(tmp_path / "model.keras")), 4)
    assert same(again.backbone, network.backbone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "top"),
    [
        ("ConvNeXtTiny", 32, False),  # nested Sequentials
        ("InceptionV3", 75, False),  # layers named by Keras's counter
        ("InceptionV3", 75, True),
        ("DenseNet121", 32, True),  # names with slashes
    ],
)
@pytest.mark.parametrize("file", ["a.h5", "a.weights.h5", "a.keras"])
def test_families_with_odd_names(tmp_path, name, size, top, file):
    options = {"classes": 7} if top else {}
    full = randomise(
        getattr(keras.applications, name)(
            include_top=top, weights=None, input_shape=(size, size, 3), **options
        )
    )
    full.save_weights(tmp_path / file) if "weights" in file else full.save(tmp_path / file)
    model = build_backbone(Backbone(name=name, weights="none"), size)
    load_file(model, tmp_path / file)
    for ours, theirs in zip(model.get_weights(), full.get_weights(), strict=False):
        np.testing.assert_array_equal(ours, theirs)


def test_what_does_not_fit_is_named(source, tmp_path):
    source.save(tmp_path / "narrow.h5")
    wide = build_backbone(Backbone(name="MobileNetV2", alpha=0.5, weights="none"), 32)
    before = {k: v.numpy().copy() for k, v in backbone_variables(wide).items()}
    with pytest.raises(TluiError, match=r"narrow\.h5: does not hold.*\n.*block_1_.*wanted"):
        load_file(wide, tmp_path / "narrow.h5")
    for key, variable in backbone_variables(wide).items():
        np.testing.assert_array_equal(variable.numpy(), before[key])


def test_another_architecture_is_refused(source, tmp_path):
    source.save_weights(tmp_path / "mobile.weights.h5")
    with pytest.raises(TluiError, match="does not hold the weights of this backbone"):
        load_file(build_backbone(SMALL, 16), tmp_path / "mobile.weights.h5")


def test_a_lambda_layer_is_refused_and_never_run(tmp_path):
    witness = tmp_path / "ran"
    image = keras.Input((16, 16, 3))
    code = f"lambda x: (open({str(witness)!r}, 'w'), x)[1]"
    x = layers.Lambda(eval(code))(image)  # noqa: S307
    witness.unlink(missing_ok=True)
    keras.Model(image, x).save(tmp_path / "evil.keras")
    witness.unlink(missing_ok=True)
    with pytest.raises(TluiError, match=r"evil\.keras: holds a Lambda layer"):
        load_file(build_backbone(SMALL, 16), tmp_path / "evil.keras")
    assert not witness.exists()


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04pickle", b"PK\x03\x04broken"])
def test_other_files_are_refused_without_a_traceback(tmp_path, content):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(TluiError, match=r"weights\.h5"):
        load_file(build_backbone(SMALL, 16), path)


def test_archives_without_weights_are_refused(tmp_path):
    path = tmp_path / "odd.keras"
    for members in ({"a.txt": "x"}, {"config.json": "[]"}, {"config.json": "not json"}):
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        with pytest.raises(TluiError, match=r"odd\.keras"):
            load_file(build_backbone(SMALL, 16), path)


def test_links_out_of_the_file_are_refused(tmp_path):
    model = build_backbone(SMALL, 16)
    model.save_weights(tmp_path / "good.weights.h5")
    with h5py.File(tmp_path / "good.weights.h5", "r+") as file:
        group = file["layers/conv2d/vars"]
        shape = group["0"].shape
        del group["0"]
        group["0"] = h5py.ExternalLink("/etc/hostname", "/x")
    with pytest.raises(TluiError, match="leads to another file"):
        load_file(model, tmp_path / "good.weights.h5")
    with h5py.File(tmp_path / "good.weights.h5", "r+") as file:
        group = file["layers/conv2d/vars"]
        del group["0"]
        size = int(np.prod(shape)) * 4
        group.create_dataset("0", shape, "f4", external=[("/etc/hostname", 0, size)])
    with pytest.raises(TluiError, match="leads to another file"):
        load_file(model, tmp_path / "good.weights.h5")


def test_weights_of_another_run(experiment, home):
    network = build(experiment("SmallConvNet", size=16), 3, seed=9)
    run = home.create("", {"name": "a", "preset": "p", "experiment": "e", "config": {}})
    buffer = io.BytesIO()
    np.savez(buffer, **{k: v.numpy() for k, v in named_variables(network).items()})
    (run.checkpoints / "best.npz").write_bytes(buffer.getvalue())
    other = experiment("SmallConvNet", size=16, weights=f"run:{run.id}")
    again = build(other, 2, runs=home.runs)
    assert same(again.backbone, network.backbone)
    with pytest.raises(TluiError, match=r"another backbone:\n.*not in this network"):
        build(experiment(size=32, weights=f"run:{run.id}"), 3, runs=home.runs)


@pytest.mark.parametrize("name", ["run:00000000", "run:../../etc", "run:."])
def test_a_run_that_is_not_there(experiment, home, name):
    with pytest.raises(TluiError, match="no such run"):
        build(experiment("SmallConvNet", size=16, weights=name), 3, runs=home.runs)


def test_no_network_names_the_file_and_the_way_out(tmp_path, monkeypatch):
    use_keras_home(monkeypatch, tmp_path)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    backbone = Backbone(name="MobileNetV2", alpha=0.35, weights="imagenet")
    file = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"
    with pytest.raises(TluiError) as caught:
        backbone_with_weights(backbone, 96, None)
    message = str(caught.value)
    assert "tlui weights pull MobileNetV2 --alpha 0.35 --image-size 96" in message
    assert str(tmp_path / "models" / file) in message


def test_real_imagenet_weights_come_from_the_cache(keras_home, monkeypatch, experiment):
    use_keras_home(monkeypatch, keras_home)
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_128_no_top.h5"
    network = build(experiment(weights="imagenet", size=128), 3)
    with h5py.File(keras_home / "models" / name) as file:
        kernel = file["Conv1/Conv1/kernel"][()]
    np.testing.assert_array_equal(network.backbone.get_layer("Conv1").kernel.numpy(), kernel)


def test_a_real_weights_file_of_another_size(realdata, experiment):
    path = realdata / "weights" / "mobilenet_v2_1.0_160_no_top.h5"
    network = build(experiment(alpha=1.0, weights=str(path), size=96), 3)
    with h5py.File(path) as file:
        kernel = file["Conv1/Conv1/kernel"][()]
    np.testing.assert_array_equal(network.backbone.get_layer("Conv1").kernel.numpy(), kernel)


@pytest.fixture(scope="module")
def efficient(tmp_path_factory):
    """A KERAS_HOME with an EfficientNetB0 file of our own making under the official name."""
    home = tmp_path_factory.mktemp("efficient")
    (home / "models").mkdir()
    model = randomise(
        keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    )
    normalization = next(x for x in model.layers if isinstance(x, layers.Normalization))
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.adapt_variance.assign(np.square([0.229, 0.224, 0.225]))
    for variable in model.trainable_weights:
        variable.assign(np.random.default_rng(1).normal(0, 0.2, variable.shape))
    model.save(home / "models" / "efficientnetb0_notop.h5")
    return home


def test_efficientnets_extra_rescaling_is_folded(efficient, monkeypatch, noise, tmp_path):
    """One architecture whatever the weights; the numbers are those Keras's ImageNet build gives."""
    use_keras_home(monkeypatch, efficient)
    file = efficient / "models" / "efficientnetb0_notop.h5"
    digest = hashlib.md5(file.read_bytes()).hexdigest()
    hashes = importlib.import_module("keras.src.applications.efficientnet").WEIGHTS_HASHES
    monkeypatch.setitem(hashes, "b0", (hashes["b0"][0], digest))
    keras_built = keras.applications.EfficientNetB0(include_top=False, input_shape=(32, 32, 3))
    backbone = Backbone(name="EfficientNetB0")
    ours = backbone_with_weights(backbone, 32, None)
    extra = [sum(isinstance(x, layers.Rescaling) for x in m.layers) for m in (keras_built, ours)]
    assert extra == [2, 1]
    images = noise(2, 32)
    expected = np.asarray(keras_built(images))
    scale = np.abs(expected).max()
    assert np.abs(np.asarray(ours(images)) - expected).max() < 1e-5 * scale
    ours.save(tmp_path / "ours.keras")
    for path in (file, tmp_path / "ours.keras"):
        again = build_backbone(backbone, 32)
        load_file(again, path)
        assert np.abs(np.asarray(again(images)) - expected).max() < 1e-5 * scale

"""The backbones there are: tlui's own and the image families of keras.applications.

Plain data, no TensorFlow; the trainer looks up the builder by the same name. Figures are of Keras
3.15, checked against the library by the tests. A new backbone is one entry here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Scaling = Literal["tf", "torch", "caffe", "own"]
"""How a family wants its input: `tf` x/127.5 - 1; `torch` (x/255 - mean) / std; `caffe` BGR minus
mean; `own` takes 0-255 as it is (a Rescaling layer inside)."""


@dataclass(frozen=True)
class BackboneSpec:
    """One image family member of keras.applications (or tlui's own)."""

    module: str
    """The module of keras.applications that holds it, or `tlui` for our own."""
    scaling: Scaling
    size: int
    """Input side it was trained at, in pixels."""
    least: int
    """Smallest input side it accepts without its top."""
    parameters: int
    """Without the top, alpha 1."""
    alphas: tuple[float, ...] = ()
    """Width multipliers with ImageNet weights; empty where it has no alpha."""
    imagenet: bool = True
    weights: str = ""
    """File name of the ImageNet weights without top; `{alpha}` and `{size}` where they vary."""
    sizes: tuple[int, ...] = ()
    """Input sides with weights of their own; other sides use those of 224."""
    scaled: Mapping[float, int] = field(default_factory=dict)
    """Parameters at the other alphas."""

    def parameters_at(self, alpha: float) -> int | None:
        """Parameters without the top; None for an alpha nobody counted."""
        return self.parameters if alpha == 1.0 else self.scaled.get(alpha)


TF_KERNELS = "{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
NOTOP = "{name}_notop.h5"


def _family(
    module: str, scaling: Scaling, least: int, weights: str, /, **members: tuple[int, int]
) -> dict[str, BackboneSpec]:
    """Members as `Name=(size, parameters)`; the weights file has the name in lower case."""
    return {
        name: BackboneSpec(
            module, scaling, size, least, count, weights=weights.replace("{name}", name.lower())
        )
        for name, (size, count) in members.items()
    }


def _efficient_v2(**members: tuple[int, int]) -> dict[str, BackboneSpec]:
    """Members whose files are named `efficientnetv2-b0_notop.h5`."""
    return {
        name: BackboneSpec(
            "efficientnet_v2", "own", size, 32, count,
            weights=f"efficientnetv2-{name.removeprefix('EfficientNetV2').lower()}_notop.h5",
        )
        for name, (size, count) in members.items()
    }  # fmt: skip


def _convnext(**members: int) -> dict[str, BackboneSpec]:
    """Members whose files are named `convnext_tiny_notop.h5`."""
    return {
        name: BackboneSpec(
            "convnext", "own", 224, 32, count,
            weights=f"convnext_{name.removeprefix('ConvNeXt').lower()}_notop.h5",
        )
        for name, count in members.items()
    }  # fmt: skip


BACKBONES: dict[str, BackboneSpec] = {
    "SmallConvNet": BackboneSpec("tlui", "own", 32, 8, 288_352, imagenet=False),
    "MobileNet": BackboneSpec(
        "mobilenet", "tf", 224, 32, 3_228_864, (0.25, 0.5, 0.75, 1.0),
        weights="mobilenet_{alpha}_{size}_tf_no_top.h5", sizes=(128, 160, 192, 224),
        scaled={0.25: 218_544, 0.5: 829_536, 0.75: 1_832_976},
    ),
    "MobileNetV2": BackboneSpec(
        "mobilenet_v2", "tf", 224, 32, 2_257_984, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
        weights="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5",
        sizes=(96, 128, 160, 192, 224),
        scaled={0.35: 410_208, 0.5: 706_224, 0.75: 1_382_064, 1.3: 3_766_048, 1.4: 4_363_712},
    ),
    "MobileNetV3Small": BackboneSpec(
        "mobilenet_v3", "own", 224, 32, 939_120, (0.75, 1.0),
        weights="weights_mobilenet_v3_small_224_{alpha}_float_no_top_v2.h5",
        scaled={0.75: 583_160},
    ),
    "MobileNetV3Large": BackboneSpec(
        "mobilenet_v3", "own", 224, 32, 2_996_352, (0.75, 1.0),
        weights="weights_mobilenet_v3_large_224_{alpha}_float_no_top_v2.h5",
        scaled={0.75: 1_808_736},
    ),
    **_family(
        "resnet", "caffe", 32, TF_KERNELS,
        ResNet50=(224, 23_587_712), ResNet101=(224, 42_658_176), ResNet152=(224, 58_370_944),
    ),
    **_family(
        "resnet_v2", "tf", 32, TF_KERNELS,
        ResNet50V2=(224, 23_564_800), ResNet101V2=(224, 42_626_560), ResNet152V2=(224, 58_331_648),
    ),
    **_family(
        "efficientnet", "own", 32, NOTOP,
        EfficientNetB0=(224, 4_049_571), EfficientNetB1=(240, 6_575_239),
        EfficientNetB2=(260, 7_768_569), EfficientNetB3=(300, 10_783_535),
        EfficientNetB4=(380, 17_673_823), EfficientNetB5=(456, 28_513_527),
        EfficientNetB6=(528, 40_960_143), EfficientNetB7=(600, 64_097_687),
    ),
    **_efficient_v2(
        EfficientNetV2B0=(224, 5_919_312), EfficientNetV2B1=(240, 6_931_124),
        EfficientNetV2B2=(260, 8_769_374), EfficientNetV2B3=(300, 12_930_622),
        EfficientNetV2S=(384, 20_331_360), EfficientNetV2M=(480, 53_150_388),
        EfficientNetV2L=(480, 117_746_848),
    ),
    **_family(
        "densenet", "torch", 32, TF_KERNELS,
        DenseNet121=(224, 7_037_504), DenseNet169=(224, 12_642_880),
        DenseNet201=(224, 18_321_984),
    ),
    **_family("vgg16", "caffe", 32, TF_KERNELS, VGG16=(224, 14_714_688)),
    **_family("vgg19", "caffe", 32, TF_KERNELS, VGG19=(224, 20_024_384)),
    "InceptionV3": BackboneSpec(
        "inception_v3", "tf", 299, 75, 21_802_784,
        weights="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "InceptionResNetV2": BackboneSpec(
        "inception_resnet_v2", "tf", 299, 75, 54_336_736,
        weights="inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    **_family("xception", "tf", 71, TF_KERNELS, Xception=(299, 20_861_480)),
    "NASNetMobile": BackboneSpec(
        "nasnet", "tf", 224, 32, 4_269_716, weights="nasnet_mobile_no_top.h5"
    ),
    "NASNetLarge": BackboneSpec(
        "nasnet", "tf", 331, 32, 84_916_818, weights="nasnet_large_no_top.h5"
    ),
    **_convnext(
        ConvNeXtTiny=27_820_128, ConvNeXtSmall=49_454_688, ConvNeXtBase=87_566_464,
        ConvNeXtLarge=196_230_336, ConvNeXtXLarge=348_147_968,
    ),
}  # fmt: skip

MOBILENET_ALPHA = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}
"""How MobileNet's files spell alpha."""


def weights_file(name: str, alpha: float = 1.0, image_size: int = 224) -> str:
    """The file keras.applications keeps a backbone's ImageNet weights without top in.

    MobileNet and MobileNetV2 have files for a few input sides; every other side uses that of 224.

    Raises:
        KeyError: No backbone of that name.
        ValueError: It has no ImageNet weights at this alpha.
    """
    spec = BACKBONES[name]
    if not spec.imagenet or alpha not in (spec.alphas or (1.0,)):
        raise ValueError(f"{name} has no ImageNet weights at alpha {alpha:g}")
    spelled = MOBILENET_ALPHA[alpha] if name == "MobileNet" else str(float(alpha))
    size = image_size if image_size in spec.sizes else 224
    return spec.weights.format(alpha=spelled, size=size)


def weights_folder() -> Path:
    """Where Keras keeps downloaded weights: `$KERAS_HOME/models`, else `~/.keras/models`."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path("~/.keras").expanduser()) / "models"


def weights_at_hand(name: str, alpha: float = 1.0, image_size: int = 224) -> bool:
    """Whether a backbone's ImageNet weights need no download. Never raises."""
    try:
        return (weights_folder() / weights_file(name, alpha, image_size)).is_file()
    except (KeyError, ValueError, OSError, RuntimeError):
        return False

"""Public datasets by name: their layout, classes, sizes and where a person gets them.

`dataset.name = "intel"` fills the keys of `[dataset]` that the preset does not give; where the
files lie comes from the preset, `--set dataset.path=…` or `[datasets]` in the user's config. A new
shortcut is one entry here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class DatasetShortcut:
    """A public dataset by name: its layout, classes and where a person gets it."""

    dataset: dict[str, Any]
    """The `[dataset]` keys it stands for; a preset's own keys win."""
    title: str
    home: str
    """Where a person downloads it."""
    note: str = ""
    """What to do after the download."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Images of each split, or of `all` where it has none."""


def _words(text: str) -> list[str]:
    return text.split()


FOOD_101 = _words(
    """
    apple_pie baby_back_ribs baklava beef_carpaccio beef_tartare beet_salad beignets bibimbap
    bread_pudding breakfast_burrito bruschetta caesar_salad cannoli caprese_salad carrot_cake
    ceviche cheese_plate cheesecake chicken_curry chicken_quesadilla chicken_wings chocolate_cake
    chocolate_mousse churros clam_chowder club_sandwich crab_cakes creme_brulee croque_madame
    cup_cakes deviled_eggs donuts dumplings edamame eggs_benedict escargots falafel filet_mignon
    fish_and_chips foie_gras french_fries french_onion_soup french_toast fried_calamari fried_rice
    frozen_yogurt garlic_bread gnocchi greek_salad grilled_cheese_sandwich grilled_salmon guacamole
    gyoza hamburger hot_and_sour_soup hot_dog huevos_rancheros hummus ice_cream lasagna
    lobster_bisque lobster_roll_sandwich macaroni_and_cheese macarons miso_soup mussels nachos
    omelette onion_rings oysters pad_thai paella pancakes panna_cotta peking_duck pho pizza
    pork_chop poutine prime_rib pulled_pork_sandwich ramen ravioli red_velvet_cake risotto samosa
    sashimi scallops seaweed_salad shrimp_and_grits spaghetti_bolognese spaghetti_carbonara
    spring_rolls steak strawberry_shortcake sushi tacos takoyaki tiramisu tuna_tartare waffles
    """
)

OREGON = _words(
    """
    bald_eagle black_bear bobcat canada_lynx columbian_black-tailed_deer cougar coyote deer elk
    gray_fox gray_wolf mountain_beaver nutria raccoon raven red_fox ringtail sea_lions seals
    virginia_opossum
    """
)

DATASETS: dict[str, DatasetShortcut] = {
    "intel": DatasetShortcut(
        {
            "source": "folder",
            "train_folder": "seg_train/seg_train",
            "test_folder": "seg_test/seg_test",
            "classes": ["buildings", "forest", "glacier", "mountain", "sea", "street"],
        },
        title="Intel Image Classification: natural scenes, 150x150",
        home="https://www.kaggle.com/datasets/puneet6060/intel-image-classification",
        note="unpack the archive; the path is the folder that holds seg_train and seg_test",
        sizes={"train": 14_034, "test": 3_000},
    ),
    "oregon-wildlife": DatasetShortcut(
        {
            "source": "tfrecord",
            "train_files": "train-*",
            "image_key": "image/encoded",
            "label_key": "image/label",
            "label_offset": 1,
            "classes": OREGON,
            "test": 0.15,
        },
        title="Oregon Wildlife: photos of 20 animals",
        home="https://www.kaggle.com/datasets/virtualdvid/oregon-wildlife",
        note="the path holds the TFRecords that build_image_data.py wrote (train-00000-of-00010 "
        "and so on, its labels file in sorted order); for the unpacked class folders themselves "
        'give dataset.source = "folder"',
        sizes={"all": 14_013},
    ),
    "food-101": DatasetShortcut(
        {
            "source": "folder",
            "train_folder": "images",
            "train_list": "meta/train.txt",
            "test_list": "meta/test.txt",
            "classes": FOOD_101,
        },
        title="Food-101: 101 dishes, up to 512 px",
        home="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        note="unpack food-101.tar.gz; the path is the folder that holds images and meta",
        sizes={"train": 75_750, "test": 25_250},
    ),
    "pcam": DatasetShortcut(
        {"source": "hdf5", "image_size": 96, "classes": ["normal", "tumor"]},
        title="PatchCamelyon: lymph node sections, 96x96, tumour tissue or none",
        home="https://github.com/basveeling/pcam",
        note="unpack the six .h5.gz files into one folder; that is the path",
        sizes={"train": 262_144, "val": 32_768, "test": 32_768},
    ),
}

"""scikit-learn's bundled 8x8 digits (UCI, test part of the NIST set): 1,797 images, no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from tlui.data.items import Found, Group, Index, Numbered, Pixels, Pool, digest
from tlui.recipe.sources import DigitsSource


class Digits(Pool):
    """Digits as gray 8-bit RGB: 16 levels spread over 0-255."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self.names = Numbered("digits", len(pixels))
        self.fingerprint = digest([b"digits", pixels.tobytes()])

    def read(self, item: int) -> Pixels:
        pixels: Pixels = self._pixels[item]
        return pixels

    def read_many(self, items: Index) -> Pixels:
        return self._pixels[items]

    @property
    def side(self) -> tuple[int, int]:
        return 8, 8


def find_digits(dataset: DigitsSource) -> Found:
    """All digits, classes "0" to "9"; splits come from the fractions."""
    levels, labels = _load()
    shades = np.round(levels * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(shades[:, :, :, None], 3, axis=3)
    group = Group(Digits(pixels), labels)
    return Found([str(n) for n in range(10)], {"train": group}, "digits", ordered=True)


def _load() -> tuple[np.ndarray, Index]:
    # Its file read directly: importing sklearn.datasets costs a second and 100 MB.
    spec = importlib.util.find_spec("sklearn")
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            values = np.loadtxt(file, delimiter=",")
            return values[:, :-1].reshape(-1, 8, 8), values[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target.astype(np.int64)

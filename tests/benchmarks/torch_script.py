"""What a person would write with PyTorch instead: the same MobileNetV2 0.35 from the same weights.

    python torch_script.py FOLDER --weights KERAS.h5 --work head|features|full [--epochs 10]

`head` runs the frozen backbone in every epoch, `features` once; `full` trains everything, with
BatchNorm in inference mode. Needs torch and h5py; writes torch.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

BLOCKS = [  # expansion, channels, repeats, stride: table 2 of Sandler et al. 2018
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]
ALPHA = 0.35
EPSILON = 1e-3


def channels(wanted: float) -> int:
    """The multiple of 8 that Keras takes."""
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


class Conv(nn.Sequential):
    """Convolution, BatchNorm and perhaps ReLU6, padded as Keras pads with stride 2."""

    def __init__(self, names: tuple[str, str], i: int, o: int, k: int, **how: Any) -> None:
        stride, groups = how.get("stride", 1), how.get("groups", 1)
        pad = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.ZeroPad2d(k // 2)
        conv = nn.Conv2d(i, o, k, stride, groups=groups, bias=False)
        norm = nn.BatchNorm2d(o, eps=EPSILON)
        super().__init__(pad, conv, norm, nn.ReLU6() if how.get("act", True) else nn.Identity())
        self.names = names


class Block(nn.Module):
    """An inverted residual."""

    def __init__(self, number: int, i: int, o: int, expansion: int, stride: int) -> None:
        super().__init__()
        name = f"block_{number}" if number else "expanded_conv"
        wide, layers = i * expansion, []
        if number:
            layers.append(Conv((f"{name}_expand", f"{name}_expand_BN"), i, wide, 1))
        named = (f"{name}_depthwise", f"{name}_depthwise_BN")
        layers.append(Conv(named, wide, wide, 3, stride=stride, groups=wide))
        layers.append(Conv((f"{name}_project", f"{name}_project_BN"), wide, o, 1, act=False))
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and i == o

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layers(x)
        return x + out if self.adds else out


def backbone(weights: Path) -> nn.Sequential:
    """From RGB (n, 3, size, size) in 0-255 to features (n, 1280), with Keras's weights."""
    width = channels(32 * ALPHA)
    layers: list[nn.Module] = [Conv(("Conv1", "bn_Conv1"), 3, width, 3, stride=2)]
    number = 0
    for expansion, out, repeats, stride in BLOCKS:
        for repeat in range(repeats):
            wide = channels(out * ALPHA)
            layers.append(Block(number, width, wide, expansion, stride if not repeat else 1))
            width, number = wide, number + 1
    layers.append(Conv(("Conv_1", "Conv_1_bn"), width, 1280, 1))
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with h5py.File(weights) as file, torch.no_grad():
        for part in network.modules():
            if isinstance(part, Conv):
                _load(file, part)
    return network


def _load(file: h5py.File, part: Conv) -> None:
    def of(layer: str) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        file[layer].visititems(
            lambda name, item: (
                found.__setitem__(name.split("/")[-1].split(":")[0], item[()])
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
        return found

    conv, norm = part[1], part[2]
    [kernel] = of(part.names[0]).values()
    axes = (2, 3, 0, 1) if conv.groups > 1 else (3, 2, 0, 1)
    conv.weight.copy_(torch.from_numpy(kernel.transpose(axes).copy()))
    values = of(part.names[1])
    norm.weight.copy_(torch.from_numpy(values["gamma"]))
    norm.bias.copy_(torch.from_numpy(values["beta"]))
    norm.running_mean.copy_(torch.from_numpy(values["moving_mean"]))
    norm.running_var.copy_(torch.from_numpy(values["moving_variance"]))


class Photos(torch.utils.data.Dataset):
    """Decoded whenever one is asked for."""

    def __init__(self, items: list[tuple[Path, int]], size: int) -> None:
        self.items, self.size = items, size

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        path, label = self.items[i]
        with Image.open(path) as photo:
            small = photo.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(small)).permute(2, 0, 1), label


def main() -> None:
    """Train, evaluate the three splits, write torch.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", choices=("head", "features", "full"), required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    torch.manual_seed(1)
    names = sorted(p.name for p in (given.folder / "train").iterdir())
    every = [
        (photo, label)
        for label, name in enumerate(names)
        for photo in sorted((given.folder / "train" / name).iterdir())
    ]
    order = np.random.default_rng(1).permutation(len(every))
    held = int(0.15 * len(every))
    splits = {
        "train": [every[i] for i in order[held:]],
        "val": [every[i] for i in order[:held]],
        "test": [
            (photo, label)
            for label, name in enumerate(names)
            for photo in sorted((given.folder / "test" / name).iterdir())
        ],
    }

    def loader(split: str, shuffle: bool = False) -> torch.utils.data.DataLoader:
        photos = Photos(splits[split], given.size)
        return torch.utils.data.DataLoader(photos, given.batch, shuffle=shuffle, num_workers=2)

    lower = backbone(given.weights).eval()
    head = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, len(names)))

    def scaled(x: torch.Tensor) -> torch.Tensor:
        return x.float() / 127.5 - 1

    def features(split: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
        with torch.no_grad():
            return [(lower(scaled(x)), y) for x, y in loader(split)]

    cached = given.work == "features"
    kept = {split: features(split) for split in splits} if cached else {}

    def batches(split: str, shuffle: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if not cached:
            yield from loader(split, shuffle)
            return
        x, y = (torch.cat(part) for part in zip(*kept[split], strict=True))
        rows = torch.randperm(len(y)) if shuffle else torch.arange(len(y))
        for some in rows.split(given.batch):
            yield x[some], y[some]

    def logits(x: torch.Tensor) -> torch.Tensor:
        if cached:
            return head(x)
        with torch.set_grad_enabled(given.work == "full" and torch.is_grad_enabled()):
            found = lower(scaled(x))
        return head(found)

    def accuracy(split: str) -> float:
        head.eval()
        with torch.no_grad():
            hits = [(logits(x).argmax(1) == y).float() for x, y in batches(split, False)]
        head.train()
        return float(torch.cat(hits).mean())

    learns = [*head.parameters(), *(lower.parameters() if given.work == "full" else ())]
    optimizer = torch.optim.Adam(learns, given.rate, eps=1e-7)
    began = time.perf_counter()
    for epoch in range(given.epochs):
        for x, y in batches("train", True):
            optimizer.zero_grad()
            functional.cross_entropy(logits(x), y).backward()
            optimizer.step()
        print(epoch, accuracy("val"), flush=True)
    found = {
        "train_seconds": time.perf_counter() - began,
        **{f"{split}_accuracy": accuracy(split) for split in splits},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    torch.save((lower.state_dict(), head.state_dict()), "model.pt")
    Path("torch.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()

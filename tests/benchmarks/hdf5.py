"""How fast images come out of compressed HDF5 that no cache has room for.

    python tests/benchmarks/hdf5.py [--images 20000]

A file of random patches of 96 px in PatchCamelyon's layout, chunks of 32 images, gzip. Read singly
at random, from the first to the last, and as an epoch of training asks for them: in batches of 64
in the order of tlui's epoch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from machine import machine

from tlui.data.sources.hdf5 import HDF5Images
from tlui.trainer.augment import order

SIDE, CHUNK, BATCH = 96, 32, 64


def write(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    shape, chunks = (count, SIDE, SIDE, 3), (CHUNK, SIDE, SIDE, 3)
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x", shape, np.uint8, chunks=chunks, compression="gzip")
        for start in range(0, count, 1024):
            many = min(1024, count - start)
            coarse = rng.integers(0, 256, (many, SIDE // 8, SIDE // 8, 3), np.uint8)
            fine = rng.integers(0, 16, (many, SIDE, SIDE, 3), np.uint8)
            x[start : start + many] = coarse.repeat(8, 1).repeat(8, 2) // 2 + fine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "train_x.h5"
        write(path, count)
        print(machine("h5py"), f"{count:,} images, {path.stat().st_size / 1e6:.0f} MB")
        shape = (count, SIDE, SIDE, 3)
        rng = np.random.default_rng(1)
        pool = HDF5Images(path, "x", shape, CHUNK)
        few = rng.permutation(count)[: count // 20]
        began = time.perf_counter()
        for item in few:
            pool.read(int(item))
        told = {"singly at random": len(few) / (time.perf_counter() - began)}
        for what, positions in (
            ("first to last", np.arange(count)),
            ("as an epoch asks", order(0, 1, count, np.arange(count) // pool.together)),
        ):
            pool = HDF5Images(path, "x", shape, CHUNK)
            began = time.perf_counter()
            for start in range(0, count, BATCH):
                pool.read_many(positions[start : start + BATCH])
            told[what] = count / (time.perf_counter() - began)
        for what, speed in told.items():
            print(f"{what:18} {speed:7,.0f} images/s  {speed / told['first to last']:.2f}")


if __name__ == "__main__":
    main()

"""Checkpoints in a loop until killed: FOLDER; prints the number of each that is written."""

import sys
from pathlib import Path

import numpy as np

from tlui.trainer.checkpoint import Checkpoint, Checkpoints

checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.sweep()
found, notes = checkpoints.load()
assert not notes, notes
number = found.state["number"] if found else 0
print("ready", flush=True)
rest = {"backbone/kernel": np.zeros(900_000, np.float32)}
while True:
    number += 1
    arrays = {f"head/{i}": np.full(60_000, number, np.float32) for i in range(8)}
    checkpoints.remember_best(Checkpoint({**rest, **arrays}, {"number": number}))
    if number % 3:  # whole the first time, then only what moves
        checkpoints.write_behind(Checkpoint({**rest, **arrays}, {"number": number}), rest.keys())
        checkpoints.settle()
    else:
        checkpoints.write(Checkpoint({**rest, **arrays}, {"number": number}))
    print(number, flush=True)

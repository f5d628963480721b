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
while True:
    number += 1
    arrays = {f"head/{i}": np.full(60_000, number, np.float32) for i in range(8)}
    checkpoints.remember_best(Checkpoint(arrays, {"number": number}))
    checkpoints.write(Checkpoint(arrays, {"number": number}))
    print(number, flush=True)

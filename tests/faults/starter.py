"""Somebody alive: starts what fits, over and over, until nothing waits and nothing runs.

HOME [killable]: prints how often it started a run and how often it failed.
"""

import sys
import time
from pathlib import Path

from tlui.runs.directory import Home
from tlui.scheduler import order
from tlui.scheduler.claims import Claims
from tlui.scheduler.start import start

TRAINER = (sys.executable, "-S", str(Path(__file__).parents[1] / "scheduler" / "stand_in.py"))

home = Home(Path(sys.argv[1]))
started = 0
while order.entries(home) or Claims(home).runs():
    started += len(start(home, trainer=TRAINER))
    time.sleep(0.02)
print(started)

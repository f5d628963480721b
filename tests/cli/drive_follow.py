"""`tlui run` with a stand-in trainer, as a process: HOME VIEW [owned|watching] NAME…

NAME is the name of a new run, or the id of one that exists; VIEW is live, plain or json.
"""

import sys
from pathlib import Path

from tlui.cli.follow import follow
from tlui.cli.live import LiveView
from tlui.cli.plain import JsonView, PlainView
from tlui.runs.directory import Home
from tlui.runs.status import RUN_ID
from tlui.scheduler import order
from tlui.scheduler.order import Wishes

STAND_IN = Path(__file__).parents[1] / "scheduler" / "stand_in.py"


def main() -> int:
    home = Home.at(sys.argv[1])
    views = {"live": LiveView, "plain": PlainView, "json": JsonView}
    runs = []
    for name in sys.argv[4:]:
        if RUN_ID.fullmatch(name):
            runs.append(home.run(name))
            continue
        config = {"phase.0.epochs": 3}
        runs.append(home.create("", {"name": name, "preset": "p", "config": config}))
        order.append(home, [runs[-1].id], Wishes())
    view = views[sys.argv[2]]()
    owned = sys.argv[3] == "owned"
    return follow(home, runs, view, owned=owned, trainer=(sys.executable, str(STAND_IN)))


if __name__ == "__main__":
    sys.exit(main())

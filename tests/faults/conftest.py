"""A queue with stand-in trainers in real processes; nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scheduler.bench import Bench, opened

from tlui.runs.directory import Home


@pytest.fixture
def bench(home: Home) -> Iterator[Bench]:
    with opened(home) as found:
        yield found

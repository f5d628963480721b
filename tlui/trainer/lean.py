"""Importing TensorFlow, Keras and scikit-learn without what they would bring along for nothing."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

UNUSED = ("cv2", "pandas", "scipy", "sklearn")
"""What Keras and TensorFlow import where it is installed, for parts of theirs that are not used
here, and do without where it is not. It is a third of the time of their import."""


@contextmanager
def lean_import(unused: Sequence[str] = UNUSED) -> Iterator[None]:
    """For the length of a `with`, what is `unused` seems not to be installed, and no garbage is
    looked for, then or ever, among what is there: imports leave none worth it."""
    absent = [name for name in unused if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: cannot be imported
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        gc.freeze()
        if collecting:
            gc.enable()

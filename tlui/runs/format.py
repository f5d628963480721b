"""Numbers, durations and states as every screen and table shows them: pure functions.

Missing is `–`, not finite is `nan`. With `ascii` nothing but ASCII comes out. No caller formats
a metric by itself, so the app, the tables and the plain output agree to the digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tlui.recipe.number import short_number
from tlui.runs.status import GLYPHS

Number = float | int | None


def missing(ascii: bool = False) -> str:
    """What stands where there is no value."""
    return "-" if ascii else "–"


def metric(value: Number, ascii: bool = False) -> str:
    """A share of one: `.9124`, `1.000`, `.0000`; anything outside 0..1 like a loss.

    >>> metric(0.91236), metric(0.99999), metric(None, ascii=True), metric(float("nan"))
    ('.9124', '1.000', '-', 'nan')
    """
    if value is None:
        return missing(ascii)
    if not math.isfinite(value):
        return "nan"
    if not 0 <= value <= 1:
        return loss(value, ascii)
    text = f"{value:.4f}"
    return text[1:] if text[0] == "0" else "1.000"


def loss(value: Number, ascii: bool = False) -> str:
    """Four significant digits: `.4012`, `1.600`, `12.35`, `.001234`, `4.321e-5`, `1.235e6`.

    >>> loss(0.40119), loss(1.6), loss(0.0), loss(-2.5)
    ('.4012', '1.600', '.0000', '-2.500')
    """
    if value is None:
        return missing(ascii)
    if not math.isfinite(value):
        return "nan"
    if value == 0:
        return ".0000"
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    power = int(exponent)
    if power < -3 or power > 4:
        return f"{mantissa}e{power}"
    text = f"{float(f'{value:.3e}'):.{max(3 - power, 0)}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def rate(value: Number, ascii: bool = False) -> str:
    """A learning rate, at most three significant digits: `1e-4`, `5e-7`, `2.5e-4`, `0.01`, `1`.

    >>> rate(1e-4), rate(0.00025), rate(0.01), rate(1.0)
    ('1e-4', '2.5e-4', '0.01', '1')
    """
    if value is None:
        return missing(ascii)
    return short_number(float(f"{value:.3g}"))


def number(value: float, ascii: bool = False) -> str:
    """A setting that is a number, at most ten significant digits: `1e-5`, `0.2`, `32`."""
    return short_number(value if isinstance(value, int) else float(f"{value:.10g}"))


def duration(seconds: Number, ascii: bool = False) -> str:
    """`35ms`, `4.9s`, `42s`, `3m10`, `1h24`, `2d03` (days and hours).

    >>> duration(0.9), duration(42.4), duration(190), duration(5040), duration(9.96)
    ('0.9s', '42s', '3m10', '1h24', '10s')
    """
    if seconds is None:
        return missing(ascii)
    if not math.isfinite(seconds):
        return "nan"
    sign = "-" if seconds < 0 else ""
    seconds = abs(seconds)
    if 0 < seconds < 0.095:
        return f"{sign}{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{sign}{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{sign}{whole}s"
    if whole < 3600:
        return f"{sign}{whole // 60}m{whole % 60:02d}"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{sign}{minutes // 60}h{minutes % 60:02d}"
    hours = round(seconds / 3600)
    return f"{sign}{hours // 24}d{hours % 24:02d}"


def count(value: Number, ascii: bool = False) -> str:
    """`13,050` below a hundred thousand, then three digits: `422k`, `2.26M`, `1.20B`.

    >>> count(13050), count(422_000), count(2_257_984), count(7)
    ('13,050', '422k', '2.26M', '7')
    """
    if value is None:
        return missing(ascii)
    if not math.isfinite(value):
        return "nan"
    if abs(value) < 100_000:
        return f"{value:,.0f}"
    scaled, sign = value / 1e3, "k"
    for larger in ("M", "B", "T"):
        if abs(scaled) < 999.5:
            break
        scaled, sign = scaled / 1e3, larger
    digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
    return f"{scaled:.{digits}f}{sign}"


def exact(value: Number, ascii: bool = False) -> str:
    """Every digit: `2,265,670`."""
    return missing(ascii) if value is None else f"{value:,.0f}"


def skipped(files: int, ascii: bool = False) -> str:
    """Files a run did without: images it could not decode, and what is no image."""
    return f"{exact(files, ascii)} file{'' if files == 1 else 's'} skipped"


def memory(megabytes: Number, ascii: bool = False) -> str:
    """MiB for people: `812M`, `3.1G`, `24G`."""
    if megabytes is None:
        return missing(ascii)
    if not math.isfinite(megabytes):
        return "nan"
    if megabytes < 999.5:
        return f"{megabytes:.0f}M"
    gigabytes = megabytes / 1024
    return f"{gigabytes:.1f}G" if gigabytes < 9.95 else f"{gigabytes:.0f}G"


def size(count: int) -> str:
    """Bytes: `512 B`, `43.9 MB`, `1.2 GB`."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def speed(images_per_second: Number, ascii: bool = False) -> str:
    """`148 img/s`, `3.2 img/s`."""
    if images_per_second is None:
        return missing(ascii)
    if not math.isfinite(images_per_second):
        return "nan"
    digits = 1 if images_per_second < 9.95 else 0
    return f"{images_per_second:,.{digits}f} img/s"


def moment(time: Number, ascii: bool = False, seconds: bool = False) -> str:
    """A Unix time on this host's clock: `2026-03-01 14:05`."""
    if time is None:
        return missing(ascii)
    from datetime import datetime

    try:
        when = datetime.fromtimestamp(time)
    except (ValueError, OverflowError, OSError):
        return "nan"
    return when.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def progress(epoch: int | None, epochs: int | None, ascii: bool = False) -> str:
    """`6/10`."""
    return f"{epoch or 0}/{epochs}" if epochs else missing(ascii)


def glyph(state: str, ascii: bool = False) -> str:
    """The sign of a state."""
    return GLYPHS.get(state, ("?", "?"))[ascii]


def state_word(state: str, ascii: bool = False) -> str:
    """Glyph and word: `● running`; never colour alone."""
    return f"{glyph(state, ascii)} {state}"


def named(name: str, value: Number, ascii: bool = False) -> str:
    """A value under the format its metric's name asks for (`val_loss`, `train_seconds` …)."""
    if name.endswith("loss"):
        return loss(value, ascii)
    if name == "lr" or name.endswith((".initial", ".end", ".peak", ".minimum")):
        return rate(value, ascii)
    if name.endswith("seconds"):
        return duration(value, ascii)
    if name.endswith("parameters") or name in ("images", "support", "epoch", "epochs", "step"):
        return count(value, ascii)
    if name.endswith("_mb"):
        return memory(value, ascii)
    if name == "images_per_second":
        return speed(value, ascii)
    return metric(value, ascii)


_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
_ASCII_LEVELS = "_.-~^"


def sparkline(values: Sequence[Number], cells: int = 5, ascii: bool = False) -> str:
    """A series in `cells` characters: braille, two points a cell, or `_.-~^`.

    Args:
        values: Oldest first; None and non-finite leave a gap. Longer series are thinned.
        cells: Width; a short series takes fewer and is not padded.

    The range is that of the values; a flat line lies at the bottom.
    """
    points = thin(values, cells if ascii else cells * 2)
    finite = [v for v in points if v is not None and math.isfinite(v)]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)

    def level(value: Number, levels: int) -> int | None:
        if value is None or not math.isfinite(value):
            return None
        return round((value - low) / span * (levels - 1)) if span > 0 else 0

    if ascii:
        found = (level(v, len(_ASCII_LEVELS)) for v in points)
        return "".join(" " if at is None else _ASCII_LEVELS[at] for at in found)
    line = ""
    for start in range(0, len(points), 2):
        bits = 0
        for side, value in enumerate(points[start : start + 2]):
            at = level(value, 4)
            bits |= 0 if at is None else _DOTS[side][at]
        line += chr(0x2800 + bits) if bits else " "
    return line


def thin(values: Sequence[Number], most: int) -> list[Number]:
    """At most `most` of the values, evenly spaced, first and last kept."""
    if len(values) <= most or most < 2:
        return list(values[-most:]) if most > 0 else []
    last = len(values) - 1
    return [values[round(i * last / (most - 1))] for i in range(most)]

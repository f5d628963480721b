"""The sign of each series: on its curve and in its legend where there is no colour.

None of them is the sign of a state, beside which they stand in tables.
"""

from __future__ import annotations

GLYPHS = {"braille": "◆▲▼◇△▽★☆", "half": "◆▲▼◇△▽★☆", "ascii": "ABCDEFGH"}

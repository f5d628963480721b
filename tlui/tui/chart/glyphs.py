"""The sign of each series: on its curve and in its legend where there is no colour."""

from __future__ import annotations

GLYPHS = {"braille": "●▲■◆○△□◇", "half": "●▲■◆○△□◇", "ascii": "ox+*#@%&"}

"""The tables of ``docs/telemetry.md``, made from what the code declares.

``python -m tests.operations.telemetry_table`` writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flask_cairnloop.operations.metrics import METRICS
from flask_cairnloop.signals import SIGNALS
from flask_cairnloop.telemetry import SPANS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "telemetry.md"
BLOCK = re.compile(r"(?<=<!-- telemetry: begin -->\n).*?(?=<!-- telemetry: end -->)", re.DOTALL)


def tables() -> str:
    """Every signal, span and figure with what it carries."""
    rows = [
        *(("signal", kind.name, kind.payload, kind.meaning) for kind in SIGNALS.values()),
        *(("span", kind.name, kind.attributes, kind.meaning) for kind in SPANS),
        *(("figure", metric.name, metric.labels, metric.meaning) for metric in METRICS),
    ]
    lines = [f"| {what} | `{name}` | {_names(carries)} | {meaning} |" for what, name, carries, meaning in rows]
    return "\n".join(["| Kind | Name | Carries | Meaning |", "| --- | --- | --- | --- |", *lines, ""])


def written() -> str:
    found = BLOCK.search(DOCUMENT.read_text())
    return found[0] if found else ""


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


if __name__ == "__main__":
    DOCUMENT.write_text(BLOCK.sub(lambda _: tables(), DOCUMENT.read_text()))

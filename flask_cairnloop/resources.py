"""Where templates and static files lie: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from flask import url_for


def folder(name: str) -> Path:
    """The absolute path of ``templates`` or ``static``."""
    inside = Path(__file__).resolve().parent / name
    return inside if inside.is_dir() else inside.parent.parent / name


@lru_cache(maxsize=64)
def asset_mark(name: str) -> str:
    """A mark of a static file's content, for its address: a new one is fetched."""
    path = folder("static") / "cairnloop" / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10]


def asset(name: str) -> str:
    """Address of a static file, with a mark of its content so that a new one is fetched."""
    return url_for("cairnloop.static", filename=name, v=asset_mark(name))

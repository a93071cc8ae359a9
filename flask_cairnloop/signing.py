"""The keys that links and cookies of ours are signed with: the app's own, so that a host changes them in one place."""

from __future__ import annotations

from flask_cairnloop.context import current


def keys() -> list[bytes]:
    """The app's keys, oldest first, as itsdangerous takes them; none where the app has none."""
    app = current().app
    known = (*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key)
    return [key.encode() if isinstance(key, str) else key for key in known if key]

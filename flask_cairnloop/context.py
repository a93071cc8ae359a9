"""The Cairnloop of the current app: what rooms and edges ask for, without knowing how it was put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import current_app

from flask_cairnloop.errors import ConfigurationError

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop


def current() -> Cairnloop:
    """The extension object of the current app. Needs an app context.

    Raises:
        ConfigurationError: the app has none.
    """
    found = current_app.extensions.get("cairnloop")
    if found is None:
        raise ConfigurationError("This app has no Cairnloop. Call Cairnloop(app) first.")
    return cast("Cairnloop", found)

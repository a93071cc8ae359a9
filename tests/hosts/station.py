"""Two apps in one process, told apart by their paths."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from tests.support.host import make_host


def create_app() -> Callable[..., Iterable[bytes]]:
    """Both desks of the JSON object in ``STATION_DESKS``: trains below ``/rail``, ships everywhere else."""
    apps = {
        name: make_host(os.environ["TEST_DATABASE_URL"], os.environ["TEST_REDIS_URL"], **keys)
        for name, keys in json.loads(os.environ["STATION_DESKS"]).items()
    }

    def dispatch(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        app = apps["trains" if environ["PATH_INFO"].startswith("/rail/") else "ships"]
        return app(environ, start_response)

    return dispatch

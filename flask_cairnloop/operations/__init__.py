"""For the one on call: is it alive, is it ready, what is wrong and what to do about it, in figures and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Blueprint


def register(blueprint: Blueprint) -> None:
    """Mount ``/health``, ``/ready`` and ``/metrics``. They need no sign-in and say nothing about anybody."""
    from flask_cairnloop.operations import views

    views.register(blueprint)

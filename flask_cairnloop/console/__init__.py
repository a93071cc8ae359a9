"""The operator's pages: one module a screen. Views parse, call one service, commit once and render."""

from __future__ import annotations

from flask import Blueprint


def register(blueprint: Blueprint) -> None:
    """Mount every page of the console on the extension's blueprint."""
    from flask_cairnloop.console import (
        analytics,
        approvals,
        audit,
        conversation,
        files,
        gaps,
        home,
        inbox,
        knowledge,
        knowledge_board,
        macros,
        mentions,
        outbound,
        palette,
        preferences,
        rendering,
        review_editing,
        reviews,
        service_levels,
        settings,
        studio,
        tokens,
        triage,
    )

    rendering.register(blueprint)
    for screen in (
        home,
        inbox,
        conversation,
        triage,
        approvals,
        outbound,
        knowledge,
        gaps,
        reviews,
        review_editing,
        studio,
        files,
        analytics,
        knowledge_board,
        audit,
        settings,
        tokens,
        service_levels,
        preferences,
        palette,
        macros,
        mentions,
    ):
        screen.register(blueprint)


__all__ = ["register"]

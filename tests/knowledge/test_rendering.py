"""Markdown becomes HTML that cannot harm its reader."""

from __future__ import annotations

import pytest

from flask_cairnloop.knowledge.rendering import BODY_LIMIT, render


def test_structure_is_kept() -> None:
    html = render("## Plans\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n3. one\n4. two\n\n`code` and ~~old~~")
    for part in ("<h2>Plans</h2>", "<td>1</td>", '<ol start="3">', "<code>code</code>", "<s>old</s>"):
        assert part in html


@pytest.mark.parametrize(
    "markdown",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](java\tscript:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "![x](https://tracker.example/pixel.gif)",
        '[x](https://a.example "\\" onmouseover=alert(1) \\"")',
    ],
)
def test_nothing_runs_and_nothing_is_loaded(markdown: str) -> None:
    html = render(markdown).lower()
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert 'href="data' not in html
    assert ' onmouseover="' not in html


def test_links_do_not_vouch_for_where_they_lead() -> None:
    assert 'rel="noopener noreferrer nofollow"' in render("[x](https://a.example)")


def test_an_image_is_told_by_its_description() -> None:
    assert "the <b>map" not in render("![the <b>map](x.png)")
    assert "the &lt;b&gt;map" in render("![the <b>map](x.png)")


def test_what_is_too_long_is_shown_as_it_is() -> None:
    assert render("<b>" * BODY_LIMIT).startswith("<pre>&lt;b&gt;")

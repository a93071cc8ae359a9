"""The project keeps its own promises: pages without inline code, documents that name what exists."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from flask import Flask

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = sorted([*(ROOT / "templates").rglob("*.html"), *(ROOT / "example_app").rglob("*.html")])
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SCRIPTS = ("bin/demo", "bin/test", "bin/screenshots", ".ci/run")

# What the content security policy forbids, or htmx would need `eval` for.
FORBIDDEN = {
    "an inline script": re.compile(r"<script(?![^>]*\bsrc=)[^>]*>", re.IGNORECASE),
    "an inline style sheet": re.compile(r"<style\b", re.IGNORECASE),
    "a style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.IGNORECASE),
    "an event handler": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "hx-on": re.compile(r"\bhx-on\b"),
    "hx-live": re.compile(r"\bhx-live\b"),
    "a js: expression": re.compile(r"""["'](?:js|javascript):""", re.IGNORECASE),
    "a trigger filter": re.compile(r"""hx-trigger(?::[a-z]+)?\s*=\s*["'][^"']*\[""", re.IGNORECASE),
    "escaping switched off": re.compile(r"\{%-?\s*autoescape\s+false|\|\s*safe\b"),
    "another site's file": re.compile(
        r"""<(?:script|link|img)[^>]*(?:src|href)\s*=\s*["'](?:https?:)?//""", re.IGNORECASE
    ),
}
# The one place where our own constants, the drawings of the icons, go into a page unescaped.
ICON_PATHS = """{{ (paths[name] if name in paths else '<circle cx="10" cy="10" r="2"/>')|safe }}"""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_templates_need_no_exception_from_the_content_security_policy(template: Path) -> None:
    text = re.sub(r"\{#.*?#\}", "", template.read_text(), flags=re.DOTALL)
    text = text.replace(ICON_PATHS, "")
    assert [name for name, pattern in FORBIDDEN.items() if pattern.search(text)] == []


def test_colours_stand_in_tokens_only() -> None:
    """A literal colour in a rule would not follow the theme; token definitions are where colours live."""
    colour = re.compile(r"#[0-9a-f]{3,8}\b|\b(?:rgba?|hsla?|oklch)\((?!var\()", re.IGNORECASE)
    sheets = [path for path in (ROOT / "static").rglob("*.css") if "vendor" not in path.parts]
    found = [
        f"{sheet.relative_to(ROOT)}:{number}: {line.strip()}"
        for sheet in sheets
        for number, line in enumerate(sheet.read_text().splitlines(), 1)
        if colour.search(line) and not re.search(r"--[\w-]+\s*:", line) and "url(" not in line
    ]
    assert found == []


def test_the_customers_pages_have_the_consoles_colours() -> None:
    """Their sheet stands alone, so that it is small: what it takes from the other one is held to it here."""

    def colours(sheet: str) -> list[dict[str, str]]:
        text = (ROOT / "static/cairnloop" / sheet).read_text()
        blocks = re.findall(r"\{\s*color-scheme: (?:light|dark);([^}]*)\}", text)[:2]
        return [dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in blocks]

    for own, theirs in zip(colours("public/public.css"), colours("console/console.css"), strict=True):
        assert len(own) > 10
        assert own.items() <= theirs.items()


def test_a_chosen_dark_theme_is_the_systems_dark_theme() -> None:
    """CSS cannot share a block between a media query and a selector, so the two copies are held together here."""
    sheet = (ROOT / "static/cairnloop/console/console.css").read_text()
    blocks = re.findall(r"(?:\n|  ):?[^\n{}]*\{\s*color-scheme: dark;([^}]*)\}", sheet)
    tokens = [sorted(re.findall(r"(--[\w-]+): *([^;]+);", block)) for block in blocks]
    assert len(tokens) == 2
    assert len(tokens[0]) > 40
    assert tokens[0] == tokens[1]


def test_scripts_are_executable_and_parse() -> None:
    for script in SCRIPTS:
        path = ROOT / script
        assert path.stat().st_mode & 0o111, script
        if "bash" in path.read_text().splitlines()[0]:
            subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)|<img[^>]*src=\"([^\"]+)\"", document.read_text())
    local = [a or b for a, b in targets if not re.match(r"[a-z]+:", a or b)]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_commands_of_documents_exist(app: Flask) -> None:
    """Every ``flask cairnloop …`` and ``bin/…`` that a document tells to run."""
    group = app.cli.commands["cairnloop"]
    missing = []
    for document in DOCUMENTS:
        text = document.read_text()
        for words in re.findall(r"flask(?: --app \S+)? cairnloop ((?:[a-z-]+ ?){1,2})", text):
            command = group
            for word in words.split():
                commands = getattr(command, "commands", None)
                if commands is None:
                    break
                if word not in commands:
                    missing.append(f"{document.name}: flask cairnloop {words}")
                    break
                command = commands[word]
        missing += [
            f"{document.name}: {script}"
            for script in re.findall(r"(?<![\w/.])(bin/[a-z]+)\b", text)
            if not (ROOT / script).exists()
        ]
    assert missing == []


def test_configuration_keys_of_documents_exist() -> None:
    from flask_cairnloop.config import KEYS, PREFIX

    known = {PREFIX + key.name for key in KEYS}
    elsewhere = re.compile(r"CAIRNLOOP_TEST_[A-Z_]+")
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"\bCAIRNLOOP_[A-Z][A-Z_]*[A-Z]\b", document.read_text())
        if not elsewhere.fullmatch(name)
    }
    assert named - known == set()


def test_host_code_is_reached_through_hooks_only() -> None:
    """The settings that hold a host's callables are read by ``hooks.py`` and nobody else."""
    from flask_cairnloop.config import KEYS

    callables = "|".join(key.name.lower() for key in KEYS if key.kind in ("hook", "object"))
    reads = re.compile(rf"settings\.({callables})\b")
    found = [
        f"{path.relative_to(ROOT)}: {match}"
        for path in (ROOT / "flask_cairnloop").rglob("*.py")
        if path.name != "hooks.py"
        for match in reads.findall(path.read_text())
    ]
    assert found == []


def test_readme_opens_with_the_two_commands_and_a_picture() -> None:
    opening = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "bin/demo" in opening
    assert "bin/test" in opening
    assert re.search(r"docs/images/\w[\w-]*\.png", opening)


def test_changelog_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(rf"^## .*{re.escape(version)}|^## Unreleased", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_pictures_of_the_documentation_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").glob("*.png"))
    assert len(pictures) >= 6
    assert [picture.name for picture in pictures if picture.stat().st_size > 250_000] == []

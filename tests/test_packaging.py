"""The built distributions: what they carry, and that the wheel works where only its declared dependencies are."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

# Run from elsewhere, by the new environment's Python: argv holds the database's URL.
RENDER = """
import sys
from pathlib import Path
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
import flask_cairnloop
from flask_cairnloop import Cairnloop, Operator

inside = Path(sys.prefix).resolve()
assert inside in Path(flask_cairnloop.__file__).resolve().parents, flask_cairnloop.__file__
app = Flask(__name__)
app.config.update(
    SECRET_KEY="a secret for tests only",
    SQLALCHEMY_DATABASE_URI=sys.argv[1],
    CAIRNLOOP_OPERATOR_LOADER=lambda: Operator("mina", "Mina Keller"),
)
SQLAlchemy(app)
Cairnloop(app)
for folder in (app.blueprints["cairnloop"].template_folder, app.blueprints["cairnloop"].static_folder):
    assert inside in Path(folder).resolve().parents, folder
client = app.test_client()
page = client.get("/support/")
assert page.status_code == 200, page.text
static = next(Path(app.blueprints["cairnloop"].static_folder).rglob("*.css"))
name = static.relative_to(app.blueprints["cairnloop"].static_folder)
with client.get(f"/support/static/{name}") as answer:
    assert answer.status_code == 200 and answer.data == static.read_bytes()
print(len(page.data), name)
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel built from it."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT], check=True, capture_output=True
    )
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def test_the_wheel_carries_templates_static_files_and_types_inside_the_package(
    distributions: tuple[Path, Path],
) -> None:
    names = zipfile.ZipFile(distributions[1]).namelist()
    expected = {
        f"flask_cairnloop/{path.relative_to(ROOT)}"
        for folder in ("templates", "static")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    }
    assert expected <= set(names)
    assert "flask_cairnloop/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"flask_cairnloop"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_can_be_tested(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/conftest.py", "example_app/servers.py"} <= names


def test_the_wheel_renders_a_page_in_an_environment_of_its_declared_dependencies(
    distributions: tuple[Path, Path], fresh_database_url: str, tmp_path: Path
) -> None:
    python = empty_environment(tmp_path / "venv", distributions[1])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = elsewhere / "render.py"
    script.write_text(RENDER)
    done = subprocess.run(
        [python, "-P", script, fresh_database_url], cwd=elsewhere, env={}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def empty_environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel and exactly what its metadata asks for, linked from this environment.

    Linked and not downloaded: quick, and it still fails when a dependency is used but not declared.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel],
        check=True,
        capture_output=True,
    )
    packages = next(folder.glob("lib/python*/site-packages"))
    for distribution in declared_dependencies(packages):
        for file in distribution.files or ():
            top = Path(file.parts[0])
            link = packages / top
            if top.name not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(str(top)))).resolve())
    return python


def declared_dependencies(packages: Path) -> list[metadata.Distribution]:
    """What the installed wheel requires, and what that requires, extras included."""
    wheel = next(iter(metadata.distributions(name="flask-cairnloop", path=[str(packages)])))
    found: dict[tuple[str, str], metadata.Distribution] = {}
    open_ends = [(wheel, "")]
    while open_ends:
        distribution, extra = open_ends.pop()
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            for wanted in ("", *requirement.extras):
                key = (requirement.name.lower(), wanted)
                if key not in found:
                    found[key] = metadata.distribution(requirement.name)
                    open_ends.append((found[key], wanted))
    return list(found.values())

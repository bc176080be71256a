"""Tests of the documentation site: it builds without warnings and network, and its generated parts are complete."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from raysearch.commands.cli import app
from raysearch.report.page import PANELS
from raysearch.space.parameters import WORDS
from raysearch.space.settings import SECTIONS, reference_model
from tests.docs.blocks import README, README_ZH, REPOSITORY
from trainables.config import Config
from trainables.openseg import Openseg

REFERENCE: dict[str, list[type[BaseModel]]] = {
    "commands": [],
    "space-file": [*SECTIONS.values(), *WORDS.values(), reference_model(Openseg())],
    "trial-config": [Config],
}
"""Models on each page that is generated from the code."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = ["-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_no_page_asks_another_server_for_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        tags = re.findall(r"<(?:link|script|img|iframe)\b[^>]*>", page.read_text(encoding="utf-8"))
        assert not [tag for tag in tags if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)], page


@pytest.mark.slow
def test_the_reference_holds_every_command_and_every_field(site: Path) -> None:
    pages = {name: (site / "reference" / f"{name}.html").read_text(encoding="utf-8") for name in REFERENCE}
    assert "generated:" not in "".join(pages.values())
    for name, _ in commands():
        assert f"raysearch {name}</code>" in pages["commands"]
    for page, given in REFERENCE.items():
        for model in given:
            assert [name for name, _ in values_of(model) if f"<code>{name}</code>" not in pages[page]] == []


def commands() -> Iterator[tuple[str, Any]]:
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        yield name, command
        yield from ((f"{name} {inner}", one) for inner, one in getattr(command, "commands", {}).items())


def values_of(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield every value in a model and in its sections."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            assert field.annotation.__doc__, f"{field.annotation.__name__} does not say what it is"
            yield from values_of(field.annotation)
        else:
            yield name, field


def test_every_command_and_option_says_what_it_is() -> None:
    silent = [name for name, command in commands() if not command.help]
    silent += [
        f"{name} {parameter.opts[0]}"
        for name, command in commands()
        for parameter in command.params
        if not parameter.help
    ]
    assert not silent


@pytest.mark.parametrize("model", [model for given in REFERENCE.values() for model in given])
def test_every_field_says_what_it_is(model: type[BaseModel]) -> None:
    assert model.__doc__
    assert [name for name, field in values_of(model) if not field.description] == []


def test_every_panel_of_the_report_is_explained() -> None:
    page = (REPOSITORY / "docs" / "how-to" / "report.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| ([A-Z][^|]+?) +\|", page, re.MULTILINE)
    assert {title for title, _ in PANELS} <= set(explained)


@pytest.mark.parametrize("page", [README, README_ZH], ids=lambda page: page.name)
def test_links_of_the_readme_lead_somewhere(page: Path) -> None:
    """The build of the site checks the links of its pages, but not those of the READMEs."""
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if "://" not in link and not (REPOSITORY / link).exists()] == []

"""The documents: links, pictures, the commands that they show, the site, and what the code names of them."""

import contextlib
import importlib
import io
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from conftest import ROOT

from fer_hailo.__main__ import COMMANDS
from tools import api_page, docs_site

PAGES = sorted(
    path
    for pattern in ("*.md", "*/*.md", "fer2013_keras_hailo/released*/*.md")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).parts[0].startswith((".", "site", "build", "tools"))
)
IN_DOCS = [path for path in PAGES if path.parent == ROOT / "docs"]
SHOWING = [ROOT / "README.md", ROOT / "alls" / "README.md", *IN_DOCS]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
SCRIPTS = {"convert_tflite": "convert", "compile_hef": "compile"}  # script: command
COMMAND = re.compile(
    rf"(?:python (?:-m fer_hailo\.)?|fer-hailo )({'|'.join((*SCRIPTS, *COMMANDS))})(?:\.py|\b)(.*)$"
)
NETWORK = "fer_hailo/training/networks/dan"


def each(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda path: str(path.relative_to(ROOT)))


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)


def shown(path: Path) -> list[str]:
    """The lines of a page's blocks of code, continued ones joined."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```|^ {4}(python .*?)$", text, flags=re.S | re.M)
    return "\n".join(fenced or indented for fenced, indented in blocks).replace("\\\n", " ").splitlines()


@cache
def anchors(path: Path) -> set[str]:
    """What #... may name in a page, by GitHub's rule: small letters, no punctuation, hyphens for blanks."""
    titles = re.findall(r"^#+ (.+)$", prose(path), flags=re.M)
    found = [re.sub(r"[^\w\- ]", "", LINK.sub(r"\2", title).lower()).replace(" ", "-") for title in titles]
    assert len(found) == len(set(found)), f"{path.name} has two headings of one name"
    assert not [name for name in found if "--" in name], f"{path.name}: the site writes one hyphen there"
    return set(found)


@each(PAGES)
def test_links_lead_somewhere_and_pictures_say_what_they_show(page):
    for picture, text, target in LINK.findall(prose(page)):
        assert len(text.strip()) > (9 if picture else 0), f"the text of {target} is {text!r}"
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        there = (page.parent / place).resolve() if place else page
        assert there.exists() and there.is_relative_to(ROOT), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}"


def test_anchors_are_those_of_headings(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Ada-DF's targets, `paired` seeds\n```\n# no heading\n```\n[a](b.md#c) ![x](y.png)\n")
    assert anchors(page) == {"ada-dfs-targets-paired-seeds"}
    assert LINK.findall(prose(page)) == [("", "a", "b.md#c"), ("!", "x", "y.png")]


@each(IN_DOCS)
def test_a_page_begins_with_its_title_and_what_the_reader_gets(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and lines[1] == "" and lines[2].startswith("You get: ")
    assert sum(line.startswith("# ") for line in prose(page).splitlines()) == 1
    shown = [line for line in lines if not line.startswith("<!-- ")]
    assert len(shown) <= 230, "split it by what readers want to do"


def listed(entries: list) -> list[str]:
    """The pages of mkdocs.yml's nav, in their order."""
    values = [value for entry in entries for value in entry.values()]
    return [page for value in values for page in (listed(value) if isinstance(value, list) else [value])]


def test_site_and_index_name_each_page_once():
    nav = listed(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    own = [page for page in nav if not page.startswith(docs_site.REST)]
    assert sorted(own) == sorted(page.name for page in IN_DOCS)
    assert sorted(set(nav) - set(own)) == sorted(docs_site.REST + name for name in docs_site.OUTSIDE)
    index = prose(ROOT / "docs" / "README.md").split("All pages")[1]
    assert ["README.md", *re.findall(r"\]\(([a-z-]+\.md)\)", index)] == own


@pytest.mark.parametrize(
    "page, link, on_the_site",
    [
        ("docs/board.md", "[a](running.md#cameras)", "[a](running.md#cameras)"),
        ("docs/board.md", "[a](#the-files)", "[a](#the-files)"),
        ("docs/board.md", "![a](run.jpg)", "![a](run.jpg)"),
        ("docs/board.md", "[a](../alls/README.md#x)", "[a](project/alls/README.md#x)"),
        ("docs/board.md", "[a](../run.py)", "a (`run.py`)"),
        ("docs/board.md", "[`run.py`](../run.py)", "`run.py`"),
        ("docs/board.md", f"[dan](../{NETWORK})", f"dan (`{NETWORK}`)"),
        ("alls/README.md", "[a](../docs/quantisation.md#x)", "[a](../../quantisation.md#x)"),
        ("CONTRIBUTING.md", "[a](README.md)", "a (`README.md`)"),
        ("CONTRIBUTING.md", "[a](docs/adding-a-network.md)", "[a](../adding-a-network.md)"),
    ],
)
def test_links_out_of_the_site_become_text(page, link, on_the_site):
    assert docs_site.translated(f"see {link}.", page) == f"see {on_the_site}."


@cache
def help_of(command: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        importlib.import_module(f"fer_hailo.commands.{command}").main(["--help"])
    return said.getvalue()


@each(SHOWING)
def test_options_in_shown_commands_exist(page):
    for line in shown(page):
        if match := COMMAND.search(line.split(" #")[0]):
            command = SCRIPTS.get(match[1], match[1])
            for flag in re.findall(r"(?<!\S)\[?(--[a-z0-9-]+)", match[2]):
                assert re.search(rf"(?<!\S)\[?{flag}\b(?!-)", help_of(command)), f"{flag} in: {line}"


def test_a_misspelt_option_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```\npython run.py photo.jpg \\\n    --detectr haar  # no --such option\n```\n")
    assert shown(page) == ["python run.py photo.jpg      --detectr haar  # no --such option"]
    with pytest.raises(AssertionError, match="--detectr"):
        test_options_in_shown_commands_exist(page)


@each(SHOWING)
def test_programs_recipes_and_scripts_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"python ([\w/]+\.py)\b", text))
    named |= set(re.findall(r"\b(?:configs|alls)/[\w/]+\.\w+", text)) - {"alls/NETWORK_a16.alls"}
    modules = re.findall(r"python -m (fer_hailo[\w.]*\w)", text)
    named |= {name.replace(".", "/") for name in modules}
    assert not [name for name in named if not any((ROOT / (name + end)).exists() for end in ("", ".py"))]


def test_the_files_that_the_code_names_exist():
    """Messages, comments and recipes send people to docs/x.md, some to a heading of it."""
    named = {
        (path, name)
        for folder in ("fer_hailo", "tools", "bench", "configs", "examples", "doubles")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".py", ".yaml", ".md", ".html")
        for name in re.findall(r"docs/[\w-]+\.\w+(?:#[a-z-]+)?", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 15
    for path, name in named:
        place, _, anchor = name.partition("#")
        assert (ROOT / place).exists(), f"{path} names {name}"
        assert not anchor or anchor in anchors(ROOT / place), f"{path} names {name}"


def test_the_reference_is_that_of_the_docstrings():
    text = api_page.PAGE.read_text(encoding="utf-8")
    assert api_page.with_reference(text) == text
    assert "fer_hailo.load(path: Path | str | None = None, *, detector: str = 'yunet', threads" in text

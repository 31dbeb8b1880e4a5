"""The documents: links, anchors, pictures, the commands that they show, and the files that the code names."""

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

from tools import api_page, docs_site

PAGES = sorted(
    path
    for pattern in ("*.md", "*/*.md", "fer2013_keras_hailo/released*/*.md")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).parts[0].startswith((".", "site", "build", "tools"))
)
IN_DOCS = [path for path in PAGES if path.parent == ROOT / "docs"]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
COMMAND = re.compile(
    r"(?:python (train|convert_tflite|compile_hef|evaluate|run)\.py"
    r"|(?:fer-hailo|python -m fer_hailo\.) ?(train|convert|compile|evaluate|run|refine|ensemble|experiments))\b(.*)$"
)
SCRIPTS = {"convert_tflite": "convert", "compile_hef": "compile"}  # script: command
SHOWING = [ROOT / "README.md", ROOT / "alls" / "README.md", *IN_DOCS]


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)


@cache
def anchors(path: Path) -> set[str]:
    """What #... may name in a page, by GitHub's rule: small letters, no punctuation, hyphens for blanks."""
    titles = re.findall(r"^#+ (.+)$", prose(path), flags=re.M)
    texts = [re.sub(r"[^\w\- ]", "", LINK.sub(r"\2", title).lower()) for title in titles]
    found = [text.replace(" ", "-") for text in texts]
    assert len(found) == len(set(found)), f"{path.name} has two headings of one name"
    assert not [name for name in found if "--" in name], f"{path.name}: the site writes one hyphen there"
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_pictures_say_what_they_show(page):
    for picture, text, target in LINK.findall(prose(page)):
        assert text.strip(), f"{target} has no text"
        assert not picture or len(text) > 9, f"{target}: {text!r} tells nobody who cannot see it what it shows"
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        there = (page.parent / place).resolve() if place else page
        assert there.exists() and there.is_relative_to(ROOT), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}"


def test_the_link_check_finds_what_is_broken(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Ada-DF's targets, `paired` seeds\n```\n# no heading\n```\n[a](b.md#c) ![x](y.png)\n")
    assert anchors(page) == {"ada-dfs-targets-paired-seeds"}
    assert LINK.findall(prose(page)) == [("", "a", "b.md#c"), ("!", "x", "y.png")]


@pytest.mark.parametrize("page", IN_DOCS, ids=lambda path: path.name)
def test_a_page_begins_with_its_title_and_is_of_a_readable_length(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and lines[1] == "" and lines[2] and not lines[2].startswith(("#", "```"))
    assert sum(line.startswith("# ") for line in prose(page).splitlines()) == 1
    assert len(lines) <= 260


def pages_of(entries: list) -> list[str]:
    return [
        page
        for entry in entries
        for value in entry.values()
        for page in (pages_of(value) if isinstance(value, list) else [value])
    ]


def test_the_site_has_each_page_once_and_the_index_names_them_all():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = [page for page in pages_of(config["nav"]) if not page.startswith(docs_site.REST)]
    assert sorted(listed) == [page.name for page in IN_DOCS]
    index = prose(ROOT / "docs" / "README.md")
    order = index[index.index("All pages") :]
    assert re.findall(r"\]\(([a-z-]+\.md)\)", order) == [page for page in listed if page != "README.md"]


@pytest.mark.parametrize(
    "page, link, on_the_site",
    [
        ("docs/board.md", "[a](running.md#cameras)", "[a](running.md#cameras)"),
        ("docs/board.md", "[a](#the-files)", "[a](#the-files)"),
        ("docs/board.md", "![a](run.jpg)", "![a](run.jpg)"),
        ("docs/board.md", "[a](../alls/README.md#checking-a-script)", "[a](project/alls/README.md#checking-a-script)"),
        ("docs/board.md", "[a](../run.py)", "a (`run.py`)"),
        ("docs/board.md", "[`run.py`](../run.py)", "`run.py`"),
        ("docs/board.md", "[dan](../fer_hailo/training/networks/dan)", "dan (`fer_hailo/training/networks/dan`)"),
        ("alls/README.md", "[a](../docs/quantisation.md#x)", "[a](../../quantisation.md#x)"),
        ("CONTRIBUTING.md", "[a](README.md)", "a (`README.md`)"),
        ("CONTRIBUTING.md", "[a](docs/adding-a-network.md)", "[a](../adding-a-network.md)"),
    ],
)  # fmt: skip
def test_links_out_of_the_site_become_text(page, link, on_the_site):
    assert docs_site.translated(f"see {link}.", page) == f"see {on_the_site}."


@cache
def help_of(command: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        importlib.import_module(f"fer_hailo.commands.{command}").main(["--help"])
    return said.getvalue()


@pytest.mark.parametrize("page", SHOWING, ids=lambda path: path.name)
def test_options_in_shown_commands_exist(page):
    blocks = re.findall(r"^```\w*\n(.*?)^```|^    (python .*)$", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for line in "\n".join(fenced or indented for fenced, indented in blocks).replace("\\\n", " ").splitlines():
        if match := COMMAND.search(line.split(" #")[0]):
            command = SCRIPTS.get(match[1] or match[2], match[1] or match[2])
            for flag in re.findall(r"(?<!\S)\[?(--[a-z0-9-]+)", match[3]):
                assert re.search(rf"(?<!\S)\[?{flag}\b(?!-)", help_of(command)), f"{flag} in: {line}"


def test_the_files_that_the_code_names_exist():
    """Messages, comments and recipes send people to docs/x.md, some to a heading of it."""
    named = {
        (path, match)
        for folder in ("fer_hailo", "tools", "bench", "configs", "examples", "doubles")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".py", ".yaml", ".md", ".html")
        for match in re.findall(
            r"docs/[\w.-]+\.(?:md|csv|png|jpg)(?:#[a-z-]+)?", path.read_text(encoding="utf-8")
        )
    }
    assert len(named) > 15
    for path, name in named:
        place, _, anchor = name.partition("#")
        assert (ROOT / place).exists(), f"{path} names {name}"
        assert not anchor or anchor in anchors(ROOT / place), f"{path} names {name}"


def test_the_reference_is_that_of_the_docstrings():
    text = api_page.PAGE.read_text(encoding="utf-8")
    assert api_page.with_reference(text) == text
    assert "fer_hailo.load(path: Path | str | None = None, *, detector: str = 'yunet', threads: int = 1) -> Model" in text

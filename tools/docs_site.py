"""What `make docs` does besides mkdocs: pages of the repository that lie outside of docs/ join the site, and
links to other files become their names, since a site has no repository around it.

mkdocs.yml names this file under `hooks`.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = "docs/"
REST = "project/"  # the folder of the site for pages from outside of docs/
OUTSIDE = (
    "alls/README.md",
    "fer2013/README.md",
    "fer2013_keras_hailo/README.md",
    "fer2013_keras_hailo/released/MODEL_CARD.md",
    "fer2013_keras_hailo/released_minimalistic/MODEL_CARD.md",
    "doubles/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s#:]*)(#[^()\s]*)?\)")


def on_files(files, config):
    """mkdocs: add the pages from outside, and their pictures."""
    from mkdocs.structure.files import File

    for name in OUTSIDE:
        pictures = sorted((ROOT / name).parent.glob("*.png")) if "MODEL_CARD" in name else []
        for path in (ROOT / name, *pictures):
            place = REST + path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """mkdocs: links of a page as the site has them."""
    place = page.file.src_uri
    return translated(markdown, place[len(REST) :] if place.startswith(REST) else DOCS + place)


def translated(markdown: str, home: str) -> str:
    """Markdown of the file `home` of the repository, with links between the pages of the site.

    What is no part of the site is named, not linked.
    """
    start = posixpath.dirname(place_of(home) or "")

    def put(match: re.Match) -> str:
        picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        there = posixpath.normpath(posixpath.join(posixpath.dirname(home), target)) if target else home
        place = place_of(there)
        if place:
            target = posixpath.relpath(place, start or ".") if target else ""
            return f"{picture}[{text}]({target}{anchor})"
        return text if there in text else f"{text} (`{there}`)"

    return LINK.sub(put, markdown)


def place_of(path: str) -> str | None:
    """Where a file of the repository stands on the site; None where it is no part of it."""
    if path.startswith(DOCS):
        return path[len(DOCS) :]
    beside_card = path.endswith(".png") and path.startswith("fer2013_keras_hailo/released")
    return REST + path if path in OUTSIDE or beside_card else None

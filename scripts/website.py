"""What mkdocs.yml leaves to code: the documentation is Markdown that reads well where it lies, in
two languages, and the site is made of it as it is.

README, CONTRIBUTING and their like become pages, a link that leaves ``docs/`` becomes one to the
page or to plain words, a page in Chinese gets the words and the navigation of Chinese, and the API
is what ``convscope.__all__`` lists. MkDocs calls the functions whose names begin with ``on_``.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation

import convscope

ROOT = Path(__file__).resolve().parent.parent
BESIDE = {  # documents beside docs/ -> their pages
    "README.md": "index.md",
    "README.zh.md": "zh/index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)|(?<=src=\")([^\"]+)|(?<=srcset=\")([^\"]+)")
PICTURE = re.compile(
    r'<picture>\s*<source [^>]*srcset="(.+?)">\s*<img src="(.+?)"(.*?)>\s*</picture>'
)
ABOUT = {
    "functions": "What the commands do, and what is done with a network that is trained. The long "
    "jobs draw their progress on stderr, or in the notebook; with `emit` they do not.",
    "results": "What the functions give back.",
    "events": "What a job says while it runs, to the function that is given as `emit`.",
    "errors": "What is raised. Each says what was wrong, and what helps.",
}


def on_config(config: Any) -> None:
    """Leave out the map of the site for search engines, which has no address."""
    config.theme.static_templates.discard("sitemap.xml")


def on_files(files: Files, config: Any) -> Files:
    """Add the documents beside ``docs/``, and the pages of the API."""
    for source, page in BESIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for group, names in api().items():
        parts = [f"# {group.capitalize()}", ABOUT[group]]
        for name in names:
            what = getattr(convscope, name)
            entry = f"::: {what.__module__}.{what.__qualname__}\n    options:\n"
            parts.append(f"{entry}      heading: {name}\n      toc_label: {name}")
        files.append(File.generated(config, f"api/{group}.md", content="\n\n".join(parts)))
    return files


def api() -> dict[str, list[str]]:
    """The public names by the page that they stand on.

    >>> api()["functions"][:3]
    ['compare', 'cross_validate', 'cut']
    """
    groups: dict[str, list[str]] = {group: [] for group in ABOUT}
    for name, home in sorted(convscope._HOMES.items()):
        kind = home.removeprefix("convscope.")
        usual = "functions" if name.islower() else "results"
        groups[kind if kind in groups else usual].append(name)
    return groups


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """The page with its links as they are on the site, and its pictures by the site's theme."""
    at = page.file.src_uri
    origin = next((source for source, name in BESIDE.items() if name == at), f"docs/{at}")

    def moved(match: re.Match[str]) -> str:
        target = match[0]
        if re.match(r"\w+:", target):
            return target
        place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
        there = BESIDE.get(place, place.removeprefix("docs/"))
        return posixpath.relpath(there, posixpath.dirname(at) or ".")

    markdown = LINK.sub(moved, markdown)
    # a link to what is no page here is left as its words
    markdown = re.sub(
        r"(?<!!)\[([^]]+)\]\(([^)\s#:]+)(#[^)]*)?\)",
        lambda link: link[0] if _there(at, link[2], files) else link[1],
        markdown,
    )
    return PICTURE.sub(r'<img src="\2#only-light"\3><img src="\1#only-dark"\3>', markdown)


def _there(at: str, target: str, files: Files) -> bool:
    """Whether a link's target is on the site."""
    found = files.get_file_from_path(
        posixpath.normpath(posixpath.join(posixpath.dirname(at), target))
    )
    return found is not None and found.inclusion.is_included()


def chinese(path: str) -> bool:
    """Whether a page is in Chinese.

    >>> [chinese(path) for path in ("zh/index.md", "lessons/zh/a.md", "claims.zh.md", "claims.md")]
    [True, True, True, False]
    """
    return "zh" in path.split("/") or path.endswith(".zh.md")


def other(path: str, pages: dict[str, Any]) -> Any:
    """The page in the other language; its start page where there is none."""
    if chinese(path):
        tries = [path.replace("zh/", "", 1), path.replace(".zh.md", ".md"), "index.md"]
        tries = [each for each in tries if each != path]
    else:
        folder, name = posixpath.split(path)
        tries = [posixpath.join(folder, "zh", name), path.replace(".md", ".zh.md"), "zh/index.md"]
        tries = [each for each in tries if each != path]
    return next(pages[each] for each in tries if each in pages)


def on_page_context(context: Any, page: Any, config: Any, nav: Navigation) -> Any:
    """Give a page the words and the navigation of its language, and a link to the other one."""
    pages = {each.file.src_uri: each for each in nav.pages}
    here = chinese(page.file.src_uri)
    there = other(page.file.src_uri, pages)
    english, translated = (there, page) if here else (page, there)
    config.theme["language"] = "zh" if here else "en"
    config.extra["alternate"] = [
        {"name": "English", "link": english.file.url, "lang": "en"},
        {"name": "中文", "link": translated.file.url, "lang": "zh"},
    ]
    *own, last = nav.items
    context["nav"] = Navigation(last.children if here else own, nav.pages)
    context["nav"].homepage = pages["zh/index.md" if here else "index.md"]
    return context


def on_post_page(output: str, **_: Any) -> str:
    """The page without links for search engines, by which the theme would guess at translations."""
    return re.sub(r"<link rel=\"?alternate\"?[^>]*>", "", output)


class Examples(griffe.Extension):
    """Docstrings as Markdown: what ``>>>`` begins is a block of code, a role plain code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None:
            return
        text = re.sub(r":\w+:`[~!]?([^`]+)`", r"`\1`", obj.docstring.value).replace("``", "`")
        obj.docstring.value = re.sub(
            r"^>>> .*?(?=^\s*$|\Z)", r"```pycon\n\g<0>\n```", text, flags=re.S | re.M
        )

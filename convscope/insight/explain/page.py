"""The pictures of `explain` as one page: one file with its pictures inside, that asks the network
for nothing."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from convscope import webpage


def page(
    title: str,
    pictures: Sequence[tuple[str, str, bytes]],
    left_out: Mapping[str, str],
) -> str:
    """One HTML page of ``pictures``, each a name, what it shows, and its PNG; and of what was left
    out, by name, and why.

    >>> "No filters" in page("a run", [("heat", "Where.", b"")], {"filters": "No filters."})
    True
    """
    style = webpage.part("convscope.insight.explain", "page.css")
    body = []
    for name, about, png in pictures:
        said = html.escape(about, quote=True)
        body.append(
            f'<h2 id="{name}">{name.capitalize()}</h2>\n<p>{said}</p>\n'
            f'<p class="whole"><img src="{webpage.png(png)}" alt="{said}"></p>\n'
        )
    if left_out:
        lines = "".join(
            f"<li><b>{html.escape(name)}</b>: {html.escape(why)}</li>"
            for name, why in left_out.items()
        )
        body.append(f"<h2>Left out</h2>\n<ul>{lines}</ul>\n")
    style += (
        "h2 { margin-top: 2rem; }\n.whole { max-width: none; }\n"
        ".whole img { max-width: 100%; height: auto; border-radius: 3px; }\n"
    )
    return webpage.whole(
        f"{title} · convscope explain",
        style,
        f"<main>\n<h1>{html.escape(title)}</h1>\n{''.join(body)}</main>\n"
        "<footer>Written by convscope explain. This page is one file and loads nothing; its "
        "numbers are in explain.json.</footer>\n",
        pictures=True,
    )

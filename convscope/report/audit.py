"""What an audit found as one page, images side by side; in the style of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convscope import webpage
from convscope.data.audit.findings import KINDS, Audit, Entry, Finding
from convscope.data.audit.samples import Samples
from convscope.formatting import plural
from convscope.insight import tiles
from convscope.markup import esc, facts, note, sections, table
from convscope.report.run_files import percent, typeset

LONGEST = 160  # pixels of the longer side; larger images are scaled down
MOST_BYTES = 6_000_000  # of all pictures together
MOST_SET = 12  # images of one set of copies or one mode
SET_KINDS = ("two_labels", "two_splits", "copies", "groups")
SHORT = {  # words for links
    **{"unreadable": "Unreadable", "two_labels": "Two labels", "two_splits": "Two splits"},
    **{"copies": "Copies", "groups": "Groups", "labels": "Labels", "balance": "Few images"},
    **{"sizes": "Sizes", "modes": "Modes", "classes": "Classes"},
}


def audit_page(audit: Audit) -> str:
    """The whole page as HTML; the gravest comes first, and where the page has no room for more
    pictures, files are named alone."""
    styles = (webpage.part("convscope.report", name) for name in ("style.css", "audit.css"))
    pictures = _Pictures(audit.samples)
    found = {kind: one for kind, one in audit.findings.items() if one}
    parts = [
        (kind, KINDS[kind].title, _section(kind, one, pictures)) for kind, one in found.items()
    ]
    if audit.counts:
        parts.append(("classes", "Images by class", _classes(audit)))
    return webpage.whole(
        f"{audit.name} looked through · convscope",
        "".join([webpage.base(), *styles]),
        f'<a class="skip" href="#{parts[0][0] if parts else "end"}">Skip to the findings</a>\n'
        f"{_headline(audit)}{sections(parts, SHORT)}"
        f'<footer id="end">Written by convscope data audit. No image file was changed. '
        "This page is one file and loads nothing.</footer>\n",
        pictures=True,
    )


def _headline(audit: Audit) -> str:
    classes = max((len(by_class) for by_class in audit.counts.values()), default=0)
    what = f"{plural(audit.images, 'image')} of {plural(classes, 'class', 'classes')}"
    figures = [(split.capitalize(), f"{sum(n.values()):,}") for split, n in audit.counts.items()]
    if "out_of_fold_accuracy" in audit.figures:
        right = percent(audit.figures["out_of_fold_accuracy"], 1)
        figures.append(("Labels told by the other images", right))
    items = "".join(
        f'<li><a href="#{kind}">{KINDS[kind].title}</a> <b>{len(found):,}</b>'
        f"<small>{KINDS[kind].remedy if found else ''}</small></li>\n"
        if found
        else f'<li class="quiet">{KINDS[kind].title} <b>none</b></li>\n'
        for kind, found in audit.findings.items()
    )
    left = "".join(
        f'<li class="quiet">Not looked at: {esc(check)}<small>{esc(why)}</small></li>\n'
        for check, why in audit.left_out.items()
    )
    said = plural(audit.suspects, "file has", "files have")
    return (
        '<header>\n<p class="eyebrow">convscope data audit</p>\n'
        f"<h1>{esc(audit.name)} <span>{what if audit.counts else 'looked through'}</span></h1>\n"
        f'<p class="lede">{said} something said of them below. What is found is suspected, not '
        "proven: look before you delete.</p>\n"
        f'<div class="headline"><div class="score">{facts(figures)}</div>\n'
        f'<ul class="found">{items}{left}</ul></div>\n</header>\n'
    )


def _section(kind: str, found: Sequence[Finding], pictures: _Pictures) -> str:
    """What is found of a kind, how, what to do, and the files as text."""
    about = KINDS[kind]
    head = note(f"Rule: {about.rule}. To do: {about.remedy}.")
    if kind in ("unreadable", "balance"):
        heads = ["file", "why"] if kind == "unreadable" else ["class"]
        rows = [[*(esc(e.file) for e in one.entries), esc(one.why)] for one in found]
        return head + table(f"{kind} told-table", about.title, heads, rows, words=2)
    shown_as: Callable[[Finding, _Pictures], str]
    shown_as = _suspect if kind == "labels" else _set if kind in SET_KINDS else _odd
    items = "".join(shown_as(one, pictures) for one in found)
    look = "sets" if kind in SET_KINDS or kind == "modes" else "mistakes"
    names = [entry.file for one in found for entry in one.entries]
    text = "\n".join(esc(name) for name in dict.fromkeys(names))
    return (
        f'{head}<ul class="{look}">{items}</ul>\n<details><summary>The {plural(len(names), "file")}'
        f', to copy</summary><div class="scroll" tabindex="0" role="region" aria-label="Files">'
        f"<pre>{text}</pre></div></details>\n"
    )


def _set(one: Finding, pictures: _Pictures) -> str:
    """Images that belong together, side by side."""
    left = len(one.entries) - MOST_SET
    more = f'<p class="id">and {left:,} more, named below</p>' if left > 0 else ""
    figures = "".join(_figure(entry, pictures) for entry in one.entries[:MOST_SET])
    why = f'<p class="why">{typeset(esc(one.why))}</p>'
    return f'<li>{why}<div class="row">{figures}</div>{more}</li>\n'


def _odd(one: Finding, pictures: _Pictures) -> str:
    """A file of an odd size, or the files of an odd mode."""
    if len(one.entries) != 1 or "mode" in one.figures:
        return _set(one, pictures)
    entry = one.entries[0]
    return f"<li>{_figure(entry, pictures)}<p class=id>{esc(one.why)}</p></li>\n"


def _suspect(one: Finding, pictures: _Pictures) -> str:
    """An image whose label is likely wrong, with both classes and their probabilities."""
    [entry] = one.entries
    figures = one.figures
    lines = "".join(
        f"<div{look}><dt>{esc(name)} <small>{what}</small></dt>"
        f'<dd style="--p:{p:.3f}">{percent(p, 0)}</dd></div>'
        for look, name, what, p in (
            (' class="no"', entry.label, "label", figures["p_label"]),
            ("", figures["suggested"], "likely", figures["p_suggested"]),
        )
    )
    return f"<li>{_figure(entry, pictures, label=False)}<dl>{lines}</dl></li>\n"


def _figure(entry: Entry, pictures: _Pictures, *, label: bool = True) -> str:
    """An image with its file, class and split."""
    said = f"<b>{esc(entry.label)}</b> · {esc(entry.split)}" if label else esc(entry.split)
    name = f"<b>{esc(entry.file)}</b>" if not label else esc(entry.file)
    return f"<figure>{pictures.picture(entry)}<figcaption>{said}<br>{name}</figcaption></figure>"


def _classes(audit: Audit) -> str:
    """How many images a class has in each split."""
    splits = list(audit.counts)
    few = {one.figures["class"] for one in audit.findings.get("balance", ())}
    rows = []
    for name in audit.counts[splits[0]]:
        counts = [audit.counts[split][name] for split in splits]
        cells = [esc(name), *(f"{n:,}" for n in counts)]
        rows.append([f"<strong>{cell}</strong>" for cell in cells] if name in few else cells)
    return note("Classes of few images are bold.") * bool(few) + table(
        "per-class", "Images by class and split", ["class", *splits], rows
    )


class _Pictures:
    """The pictures of a page, as long as there is room for them."""

    def __init__(self, samples: Samples | None) -> None:
        self.samples, self.room = samples, MOST_BYTES

    def picture(self, entry: Entry) -> str:
        """An image as an element; a word in its place, where there is no room for it."""
        if self.samples is None or entry.at is None or self.room <= 0:
            return '<p class="absent">not drawn: the page has no room for more</p>'
        image = tiles.shown(self.samples.images([entry.at])[0], LONGEST)
        high, wide = image.shape[:2]
        zoom = max(1, round(LONGEST / 1.4 / max(high, wide)))
        data = tiles.data(image)
        self.room -= len(data)
        look = ' class="zoomed"' if zoom > 1 else ""
        return (
            f'<img{look} src="{data}" width="{zoom * wide}" height="{zoom * high}" loading="lazy" '
            f'alt="{esc(entry.label)}: {esc(entry.file)}">'
        )

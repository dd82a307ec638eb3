"""The images of a folder as a list that can be mended by hand, and trained on."""

from __future__ import annotations

import csv
import io
from collections import defaultdict

from convscope.data.audit.findings import KINDS, Audit
from convscope.data.audit.samples import Samples
from convscope.data.duplicates import Positions

COLUMNS = ("file", "label", "split", "group", "suspected")


def listing(audit: Audit, samples: Samples, groups: Positions) -> bytes:
    """A line for each image as CSV: its file below the folder, its class, its split, the first file
    of what it belongs to (its own, if it is alone), and what is suspected of it.

    UTF-8, but for names that are none, whose bytes stay as they are.
    """
    said: dict[int, list[str]] = defaultdict(list)
    for kind, found in audit.findings.items():
        what, check = KINDS[kind].title.lower(), KINDS[kind].check
        for one in found:
            for entry in one.entries:
                if entry.at is None:
                    continue
                others = (e.file for e in one.entries if e.at != entry.at)
                partner = next(others, "") if check in ("copies", "groups") else ""
                said[entry.at].append(f"{what}: {one.why}{f' ({partner})' * bool(partner)}")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for at, name in enumerate(samples.names):
        first = samples.names[groups[at]]
        row = (name, samples.label(at), samples.split(at), first, "; ".join(said[at]))
        writer.writerow(row)
    return out.getvalue().encode(errors="surrogateescape")

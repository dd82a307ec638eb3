"""The tables that `benchmarks/run.py` prints, in Markdown: docs/numbers.md has its output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(found: Iterable[dict[str, Any]]) -> str:
    """The ratios, a line a row; its float32 row is a cell of the same line."""
    rows = {row["row"]: row for row in found}
    lines = [
        "| what | peer | aim | measured | range | in float32 | peer | convscope |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if name.endswith(" float32") and name.removesuffix(" float32") in rows:
            continue
        ratio, narrow = row["ratio"], row["our_about"].get("precision")
        if "peer_bytes" in row:
            each = [f"{row[key] / 2**20:,.0f} MiB" for key in ("peer_bytes", "our_bytes")]
            spread = ""
        else:
            keys = ("peer_images_per_second", "our_images_per_second")
            each = [f"{row[key]:,.0f} images/s" for key in keys]
            spread = f"{ratio['low']:.2f} to {ratio['high']:.2f}"
        judged = name.startswith("evaluate")  # in float32, whatever it was trained in
        what = row["what"] + (f" ({narrow})" if narrow and not judged else "")
        exact = rows.get(f"{name} float32")
        also = "" if exact is None else f"{exact['ratio']['median']:.2f}x"
        cells = [
            what,
            row["peer"] + _took(row.get("peer_about", {})),
            f"{row['reach']:g}x",
            f"**{ratio['median']:.2f}x**",
        ]
        lines.append(_line([*cells, spread, also, *each]))
    return "\n".join(lines)


def accuracy_table(found: Iterable[dict[str, Any]]) -> str:
    """Both sides trained to the end."""
    lines = [
        "| row | epochs | script's accuracy | convscope's | training | whole process |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        cells = [row["row"], str(row["epochs"])]
        for side in ("peer", "ours"):
            each = row[f"{side}_accuracy"]
            cells.append(f"{each['mean']:.2%} (sd {100 * each['sd']:.2f}, {each['seeds']} seeds)")
        for key in ("train_seconds", "process_seconds"):
            cells.append(f"{row[f'ratio_{key}']['median']:.2f}x")
        lines.append(_line(cells))
    return "\n".join(lines)


def _took(about: dict[str, Any]) -> str:
    """What a peer that chose its own way has chosen."""
    if "compiled" not in about:
        return ""
    return f" ({about['precision']}, {'compiled' if about['compiled'] else 'eager'})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""Numbers in words, as every output writes them: shares, probabilities, durations, bytes, plurals.

Pages and cards set them in type once more: see :func:`convscope.report.run_files.typeset`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def percent(share: float | None, digits: int = 2) -> str:
    """A share of 1 as a percentage; a dash where there is none.

    >>> percent(0.98765), percent(0.5, 0), percent(None)
    ('98.77%', '50%', '-')
    """
    return "-" if share is None else f"{share:.{digits}%}"


def decimals(value: float | None, digits: int = 4) -> str:
    """A number with so many decimals; a dash where there is none.

    >>> decimals(0.12345), decimals(None)
    ('0.1235', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"


def probability(p: float) -> str:
    """A probability, never as certain or impossible.

    >>> probability(0.8642), probability(0.99999), probability(1e-9)
    ('86.4%', '>99.9%', '<0.1%')
    """
    if p < 0.001:
        return "<0.1%"
    return ">99.9%" if p > 0.999 else percent(p, 1)


def p_value(p: float, name: str = "") -> str:
    """A p value, never as 0; after its name, if that is given.

    >>> p_value(0.0213), p_value(1e-9), p_value(0.0213, "p"), p_value(1e-9, "p")
    ('0.021', '<0.001', 'p = 0.021', 'p < 0.001')
    """
    if p < 0.001:
        return f"{name} < 0.001" if name else "<0.001"
    return f"{name} = {p:.3f}" if name else f"{p:.3f}"


def duration(seconds: float) -> str:
    """A time to come, as a person says it: two digits, then whole seconds, then whole minutes.

    >>> duration(0.03), duration(4.25), duration(80), duration(5400)
    ('0.03 s', '4.2 s', '1 min 20 s', '1 h 30 min')
    """
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + f" {whole % 60} s" * (whole % 60 > 0)
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h" + f" {minutes} min" * (minutes > 0)


def measured_duration(seconds: float) -> str:
    """A time that was measured, in a column: tenths of a second, then two parts of two digits.

    >>> measured_duration(4.25), measured_duration(65), measured_duration(7500)
    ('4.2 s', '1 min 05 s', '2 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def decimal_size(size: float) -> str:
    """Bytes in powers of 1000, as memory and disks are bought.

    >>> decimal_size(812_345_678), decimal_size(2.5e9)
    ('812 MB', '2.50 GB')
    """
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def binary_size(size: float, digits: int = 1) -> str:
    """Bytes in powers of 1024, as arrays are counted.

    >>> binary_size(0), binary_size(50_176), binary_size(5 * 2**20)
    ('0', '49.0 KiB', '5.0 MiB')
    """
    if size < 1024:
        return f"{size:,.0f} B" if size else "0"
    for unit in ("KiB", "MiB"):
        size /= 1024
        if size < 1024:
            return f"{size:,.{digits}f} {unit}"
    return f"{size / 1024:,.{digits}f} GiB"


def plural(count: int, thing: str, things: str = "") -> str:
    """A count of things; ``things`` is their plural, where it does not end in a mere s.

    >>> plural(1, "image"), plural(2000, "image"), plural(2, "class", "classes")
    ('1 image', '2,000 images', '2 classes')
    """
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are.

    >>> listed(["cat", "dog", "cow"], most=2)
    'cat, dog and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def printable(name: str) -> str:
    r"""A name as a terminal may show it, on one line: control characters, and bytes that are no
    text, are escaped.

    >>> printable("cat\x1b[2J.png"), printable("caf\udce9 猫.png")
    ('cat\\x1b[2J.png', 'caf\\udce9 猫.png')
    """
    return re.sub("[\0-\x1f\x7f-\x9f\ud800-\udfff]", lambda at: ascii(at[0])[1:-1], name)


def balanced(found: Mapping[str, Any]) -> str:
    """In words, the balanced accuracy of ``metrics.json`` where its classes are skewed and it
    leads; else nothing.

    >>> found = {"skewed": True, "balanced_accuracy": 0.75, "balanced_accuracy_ci95": [0.62, 0.88]}
    >>> balanced({**found, "per_class": [{"support": 90}, {"support": 10}]})
    '75.00% (95% interval 62.00% to 88.00%: the mean recall of 2 classes of 10 to 90 images)'
    """
    if not found.get("skewed"):
        return ""
    low, high = found["balanced_accuracy_ci95"]
    sizes = [row["support"] for row in found["per_class"] if row["support"]]
    return (
        f"{found['balanced_accuracy']:.2%} (95% interval {low:.2%} to {high:.2%}: the mean recall "
        f"of {len(sizes)} classes of {min(sizes):,} to {max(sizes):,} images)"
    )


def forgotten(found: Mapping[str, Any]) -> str:
    """In words, what ``metrics.json`` has of the images of classes that were known before.

    >>> found = {"accuracy_before": 0.95, "accuracy_after": 0.9, "difference": -0.05, "n": 200}
    >>> forgotten({**found, "difference_ci95": [-0.09, -0.01], "taken_for_new": 6})
    '90.00% right, 95.00% before: -5.00 points (95% interval -9.00 to -1.00, 200 images, 6 taken
    for a new class)'
    """
    low, high = found["difference_ci95"]
    return (
        f"{found['accuracy_after']:.2%} right, {found['accuracy_before']:.2%} before: "
        f"{100 * found['difference']:+.2f} points (95% interval {100 * low:+.2f} to "
        f"{100 * high:+.2f}, {plural(found['n'], 'image')}, {found['taken_for_new']:,} taken for a "
        "new class)"
    )


def answers(found: Mapping[str, Any], n: int) -> str:
    """In words, what ``metrics.json`` has of the answers to ``n`` images.

    >>> answers({"error": 0.02, "threshold": 0.9, "answered": 900, "wrong": 9}, 1000)
    '90.00% are answered, 1.00% of them wrongly (9 of 900; bound 2%), 100 are unsure'
    """
    answered, wrong = found["answered"], found["wrong"]
    bound = f"bound {100 * found['error']:g}%"
    if not answered:
        return f"none is answered ({bound}), {n:,} are unsure"
    return (
        f"{answered / n:.2%} are answered, {wrong / answered:.2%} of them wrongly ({wrong:,} of "
        f"{answered:,}; {bound}), {n - answered:,} are unsure"
    )

"""The page of an audit: what is found, images side by side, in one file that loads nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from photos import held, scene

from convscope.data.audit.findings import Audit, Entry, Finding, entries
from convscope.data.audit.samples import Samples
from convscope.report import audit as pages
from convscope.report.audit import audit_page


@pytest.fixture
def found() -> Audit:
    """Something of each kind."""
    images = np.stack([np.asarray(scene(seed)).transpose(2, 0, 1) for seed in range(8)])
    samples = Samples(held("pets", ("cat", "<dog>"), {"train": (images, np.arange(8) % 2)}))
    figures = {"suggested": "<dog>", "p_suggested": 0.91, "p_label": 0.02}
    findings = {
        "unreadable": [Finding((Entry("cat/<b>.png", "", ""),), "is empty; copy it again")],
        "two_labels": [Finding(entries(samples, [0, 1]), "identical")],
        "two_splits": [],
        "labels": [Finding(entries(samples, [2]), "<dog> rather than cat", figures)],
        "balance": [Finding((), "cat: 4 images", {"class": "cat", "images": 4})],
        "sizes": [Finding(entries(samples, [3]), "48 x 64", {"size": [48, 64]})],
        "modes": [Finding(entries(samples, range(8)), "grey (L)", {"mode": "L"})],
    }
    counts = {"train": {"cat": 4, "<dog>": 4}}
    return Audit(
        "pets", counts, findings, {"groups": "<none>"}, {"out_of_fold_accuracy": 0.9}, samples
    )


def test_everything_is_there_and_escaped(found):
    page = audit_page(found)
    for text in ("cat/&lt;b&gt;.png", "&lt;dog&gt;", "91\u202f%", "train image 1", "&lt;none&gt;"):
        assert text in page
    assert "<dog>" not in page and "<b>.png" not in page and "<none>" not in page
    assert page.count("<img") == 2 + 1 + 1 + 8
    assert "default-src 'none'" in page and "http" not in re.sub('http-equiv|data:[^"]*', "", page)
    assert 'id="two_splits"' not in page  # of which there is none


def test_a_page_has_an_end(found, monkeypatch):
    monkeypatch.setattr(pages, "MOST_BYTES", 1)
    page = audit_page(found)
    assert page.count("<img") == 1 and page.count("no room for more") == 11


def test_nothing_found(found):
    empty = Audit("pets", found.counts, dict.fromkeys(found.findings, ()), {}, {}, found.samples)
    page = audit_page(empty)
    assert page.count("<b>none</b>") == 7 and "0 files have something said of them" in page


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_the_page_is_as_wide_as_its_window(found, browser, tmp_path: Path, width):
    (tmp_path / "audit.html").write_text(audit_page(found))
    page = browser.new_page(viewport={"width": width, "height": 844})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((tmp_path / "audit.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator("footer").scroll_into_view_if_needed()
    assert page.evaluate(
        "Promise.all([...document.images].map(i => (i.loading = 'eager', i.decode()))).then(() => "
        "[...document.images].every(image => image.naturalWidth > 0))"
    )
    page.close()
    assert complaints == []

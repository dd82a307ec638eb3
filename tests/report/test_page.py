"""The report and the card, from run folders made by hand."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convscope.errors import RunError
from convscope.evaluation.calibration import calibrate
from convscope.evaluation.paired import forgetting
from convscope.insight.anatomy import Row, Summary
from convscope.report import write_card, write_report
from convscope.report.run_files import read

NASTY = '<script>alert("1")</script>'
ANATOMY = Summary(
    "Net",
    ((1, 28, 28),),
    (
        Row("features.0", "Conv2d", (16, 28, 28), 416, 313_600, why="16 <kernels>"),
        Row("head.1", "Linear", (10,), 15_690, 15_680, "shares <b>", inputs=(0,)),
    ),
)


class Page(HTMLParser):
    """What the tests ask of a page: its tags, its text, and whether its tags are closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = "\n".join(self.words)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(folder: Path, images: np.ndarray | None, **more: Any) -> tuple[str, Page]:
    path = write_report(folder, test_images=images, anatomy=ANATOMY, **more)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < 6_000_000
    return text, Page(text)


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}\u202f%"


def cells(text: str, table: str) -> list[list[str]]:
    """The words in each row of a table, by its class."""
    found = re.search(rf'<table class="{table}[^"]*">.*?</table>', text, re.S)
    assert found
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", found[0], re.S)
    split = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]
    return [[html.unescape(re.sub("<.*?>", "", cell)) for cell in row] for row in split]


def test_loads_nothing_and_runs_nothing(make: Any) -> None:
    text, page = written(*make())
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert set(re.findall(r"url\((.{22})", text)) == {"data:image/png;base64,"}
    assert "@import" not in text
    assert "http:" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "https:" not in text
    assert any(
        "default-src 'none'" in (attributes.get("content") or "") for attributes in page.all("meta")
    )


def test_links_lead_somewhere_and_ids_are_unique(make: Any) -> None:
    _, page = written(*make())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(attributes["href"] or "")[1:] for attributes in page.all("a")} <= set(ids)
    for _, attributes in page.tags:
        assert (attributes.get("aria-labelledby") or ids[0]) in ids
    assert all(attributes.get("alt") for attributes in page.all("img"))
    opened = [a["popovertarget"] for a in page.all("button")]
    assert opened
    assert set(opened) <= set(ids)
    scrolling = [a for _, a in page.tags if (a.get("class") or "").startswith("scroll")]
    assert scrolling
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in scrolling)


def test_what_was_forgotten_of_old_classes(make: Any) -> None:
    folder, images = make()
    place = folder / "metrics.json"
    m = json.loads(place.read_text())
    m["forgetting"] = forgetting("1122", "1122", "1323", "12") | {"from": "a"}
    place.write_text(json.dumps(m))
    text, _ = written(folder, images)
    assert "50.00% right, 100.00% before: -50.00 points" in text and "2 taken for a new" in text
    assert cells(text, "forgetting")[1:] == [
        [name, "2", percent(1, 1), percent(0.5, 1), "1.000"] for name in "12"
    ]
    del m["forgetting"]["per_class"][0]["p_holm"]
    place.write_text(json.dumps(m))
    with pytest.raises(RunError, match="p_holm is not there"):
        written(folder, images)


def test_headline_says_what_metrics_say(make: Any) -> None:
    folder, images = make()
    m = json.loads((folder / "metrics.json").read_text())
    text, page = written(folder, images)
    low, high = m["accuracy_ci95"]
    right = sum(m["confusion"][i][i] for i in range(10))
    header = html.unescape(
        re.sub("<.*?>", " ", text[text.index("<header>") : text.index("</header>")])
    )
    said = re.sub(r"[ \n]+", " ", header)
    assert "cnn on digits" in said
    assert "Trained for 3 epochs on 54,000 images of digits in 1\u202fmin 15\u202fs" in said
    assert "2026-11-22 at 23:10 UTC, on Tidy 9000" in said
    assert f"test accuracy {percent(m['accuracy'])}" in said
    assert f"interval {100 * low:.2f} to {percent(high)}" in said
    assert f"Right {right:,} of 2,500" in said
    assert "Looks at the test split 3" in said
    assert f"Cross-entropy {m['loss']:.4f}" in said
    assert "Parameters 16,106" in said
    assert "Calibration error (ECE)\n" + percent(m["ece"]) in page.text
    assert "Speed\n12,346 images/s" in page.text
    assert percent(m["ece_raw"]) in page.text
    assert "1.250" in page.text


def test_tables_say_what_the_files_say(make: Any) -> None:
    folder, images = make()
    m = json.loads((folder / "metrics.json").read_text())
    text, _ = written(folder, images)
    matrix = [[int(cell or 0) for cell in row[1:]] for row in cells(text, "matrix")[1:]]
    assert matrix == m["confusion"]
    for row, shown in zip(m["per_class"], cells(text, "per-class")[1:], strict=True):
        figures = [percent(row[key]) for key in ("precision", "recall", "f1")]
        assert shown == [row["class"], f"{row['support']:,}", *figures]
    pairs = [(i, j, m["confusion"][i][j]) for i in range(10) for j in range(10) if i != j]
    largest = sorted((c for _, _, c in pairs), reverse=True)[:10]
    shown = cells(text, "pairs")[1:]
    assert [int(row[2]) for row in shown] == largest
    for i, j, count, share in shown:
        assert m["confusion"][int(i)][int(j)] == int(count)
        assert share == percent(int(count) / sum(m["confusion"][int(i)]), 1)
    assert cells(text, "history")[1] == [
        *["1", "1.0000", percent(0.95), "0.8000", percent(0.96), "0.004", "4.5\u202fs", "12,000"]
    ]
    assert cells(text, "layers")[1:] == [
        ["features.0", "Conv2d", "16 × 28 × 2816 <kernels>", "416", "313,600", ""],
        ["head.1", "Linear", "10", "15,690", "15,680", "shares <b>"],
        ["total", "", "10", "16,106", "329,280", ""],
    ]


def tile(text: str, item: str) -> np.ndarray:
    """The image of the sheet that a part of the page shows, at its own size."""
    style = re.search(
        r"\.tile \{ width: (\d+)px; height: (\d+)px; background-image: url\(data:image/\w+;"
        r"base64,([^)]+)\); background-size: (\d+)px (\d+)px",
        text,
    )
    at = re.search(r'class="tile" role="img" aria-label="[^"]+" style="--x:(\d+);--y:(\d+)"', item)
    assert style and at
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(style[3]))))
    zoom = int(style[4]) // picture.shape[1]
    assert (zoom * picture.shape[1], zoom * picture.shape[0]) == (int(style[4]), int(style[5]))
    wide, high = int(style[1]) // zoom, int(style[2]) // zoom
    x, y = int(at[1]) * wide, int(at[2]) * high
    return picture[y : y + high, x : x + wide]


def test_mistakes_are_the_surest_and_show_their_images(make: Any) -> None:
    folder, images = make()
    text, _ = written(folder, images)
    rows = [line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:]]
    wrong = sorted((r for r in rows if r[1] != r[2]), key=lambda r: -float(r[3]))
    section = text[text.index('id="mistakes"') : text.index('id="classes"')]
    shown = re.findall(r"<li>(.*?)</li>", section, re.S)
    assert len(shown) == 24
    assert f"The 24 of {len(wrong):,} mistakes" in section
    for item, row in zip(shown, wrong, strict=False):
        index, label, predicted, p_predicted, _ = row
        assert f">#{index}<" in item
        assert f"said <b>{predicted}</b>" in item
        assert f"is <b>{label}</b>" in item
        assert f'style="--p:{float(p_predicted):.3f}"' in item
        assert f'aria-label="test image {index}: {label}, taken for {predicted}"' in item
        np.testing.assert_array_equal(tile(text, item), images[int(index), 0])


def panels(text: str) -> dict[str, list[str]]:
    """The images that each count opens."""
    _, *parts = text.split('<div class="cell" id="')
    return {
        part[: part.index('"')]: re.findall(r"<li>(.*?)</li>", part.split("</ol>")[0])
        for part in parts
    }


def test_a_count_opens_its_images(make: Any) -> None:
    folder, images = make(list("0123"), skill=2.0)
    text, _ = written(folder, images)
    row = re.search(r'<tr><th scope="row" title="3">.*?</tr>', text, re.S)
    assert row
    buttons = re.findall(r'popovertarget="(cell-3-\d)" aria-label="([^"]+)">(\d+)<', row[0])
    assert [name for name, _, _ in buttons] == [f"cell-3-{j}" for j in range(4)]
    rows = [line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:]]
    for j, (name, said, count) in enumerate(buttons):
        what = "3, rightly" if j == 3 else f"3 taken for {j}"
        assert said == f"{what}: {count} images"
        sign = 1 if j == 3 else -1  # right images: the least sure first
        members = [r for r in rows if r[1] == "3" and r[2] == str(j)]
        members.sort(key=lambda r: sign * float(r[3]))
        assert len(members) == int(count) > 18
        items = panels(text)[name]
        assert len(items) == 18
        for item, member in zip(items, members, strict=False):
            assert f">#{member[0]}<" in item
            np.testing.assert_array_equal(tile(text, item), images[int(member[0]), 0])


def test_names_of_files_are_captions(make: Any) -> None:
    names = [f"birds/{i} <b>.png" for i in range(60)]
    text, page = written(*make(n=60, skill=0.0, names=names))
    assert "birds/7 <b>.png" in page.text
    assert "<b>.png" not in text


def test_curves_and_their_notes(make: Any) -> None:
    text, page = written(*make())
    told = re.findall(r'name="at-accuracy"( checked)?>.*?<span class="says">(.*?)</span>', text)
    said = [re.sub("<.*?>", "", one) for _, one in told]
    assert said[1] == f"epoch 2: train {96.33:.2f}\u202f%, validation {97.00:.2f}\u202f%"
    assert [bool(chosen) for chosen, _ in told] == [False, False, True]  # the last is told
    assert "on augmented images" in page.text
    assert "smoothed" not in page.text
    lines = re.findall(r'<polyline class="(train|val)" points="([^"]+)"', text)
    assert [name for name, _ in lines] == ["train", "val", "train", "val"]
    for _, points in lines:
        places = [tuple(map(float, point.split(","))) for point in points.split()]
        assert len(places) == 3
        assert all(0 < x < 520 and 0 < y < 300 for x, y in places)
        assert places == sorted(places)
    accuracy, loss = lines[0][1].split(), lines[2][1].split()
    assert float(accuracy[0].split(",")[1]) > float(accuracy[-1].split(",")[1])  # drawn upwards
    assert float(loss[0].split(",")[1]) < float(loss[-1].split(",")[1])


def test_of_many_epochs_each_is_told_and_no_point_is_drawn(make: Any) -> None:
    text, _ = written(*make(epochs=300))
    assert text.count('name="at-loss"') == 300 and text.count(" checked>") == 3
    assert "<circle" not in text[text.index('id="curves"') : text.index('id="confusion"')]


def test_a_small_matrix_is_drawn_large(make: Any) -> None:
    text, _ = written(*make(["cat", "dog"], n=60, skill=1.0))
    assert 'class="matrix few"' in text


def test_without_augmentation_the_note_does_not_speak_of_it(make: Any, recipe: str) -> None:
    plain = recipe.replace("shift = 2", "shift = 0").replace("smoothing = 0.0", "smoothing = 0.1")
    _, page = written(*make(recipe=plain))
    assert "augmented images" not in page.text
    assert "labels smoothed by 0.1" in page.text


def test_recipe_with_origins_and_how_to_run_again(make: Any, recipe: str) -> None:
    text, page = written(*make(recipe='note = "free"\n' + recipe))
    row = '<th scope="row">lr</th><td>0.004</td><td class="from">measured</td>'
    assert row in text
    assert '<th scope="row">val</th><td>0.1</td><td class="from quiet">default</td>' in text
    assert '<th scope="row">widths</th><td>16, 32</td>' in text
    assert '<th scope="row">flip</th><td>false</td>' in text
    assert '<th scope="row">note</th><td>free</td>' in text
    assert "convscope train digits --seed 1" in page.text
    assert "cd" * 32 in page.text
    assert "torch = 2.14.1" in page.text


@pytest.mark.parametrize("k", [2, 30, 99, 100])
def test_few_and_many_classes(make: Any, k: int) -> None:
    names = [f"类 number {i} of many" for i in range(k)]
    text, _ = written(*make(names, n=12_000, skill=1.0, size=32, channels=3))
    assert ('class="matrix' in text) == (k < 100)
    assert len(cells(text, "pairs")) - 1 == min(k * (k - 1), 10 if k < 100 else 40)
    assert text.count('class="tile"') > 20
    opened = re.search(r'<table class="pairs">.*?popovertarget="(cell-[\d-]+)"', text, re.S)
    assert opened
    assert panels(text)[opened[1]]


def test_there_is_room_for_so_many_images_and_the_first_of_each_count_comes_first(
    make: Any,
) -> None:
    names = [str(i) for i in range(20)]
    text, _ = written(*make(names, n=3000, skill=0.5, size=64, channels=3))
    opened = panels(text)
    shown = set(re.findall(r'style="(--x:\d+;--y:\d+)"', text))
    assert len(shown) == 2_400_000 // (64 * 64 * 3)
    assert 24 < len(opened) < 400  # there are more counts than images that fit


def test_large_images_become_thumbnails(make: Any) -> None:
    folder, images = make(n=60, skill=0.0, size=300, channels=3)
    text, _ = written(folder, images)
    section = text[text.index('id="mistakes"') : text.index('id="classes"')]
    item = re.findall(r"<li>(.*?)</li>", section, re.S)[0]
    small = tile(text, item)
    assert small.shape == (64, 64, 3)
    index = int(re.search(r">#(\d+)<", item)[1])  # type: ignore[index]
    assert "url(data:image/jpeg;" in text
    off = [np.abs(small.astype(int) - boxed(one)).mean() for one in images]
    assert int(np.argmin(off)) == index and off[index] < 0.6 * sorted(off)[1]


def boxed(image: np.ndarray) -> np.ndarray:
    """An image [3,H,W] as 64 x 64 pixels."""
    whole = Image.fromarray(image.transpose(1, 2, 0))
    return np.asarray(whole.resize((64, 64), Image.Resampling.BOX)).astype(int)


def test_no_validation_one_epoch_and_no_images(make: Any) -> None:
    folder, _ = make(n=40, epochs=1, val=False)
    text, page = written(folder, None)
    assert not page.all("img")
    assert 'class="tile"' not in text
    assert "kept no validation split" in page.text
    assert "No image was held out for validation" in page.text
    assert 'class="label val"' not in text
    assert cells(text, "history")[1][3:5] == ["–", "–"]


def test_nothing_wrong(make: Any) -> None:
    _, page = written(*make(skill=50.0))
    assert "all 2,500 images are right" in page.text
    assert "No image was taken for another class" in page.text


def test_undefined_figures_are_dashes(make: Any) -> None:
    folder, images = make(["a", "b", "c"], n=2, skill=50.0)
    text, page = written(folder, images)
    assert ["a", "0", "–", "–", "–"] in cells(text, "per-class")
    assert "A dash is undefined" in page.text
    write_card(folder)
    assert "undefined | undefined | undefined" in (folder / "README.md").read_text()


def test_everything_from_files_is_escaped(make: Any) -> None:
    nasty = NASTY
    recipe = f"[data]\nname = '{nasty}'\n[train]\n'{nasty}' = '{nasty}'\n['{nasty}']\nx = 1\n"
    recipe += f"[origin]\n'train.{nasty}' = '{nasty}'\n"
    changes: dict[str, Any] = {
        "architecture": {
            "name": nasty,
            nasty: nasty,
            "image_size": [nasty],
            "arguments": {},
            "num_classes": 2,
            "in_channels": 1,
        },
        "versions": {"convscope": nasty, nasty: nasty},
        "machine": {"processor": nasty, nasty: nasty},
        "data": {"name": nasty, "fingerprint": nasty, "train": nasty},
        "preprocessing": {nasty: nasty, "size": [nasty], "channels": 1, "fit": nasty},
    }
    changes |= dict.fromkeys(("created", "command", "weights_sha256"), nasty)
    changes["scaling"] = {"n": 90, "fitted": 2.0, "loss": [1, 1], "ece": [1, 1], "p": 0.5}
    folder, images = make([nasty, "b"], skill=0.0, recipe=recipe, **changes)
    measured = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(
        json.dumps(measured | {"split": nasty, "loss_calibrated": 1})
    )
    text, page = written(folder, images)
    assert not page.all("script")
    assert "<script" not in text
    assert html.escape(nasty) in text
    card = write_card(folder).read_text()
    fenced = re.sub(r"```.*?```", "", card.split("---\n", 2)[2], flags=re.S)
    assert not re.search(r"(?<!\\)<script", fenced)


def test_the_same_files_give_the_same_bytes(make: Any) -> None:
    folder, images = make()
    first = written(folder, images)[0], write_card(folder).read_text()
    assert first == (written(folder, images)[0], write_card(folder).read_text())


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("recipe.toml", None, "is not there"),
        ("recipe.toml", lambda text: text + "[", "is damaged"),
        ("history.jsonl", None, "is not there"),
        ("history.jsonl", lambda text: text[:-9], "is damaged"),
        ("history.jsonl", lambda text: text.replace("1.0", "NaN", 1), "train_loss is nan"),
        ("history.jsonl", lambda text: text.replace('"lr"', '"x"', 1), "lr is not there"),
        ("history.jsonl", lambda text: "3\n", "no table of names and values"),
        ("model.json", None, "is not there"),
        ("model.json", lambda text: text[:-9], "is damaged"),
        ("model.json", lambda text: text.replace('"parameters"', '"x"'), "parameters is not there"),
        ("metrics.json", None, "is not there"),
        ("metrics.json", lambda text: text.replace('"n": 2500', '"n": 2501'), "does not add up"),
        ("metrics.json", lambda text: text.replace('"ece": ', '"ece": "high", "x": '), "'high'"),
        ("metrics.json", lambda text: text.replace('"support"', '"x"', 1), "support is not there"),
        ("predictions.csv", None, "cannot be read"),
        ("predictions.csv", lambda text: text[:-1], "cut short"),
        ("predictions.csv", lambda text: text[:-1].rpartition("\n")[0] + "\n", "2499 rows"),
        ("predictions.csv", lambda text: text.replace("\n0,", "\n0,x", 1), "do not belong"),
    ],
)
def test_a_missing_or_damaged_file_is_named_with_a_remedy(
    make: Any, name: str, damage: Callable[[str], str] | None, message: str
) -> None:
    folder, images = make()
    path = folder / name
    if damage is None:
        path.unlink()
    else:
        before = path.read_text()
        assert damage(before) != before
        path.write_text(damage(before))
    with pytest.raises(RunError, match=message) as caught:
        write_report(folder, test_images=images, anatomy=ANATOMY)
    assert name in str(caught.value)
    assert re.search(r"; restore it|; write it anew|it must hold", str(caught.value))
    assert not (folder / "report.html").exists()


def test_card(make: Any) -> None:
    folder, _ = make()
    m = json.loads((folder / "metrics.json").read_text())
    path = write_card(folder)
    assert path == folder / "README.md"
    card = path.read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    for line in (
        "library_name: convscope",
        "pipeline_tag: image-classification",
        '- "digits"',
        '- name: "digits-cnn-1"',
        '      split: "test"',
        "    - type: accuracy",
        f"      value: {m['accuracy']}",
    ):
        assert line in front.splitlines()
    assert re.findall(r"^## (.*)", body, re.M) == [
        "Model details",
        "Uses",
        "Bias, risks and limitations",
        "Training",
        "Evaluation",
        "How to get started",
    ]
    assert "grey images, fitted to 12 x 12 pixels" in body
    assert "looked at 3 times" in body
    assert f"| accuracy | {100 * m['accuracy']:.2f} % of 2,500" in body
    assert f"| cross-entropy of the raw logits | {m['loss']:.4f} |" in body
    low, high = m["accuracy_ci95"]
    assert f"{100 * low:.2f} % to {100 * high:.2f} %" in body
    worst = min(m["per_class"], key=lambda row: row["recall"])
    assert f"hardest class is {worst['class']}: {100 * worst['recall']:.2f} %" in body
    assert "convscope predict . image.png" in body
    assert 'cs.load(".").predict(["image.png"])' in body
    assert "More Information Needed" not in card and "Begun from" not in card
    model = json.loads((folder / "model.json").read_text())
    model["start"] = {"from": "weights of *Lite0* (a package)", "sha256": "ab12"}
    (folder / "model.json").write_text(json.dumps(model))
    begun = "- **Begun from**: weights of \\*Lite0\\* (a package) (SHA-256 `ab12`)\n- **Made**"
    assert begun in write_card(folder).read_text()


COPIES = dict.fromkeys(("test_in_train", "val_in_train", "test_repeated", "two_labels"), 0)
COPIES |= {"n_without": 2500, "accuracy_without": 0.9}


def test_copies_stand_on_the_first_screen_and_on_the_card(make: Any) -> None:
    few = COPIES | {"test_in_train": 25, "n_without": 2475, "accuracy_without": 0.8125}
    folder, images = make(duplicates=few)
    text, _ = written(folder, images)
    first = text[: text.index("What goes wrong")]
    assert "Test images were seen in training: 25 of 2,500 (1.0\u202f%)" in first
    assert "Delete one of each pair" in text
    card = write_card(folder).read_text()
    assert (
        "looked at 3 times; 25 of its 2,500 images are training images, too, pixel for pixel at "
        "the network's size: without them 81.25 % of 2,475 are right." in card
    )


def test_without_copies_nothing_is_said_of_them(make: Any) -> None:
    folder, images = make(duplicates=COPIES)
    assert "more than once" not in written(folder, images)[0]
    assert "looked at 3 times; training and selection never used it." in (
        write_card(folder).read_text()
    )


def test_copies_that_were_edited_are_named(make: Any) -> None:
    folder, _ = make(duplicates=COPIES | {"test_in_train": "few"})
    with pytest.raises(RunError, match=r"metrics.json: was edited .*test_in_train is 'few'"):
        write_card(folder)


def test_card_of_ones_own_network_says_how_to_load_it(make: Any) -> None:
    folder, _ = make(
        architecture={
            "name": "nets/own.py:Net",
            "arguments": {},
            "num_classes": 3,
            "in_channels": 1,
            "image_size": [8, 8],
        }
    )
    body = write_card(folder).read_text()
    assert "convscope predict . --model nets/own.py:Net image.png" in body
    assert 'cs.load(".", model="nets/own.py:Net")' in body


def test_what_validation_says_stands_beside_what_came_of_it(make: Any) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 6000)
    logits = 9 * (random.normal(size=(6000, 10)) + 4 * np.eye(10)[labels])
    found = calibrate(logits, labels, [random.normal(size=(99, 10))] * 3, 0.02, asked=True)
    folder, images = make(**found.as_json())
    path = folder / "metrics.json"
    m = json.loads(path.read_text())
    m |= {"loss_calibrated": 0.1234, "ood": {"flagged": 50}}
    m |= {"abstain": {"error": 0.02, "threshold": 0.9, "answered": 2000, "wrong": 20}}
    path.write_text(json.dumps(m))
    text, page = written(folder, images)
    (loss, after), (ece, ece_after) = found.scaling.loss, found.scaling.ece
    of_validation, of_test = cells(text, "temperature")[1:]
    assert of_validation[1:] == [f"{loss:.4f}", f"{after:.4f}", percent(ece), percent(ece_after)]
    shares = percent(m["ece_raw"]), percent(m["ece"])
    assert of_test == ["test", f"{m['loss']:.4f}", "0.1234", *shares]
    said = html.unescape(page.text).replace("\u202f", "")
    assert "80.00% are answered, 1.00% of them wrongly (20 of 2,000; bound 2%), 500 are" in said
    assert "2.00% look like nothing it was trained on" in said
    assert f"unsure below a top probability of {found.selective.threshold:.4g};" in said
    card = write_card(folder).read_text()
    assert "| answers | 80.00% are answered" in card and "only way to say" not in card
    several = {"digit": {"kind": "class", "accuracy": 0.9, "accuracy_ci95": [0.8, 1.0]}}
    path.write_text(json.dumps(m | {"targets": several}))
    card = write_card(folder).read_text()
    assert "| answers (digit) | 80.00% are answered" in card
    assert " Digit: answers are unsure below" in card and " Digit: energy tells what looks" in card
    path.write_text(json.dumps(m | {"abstain": {"error": 0.02}}))
    with pytest.raises(RunError, match=r"metrics.json: was edited .*threshold is not there"):
        write_card(folder)


def test_without_validation_nothing_is_said_of_it(make: Any) -> None:
    folder, images = make()
    text = written(folder, images)[0]
    assert "Before and after the temperature" not in text and "are answered" not in text
    assert "is its only way to say that it does not know" in write_card(folder).read_text()


def test_a_fitted_layer_has_no_epochs_of_augmented_images(make: Any) -> None:
    folder, images = make()
    assert "gathered during the epoch" in written(folder, images)[0]
    rows = [json.loads(row) for row in (folder / "history.jsonl").read_text().splitlines()]
    (folder / "history.jsonl").write_text(json.dumps(rows[0] | {"lr": 0.0}) + "\n")
    text, _ = written(folder, images)
    assert "was fitted to its optimum" in text and "gathered during the epoch" not in text


@pytest.mark.parametrize(
    ("line", "so"),
    [("flip = true", True), ("padding = 'edge'", False), ("magnitude = 9", False)],
)
def test_how_images_would_be_moved_is_no_augmentation(make: Any, line: str, so: bool) -> None:
    folder, _ = make()
    (folder / "recipe.toml").write_text(f"[augment]\n{line}\n")
    assert read(folder).augmented is so

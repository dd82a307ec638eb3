"""README and the pages under docs as a stranger reads them: every command and every snippet runs as
it is written, every link leads somewhere, and the site shows every page."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import documents
import pytest
from PIL import Image

from convscope.engine import choice
from convscope.words import WORDS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Those that are run here, in one folder, one after the other: `runs/a` is trained once.
HERE = ["train", "networks", "reuse", "shipping", "studio", "judging", "inside"]
HERE += ["your-images", "speed"]
ELSEWHERE = {  # a page whose code another test runs, and where
    "python": "tests/test_docs.py",
    "claims": "tests/studies/test_claims.py",
    "shipping": "tests/shipping/test_runtimes.py",
    "distributed": "tests/cli/test_distributed.py",
    "data-at-scale": "tests/test_data_at_scale.py",
    "tune": "tests/cli/test_tune.py",
    "batch": "tests/test_batch.py",
    "sklearn": "tests/sklearn/test_page.py",
}
SITES = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
README, CHINESE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md")
)
PAGES = {name: SITES[DOCS / f"{name}.md"] for name in HERE} | {"README": README}
COMMANDS = list(
    dict.fromkeys(
        shlex.join(shlex.split(command, comments=True))
        for text in PAGES.values()
        for block in documents.blocks(text)
        for command in block.commands
    )
)
SNIPPETS = {
    block.text: block
    for text in (README, SITES[DOCS / "python.md"])
    for block in documents.blocks(text)
    if block.language == "python"
}
PAIRS = [("README.md", "README.zh.md")] + [
    (f"docs/{path.name}", f"docs/zh/{path.name}") for path in SITES if path.parent == DOCS / "zh"
]
NAV = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")

TABLE = "front:image,side:image,weight:numbers,kind:class,flaws:labels,price:number,split"
NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))
"""


@pytest.fixture
def prepared(bars, workplace: Path, monkeypatch) -> Path:
    """What the commands name: pictures and a file with a class; small data in the place of each,
    and little time to measure what is fastest for them."""
    monkeypatch.setattr(choice, "PATIENCE", 0.4)
    Path("mine.py").write_text(NET)
    Path("photos").mkdir()
    Path("flowers").mkdir()
    picture = Image.fromarray(bars.splits["test"].images[0, 0])
    for name in ("digit.png", "paper.jpg", "photos/one.png", "cat.png"):
        picture.save(name)
    rows = [
        f"{n}.png,{n}.png,{n},{'ab'[n % 2]},wet,{n},{'test' if n > 20 else 'train'}"
        for n in range(24)
    ]
    Path("fruit.csv").write_text("\n".join([TABLE, *rows]))
    for n in range(24):
        Image.fromarray(bars.splits["train"].images[n, 0]).save(f"{n}.png")
    return workplace


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The statuses of what is asked of a server, which is then stopped; what it exports first is
    exported by this process, whose data are small."""
    statuses: list[int] = []

    def serve(service, taken, workers=1) -> None:
        from servers import started

        with started(service, taken) as server:
            if hasattr(service, "models"):
                found = server.post("/predict", Path("digit.png").read_bytes())
            else:  # a studio
                found = server.ask("GET", "/api/runs")
            statuses.append(found.status)

    def run(command, **more) -> subprocess.CompletedProcess:
        documents.command(shlex.join(["convscope", *command[3:]]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("convscope.server.serving.serve", serve)
    own = SimpleNamespace(run=run, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr("convscope.server.named.subprocess", own)
    return statuses


def test_every_command_runs(prepared, asked):
    assert len(COMMANDS) > 50
    for command in COMMANDS:
        quick = command.replace("--time-budget 10m", "--time-budget 8s")
        quick = quick.replace("--max-memory 2GB", "--max-memory 4GB")  # all tests in one process
        for served in ("convscope serve", "convscope studio"):
            quick = quick.replace(served, f"{served} --port 0")
        documents.command(quick.replace("--abstain 0.01", "--abstain 0.2"))  # of 24 images
    assert asked == [200, 200]
    assert Path("runs/a/report.html").is_file() and Path("digits.png").is_file()


@pytest.mark.parametrize("block", SNIPPETS.values())
def test_every_snippet_runs(prepared, block):
    assert "report.html" in documents.Reader().run(block)


@pytest.mark.parametrize(
    "page", [path.stem for path in SITES if path.parent == DOCS and ".zh" not in path.stem]
)
def test_a_page_with_code_is_run_by_a_test(page):
    """Here, or by the test that ELSEWHERE names: a page that is added is added to one of them."""
    blocks = documents.blocks(SITES[DOCS / f"{page}.md"])
    commands = any(block.commands for block in blocks)
    code = any(block.language == "python" for block in blocks)
    if page in ELSEWHERE:
        assert (ROOT / ELSEWHERE[page]).is_file()
    else:
        assert not code and (page in HERE or not commands), page


def test_the_words_of_a_network_in_one_line_are_those_that_are_read():
    rows = [f"| `{'`, `'.join(word.split(', '))}` | {says} |\n" for word, says in WORDS.items()]
    assert "|---|---|\n" + "".join(rows) + "\n" in PAGES["networks"]


def test_the_header_of_a_table_is_one():
    assert TABLE in PAGES["your-images"]


def test_nothing_is_left_to_fill_in():
    for text in (README, CHINESE, *SITES.values()):
        assert not re.search(r"RESULT|TODO|@@", text)


def test_readme_is_two_screens():
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_a_page_in_chinese_has_the_same_code(english, chinese):
    """So that what runs there runs here. What commands print there is in Chinese. A page that says
    less (shipping) has some of the code, in the same order."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in (english, chinese)]
    one, two = (
        [
            (kind, "" if kind == "text" else re.sub(" +# .*", "", text))  # but for comments
            for kind, text in fenced.findall(each)
        ]
        for each in texts
    )
    if "shipping" in english:
        left = iter(one)
        assert two and all(block in left for block in two)
    else:
        assert one == two
    numbers, told = (set(re.findall(r"\d[\d,.]*\d", fenced.sub("", text))) for text in texts)
    if "speed" in english:
        numbers |= set(re.findall(r"\d[\d,.]*\d", README + SITES[DOCS / "numbers.md"]))
    assert told <= numbers  # no figure that is not there
    for text, other in zip(texts, (chinese, english), strict=True):
        assert f"/{Path(other).name})" in text or f"({Path(other).name})" in text


def slug(heading: str) -> str:
    """A heading as GitHub and the site name it in an address.

    >>> slug("How many more images, and of which class?"), slug("`cnn` 的安装")
    ('how-many-more-images-and-of-which-class', 'cnn-的安装')
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "page",
    [*(ROOT / name for name in ("README.md", "README.zh.md", "CONTRIBUTING.md")), *SITES],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_link_leads_to_what_is_there(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    text = re.sub(r"`[^`\n]+`", "", text)
    found = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for target in ("".join(one) for one in found):
        path, _, heading = target.partition("#")
        if re.match(r"\w+:", target):
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.M)
            assert heading in map(slug, titles), target


def test_the_site_shows_every_page():
    listed = re.findall(r"(?:: |- )([\w./-]+\.md)$", NAV, re.M)
    made = {"index.md", "zh/index.md", "contributing.md", "changelog.md", "security.md"}
    pages = {path.relative_to(DOCS).as_posix() for path in SITES}
    assert len(listed) == len(set(listed))
    missing = pages - set(listed)
    assert not missing, f"mkdocs.yml does not list {sorted(missing)} in its navigation"
    assert {each for each in listed if not each.startswith("api/")} - pages == made


def test_every_recipe_says_what_it_reaches():
    from convscope import recipe

    for name in recipe.names():
        assert recipe.load(name).claim is not None, name

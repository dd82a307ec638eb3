"""Every card's command shows what the card says it shows."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from convscope import cli, language
from convscope.data import pack_writer, sources
from convscope.studies import claims, grid, measured, plan

CARDS = claims.load()


@pytest.fixture
def run(capsys, monkeypatch, workplace):
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["convscope", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return call


@pytest.fixture
def few(tmp_path, monkeypatch):
    """MNIST with 100 training and 20 test images."""
    whole = sources.open_data("mnist")
    splits = {
        name: (np.array(whole.splits[name].images[:n]), np.array(whole.splits[name].labels[:n]))
        for name, n in (("train", 100), ("test", 20))
    }
    packed = pack_writer.write_pack(
        tmp_path / "few", "mnist", whole.classes, splits, "a part of MNIST"
    )
    monkeypatch.setattr(sources, "open_data", lambda *_, **__: packed)


QUICK = [card for card in CARDS if card.study is None]
STUDIES = [card for card in CARDS if card.study is not None]


@pytest.mark.parametrize("card", STUDIES, ids=lambda card: str(card.number))
def test_what_a_study_showed_is_what_its_rows_say(card):
    assert card.shows
    for line in card.shows:
        assert any(line in part.sentences for part in measured.load(card.study).parts)


@pytest.mark.parametrize("card", STUDIES, ids=lambda card: str(card.number))
def test_a_study_runs_in_its_short_form(run, card, few, monkeypatch):
    short = {"steps": 1, "val": 0.1, "kernels": "plain", "precision": "float32",
             "memory_format": "contiguous"}  # fmt: skip
    monkeypatch.setattr(plan, "QUICK", short)
    code, said, _ = run("claims", str(card.number), "--quick")
    assert code == 0 and f"$ {card.command} --quick\n" in said
    (page,) = Path("runs").glob("*/README.md")
    for part in grid.load(card.study).parts:
        assert all(f"| {s.name or 'as given'} |" in _plain(page) for s in part.settings)


def _plain(page: Path) -> str:
    """The table without what makes the chosen setting bold."""
    return page.read_text(encoding="utf-8").replace("**", "")


@pytest.mark.parametrize("card", QUICK, ids=lambda card: str(card.number))
def test_the_command_shows_what_the_card_says(run, card):
    code, said, told = run(*shlex.split(card.command)[1:])
    assert code == 0 and card.shows
    for line in card.shows:
        assert line in said + told


def test_a_claim_is_tested_by_its_number(run):
    code, said, _ = run("claims", "2")
    assert code == 0 and said.startswith(f"claim    {CARDS[1].says}\n")
    assert CARDS[1].shows[0] in said and said.endswith("verdict  false\n")
    code, _, said = run("claims", "99")
    assert code == 2 and f"N=99: must be the number of a claim, 1 to {len(CARDS)}" in said


def test_claims_are_listed(run):
    _, said, _ = run("claims")
    assert all(f"\n{card.number:>2} " in said for card in CARDS)
    assert len(json.loads(run("claims", "--json")[1])["claims"]) == len(CARDS)
    assert json.loads(run("claims", "3", "--json")[1])["verdict"] == "half true"


@pytest.mark.parametrize("spoken, name", [("en", "claims.md"), ("zh", "claims.zh.md")])
def test_the_page_is_up_to_date(run, monkeypatch, spoken, name):
    """Made by `convscope claims --markdown`, into docs/."""
    monkeypatch.setenv("CONVSCOPE_LANG", spoken)
    page = Path(__file__).parents[2] / "docs" / name
    assert page.read_text(encoding="utf-8") == run("claims", "--markdown")[1]


@pytest.mark.parametrize(
    "card",
    [card for card in QUICK if " train " not in card.command],
    ids=lambda card: str(card.number),
)
def test_the_command_shows_in_chinese_what_the_card_says(run, card, monkeypatch):
    monkeypatch.setenv("CONVSCOPE_LANG", "zh")
    _, said, _ = run(*shlex.split(card.command)[1:])
    for line in card.shows:
        assert language.told(line, "zh") in said


def test_claims_are_told_in_chinese(run, monkeypatch):
    monkeypatch.setenv("CONVSCOPE_LANG", "zh")
    _, said, _ = run("claims", "2")
    assert said.startswith("说法     5x5 的卷积核") and said.endswith("结论     错\n")
    assert json.loads(run("claims", "3", "--json")[1])["verdict"] == "half true"

"""`convscope sweep`, `convscope learning-curve` and `convscope claims`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.cli import completing
from convscope.cli.options import with_fields
from convscope.cli.shared import DataName, Debug, Json, print_json, say, several_runs, under
from convscope.errors import BadArgument
from convscope.language import chosen, told


@with_fields
def sweep(
    data: DataName = None,
    vary: Annotated[
        list[str] | None,
        under(
            "Sweep",
            metavar="FIELD=A,B,C",
            help="What is varied; again for a second field. ';' between values that hold commas.",
        ),
    ] = None,
    study: Annotated[
        str | None,
        under(
            "Sweep",
            help="One that is ready; --list names them.",
            autocompletion=completing.studies,
        ),
    ] = None,
    seeds: Annotated[
        str | None, under("Sweep", metavar="N|N,N,...", help="How many, or which; else 3.")
    ] = None,
    quick: Annotated[
        bool, under("Sweep", "--quick", help="20 steps and one seed, to see what it looks like.")
    ] = False,
    preview: Annotated[
        bool, under("Sweep", "--preview", help="Check and list the settings; train nothing.")
    ] = False,
    measured: Annotated[
        bool, under("Sweep", "--measured", help="What --study showed when it was measured.")
    ] = False,
    listed: Annotated[bool, under("Sweep", "--list", help="List the studies.")] = False,
    out: Annotated[
        Path | None, under("Sweep", metavar="DIR", help="Its folder; else runs/STUDY-DATA-N.")
    ] = None,
    resume: Annotated[
        bool, under("Sweep", "--resume", help="Go on with the sweep in --out.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
    **fields: Any,
) -> None:
    """Train a grid of settings over several seeds: table, figure, and what the numbers support."""
    from convscope import console
    from convscope.studies import grid
    from convscope.studies import sweep as studies

    if listed:
        found = {name: grid.load(name) for name in grid.names()}
        if as_json:
            print_json({name: {"title": s.title, "question": s.question, "runs": _runs(s)}
                        for name, s in found.items()})  # fmt: skip
            return
        console.table(
            ("study", "runs", "what it asks"),
            [(name, _runs(s), told(s.question)) for name, s in found.items()],
        )
        return
    if measured:
        _measured(study, as_json)
        return
    asked: dict[str, Any] = {
        **fields, "data": data, "vary": vary or (), "study": study, "seeds": _seeds(seeds),
        "quick": quick,
    }  # fmt: skip
    if preview:
        rows = studies.preview(**asked)
        if as_json:
            print_json({"settings": rows})
            return
        cells = [
            (told(row["part"]), told(row["setting"] or "as given"), row["runs"], row["epochs"],
             row["parameters"], "-" if row["multiply_adds"] is None else row["multiply_adds"])
            for row in rows
        ]  # fmt: skip
        heads = ("part", "setting", "runs", "epochs", "parameters", "multiply-adds")
        console.table(heads, cells)
        return
    with several_runs() as emit:
        done = studies.sweep(out=out, resume=resume, emit=emit, **asked)
    if as_json:
        print_json(done.as_json())
        return
    console.study(done.parts)
    say(f"page          {done.page}")


@with_fields
def learning_curve(
    data: DataName = None,
    seeds: Annotated[
        int, under("Run", help="How many; with several the band holds their spread.")
    ] = 1,
    out: Annotated[
        Path | None, under("Run", metavar="DIR", help="Its folder; else runs/learning-curve-...")
    ] = None,
    resume: Annotated[bool, under("Run", "--resume", help="Go on with the one in --out.")] = False,
    as_json: Json = False,
    debug: Debug = False,
    **fields: Any,
) -> None:
    """Train on 1/8, 1/4, 1/2 and all images: what more of them promise, and of which class."""
    from convscope import console
    from convscope.studies import learning_curve as curves

    asked: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    with several_runs() as emit:
        done = curves.learning_curve(data, seeds=seeds, out=out, resume=resume, emit=emit, **asked)
    if as_json:
        print_json(done.as_json())
        return
    all_images, *classes = done.rows
    rows = [list(map(told, all_images)), *([name, *map(told, row)] for name, *row in classes)]
    console.table(done.columns, rows)
    for sentence in done.sentences:
        say(f"- {sentence}")
    say(f"page          {done.page}")


def _measured(study: str | None, as_json: bool) -> None:
    """Print the rows that are kept of a study."""
    from convscope import console
    from convscope.studies import measured

    if study is None:
        known = ", ".join(measured.names())
        raise BadArgument("measured", True, "is asked of a study", f"add --study: {known}")
    found = measured.load(study)
    if as_json:
        print_json(found.as_json())
        return
    console.study(found.parts)
    say(f"measured      {found.date}, {found.machine}\ncommand       {found.command}")


def _runs(study: Any) -> int:
    return sum(len(part.settings) for part in study.parts) * len(study.seeds)


def _seeds(text: str | None) -> int | list[int] | None:
    """'3' as how many, '1,2,5' as which. Raises BadArgument."""
    if text is None:
        return None
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        rule = "must be whole numbers"
        raise BadArgument("seeds", text, rule, "try 3, or 1,2,5") from None
    return numbers if "," in text else numbers[0]


def claims(
    number: Annotated[
        int | None, typer.Argument(metavar="N", help="The claim to test; none lists them all.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run a study's short form: 20 steps, one seed.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print all cards, as docs/claims.md has them.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Test a claim that is often read about convolutional networks, by one command."""
    from convscope import console
    from convscope.studies import claims as cards
    from convscope.studies import measured

    if markdown:
        typer.echo(cards.page(chosen()), nl=False)
        return
    if number is None:
        if as_json:
            print_json({"claims": [card.as_json() for card in cards.load()]})
            return
        rows = [(card.number, told(card.says), told(card.verdict)) for card in cards.load()]
        console.table(("N", "claim", "verdict"), rows)
        return
    card = cards.find(number)
    if as_json:
        print_json(card.as_json())
        return
    say(f"claim    {card.says}\nwhy      {card.why}\n")
    if card.study is not None:
        took = measured.load(card.study).seconds / 60
        say(f"About {took:.0f} minutes of training; --quick shows what it looks like, and")
        say(f"`convscope sweep --study {card.study} --measured` what it has shown.\n")
    command = card.command + (" --quick" if quick and card.study else "")
    typer.echo(f"$ {command}")
    from convscope.cli import app

    if code := app(shlex.split(command)[1:], standalone_mode=False):
        raise typer.Exit(code)
    say(f"\nfinding  {card.finding}\nverdict  {card.verdict}")

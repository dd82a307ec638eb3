"""`convscope tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convscope.cli.options import with_fields
from convscope.cli.shared import DataName, Debug, Json, print_json, say, under
from convscope.language import told

if TYPE_CHECKING:
    from convscope.studies.tuning.outcome import Tuned

SHOWN = 5  # trials of the table


@with_fields
def tune(
    data: DataName = None,
    vary: Annotated[
        list[str] | None,
        under(
            "Search",
            metavar="FIELD=A..B|A,B,C",
            help="What is searched, again for a second field: a range, with ` log` or ` step N` "
            "behind, or values; ';' between values that hold commas [default: what suits the data]",
        ),
    ] = None,
    trials: Annotated[
        int | None, under("Search", metavar="N", help="How many finish in all [default: 40]")
    ] = None,
    workers: Annotated[
        int, under("Search", metavar="N", help="Processes here, each with its share of the cores.")
    ] = 1,
    time_limit: Annotated[
        str | None,
        under("Search", metavar="90s|10m|1h30m", help="No trial begins after it."),
    ] = None,
    storage: Annotated[
        str | None,
        under(
            "Search",
            metavar="FILE|URL",
            help="Where trials are kept: a file, or a database for several machines, "
            "postgresql+psycopg://user@host/name [default: a journal in the folder]",
        ),
    ] = None,
    name: Annotated[
        str | None, under("Search", help="Of the study in a storage [default: DATA-MODEL]")
    ] = None,
    grace: Annotated[
        float,
        under(
            "Search",
            metavar="SECONDS",
            help="A worker that is silent so long is dead; a database may be away as long.",
        ),
    ] = 60.0,
    preview: Annotated[
        bool, under("Search", "--preview", help="Check and show the space; train nothing.")
    ] = False,
    out: Annotated[
        Path | None, under("Search", metavar="DIR", help="Its folder; else runs/tune-DATA-MODEL-N.")
    ] = None,
    resume: Annotated[
        bool, under("Search", "--resume", help="Go on with the search in --out.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
    **fields: Any,
) -> None:
    """Search for the recipe that does best on validation, by trials that are pruned early."""
    from convscope import console
    from convscope.studies import tune as search

    given = {key: value for key, value in fields.items() if value is not None}
    asked: dict[str, Any] = {
        **given, "data": data, "vary": vary or (), "trials": trials, "workers": workers,
        "storage": storage, "time_limit": time_limit, "grace": grace,
    }  # fmt: skip
    if preview:
        planned = search.preview(**asked)
        if as_json:
            print_json(planned.as_json())
            return
        rows = [(name, str(where)) for name, where in planned.spec.space.fields.items()]
        console.table((told("field"), told("searched over")), rows)
        say(planned.said)
        return
    try:
        with console.Monitor() as emit:
            done = search.tune(name=name, out=out, resume=resume, emit=emit, **asked)
    except KeyboardInterrupt as why:
        say("stopped; the same command with --out and --resume goes on", err=True)
        raise typer.Exit(getattr(why, "exit_code", 130)) from None
    _print(done, as_json)


def _print(done: Tuned, as_json: bool) -> None:
    from convscope import console
    from convscope.studies.tuning import outcome

    if as_json:
        print_json(done.as_json())
        return
    heads = [*outcome.COLUMNS, "values"]
    console.table(heads, [outcome.cells(row) for row in done.whole[:SHOWN]])
    for sentence in done.sentences:
        console.say(f"- {sentence}", soft_wrap=True)
    say(f"page          {done.page}")
    for what, command in done.commands:
        say(f"{what}: {command}")

"""`convscope lab`: one layer at a time, with its numbers; parse, call ``insight.lab``, print."""

from __future__ import annotations

import typer

from convscope.cli.lab import counting, fields, learning, sliding

app = typer.Typer(
    help="One layer at a time: its formula, its arithmetic, a picture in which it moves.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command()(sliding.conv)
app.command()(sliding.pool)
app.command("one-by-one")(counting.one_by_one)
app.command()(learning.edges)
app.command("receptive-field")(fields.receptive_field)

"""`convscope script`, `models`, `recipes` and `machine`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convscope.cli.shared import Debug, Force, Json, RunPath, print_json, say
from convscope.formatting import percent
from convscope.language import told

if TYPE_CHECKING:
    from convscope.recipe import Claim


def script(
    run: RunPath,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; else stdout.")
    ] = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Write a run as one plain PyTorch file: network, weights, predicting and training."""
    from convscope import api

    text = api.script(run, out, force=force)
    typer.echo(text if out is None else out, nl=out is not None)


def models(as_json: Json = False, debug: Debug = False) -> None:
    """List the networks: their arguments, their parameters on MNIST and on CIFAR-10."""
    from convscope import api, console

    found = api.networks()
    if as_json:
        print_json(found)
        return
    console.table(
        ("network", "arguments", "on mnist", "on cifar10", "what it is"),
        [
            (
                name,
                ", ".join(f"{k}={v}" for k, v in one["arguments"].items()),
                *("-" if n is None else f"{n:,}" for n in one["parameters"].values()),
                one["about"],
            )
            for name, one in found.items()
        ],
    )


def recipes(as_json: Json = False, debug: Debug = False) -> None:
    """List the recipes and what each was measured to reach."""
    from convscope import console, recipe

    found = {name: recipe.load(name) for name in recipe.names()}
    if as_json:
        print_json({name: vars(r.claim) if r.claim else None for name, r in found.items()})
        return
    rows = []
    for name, r in found.items():
        if name.endswith("-published") and name.removesuffix("-published") in found:
            continue  # stands beside the better one
        theirs = found.get(f"{name.removesuffix('-published')}-published")
        own = None if theirs is r else r
        published = theirs.claim.published if theirs and theirs.claim else None
        reached = (told(_reached(one.claim if one else None)) for one in (theirs, own))
        rows.append((name, r.train.epochs, percent(published), *reached))
    heads = ("recipe", "epochs", "published", "NAME-published, here", "NAME")
    console.table(heads, rows)


def _reached(claim: Claim | None) -> str:
    """A claim in a cell of two lines: mean and standard deviation over seeds; loss and time."""
    if claim is None:
        return "-"
    loss = "" if claim.loss is None else f"loss {claim.loss:.4f}, "
    return f"{claim.accuracy:.2%} +/- {claim.sd:.2%}\n{loss}{claim.seconds:.0f} s"


def machine(
    again: Annotated[bool, typer.Option("--again", help="Measure anew what was measured.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show this machine: what was measured on it, when, how sure that is, and what it led to."""
    from convscope import api, console

    with console.Monitor() as monitor:
        found = api.describe_machine(again, emit=monitor)
    if as_json:
        print_json(found)
        return
    kernels = "available" if found["kernels"] else "not available"
    console.table(
        ("this machine", ""),
        [
            ("processor", found["processor"]),
            ("cores", f"{found['cores']}, {found['system']}"),
            ("instructions", ", ".join(found["instructions"]) or "none that are known here"),
            ("device", found["device"]),
            ("compiled kernels", kernels),
            ("taken unmeasured", found["prior"]),
        ],
    )
    if not found["measurements"]:
        say("Nothing is measured yet: a network is at its first training, or by --again.")
        return
    heads = ("network", "batch", "measured (UTC)", "quiet", "ms a pass", "what it led to")
    rows = [
        (
            one["network"],
            "x".join(map(str, one["shape"])),
            one["measured"][:16].replace("T", " "),
            f"{one['quiet']:.0%}",
            f"{one['seconds'][one['chosen']] * 1e3:.1f}",
            one["said"] + _wrong(one["wrong"]),
        )
        for one in found["measurements"]
    ]
    console.table(heads, rows)
    say(
        f"What is measured counts for {found['kept_days']} days, or until training finds another "
        "pace; all candidates are in --json."
    )


def _wrong(names: list[str]) -> str:
    """The formats whose results were wrong, if any."""
    kinds = sorted({" ".join(name.split()[:2]) for name in names})
    return f"; wrong: {', '.join(kinds)}" if kinds else ""

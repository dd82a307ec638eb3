"""`convscope data`: the data sets, what is in one, what it looks like, what to mend in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from convscope.cli import completing
from convscope.cli.shared import Debug, Json, LabelsTable, SkipBad, print_json, say
from convscope.errors import BadArgument
from convscope.language import told

app = typer.Typer(
    help="The data sets: what there is, what is in one, what it looks like.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def data(context: typer.Context, as_json: Json = False, debug: Debug = False) -> None:
    """List the data sets and where each would come from."""
    if context.invoked_subcommand:
        if as_json:
            raise BadArgument("json", "before the verb", "belongs to it", "write it at the end")
        return
    from convscope import console
    from convscope.data import published, sources

    titles = {name: source.title for name, source in published.PUBLISHED.items()}
    titles["mnist-pairs"] = "MNIST in pairs: two inputs, four targets"
    found = [(name, title, sources.locate(name)) for name, title in titles.items()]
    if as_json:
        print_json({name: str(where) for name, _, where in found})
        return
    console.table(
        ("data set", "what it is", "would come from"),
        [(name, told(title), told(str(where))) for name, title, where in found],
    )


@app.command("info")
def data_info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A data set, or a folder or table of images.",
            autocompletion=completing.data_sets,
        ),
    ],
    labels: LabelsTable = None,
    skip_bad: SkipBad = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Count a data set's images by class; shape, mean and standard deviation."""
    from convscope import api, console

    with console.Monitor() as emit:
        info = api.describe_data(name, emit, labels=labels, skip_bad=skip_bad)
    if as_json:
        print_json(info)
        return
    splits = list(info["counts"])
    rows = [
        (label, *(info["counts"][split][label] for split in splits)) for label in info["classes"]
    ]
    console.table(("class", *splits), [*rows, (told("all"), *(info["images"][s] for s in splits))])
    statistics = (f"{key} {', '.join(f'{v:.4f}' for v in info[key])}" for key in ("mean", "std"))
    channels, height, width = info["shape"]
    columns = [f"{name}: {one['kind']}" for name, one in info.get("columns", {}).items()]
    same = info["duplicates"]
    kinds = {
        "test_in_train": "of test in train",
        "val_in_train": "of validation in train",
        "test_repeated": "more than once in test",
        "two_labels": "under two labels",
    }
    copies = ", ".join(f"{same[key]:,} {what}" for key, what in kinds.items() if same[key])
    copies = copies or "none"
    not_read = ", ".join(f"{count:,} {kind}" for kind, count in info["unread"].items())
    console.say(
        (f"columns {', '.join(columns)}; counted are those of the first class\n" if columns else "")
        + f"images {channels} x {height} x {width} (channels, height, width)\n"
        f"{'; '.join(statistics)} (training pixels, 0 to 1)\n"
        f"identical images: {copies}\n"
        + (f"not read: {not_read}\n" if not_read else "")
        + (f"left out: {info['skipped']:,}, listed in the pack\n" if info["skipped"] else "")
        + f"fingerprint {info['fingerprint']}\nlicence {info['licence']}",
        soft_wrap=True,
    )


@app.command("show")
def data_show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A data set, or a folder of images; or a photo.",
            autocompletion=completing.data_sets,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the picture goes; else NAME.png.")
    ] = None,
    labels: LabelsTable = None,
    skip_bad: SkipBad = False,
    digits: Annotated[
        bool, typer.Option("--digits", help="A photo of digits on paper: draw what is cut out.")
    ] = False,
    count: Annotated[int, typer.Option(help="How many images.")] = 32,
    seed: Annotated[int, typer.Option(help="Which ones, and how augmented.")] = 0,
    augment: Annotated[
        str | None,
        typer.Option(
            *("--augment", "--aug"),
            help="none, light or strong; else as train.",
            autocompletion=completing.of_field("augment"),
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a picture that is there.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Draw a labelled batch, as it is and as training sees it."""
    from convscope import api, console

    if digits:
        typer.echo(api.show_digits(name, out, force=force))
        return
    with console.Monitor() as emit:
        path = api.show_data(
            *(name, out), labels=labels, skip_bad=skip_bad, count=count, seed=seed,
            augment=augment or True, force=force, emit=emit,
        )  # fmt: skip
    typer.echo(path)


@app.command("pack")
def data_pack(
    name: Annotated[str, typer.Argument(metavar="DATA", help="A data set, or a folder of images.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A folder or URL that is written to.")],
    shard_size: Annotated[str, typer.Option(metavar="SIZE", help="Bytes of a shard.")] = "16MB",
    lanes: Annotated[
        int, typer.Option(help="Most ranks that share the shards; fewer must divide it.")
    ] = 8,
    val: Annotated[
        float | None, typer.Option(help="Share held out for validation; else a tenth.")
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Size of a folder's images: 64 or 48x64.")
    ] = None,
    resize_mode: Annotated[
        str | None, typer.Option(metavar="MODE", help="How they are brought to it.")
    ] = None,
    labels: LabelsTable = None,
    group: Annotated[
        str | None, typer.Option(help="Which images stay together: auto, stem, none.")
    ] = None,
    skip_bad: SkipBad = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Say what would be written, and write nothing.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a data set in shards, to train from where it does not fit or is shared.

    OUT, a folder or a URL such as s3://bucket/pets, is then data for every other verb.
    """
    from convscope import api, console
    from convscope.formatting import decimal_size, listed

    options: dict[str, Any] = {
        "val": val, "image_size": image_size, "resize_mode": resize_mode, "labels": labels,
        "group": group, "skip_bad": skip_bad or None,
    }  # fmt: skip
    with console.Monitor() as emit:
        found = api.pack_data(
            *(name, out), shard_size=shard_size, lanes=lanes, preview=preview, emit=emit,
            **{key: value for key, value in options.items() if value is not None},
        )  # fmt: skip
    if as_json:
        print_json(found.as_json())
        return
    records = listed([f"{count:,} {split}" for split, count in found.records.items()])
    sent = "nothing is written" if found.sent is None else f"sent {decimal_size(found.sent)}"
    say(
        f"records  {records}\n"
        f"shards   {found.shards:,}, {decimal_size(found.bytes)} in all\n"
        f"memory   {decimal_size(found.working_set)} of images are in use at a time\n"
        f"written  {found.out} ({sent})"
    )


@app.command("audit")
def data_audit(
    name: Annotated[str, typer.Argument(metavar="DATA", help="A folder of images, or a data set.")],
    labels: LabelsTable = None,
    skip_bad: SkipBad = False,
    only: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Of files, copies, groups, labels, balance, sizes."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page with the images side by side."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="List all images and what is suspected of each."),
    ] = None,
    show: Annotated[int, typer.Option(metavar="N", help="Findings of a kind to print.")] = 10,
    folds: Annotated[int, typer.Option(help="Parts; each is judged by the others.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the parts.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the files that --page and --write name.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look through a folder before training: unreadable files, copies, likely wrong labels.

    No image file is changed. Likely wrong labels need the extra `audit`.
    """
    from convscope import api, console

    if show < 0:
        raise BadArgument("show", show, "must be a whole number of at least 0", "try 10")
    with console.Monitor() as emit:
        found = api.audit_data(
            name,
            labels=labels,
            skip_bad=skip_bad,
            only=[check.strip() for check in only.split(",")] if only else [],
            page=page,
            write=write,
            force=force,
            folds=folds,
            seed=seed,
            emit=emit,
        )
    if as_json:
        print_json(found.as_json())
        return
    console.audit(found, show)
    for what, path in (("page", page), ("list", write)):
        if path is not None and path.exists():
            say(f"{what}     {path}")

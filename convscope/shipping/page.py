"""A network as one HTML file that answers in a browser, without a server and without a network.

The graph of its ONNX file, the weights and the scripts of ``convscope/web`` lie in the page. What
it computes is that graph from the fitted pixels on: the page fits images by itself, as
:func:`convscope.data.resize.fitted` does.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import onnx
from safetensors.numpy import load_file

from convscope import webpage
from convscope.data.columns import Class, Image
from convscope.data.digits import SIZE
from convscope.errors import BadArgument
from convscope.formatting import decimal_size
from convscope.predicting.onnx_file import FITTED, LOGITS, OnnxFile
from convscope.run import RunFolder
from convscope.shipping.page_graph import SERVE, Graph, graph_of
from convscope.shipping.page_stages import stages_of
from convscope.shipping.page_units import best_images

MOST_MULTIPLY_ADDS = 100_000_000  # a pass then takes about a tenth of a second on a laptop
MOST_BYTES = 20_000_000  # of weights
ENGINE, PAGE = "web/worker.js", "web/page.js"  # what a worker runs, what the page does
STYLES = ("page.css", "inside.css", "lab.css")
ELSEWHERE = ("teach.", "runs.", "compare.", "waiting.")  # words of the studio's tabs

Answers = Literal["page", "server"]


def page_of(
    file: str | Path | OnnxFile,
    answers: Answers = "page",
    *,
    run: RunFolder | None = None,
    images: Any = None,
    bears: tuple[int, int] | None = None,
    named: str = "",
    before: webpage.Links = (),
    after: webpage.Links = (),
) -> str:
    """The HTML page of a network that ``convscope export`` wrote as an ONNX file.

    With the ``run`` that it is of, the page shows each batch norm as a step of its own, which the
    file has folded into the weights; with test ``images``, uint8 [N,C,h,w], it shows which of them
    each channel answers to most, see :func:`convscope.shipping.page_units.best_images`.

    The page computes the answers itself or, with ``answers="server"``, asks ``predict`` beside its
    own address for them; then it holds no weights. It is ``named`` after the run where there are
    several, and has links ``before`` and ``after`` its tabs. Raises BadArgument for a network of
    several inputs or targets, one that takes more multiply-adds an image or has more bytes of
    weights than the page ``bears``, and one with an operator that the page does not compute, by its
    layer.

    >>> page_of("runs/a/model.onnx")[:15]  # doctest: +SKIP
    '<!doctype html>'
    """
    opened = file if isinstance(file, OnnxFile) else OnnxFile.open(file)
    info = opened.model
    image = _image(opened)
    graph, weights, stages, best = None, "", [], None
    if answers == "page":
        model = onnx.load_model_from_string(opened.content)
        own = load_file(run.weights) if run is not None else {}
        graph = graph_of(model, FITTED, (1, *image.shape), LOGITS, own)
        weights = base64.b64encode(graph.weights.astype("<f4").tobytes()).decode()
        most = bears or (MOST_MULTIPLY_ADDS, MOST_BYTES)
        _small_enough(graph.multiply_adds, graph.weights.nbytes, most)
        stages = stages_of(graph)
        best = None if images is None else best_images(opened, graph, stages, images)
    name, data = info["architecture"]["name"], info["data"]["name"]
    about = {
        "name": name,
        "data": data,
        "classes": info["classes"],
        "channels": image.channels,
        "size": list(image.size),
        "fit": image.fit,
        "draws": (image.channels, image.size) == (1, (SIZE, SIZE)),
        "calibration": {key: info.get(key) for key in ("temperature", "ood", "abstain")},
        "figures": figures(opened.info, graph),
        "answers": answers,
        "version": info.get("versions", {}).get("convscope", ""),
        "words": webpage.words(but=ELSEWHERE),
        "graph": graph and graph.as_json() | {"stages": stages},
        "best": best,
    }
    body = webpage.nav() + _web("page.html").replace("@name@", html.escape(name))
    body = body.replace("@on@", html.escape(f"on {data}"))
    body = body.replace("@run@", html.escape(f" · {named}" if named else ""))
    body = body.replace("@before@", webpage.links(before)).replace("@after@", webpage.links(after))
    body += webpage.data("about", about) + webpage.data("weights", weights)
    engine, shown = (webpage.script("convscope", name) for name in (ENGINE, PAGE))
    body += webpage.data("engine", engine)
    body += f"<script>\n{shown}</script>\n"
    allowed = ["worker-src blob:", *["connect-src 'self'"] * (answers == "server")]
    title = f"{name} on {data} · convscope"
    style = webpage.theme() + "".join(map(_web, STYLES))
    return webpage.whole(title, style, body, scripts=True, allowed=allowed)


def figures(said: Mapping[str, Any], graph: Graph | None) -> dict[str, Any]:
    """The main figures of a network, from the metadata of its ONNX file: of its ``model.json``, and
    of the table in its model card, which may have been rewritten and need not have any."""
    info, rows = said["model"], dict(_table(said["card"]))
    accuracy, _, images = rows.get("accuracy", "").partition(" of ")
    split = re.search(r"The (\S+) split was looked at", said["card"])
    found = {
        "accuracy": accuracy or None,
        "images": images.partition(" (")[0] or None,
        "interval": rows.get("95 % interval (Wilson)", "").replace(" to ", " – ") or None,
        "balanced": rows.get("balanced accuracy (mean recall)", "").partition(" (")[0] or None,
        "split": split and split[1],
        "parameters": info.get("parameters"),
        "multiply_adds": graph and graph.multiply_adds,
        "train": info["data"].get("train"),
        "created": info.get("created"),
    }
    return {key: value for key, value in found.items() if value is not None}


def _table(card: str) -> Iterator[tuple[str, str]]:
    """The rows of figures of a model card, as text.

    >>> list(_table("| figure | value |\\n|---|---|\\n| accuracy | 98 % of 9 |\\n\\n| a | b |"))
    [('accuracy', '98 % of 9')]
    """
    table = card.partition("| figure | value |\n")[2].partition("\n\n")[0]
    for line in table.splitlines()[1:]:
        name, _, value = line.strip("| ").partition(" | ")
        yield name, re.sub(r"\\(.)", r"\1", value)


def _image(opened: OnnxFile) -> Image:
    """The one image that the network takes. Raises BadArgument for what else it takes or gives."""
    columns = opened.columns
    inputs = [one for one in columns.values() if one.is_input]
    targets = [one for one in columns.values() if not one.is_input]
    rule = ""
    if len(inputs) > 1 or not isinstance(inputs[0], Image):
        names = ", ".join(name for name, one in columns.items() if one.is_input)
        rule = f"its network takes several inputs ({names}), and a page shows it one image"
    elif len(targets) > 1 or not isinstance(targets[0], Class):
        names = ", ".join(name for name, one in columns.items() if not one.is_input)
        rule = f"its network does not tell one class but {names}, which the page cannot show"
    if rule:
        raise BadArgument("format", "page", rule, SERVE)
    found = inputs[0]
    assert isinstance(found, Image)
    return found


def _small_enough(multiply_adds: int, size: int, bears: tuple[int, int]) -> None:
    """Raise BadArgument, with both figures, for a network that is too large for a page."""
    if multiply_adds <= bears[0] and size <= bears[1]:
        return
    rule = (
        f"its network takes {multiply_adds / 1e6:,.0f} million multiply-adds an image and has "
        f"{decimal_size(size)} of weights; a page bears {bears[0] / 1e6:,.0f} million and "
        f"{decimal_size(bears[1])}"
    )
    raise BadArgument("format", "page", rule, SERVE)


def _web(name: str) -> str:
    return webpage.part("convscope", f"web/{name}")

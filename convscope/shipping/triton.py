"""A model repository for NVIDIA's Triton Inference Server: the ONNX file, its configuration, the
names of its classes.

Its layout and fields are those of "Model Repository" and "Model Configuration" in Triton's user
guide: ``NAME/config.pbtxt``, ``NAME/1/model.onnx``, a file of labels, a class a line.
"""

from __future__ import annotations

import re
from pathlib import Path

from convscope import files
from convscope.data.columns import Class, Labels
from convscope.errors import BadArgument
from convscope.predicting.onnx_file import Names, OnnxFile
from convscope.shipping.golden import Golden, path_of

_TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}


def write(file: OnnxFile, records: Golden, name: str, repository: Path) -> None:
    """Write the repository of one model, its golden records beside it, whole or not at all. Raises
    BadArgument for a class whose name has a line break, which the file of labels cannot say."""
    texts = {label: "\n".join(names) + "\n" for label, names in _labels(file).items()}
    config = config_of(file, name)
    with files.whole_folder(repository) as folder:
        version = folder / name / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(file.content)
        records.write(path_of(version / "model.onnx"))
        (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")
        for label, text in texts.items():
            (version.parent / label).write_text(text, encoding="utf-8")


def name_of(run: str) -> str:
    """What the model of a run's folder is called: letters, digits, _ and -.

    >>> name_of("my photos-2")
    'my_photos-2'
    """
    return re.sub(r"[^\w-]+", "_", run, flags=re.ASCII).strip("_") or "model"


def config_of(file: OnnxFile, name: str) -> str:
    """``config.pbtxt``: what the file takes and gives, as ONNX Runtime has it, in batches of up to
    the number whose maps fit into memory, which the server puts together by itself."""
    session = file.session(threads=1)
    names = Names.of(file.columns)
    labelled = {value: _file_of(target, names) for target, value in names.probabilities.items()}
    parts = []
    for kind, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for one in values:
            sides = (side if isinstance(side, int) else -1 for side in one.shape[1:])
            lines = [
                f'name: "{one.name}"',
                f"data_type: {_TYPES[one.type]}",
                f"dims: [ {', '.join(map(str, sides))} ]",
            ]
            if kind == "output" and one.name in labelled:
                lines.append(f'label_filename: "{labelled[one.name]}"')
            parts.append(f"{kind} [\n  {{\n    " + "\n    ".join(lines) + "\n  }\n]\n")
    head = f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: {file.batch}\n'
    return head + "".join(parts) + "dynamic_batching {\n}\n"


def _file_of(target: str, names: Names) -> str:
    return "labels.txt" if names.alone else f"{target}.labels.txt"


def _labels(file: OnnxFile) -> dict[str, tuple[str, ...]]:
    """The names of each target's classes, by the file that has them."""
    names = Names.of(file.columns)
    found = {
        _file_of(target, names): one.classes
        for target, one in file.columns.items()
        if isinstance(one, Class | Labels)
    }
    for classes in found.values():
        if broken := [one for one in classes if len(one.splitlines()) != 1]:
            rule = "has a line break, and Triton's labels are a line each"
            raise BadArgument("format", f"triton ({broken[0]!r})", rule, "rename the class")
    return found

"""A model repository as Triton's documents describe it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from exported import exported

from convscope.errors import BadArgument
from convscope.predicting.onnx_file import OnnxFile
from convscope.shipping import golden, triton


def parsed(text: str) -> dict:
    """Protocol buffers' text format, as far as it is written here: fields, messages, lists."""
    tokens = re.findall(r'"[^"]*"|[\w-]+|[{}\[\]:,]', text)

    def value() -> object:
        token = tokens.pop(0)
        if token == "[":
            found = []
            while tokens[0] != "]":
                found.append(value())
                if tokens[0] == ",":
                    tokens.pop(0)
            tokens.pop(0)
            return found
        if token == "{":
            return message()
        return token.strip('"') if not re.fullmatch(r"-?\d+", token) else int(token)

    def message() -> dict:
        found: dict = {}
        while tokens and tokens[0] != "}":
            name = tokens.pop(0)
            if tokens[0] == ":":
                tokens.pop(0)
            one = value()
            found[name] = found[name] + one if name in found else one
        del tokens[:1]
        return found

    return message()


@pytest.fixture
def file(bars, workplace: Path) -> OnnxFile:
    return OnnxFile.open(exported(bars, workplace / "a"))


def test_the_configuration_is_that_of_the_file(file: OnnxFile) -> None:
    assert parsed(triton.config_of(file, "bars")) == {
        "name": "bars",
        "backend": "onnxruntime",
        "max_batch_size": file.batch,
        "input": [{"name": "images", "data_type": "TYPE_UINT8", "dims": [1, -1, -1]}],
        "output": [
            {
                "name": "probabilities",
                "data_type": "TYPE_FP32",
                "dims": [3],
                "label_filename": "labels.txt",
            },
            {"name": "logits", "data_type": "TYPE_FP32", "dims": [3]},
        ],
        "dynamic_batching": {},
    }


def test_a_repository_is_there_whole_or_not_at_all(file: OnnxFile, workplace: Path) -> None:
    records = golden.read(golden.path_of(file.path))
    triton.write(file, records, "bars", Path("models"))
    assert sorted(str(one.relative_to("models")) for one in Path("models").rglob("*.*")) == [
        *("bars/1/model.golden.npz", "bars/1/model.onnx", "bars/config.pbtxt", "bars/labels.txt"),
    ]
    file.info["model"]["classes"][1] = "up\nright"
    with pytest.raises(BadArgument, match=r"format=triton \('up\\nright'\): has a line break"):
        triton.write(file, records, "bars", Path("others"))
    assert not Path("others").exists()

"""A run's network as one ONNX graph: from uint8 pixels of any size to named probabilities.

PyTorch exports the network as it is, on float pixels of its own size. In front of it stands the one
preprocessing, behind it temperature and softmax, and the metadata hold what a predictor needs.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from convscope.data.columns import Class, Columns, Image, Labels, outputs_of
from convscope.errors import ConvscopeError
from convscope.models.parts import Classifier
from convscope.predicting.onnx_file import METADATA, Names
from convscope.shipping.preprocessing import IR, OPSET, fit_nodes

TRACED = 2  # records in the batch that the exporter sees; the file takes any number


def graph_of(
    network: nn.Module, columns: Columns, temperatures: Mapping[str, float]
) -> onnx.ModelProto:
    """The network in evaluation mode as an ONNX model of opset 18, without metadata.

    Of one image and one class it takes ``images``, uint8 [N,C,H,W], and gives ``probabilities`` and
    ``logits``, float32 [N,K]; else it takes each input by its name, and gives ``TARGET.logits`` and
    ``TARGET.probabilities`` of each target, of a number ``TARGET`` [N,1]. A target that is not
    among the ``temperatures`` has 1. Raises ConvscopeError, naming the layer, for a network that
    cannot be exported.
    """
    names = Names.of(columns)
    before = {name: "" if names.alone else f"{name}." for name in columns}
    takes = {
        name: f"{before[name]}scaled" if isinstance(columns[name], Image) else given
        for name, given in names.inputs.items()
    }
    model = _exported(network, columns, list(takes.values()), names.outputs)
    graph = model.graph
    body = list(graph.node)
    for part in (graph.node, graph.input, graph.output):
        del part[:]
    for name, given in names.inputs.items():
        column = columns[name]
        shape: list[str | int | None] = ["N", *column.shape]
        if isinstance(column, Image):
            shape[2:] = f"{before[name]}height", f"{before[name]}width"
            graph.node.extend(fit_nodes(column, given, takes[name], before[name]))
        kind = TensorProto.UINT8 if isinstance(column, Image) else TensorProto.FLOAT
        graph.input.append(helper.make_tensor_value_info(given, kind, shape))
    graph.node.extend(body)
    for name, end in names.outputs.items():
        column, ends = columns[name], [end]
        if isinstance(column, Class | Labels):
            ends = [names.probabilities[name], end]
            graph.node.extend(_answer(column, ends[0], end, temperatures.get(name, 1.0)))
        for value in ends:
            shape = ["N", outputs_of(column)]
            graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model, full_check=True)
    return model


def describe(model: onnx.ModelProto, ours: Mapping[str, Any]) -> None:
    """Write into the metadata what the file is: ONNX's own keys for its images, and ``ours``, see
    :class:`~convscope.predicting.onnx_file.OnnxFile`."""
    grey = ours["model"]["preprocessing"]["channels"] == 1
    helper.set_model_props(
        model,
        {
            "Image.BitmapPixelFormat": "Gray8" if grey else "Rgb8",
            "Image.ColorSpaceGamma": "SRGB",
            "Image.NominalPixelRange": "NominalRange_0_255",
            METADATA: json.dumps(ours, ensure_ascii=False, allow_nan=False),
        },
    )


def _answer(
    column: Class | Labels, probabilities: str, logits: str, temperature: float
) -> list[onnx.NodeProto]:
    """From logits to probabilities, over a temperature where there is one."""
    nodes = []
    if temperature != 1:
        value = helper.make_tensor("", TensorProto.FLOAT, [], [temperature])
        heat, cooled = f"{probabilities}.temperature", f"{probabilities}.cooled"
        nodes = [
            helper.make_node("Constant", [], [heat], heat, value=value),
            helper.make_node("Div", [logits, heat], [cooled], cooled),
        ]
        logits = cooled
    if isinstance(column, Class):
        last = helper.make_node("Softmax", [logits], [probabilities], probabilities, axis=1)
    else:
        last = helper.make_node("Sigmoid", [logits], [probabilities], probabilities)
    return [*nodes, last]


def _exported(
    network: nn.Module, columns: Columns, takes: list[str], gives: Mapping[str, str]
) -> onnx.ModelProto:
    """The network alone, its batch of any size, its values by these names."""
    given = tuple(torch.zeros(TRACED, *one.shape) for one in columns.values() if one.is_input)
    batch: tuple[Any, ...] = tuple({0: torch.export.Dim.DYNAMIC} for _ in given)
    if not isinstance(network, Classifier):  # its forward takes any number of inputs
        batch = (batch,)
    with _quiet():
        within: list[str] = []
        try:
            with _entered(network, within):
                traced = torch.export.export(network, given, dynamic_shapes=batch)
        except Exception as why:  # whatever a user's forward does while it is traced
            try:  # by its bytecode: a few networks, such as one that asks len(x), need it
                traced = torch.export.export(network, given, dynamic_shapes=batch, strict=True)
            except Exception:
                raise _refused(within[-1] if within else "", "cannot be traced", why) from why
        try:
            names = traced.call_spec.out_spec.context or list(gives)  # of a dictionary its keys
            program = torch.onnx.export(
                traced,
                dynamo=True,
                opset_version=OPSET,
                input_names=takes,
                output_names=[gives[name] for name in names],
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as why:
            raise _refused(*_failed(why), why) from why
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    model.ir_version = IR
    del model.functions[:]  # the exporter has inlined them
    _tidy(model.graph)
    return model


def _tidy(graph: onnx.GraphProto) -> None:
    """Call the batch N, and keep of what the exporter notes of a node the path of its module alone:
    the rest names files of this machine."""
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in graph.value_info:
        del value.metadata_props[:]
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = side.dim_param.replace(batch, "N")
    for node in graph.node:
        kept = [one for one in node.metadata_props if one.key == "namespace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        node.ClearField("doc_string")
    for one in graph.initializer:
        del one.metadata_props[:]
    del graph.metadata_props[:]


@contextlib.contextmanager
def _entered(network: nn.Module, within: list[str]) -> Iterator[None]:
    """Keep ``within`` the names of the layers that a forward pass is in, the innermost last; where
    it fails they stay."""
    names = {module: name for name, module in network.named_modules()}

    def enter(module: nn.Module, _: Any) -> None:
        within.append(names.get(module, ""))

    def leave(*_: Any) -> None:
        within.pop()

    hooks = [
        nn.modules.module.register_module_forward_pre_hook(enter),
        nn.modules.module.register_module_forward_hook(leave),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _failed(why: BaseException) -> tuple[str, str]:
    """The layer that could not be translated, and its operator, as far as the error tells: the
    node that the exporter was at."""
    layer = operator = ""
    cause: BaseException | None = why
    while cause is not None:
        trace = cause.__traceback__
        while trace is not None:
            node = trace.tb_frame.f_locals.get("node")
            if isinstance(node, torch.fx.Node) and node.op == "call_function":
                operator = str(node.target)
                if stack := node.meta.get("nn_module_stack"):
                    layer = list(stack.values())[-1][0]
            trace = trace.tb_next
        cause = cause.__cause__
    return layer, f"has the operator {operator}, which cannot be exported"


def _refused(layer: str, rule: str, why: BaseException) -> ConvscopeError:
    """The error for a network that cannot be exported."""
    while isinstance(why, torch.onnx.errors.OnnxExporterError) and why.__cause__ is not None:
        why = why.__cause__
    first = str(why).strip().partition("\n")[0]
    if "specialized it to be a constant" in str(why):
        first = "it takes batches of one size alone"
    where = f"its layer {layer}" if layer else "it"
    return ConvscopeError(
        f"network: {where} {rule} ({type(why).__name__}: {first:.200}); put plain layers in its "
        "place, or take the network as PyTorch with: convscope script"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what PyTorch and the exporter warn of, print and log: they raise what matters."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
        logging.disable(logging.CRITICAL)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                yield
        finally:
            logging.disable(before)

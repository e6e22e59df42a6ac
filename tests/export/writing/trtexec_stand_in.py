#!/usr/bin/env python3
"""As much of TensorRT's trtexec as exeunt.serving.tensorrt calls: an "engine" is the ONNX file, run by onnxruntime.

STAND_IN_OFFSET (a number) is added to every output, to play an engine that does not agree.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime

flags = dict(item.removeprefix("--").partition("=")[::2] for item in sys.argv[1:])
if "onnx" in flags:
    assert {"minShapes", "optShapes", "maxShapes"} <= set(flags) and "skipInference" in flags
    shutil.copy(flags["onnx"], flags["saveEngine"])
    sys.exit()
session = onnxruntime.InferenceSession(Path(flags["loadEngine"]).read_bytes(), providers=["CPUExecutionProvider"])
shapes = {
    name: [int(n) for n in dims.split("x")] for name, dims in (item.split(":") for item in flags["shapes"].split(","))
}
files = dict(item.split(":") for item in flags["loadInputs"].split(","))
feeds = {name: np.fromfile(file, np.float32).reshape(shapes[name]) for name, file in files.items()}
outputs = zip((item.name for item in session.get_outputs()), session.run(None, feeds), strict=True)
offset = float(os.environ.get("STAND_IN_OFFSET", "0"))
report = [
    {"name": name, "dimensions": "x".join(map(str, array.shape)), "values": (array.ravel() + offset).tolist()}
    for name, array in outputs
]
Path(flags["exportOutput"]).write_text(json.dumps(report))

"""A small Triton repository, written by hand: a member in two segments, whole, and the vote of the baseline."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

CLASSES = 3
_RNG = np.random.default_rng(5)
FIRST = _RNG.normal(size=(4, 5)).astype(np.float32)
SECOND = _RNG.normal(size=(5, CLASSES)).astype(np.float32)

_HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


def _weights(name: str, array: np.ndarray) -> str:
    numbers = ", ".join(f"{item:.8g}" for item in array.ravel())
    return f"<float[{','.join(map(str, array.shape))}] {name} = {{{numbers}}}>"


SEGMENT_1 = f"{_HEAD} s1 (float[N,4] IMAGE) => (float[N,5] cut) {_weights('w', FIRST)} {{ cut = MatMul(IMAGE, w) }}"
SEGMENT_2 = f"""{_HEAD} s2 (float[N,5] cut) => (float[N,{CLASSES}] PROBABILITIES) {_weights("w", SECOND)}
{{ h = Relu(cut)  z = MatMul(h, w)  PROBABILITIES = Softmax <axis = -1> (z) }}"""
# fails on an index that is not there: one bad request among good ones
LOOKUP = f"""{_HEAD} look (int64[N,1] INDEX) => (float[N,1,5] ROW) {_weights("w", FIRST)}
{{ ROW = Gather <axis = 0> (w, INDEX) }}"""


def write_model(repository: Path, name: str, config: str, onnx_text: str | None = None) -> Path:
    """A model folder with config.pbtxt, version 1, and its ONNX file if it has one."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    if onnx_text is not None:
        onnx.save(onnx.parser.parse_model(onnx_text), str(version / "model.onnx"))
    return repository / name


def tensor(name: str, dims: int | str, dtype: str = "TYPE_FP32") -> str:
    return f'{{ name: "{name}" data_type: {dtype} dims: [ {dims} ] }}'


def onnx_config(input_: str, output: str, more: str = "") -> str:
    return (
        f'backend: "onnxruntime"\nmax_batch_size: 8\ninput [ {input_} ]\noutput [ {output} ]\n'
        'parameters { key: "intra_op_thread_count" value { string_value: "1" } }\n'
        f"instance_group [ {{ kind: KIND_CPU }} ]\n{more}\n"
    )


def one_model(repository: Path) -> Path:
    """Model s1 alone: the quickest server there is."""
    write_model(repository, "s1", onnx_config(tensor("IMAGE", 4), tensor("cut", 5), "dynamic_batching { }"), SEGMENT_1)
    return repository


def tiny_repository(repository: Path) -> Path:
    """Models s1 -> s2 as an ensemble `member`, `look`, and `vote` over two members' probabilities."""
    one_model(repository)
    write_model(repository, "s2", onnx_config(tensor("cut", 5), tensor("PROBABILITIES", CLASSES)), SEGMENT_2)
    batching = "dynamic_batching { max_queue_delay_microseconds: 200000 }"
    write_model(
        repository, "look", onnx_config(tensor("INDEX", 1, "TYPE_INT64"), tensor("ROW", "1, 5"), batching), LOOKUP
    )
    write_model(
        repository,
        "member",
        f"""platform: "ensemble"
max_batch_size: 8
input [ {tensor("IMAGE", 4)} ]
output [ {tensor("PROBABILITIES", CLASSES)} ]
ensemble_scheduling {{
  step [ {{ model_name: "s1" model_version: -1
           input_map {{ key: "IMAGE" value: "IMAGE" }} output_map {{ key: "cut" value: "cut" }} }},
         {{ model_name: "s2" model_version: -1
           input_map {{ key: "cut" value: "cut" }} output_map {{ key: "PROBABILITIES" value: "PROBABILITIES" }} }} ]
}}
""",
    )
    write_model(
        repository,
        "vote",
        f"""backend: "vote"
max_batch_size: 8
input [ {tensor("a.2", CLASSES)}, {tensor("b.2", CLASSES)} ]
output [ {tensor("PROBABILITIES", CLASSES)}, {tensor("LABEL", 1, "TYPE_INT64")} ]
parameters {{ key: "weights" value {{ string_value: "3, 1" }} }}
parameters {{ key: "vote" value {{ string_value: "soft" }} }}
instance_group [ {{ kind: KIND_CPU }} ]
""",
    )
    return repository


def whole_member(rows: np.ndarray) -> np.ndarray:
    """What `member` must answer; float32 [rows, CLASSES]."""
    scores = np.maximum(rows @ FIRST, 0) @ SECOND
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def copy_with(repository: Path, to: Path, bag: str = "tiny", **settings: str) -> Path:
    """A copy of an exported repository whose exit controller has these settings in its config.pbtxt."""
    shutil.copytree(repository, to)
    with (to / f"{bag}_exit" / "config.pbtxt").open("a") as config:
        for key, value in settings.items():
            escaped_value = value.replace('"', '\\"')
            config.write(f'parameters {{ key: "{key}" value {{ string_value: "{escaped_value}" }} }}\n')
    return to

"""Odd values, odd tables, odd bytes: what odd requests are made of. All chance comes from the caller's generator."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from tests.fuzz.files import mutated_bytes

DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
    "BYTES", "BF16",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 17, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30)
FLOATS = (0.0, -1.0, 0.5, 1e-30, 1e308, float("nan"), float("inf"), float("-inf"))
TEXTS = ("", "never", "nan", "IMAGE", "LABEL", "\x00", "☃", "../../etc/passwd", "%s%n", "a" * 3000, '"', "[red]", "\n#")
PARAMETERS = (
    "exit", "deadline_ms", "max_risk", "service_class", "timeout", "priority", "sequence_id", "sequence_start",
    "sequence_end", "binary_data_output", "binary_data_size", "classification", "shared_memory_region",
    "shared_memory_byte_size", "shared_memory_offset", "headers", "triton_enable_empty_final_response", "nobodys",
)  # fmt: skip
PIECES = (b"[" * 3000, b"{", b"}", b'"', b"1e999", b"NaN", b"-1", b"9" * 4000, b"null", b"\x00", b"\xff\xfe", b"\r\n")


def pick(rng: np.random.Generator, options: Any) -> Any:
    """One of some things."""
    return options[int(rng.integers(len(options)))]


def scalar(rng: np.random.Generator) -> Any:
    """A number, a text, or what stands for nothing."""
    return pick(rng, (pick(rng, NUMBERS), pick(rng, FLOATS), pick(rng, TEXTS), True, False, None))


def value(rng: np.random.Generator) -> Any:
    """Anything that JSON has."""
    return pick(rng, (scalar(rng), scalar(rng), [], {}, [scalar(rng)], {"name": scalar(rng)}, [[]], [{}]))


def shape(rng: np.random.Generator, good: list[int]) -> list[int]:
    """A shape that is nearly, or not at all, a good one."""
    dims = list(good)
    kind = rng.integers(5)
    if kind == 0 and dims:
        dims[int(rng.integers(len(dims)))] = pick(rng, NUMBERS)
    elif kind == 1:
        dims = dims[: int(rng.integers(len(dims) + 1))]
    elif kind == 2:
        dims = dims + [1] * int(rng.integers(1, 12))
    elif kind == 3:
        dims = dims[::-1]
    else:
        dims = [int(pick(rng, NUMBERS)) for _ in range(int(rng.integers(0, 6)))]
    return dims


def mutated(rng: np.random.Generator, table: Any, times: int) -> Any:
    """A copy of a JSON value with some of its parts replaced, removed, doubled or added."""
    mutant = copy.deepcopy(table)
    for _ in range(times):
        parent, key = _place(rng, mutant)
        if parent is None:
            return value(rng)
        kind = rng.integers(6)
        if kind < 3:
            parent[key] = value(rng)
        elif kind == 3:
            del parent[key]
        elif isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            parent[pick(rng, TEXTS)] = copy.deepcopy(parent[key])
    return mutant


def _place(rng: np.random.Generator, table: Any) -> tuple[Any, Any]:
    """A container within a JSON value and a key of it; (None, None) where there is none."""
    place = None, None
    while isinstance(table, dict | list) and table:
        key = pick(rng, list(table)) if isinstance(table, dict) else int(rng.integers(len(table)))
        place = table, key
        if rng.random() < 0.4:
            break
        table = table[key]
    return place


def mangled(rng: np.random.Generator, content: bytes) -> bytes:
    """What the tests of files do to bytes, with pieces that upset servers."""
    return mutated_bytes(rng, content, PIECES)


def floats(rng: np.random.Generator, dims: list[int]) -> np.ndarray:
    """A float32 tensor of small numbers, now and then with some that are not finite, or huge."""
    tensor = rng.normal(size=dims).astype(np.float32)
    if tensor.size and rng.random() < 0.3:
        with np.errstate(over="ignore"):
            tensor.flat[int(rng.integers(tensor.size))] = np.float32(pick(rng, FLOATS))
    return tensor

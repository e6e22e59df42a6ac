"""Models that exeunt cannot serve, found by their graph before anything is run; the error says what is missing.

A bag answers each row once, with one class. A model that needs more is refused, and so is one that remembers: a row
that has left early would be missing from what the rest of the model remembers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import onnx_ir as ir
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from exeunt.errors import ConfigError

_CACHE = re.compile(r"past|present|key_values|kv_?cache|cache_position|use_cache", re.IGNORECASE)
_STATE_WORDS = re.compile(
    r"(?<![a-z])(in|out|input|output|new|next|prev|previous|last|n|t|0|1|init|initial|final)(?![a-z])"
)
_CHANCE = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
)
_DETECTION = frozenset(("NonMaxSuppression", "EfficientNMS_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT", "RoiAlign"))
_CURE_TOKENS = "export it with one set of class scores per text (transformers: AutoModelForSequenceClassification)"
_CURE_ROW = "choose or add an output with one score per class for each row, [rows, classes]"


def check_graph(model: ir.Model, where: str, output: str = "", sent: Collection[str] = ()) -> None:
    """Refuse a graph that cannot be served, whatever its inputs hold.

    Args:
        model: as read.
        where: file, for messages.
        output: the output that was chosen; "" for all.
        sent: names of inputs that clients send.

    Raises:
        ConfigError: unknown operators, chance, token by token decoding, detection, dense outputs, or state.
    """
    _check_operators(model, where)
    outputs = [value for value in model.graph.outputs if output in ("", value.name)]
    made_by = _operators_before(outputs)
    _refuse_operators(
        where,
        made_by & _CHANCE,
        "draws random numbers",
        "give the same answer for the same row",
        "segments are held against the whole member, and a recorded answer must be repeatable; export it in "
        "evaluation mode",
    )
    _refuse_operators(
        where,
        made_by & _DETECTION,
        "is a detector",
        "vote on boxes",
        f"members' boxes differ in number and place, so there is nothing to average; {_CURE_ROW}",
    )
    inputs = [value for value in model.graph.inputs if value.name not in sent] if len(model.graph.inputs) > 1 else []
    _check_cache(inputs, where)
    _check_state(inputs, model.graph.outputs, where)
    if outputs and all(value.shape is not None and _is_dense(list(value.shape)) for value in outputs):
        shape = [size if isinstance(size, int) else str(size) for size in outputs[0].shape or ()]
        raise ConfigError(f"{where}: output {outputs[0].name!r} {shape}: {why_dense(model, len(shape))}")


def why_dense(model: ir.Model, rank: int) -> str:
    """Why an output of this rank, batch included, is not the scores of a classifier; for the end of a message."""
    tokens = any(value.dtype is not None and value.dtype.is_integer() for value in model.graph.inputs)
    if rank == 3 and tokens:
        return (
            "scores for every token, as a generative decoder or a token labeller gives them. exeunt answers each row "
            "once, with one class; missing are a decision per token, and a cache that is filled for tokens that left "
            f"early; {_CURE_TOKENS}"
        )
    if rank == 3:
        return (
            "scores for each of several places, as a detector or a sequence labeller gives them. exeunt answers each "
            f"row once, with one class; missing are votes on sets of boxes or places; {_CURE_ROW}"
        )
    return (
        "a map of scores, as segmentation gives it. exeunt answers each row once, with one class; missing are votes "
        f"and exits per pixel; {_CURE_ROW}"
    )


def _is_dense(shape: Sequence[object]) -> bool:
    return len(shape) > 2 and sum(size != 1 for size in shape[1:]) > 1


def _check_operators(model: ir.Model, where: str) -> None:
    schemas = get_all_operator_schema()
    since_opset: dict[tuple[str, str], int] = {}
    for schema in schemas:
        key = (schema.domain, schema.name)
        since_opset[key] = min(schema.since_version, since_opset.get(key, schema.since_version))
    strange: dict[str, int] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        domain = "" if node.domain == "ai.onnx" else node.domain
        opset = model.graph.opset_imports.get(node.domain, 1)
        if (domain, node.op_type) not in since_opset or since_opset[domain, node.op_type] > opset:
            named = f"{domain or 'ai.onnx'}:{node.op_type} (opset {opset})"
            strange[named] = strange.get(named, 0) + 1
    if strange:
        text = ", ".join(f"{name} x {count}" for name, count in sorted(strange.items()))
        raise ConfigError(
            f"{where}: operators that onnxruntime does not know: {text}. Missing is the code to run them: custom "
            "operators live in libraries that neither this export nor Triton's onnxruntime backend loads; export the "
            "model with standard operators only, or with its functions decomposed"
        )


def _operators_before(outputs: Sequence[ir.Value]) -> set[str]:
    """Types of all operators that these values depend on, bodies of If and Loop included."""
    operators: set[str] = set()
    visited_nodes: set[ir.Node] = set()
    waiting = [value.producer() for value in outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in visited_nodes:
            continue
        visited_nodes.add(node)
        operators.add(node.op_type)
        waiting += [value.producer() for value in node.inputs if value is not None]
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                for inner in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                    operators.add(inner.op_type)
                    waiting += [value.producer() for value in inner.inputs if value is not None]
    return operators


def _refuse_operators(where: str, operators: set[str], what: str, missing: str, why: str) -> None:
    if operators:
        raise ConfigError(f"{where}: {what} ({', '.join(sorted(operators))}); exeunt cannot {missing}: {why}")


def _check_cache(inputs: Sequence[ir.Value], where: str) -> None:
    cache = [value.name or "" for value in inputs if _CACHE.search(value.name or "")]
    if cache:
        text = ", ".join(cache[:3]) + (", ..." if len(cache) > 3 else "")
        raise ConfigError(
            f"{where}: inputs {text}: a generative decoder with its cache. exeunt answers each row once, with one "
            "class; missing are a decision per token, and a cache that is filled for tokens that left early; "
            f"{_CURE_TOKENS}, without cache (use_cache = False)"
        )


def _check_state(inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], where: str) -> None:
    ends = {_stem(value): value.name for value in outputs if _stem(value)[0]}
    for value in inputs:
        if _stem(value)[0] and _stem(value) in ends:
            raise ConfigError(
                f"{where}: input {value.name!r} takes up what output {ends[_stem(value)]!r} gave before: a model with "
                "state. exeunt takes each request alone; missing is a place that keeps the state between the requests "
                "of one client, and a row that left early has none to keep. Export it over whole sequences with the "
                f"state made inside, or send the state with every request: add {value.name!r} to the samples"
            )


def _stem(value: ir.Value) -> tuple[str, int | None, int]:
    """Name without the words for before and after, type and rank: what an input and output of one state share."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", value.name or "").lower())
    stem_words = [word for word in words if word and not _STATE_WORDS.fullmatch(word)]
    short = "_".join(stem_words)
    if len(short) == 2 and short[1] in "0n":  # torch's habit: h0 and hn, c0 and cn
        short = short[0]
    rank = -1 if value.shape is None else len(value.shape)
    return short, None if value.dtype is None else value.dtype.value, rank

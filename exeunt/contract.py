"""The contract of the public model: tensor names, reasons, request parameters, model names (design: contract).

Names live here once. Export writes them, the backends and clients read them, tests compare config.pbtxt with them.
"""

from __future__ import annotations

import re
from enum import IntEnum

PROBABILITIES = "PROBABILITIES"  # float32 [rows, classes], the vote that answered
LABEL = "LABEL"  # int64 [rows, 1], -1 where no member gave a finite vote
EXIT = "EXIT"  # int32 [rows, 1], index of the exit that answered
REASON = "REASON"  # int32 [rows, 1], see Reason
RISK = "RISK"  # float32 [rows, 1], estimated probability that LABEL differs from the full vote's label
ANSWER_DTYPES = {PROBABILITIES: "float32", LABEL: "int64", EXIT: "int32", REASON: "int32", RISK: "float32"}
TOP_LABELS = "TOP_LABELS"  # int64 [rows, top], labels by falling probability; only where the bag has `top`
TOP_PROBABILITIES = "TOP_PROBABILITIES"  # float32 [rows, top], theirs
TOP_DTYPES = {TOP_LABELS: "int64", TOP_PROBABILITIES: "float32"}

TICKET = "TICKET"  # int64 [rows, 1], input of the bag and of every tap
TAPPED = "TAPPED"  # int64 [rows, 1], what a tap gives back to the ensemble: the ticket
TAP_FULL = "TAP_FULL"  # output of a bag of several stages: runs the tap of all members' final votes
STREAM = "STREAM"  # int64 [rows, 1], input of the exit controller: 0 begins a stream, else REST of one to go on with
REST = "REST"  # int64 [rows, 1], output of the exit controller: names what is left of a stream; 0 = nothing
ROW = "ROW"  # int64 [rows, 1], output of a stream: which row of the request this is
FEATURES = "FEATURES"  # float32 [rows, f], pooled cut: an output of a segment that ends at an exit

# names that no public input may have
RESERVED = re.compile(
    r"TICKET|TAPPED|FEATURES|PROBABILITIES|LABEL|EXIT|REASON|RISK|TOP_LABELS|TOP_PROBABILITIES|TAP_FULL|STREAM|REST|ROW|(TAP_|EXIT|CUT)\d.*"
)

# request parameters (KServe v2 "parameters")
PARAMETER_EXIT = "exit"  # "never": wait for the full vote
PARAMETER_DEADLINE_MS = "deadline_ms"
PARAMETER_MAX_RISK = "max_risk"
PARAMETER_SERVICE_CLASS = "service_class"
PARAMETER_WAITED_US = "waited_us"  # NAME_stream and the gateway say how long a request has waited there
PARAMETER_IN_STEP = "in_step"  # a model asks itself through Triton: see exeunt.hosting.in_step
PARAMETER_REPORT_TO = (
    "report_failure_to"  # a step of NAME_bag that fails says so there: see exeunt.hosting.calls.failure_address
)
PARAMETER_FAILURE = "failure"  # what such a step says
PARAMETER_FAILED_MODEL = "failed_model"  # who it is
INTERNAL_PARAMETERS = (
    PARAMETER_WAITED_US,
    PARAMETER_IN_STEP,
    PARAMETER_REPORT_TO,
    PARAMETER_FAILURE,
    PARAMETER_FAILED_MODEL,
)  # of requests that our own models and the gateway make; callers have none of them

MANIFEST_FILE = "manifest.json"
CALIBRATION_FILE = "calibration.npz"


class Reason(IntEnum):
    """Why an answer left when it did."""

    FULL = 0
    EARLY = 1
    LOSSLESS = 2
    DEADLINE = 3
    DEGRADED = 4


EARLY, LOSSLESS = int(Reason.EARLY), int(Reason.LOSSLESS)  # an enum's attribute takes longer than a comparison


def exit_model(bag: str) -> str:
    """Triton model of the exit controller."""
    return f"{bag}_exit"


def stream_model(bag: str) -> str:
    """Triton model that sends the rows of a request as they leave; only where the bag has `stream`."""
    return f"{bag}_stream"


def bag_model(bag: str) -> str:
    """Triton ensemble that runs all members' segments."""
    return f"{bag}_bag"


def stage_model(bag: str, start: int | None, end: int | None) -> str:
    """Triton ensemble of a stage that begins or ends at an exit inside members; None: it does not."""
    return f"{bag}_{'' if start is None else f'from{start}'}{'' if end is None else f'to{end}'}"


def preprocess_model(bag: str) -> str:
    """Triton model of the preprocessing that the members share."""
    return f"{bag}_preprocess"


def full_model(bag: str) -> str:
    """Triton ensemble of the unsplit members and their vote: the baseline."""
    return f"{bag}_full"


def vote_model(bag: str) -> str:
    """Triton model that votes for the baseline."""
    return f"{bag}_vote"


def member_model(bag: str, member: str) -> str:
    """Triton model of one unsplit member."""
    return f"{bag}_{member}"


def segment_model(bag: str, member: str, depth: int) -> str:
    """Triton model of the segment that takes `member` from depth - 1 to depth."""
    return f"{bag}_{member}_s{depth}"


def heads_model(bag: str, exit_: int) -> str:
    """Model of the ramps' linear heads at one exit."""
    return f"{bag}_heads_e{exit_}"


def part_file(mode: str, model: str) -> str:
    """Name of the ONNX file of a segment or head in an exported repository."""
    return "model.onnx" if mode == "ensemble" else f"{model}.onnx"


def votes_name(member: str, depth: int) -> str:
    """Tensor of a member's class probabilities at a depth, float32 [rows, classes]."""
    return f"{member}.{depth}"


def features_name(member: str, depth: int) -> str:
    """Tensor of a member's pooled cut at a depth as the heads take it, float32 [rows, f]."""
    return f"{member}.{depth}.features"


def tap_name(exit_: int) -> str:
    """Output of the bag that runs the tap of an exit when it is requested, int64 [rows, 1]."""
    return f"TAP_{exit_}"

"""The manifest: what export wrote and everybody reads (`NAME_exit/1/manifest.json`).

numpy is imported where arrays are made: the supervisor reads manifests before it starts the server, and makes none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exeunt import contract
from exeunt.errors import ConfigError
from exeunt.exit_costs import Costs as Costs
from exeunt.exit_costs import gear_masks
from exeunt.manifest_check import check_manifest
from exeunt.reading import from_plain, read_json_table, reading
from exeunt.settings import Settings
from exeunt.whole_files import replacing

if TYPE_CHECKING:
    import numpy as np

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a model: `dims` are those of one row, without the batch; -1 where free."""

    name: str
    dtype: str  # numpy name, "float32"
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a member between two neighbouring cuts."""

    model: str  # Triton model, "bag_member_s1"
    inputs: tuple[Tensor, ...]  # public inputs of the bag, or cut tensors that an earlier segment of this member made
    outputs: tuple[Tensor, ...]  # the cut's tensors; of the last segment PROBABILITIES alone
    features: Tensor | None  # FEATURES, where the cut has a ramp
    cost_us: dict[int, float]  # batch size -> median time of one run


@dataclass(frozen=True, slots=True)
class Member:
    """One classifier of the bag."""

    name: str
    weight: float
    segments: tuple[Segment, ...]
    model: str | None  # the unsplit member as a Triton model, where the baseline was exported
    difference: float = 0.0  # largest of a probability between the segments in sequence and the unsplit member

    @property
    def depth(self) -> int:
        """Number of segments; at this depth the member has finished."""
        return len(self.segments)

    @property
    def total_us(self) -> float:
        """Time of all its segments for one row."""
        return sum(segment.cost_us[1] for segment in self.segments)

    def reached_us(self, batch: int = 1) -> list[float]:
        """When each of its segments has run, alone and from the start, at a profiled batch size."""
        return list(accumulate(segment.cost_us[batch] for segment in self.segments))


@dataclass(frozen=True, slots=True)
class Exit:
    """A decision point of the ensemble: a depth for each member."""

    depths: tuple[int, ...]  # by member; 0 = not voting yet
    heads: str | None  # model of the ramps' heads; None where every voting member has finished
    elapsed_us: dict[int, float]  # batch size -> time from the start until the segments up to here have run
    head_us: dict[int, float]  # batch size -> time of its heads; pooling is part of the segments, active or not
    agreement: float  # share of the report rows on which its vote has the full vote's label
    weights: tuple[float, ...] | None = None  # by member, of the vote here, any scale; None: the bag's


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What is done to a request's inputs before the bag, once for all members."""

    model: str  # Triton model, "bag_preprocess"
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]  # inputs of the bag


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bag as export wrote it.

    `inputs` are the bag's; every member takes those its segments name. They are the public model's too, unless the bag
    has preprocessing, which makes them. `settings` are the bag file's exit settings. `content_hash` covers everything
    that a learnt state depends on, measured times excepted.
    """

    bag: str
    mode: str
    vote: str
    schedule: str
    inputs: tuple[Tensor, ...]
    labels: tuple[str, ...]
    max_batch_size: int
    members: tuple[Member, ...]
    exits: tuple[Exit, ...]
    settings: Settings
    weights_sha256: str  # over the ONNX files of members and ramps
    exported_by: str = ""
    preprocess: Preprocess | None = None
    top: int = 0  # width of the outputs TOP_LABELS and TOP_PROBABILITIES; 0: the public model has none
    slowdown: tuple[float, ...] = ()  # engine: see exeunt.engine.exit_times.slowed; empty: not measured
    # engine: the exits of each gear by number, ascending, the last exit always; the first gear has the least latency at
    # rest, the second does the least work; empty: there is one gear, with all exits
    gears: tuple[tuple[int, ...], ...] = ()
    controller_heads: bool = False  # ensemble: taps bring features, and the exit controller applies the ramps' heads
    # ensemble: numbers of the early exits inside members at which a stage ends, ascending; see exeunt.crossing
    inner_stages: tuple[int, ...] = ()

    @property
    def answers(self) -> tuple[Tensor, ...]:
        """Outputs of the public model."""
        table = {name: (dtype, 1) for name, dtype in contract.ANSWER_DTYPES.items()}
        table[contract.PROBABILITIES] = (contract.ANSWER_DTYPES[contract.PROBABILITIES], self.classes)
        if self.top:
            table |= {name: (dtype, self.top) for name, dtype in contract.TOP_DTYPES.items()}
        return tuple(Tensor(name, dtype, (width,)) for name, (dtype, width) in table.items())

    @property
    def public_inputs(self) -> tuple[Tensor, ...]:
        """Inputs of the public model."""
        if self.preprocess is None:
            return self.inputs
        names = {tensor.name for tensor in (*self.preprocess.inputs, *self.preprocess.outputs)}
        return (*self.preprocess.inputs, *(input_ for input_ in self.inputs if input_.name not in names))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def gear_masks(self) -> np.ndarray:
        """Exits of every gear, bool [gears, exits]."""
        return gear_masks(self.gears, len(self.exits))

    @property
    def weights(self) -> np.ndarray:
        """Members' weights, scaled to sum 1; float64 [members]."""
        import numpy as np

        weights = np.array([member.weight for member in self.members], dtype=np.float64)
        return weights / weights.sum()

    def exit_weights(self, number: int) -> list[float]:
        """Weights of the members that vote at an exit, in the bag's order."""
        exit_ = self.exits[number]
        weights = exit_.weights or tuple(float(weight_) for weight_ in self.weights)
        return [weight for weight, depth in zip(weights, exit_.depths, strict=True) if depth]

    def ramps(self, number: int) -> list[tuple[int, int]]:
        """(member, depth) of the members that vote by a ramp at an exit."""
        return ramps_at(self.exits[number].depths, [member.depth for member in self.members])

    @property
    def content_hash(self) -> str:
        """Key of everything learnt about this bag: 16 hexadecimal digits."""
        table = _plain(self)
        table["settings"] = {}
        # learning depends neither on `top` nor on stages; the slowdown is measured, like times
        del table["top"], table["slowdown"], table["inner_stages"]
        for later in ("gears", "controller_heads", "preprocess"):
            if not table[later]:  # a bag without it has the key that it had before the field existed
                del table[later]
        for member in table["members"]:
            del member["difference"]  # measured, like times
            for segment in member["segments"]:
                segment["cost_us"] = {}
        for exit_ in table["exits"]:
            exit_["elapsed_us"] = exit_["head_us"] = {}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]

    def costs(self, batch: int = 1) -> Costs:
        """Latency of the exits at the profiled batch size nearest to `batch`."""
        import numpy as np

        sizes = np.array(sorted(self.exits[-1].elapsed_us))
        size = int(sizes[np.argmin(np.abs(sizes - batch))])
        return Costs(
            elapsed_us=np.array([exit_.elapsed_us[size] for exit_ in self.exits]),
            head_us=np.array([exit_.head_us[size] for exit_ in self.exits]),
            gears=self.gears,
        )

    def save(self, path: Path) -> None:
        """Replace a file by the manifest as JSON, readable by people."""
        table = {"schema_version": SCHEMA_VERSION, "content_hash": self.content_hash, **_plain(self)}
        with replacing(path) as file:
            file.write(json.dumps(table, indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            ConfigError: no such file, no manifest, or written by another version of exeunt.
        """
        if not path.exists():
            raise ConfigError(f"{path}: no such file; `exeunt export` writes it")
        with reading(path, "manifest; export again"):
            table = read_json_table(path, "manifest")
            version = table.get("schema_version")
            if version != SCHEMA_VERSION:
                raise ConfigError(
                    f"{path}: schema_version {version!r}, this exeunt reads {SCHEMA_VERSION}; export again"
                )
            settings = Settings.from_mapping(table["settings"], "settings")
            manifest: Manifest = from_plain(cls, table | {"settings": settings})
            manifest.check(str(path))
            return manifest

    def check(self, where: str) -> None:
        """Raise ConfigError, naming `where`, unless the parts fit each other."""
        check_manifest(self, where)


def ramps_at(depths: Sequence[int], finished: Sequence[int]) -> list[tuple[int, int]]:
    """(member, depth) of the members that are mid-way at some depths; `finished` are the depths of whole members."""
    return [(member, depth) for member, depth in enumerate(depths) if 0 < depth < finished[member]]


def _plain(manifest: Manifest) -> dict[str, Any]:
    table = dataclasses.asdict(dataclasses.replace(manifest, settings=Settings()))
    table["settings"] = manifest.settings.to_mapping()
    return json.loads(json.dumps(table))

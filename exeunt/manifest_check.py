"""Whether the parts of a manifest fit each other: what was written by an export may have been changed since."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from exeunt.crossing import can_cross
from exeunt.errors import ConfigError
from exeunt.reading import unprintable

if TYPE_CHECKING:
    from exeunt.manifest import Exit, Manifest

MOST_BATCH_ROWS = 65_536  # rows of one batch: memory is set aside for them
MODES = ("ensemble", "engine")
VOTES = ("soft", "hard")


def check_manifest(manifest: Manifest, where: str) -> None:
    """Raise ConfigError, naming `where`, unless the manifest is one that can be served."""
    _check_names(manifest, where)
    if not 1 <= manifest.max_batch_size <= MOST_BATCH_ROWS:
        raise ConfigError(f"{where}: max_batch_size = {manifest.max_batch_size}; allowed: 1 to {MOST_BATCH_ROWS}")
    if not 0 <= manifest.top <= manifest.classes:
        raise ConfigError(f"{where}: top = {manifest.top}; allowed: 0 to {manifest.classes}, the number of classes")
    if manifest.mode not in MODES or manifest.vote not in VOTES:
        raise ConfigError(f"{where}: mode {manifest.mode!r}, vote {manifest.vote!r}; allowed: {MODES}, {VOTES}")
    if manifest.controller_heads and manifest.mode != "ensemble":
        raise ConfigError(f"{where}: controller_heads = true; allowed: with mode 'ensemble'")
    _check_numbers(manifest, where)
    _check_exits(manifest, where)
    _check_gears(manifest, where)
    _check_inner_stages(manifest, where)
    manifest.settings.check(where)


def _check_names(manifest: Manifest, where: str) -> None:
    for label in manifest.labels:
        if not isinstance(label, str) or unprintable(label):
            raise ConfigError(f"{where}: label {label!r}; allowed: no line breaks, no control characters")
    texts = [manifest.bag, manifest.weights_sha256, manifest.exported_by, *(member.name for member in manifest.members)]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{where}: a name that is not a text; export again")


def _check_numbers(manifest: Manifest, where: str) -> None:
    """Weights and measured times are finite."""
    times_us = [us for member in manifest.members for segment in member.segments for us in segment.cost_us.values()]
    times_us += [us for exit_ in manifest.exits for part in (exit_.elapsed_us, exit_.head_us) for us in part.values()]
    if not all(math.isfinite(times) and times >= 1.0 for times in manifest.slowdown):
        raise ConfigError(f"{where}: slowdown = {manifest.slowdown}; allowed: finite numbers from 1; export again")
    if not all(math.isfinite(us) and us >= 0 for us in times_us):
        raise ConfigError(f"{where}: a measured time is negative or not finite; export again")
    if any(not exit_.elapsed_us or set(exit_.elapsed_us) != set(exit_.head_us) for exit_ in manifest.exits):
        raise ConfigError(f"{where}: an exit without measured times; export again")
    weights = [member.weight for member in manifest.members]
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights):
        raise ConfigError(f"{where}: members' weights; allowed: finite numbers from 0, not all of them 0")


def _check_exits(manifest: Manifest, where: str) -> None:
    last = tuple(member.depth for member in manifest.members)
    if not manifest.exits or manifest.exits[-1].depths != last:
        raise ConfigError(f"{where}: the last exit must be the full ensemble, depths {last}")
    for number, exit_ in enumerate(manifest.exits):
        fits = len(exit_.depths) == len(last) and all(0 <= d <= n for d, n in zip(exit_.depths, last, strict=True))
        if not fits or not any(exit_.depths):
            raise ConfigError(f"{where}: exit {number} has depths {exit_.depths}, members have {last}")
        if not _weights_fit(exit_, number == len(manifest.exits) - 1):
            raise ConfigError(
                f"{where}: exit {number} has weights {exit_.weights}; allowed: above 0 for the members that vote "
                "there, 0 for others; the last exit has none of its own"
            )


def _check_gears(manifest: Manifest, where: str) -> None:
    """Every gear is a chain of exits, each at least as deep as the one before; together they hold all exits."""
    count = len(manifest.exits)
    for gear in manifest.gears:
        chain = [manifest.exits[number].depths for number in gear if 0 <= number < count]
        nested = all(b <= a for before, after in pairwise(chain) for b, a in zip(before, after, strict=True))
        if not gear or gear[-1] != count - 1 or list(gear) != sorted(set(gear)) or gear[0] < 0 or not nested:
            raise ConfigError(
                f"{where}: gear {gear}; allowed: ascending numbers of exits that only go deeper, the last {count - 1}"
            )
    if manifest.gears and (len(manifest.gears) > 2 or set().union(*manifest.gears) != set(range(count))):
        raise ConfigError(f"{where}: gears {manifest.gears}; allowed: none, one or two that hold all {count} exits")


def _check_inner_stages(manifest: Manifest, where: str) -> None:
    """Stages end inside members only where what goes on from there is all read by the next stage."""
    inner = manifest.inner_stages
    if not inner:
        return
    depths = [exit_.depths for exit_ in manifest.exits]
    whole_numbers = all(isinstance(number, int) for number in inner)
    fits = whole_numbers and list(inner) == sorted(set(inner)) and manifest.mode == "ensemble"
    if not fits or not can_cross(manifest.inputs, manifest.members, depths, inner):
        raise ConfigError(f"{where}: inner_stages = {list(inner)}: no stage can end there; export again")


def _weights_fit(exit_: Exit, last: bool) -> bool:
    if exit_.weights is None:
        return True
    same = len(exit_.weights) == len(exit_.depths)
    return same and not last and all((w > 0) == (d > 0) for w, d in zip(exit_.weights, exit_.depths, strict=True))

"""The ensembles of ensemble mode: NAME_bag, and those of stages that begin or end inside members."""

from __future__ import annotations

from collections.abc import Iterator

from exeunt import contract
from exeunt.bag_stages import BagStages, Tap, tap_tensors
from exeunt.contract import FEATURES, PROBABILITIES, TAPPED, TICKET, features_name, votes_name
from exeunt.crossing import Crossing, Depths, inner_name
from exeunt.manifest import Exit, Manifest, Tensor
from exeunt_export.bagfile.bagfile import Serving
from exeunt_export.writing import configs


def bag_ensembles(manifest: Manifest, serving: Serving) -> Iterator[tuple[str, configs.Ensemble]]:
    """(Triton model, ensemble): NAME_bag of all segments, then those that begin or end at an exit inside members."""
    stages = BagStages(manifest)
    for start, end in stages.spans():
        yield stages.model(start, end), _ensemble(manifest, serving, stages, start, end)


def _ensemble(
    manifest: Manifest, serving: Serving, stages: BagStages, start: int | None, end: int | None
) -> configs.Ensemble:
    """All that can be asked of calls from `start` to `end`: exits inside members, or None.

    A cut tensor is an output only where every call asks for it: Triton prunes the step that makes an output nobody
    asks for, though another step reads it.
    """
    first, last = 0 if start is None else start + 1, stages.last(start, end)
    full = [stages.full] if (start, end) == (None, None) and stages.full is not stages.taps[-1] else []
    inputs = [*stages.public_inputs(start), *map(_port, stages.crossings(start)), Tensor(TICKET, "int64", (1,))]
    taps = [Tensor(tap.name, "int64", (1,)) for tap in (*stages.taps[first : last + 1], *full)]
    ensemble = configs.Ensemble(serving, inputs, [*taps, *map(_port, stages.brought_back(start, end))])
    _add_segments(ensemble, manifest, stages.begin(start), manifest.exits[last].depths)
    for number in range(first, last + 1):
        heads_votes = _add_heads(ensemble, manifest, number, manifest.exits[number])
        _add_tap(ensemble, manifest, stages.taps[number], heads_votes)
    for tap in full:
        _add_tap(ensemble, manifest, tap, {})
    return ensemble


def _port(crossing: Crossing) -> Tensor:
    return Tensor(crossing.name, crossing.tensor.dtype, crossing.tensor.dims)


def _add_segments(ensemble: configs.Ensemble, manifest: Manifest, begin: Depths, end: Depths) -> None:
    public = {input_.name for input_ in manifest.inputs}

    def within(member: str, tensor: str, depth: int) -> str:
        """Name in the ensemble of a member's tensor: the public inputs are shared, all else is the member's own."""
        if tensor in public:
            return tensor
        if tensor == FEATURES:
            return features_name(member, depth)
        return votes_name(member, depth) if tensor == PROBABILITIES else inner_name(member, tensor)

    for number, member in enumerate(manifest.members):
        for depth in range(begin[number] + 1, end[number] + 1):
            segment = member.segments[depth - 1]
            outputs = [*segment.outputs, *([segment.features] if segment.features else [])]
            ensemble.add_step(
                segment.model,
                {input_.name: within(member.name, input_.name, depth) for input_ in segment.inputs},
                {model.name: within(member.name, model.name, depth) for model in outputs},
            )


def _add_heads(ensemble: configs.Ensemble, manifest: Manifest, number: int, exit_: Exit) -> dict[str, str]:
    """Add the heads of one exit; vote -> its name in the ensemble, which differs from exit to exit.

    Returns:
        nothing where every voting member has finished, or where the controller holds the heads.
    """
    if exit_.heads is None or manifest.controller_heads:
        return {}
    ramps = manifest.ramps(number)
    features = [features_name(manifest.members[m].name, d) for m, d in ramps]
    votes = {name: f"e{number}.{name}" for name in (votes_name(manifest.members[m].name, d) for m, d in ramps)}
    ensemble.add_step(exit_.heads, {feature: feature for feature in features}, votes)
    return votes


def _add_tap(ensemble: configs.Ensemble, manifest: Manifest, tap: Tap, heads_votes: dict[str, str]) -> None:
    tensors = tap_tensors(manifest)
    names = [tensors[pair].name for pair in sorted(tap.pairs)]
    inputs = {TICKET: TICKET, **{name: heads_votes.get(name, name) for name in names}}
    ensemble.add_step(contract.exit_model(manifest.bag), inputs, {TAPPED: tap.name})

"""What to expect of a bag in service: latency at some losses, ramps where nobody leaves, members that change no label.

Judged on the calibration rows, with the best fixed thresholds for them, and again on the report rows, which were not
used to find those thresholds. Lossless stops, which make answers faster still, are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exeunt.contract import votes_name
from exeunt.deciding import votes
from exeunt.deciding.calibration import exits_of
from exeunt.manifest import Manifest
from exeunt.replay.hindsight import answer_fixed, best_fixed
from exeunt.replay.stream import VoteStream, stream_of
from exeunt_export import voting
from exeunt_export.report.intervals import mean_range, share_range

LOSSES = (0.005, 0.01, 0.02)
_MOST_ROWS = (1000, 300)  # that thresholds are searched on, by number of exits: seconds at most
_FEW_EXITS = 5
_MOST_NAMES = 6  # in one warning
_TOO_WIDE = 2.0  # the report warns of intervals wider than so many times the loss aimed at

SampleVotes = Mapping[tuple[str, int], np.ndarray]  # (member, depth) -> probabilities on every sample


@dataclass(frozen=True, slots=True)
class Expectation:
    """What fixed thresholds for one loss would give, one row at a time on an idle machine.

    Attributes:
        max_loss: share of answers that may differ from the full vote.
        latency_us: mean over the calibration rows.
        loss: on them.
        unseen_latency_us: mean over the report rows.
        unseen_latency_range_us: 95 % interval of it for rows like these.
        unseen_loss: on them.
        unseen_loss_range: 95 % interval of it for rows like these.
        active: exits that are worth offering.
        leaves: share of the calibration rows that each exit answers.
        rows: calibration rows that were looked at.
        unseen_rows: report rows likewise.
    """

    max_loss: float
    latency_us: float
    loss: float
    unseen_latency_us: float
    unseen_latency_range_us: tuple[float, float]
    unseen_loss: float
    unseen_loss_range: tuple[float, float]
    active: tuple[bool, ...]
    leaves: tuple[float, ...]
    rows: int
    unseen_rows: int

    @property
    def says_little(self) -> bool:
        """Whether the report rows are too few to tell whether the loss aimed at is kept."""
        low, high = self.unseen_loss_range
        return high - low > _TOO_WIDE * self.max_loss


def expect(
    manifest: Manifest, sample_votes: SampleVotes, calibration: np.ndarray, report: np.ndarray
) -> tuple[Expectation, ...]:
    """What to expect at each of LOSSES.

    Args:
        manifest: of the bag.
        sample_votes: every vote on every sample.
        calibration: row numbers, int64.
        report: row numbers, int64.

    Returns:
        one for each loss; none of a bag without early exits.
    """
    if len(manifest.exits) == 1:
        return ()
    most = _MOST_ROWS[len(manifest.exits) > _FEW_EXITS]
    row_bytes = sum(array[0].nbytes for array in sample_votes.values())
    calibration, report = (voting.spread_sample(rows, most, row_bytes) for rows in (calibration, report))
    streams = [_vote_stream(manifest, sample_votes, rows) for rows in (calibration, report)]
    calibration_stream, report_stream = streams
    costs = manifest.costs(1)
    expected = []
    for max_loss in LOSSES:
        fixed = best_fixed(calibration_stream, costs, max_loss, lossless=False)
        runs = [answer_fixed(stream, fixed, costs, lossless=False) for stream in streams]
        lost = [stream.wrong[np.arange(len(stream)), run.exit] for stream, run in zip(streams, runs, strict=True)]
        leaves = np.bincount(runs[0].exit, minlength=len(manifest.exits)) / len(calibration_stream)
        expected.append(
            Expectation(
                max_loss=max_loss,
                latency_us=float(runs[0].latency_us.mean()),
                loss=float(lost[0].mean()),
                unseen_latency_us=float(runs[1].latency_us.mean()),
                unseen_latency_range_us=mean_range(runs[1].latency_us),
                unseen_loss=float(lost[1].mean()),
                unseen_loss_range=share_range(int(lost[1].sum()), len(report_stream)),
                active=tuple(fixed.active.tolist()),
                leaves=tuple(leaves.tolist()),
                rows=len(calibration_stream),
                unseen_rows=len(report_stream),
            )
        )
    return tuple(expected)


def _vote_stream(manifest: Manifest, sample_votes: SampleVotes, rows: np.ndarray) -> VoteStream:
    feedback = exits_of({votes_name(*key): votes_[rows] for key, votes_ in sample_votes.items()}, manifest)
    at_rest = manifest.gear_masks[0]  # nobody leaves at the exits of another gear
    feedback = dataclasses.replace(feedback, confidence=np.where(at_rest, feedback.confidence, np.float32(np.nan)))
    never = np.full(len(rows), feedback.exits - 1, dtype=np.int32)
    return stream_of("samples", feedback, certain=never)


def bag_warnings(
    manifest: Manifest, sample_votes: SampleVotes, rows: np.ndarray, expected: Sequence[Expectation]
) -> tuple[str, ...]:
    """Warnings about ramps that never pay and members that never matter.

    Args:
        manifest: of the bag.
        sample_votes: every vote on every sample.
        rows: numbers of the rows that no ramp was trained on.
        expected: from `expect`.
    """
    return (*_few_rows(expected), *_idle_ramps(manifest, expected), *_idle_members(manifest, sample_votes, rows))


def _few_rows(expected: Sequence[Expectation]) -> list[str]:
    """Losses that the report rows are too few for, in one warning."""
    vague = [point for point in expected if point.says_little]
    if not vague:
        return []
    losses = ", ".join(f"{point.max_loss:.1%}" for point in vague)
    low, high = vague[-1].unseen_loss_range
    return [
        f"what fixed thresholds lose on other rows is a guess at a loss of {losses}: {vague[0].unseen_rows} rows are "
        f"few (at {vague[-1].max_loss:.1%} it may be {low:.1%} to {high:.1%}); more samples would tell. The promise "
        "does not depend on it"
    ]


def _idle_ramps(manifest: Manifest, expected: Sequence[Expectation]) -> list[str]:
    """Ramps at whose exits nobody leaves at any of the losses, in one warning."""
    if not expected:
        return []
    at_rest = manifest.gear_masks[0]
    idle = [bool(at_rest[e]) and not any(point.leaves[e] for point in expected) for e in range(len(manifest.exits))]
    most = max(point.max_loss for point in expected)
    exits, ramps = [], dict[str, None]()
    for number, exit_ in enumerate(manifest.exits[:-1]):
        for place, (member, depth) in enumerate(zip(manifest.members, exit_.depths, strict=True)):
            where = [e for e, exit2 in enumerate(manifest.exits) if exit2.depths[place] == depth]
            if 0 < depth < member.depth and all(idle[e] for e in where):
                ramps[f"{member.name} after segment {depth}"] = None
                exits += [number] if number not in exits else []
    if not ramps:
        return []
    names = _name_list(list(ramps))
    places = f"exit {exits[0]}: its" if len(exits) == 1 else f"exits {', '.join(map(str, exits))}: their"
    return [f"{places} ramps ({names}) never pay: at a loss of up to {most:.0%} no calibration row should leave there"]


def _name_list(names: Sequence[str]) -> str:
    """Names, the first of many only."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _idle_members(manifest: Manifest, sample_votes: SampleVotes, rows: np.ndarray) -> list[str]:
    """Members without which the vote has the same label on every row."""
    if len(manifest.members) == 1:
        return []
    ballots = [sample_votes[member.name, member.depth] for member in manifest.members]
    weights = [member.weight for member in manifest.members]
    full = votes.labels(voting.vote(ballots, weights, manifest.vote, rows))
    work_us = [member.total_us for member in manifest.members]
    idle = []
    for number in range(len(ballots)):
        others = [n for n in range(len(ballots)) if n != number]
        vote = voting.vote([ballots[n] for n in others], [weights[n] for n in others], manifest.vote, rows)
        if (votes.labels(vote) == full).all():
            idle.append(number)
    if not idle:
        return []
    names = _name_list([manifest.members[number].name for number in idle])
    cheapest = max(idle, key=lambda number: work_us[number])
    subject = f"member {names} never matters" if len(idle) == 1 else f"members {names}: each alone never matters"
    return [
        f"{subject}: on all {len(rows)} rows looked at the others' vote has the same label; without "
        f"{manifest.members[cheapest].name} the bag does {work_us[cheapest] / sum(work_us):.0%} less work"
    ]

"""What an export did: for people, and as report.json beside the manifest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exeunt.manifest import Manifest
from exeunt_export.report.expectation import Expectation
from exeunt_export.report.member_choice import MemberChoice

REPORT_FILE = "report.json"


@dataclass(frozen=True, slots=True)
class CutReport:
    """One cut of one member.

    Attributes:
        depth: number of the segment that it ends.
        share: share of the member's time before it, as estimated when it was placed.
        pool: "mean" of windows in a grid, or "max" over all positions.
        agreement: share of the report rows on which this ramp alone has the full vote's label.
        exits: where it votes.
        ramp_bytes: size of its weights.
    """

    member: str
    depth: int
    after: str
    width: int
    bytes_per_row: int
    share: float
    grid: int
    pool: str
    features: int
    agreement: float
    exits: tuple[int, ...]
    ramp_bytes: int


@dataclass(frozen=True, slots=True)
class QuantisedReport:
    """A member that export turned into integers, on the report rows.

    Attributes:
        same_label: share of rows on which it has the label it had before.
        agreement_before: share of rows on which the float member has the float bag's label.
        agreement_after: share of rows on which it has the label of the bag as exported.
        same_vote: share of rows on which the bag as exported has the float bag's label.
        bytes_before: size of the weights.
        bytes_after: see `bytes_before`.
        us_before: time of one row, one thread.
        us_after: see `us_before`; its segments together.
    """

    member: str
    same_label: float
    agreement_before: float
    agreement_after: float
    same_vote: float
    bytes_before: int
    bytes_after: int
    us_before: float
    us_after: float

    def __str__(self) -> str:
        return (
            f"{self.member} in int8: the label of before on {self.same_label:.1%} of the rows, agreement with the full "
            f"vote {self.agreement_before:.1%} before, {self.agreement_after:.1%} after; weights "
            f"{self.bytes_after / self.bytes_before:.0%}, time {self.us_after / self.us_before:.0%} of before"
        )


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Attributes:
        output: the repository.
        manifest: as written.
        cuts: every cut with its ramp.
        member_agreement: member -> share of the report rows on which it alone has the full vote's label.
        parts: rows of the samples used for ramps, calibration, report.
        ramp_share: what the ramps add to the bag's work, as measured before training.
        ramp_budget: what they were allowed to add.
        worst_difference: member -> largest difference of probabilities between it and its segments in sequence.
        seconds: stage -> time it took.
        warnings: what the operator should know.
        expected: latency at some losses, by the calibration rows.
        members: which of them the vote hardly needs.
        quantised: members that export turned into integers.
    """

    output: Path
    manifest: Manifest
    cuts: tuple[CutReport, ...]
    member_agreement: dict[str, float]
    parts: dict[str, int]
    ramp_share: float
    ramp_budget: float
    worst_difference: dict[str, float]
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    expected: tuple[Expectation, ...]
    members: MemberChoice
    quantised: tuple[QuantisedReport, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        """Everything but the manifest, as JSON takes it."""
        table = asdict(self)
        del table["output"], table["manifest"]
        table["member_choice"] = table.pop("members")
        table["members"] = [
            {
                "name": member.name,
                "weight": member.weight,
                "segments_us": [segment.cost_us[1] for segment in member.segments],
            }
            for member in self.manifest.members
        ]
        table["exits"] = [
            {"depths": list(exit_.depths), "elapsed_us": exit_.elapsed_us, "agreement": exit_.agreement}
            for exit_ in self.manifest.exits
        ]
        return table

    def save(self, folder: Path) -> None:
        """Write report.json."""
        (folder / REPORT_FILE).write_text(json.dumps(self.to_mapping(), indent=1) + "\n", encoding="utf-8")

    def summary(self) -> str:
        """A few lines for the terminal."""
        manifest = self.manifest
        names = [member.name for member in manifest.members]
        full_us = manifest.exits[-1].elapsed_us[1]
        lines = [
            f"bag {manifest.bag}: {len(names)} member(s), {manifest.classes} classes, mode {manifest.mode}, "
            f"{len(manifest.exits)} exits -> {self.output}",
            f"samples: {', '.join(f'{rows} {part}' for part, rows in self.parts.items())}; ramps add "
            f"{self.ramp_share:.1%} of the bag's work (budget {self.ramp_budget:.0%})",
            f"{'exit':>4}  {'time':>6}  {'agrees':>7}  depths",
        ]
        for number, exit_ in enumerate(manifest.exits):
            depths = ", ".join(
                f"{name} {depth}/{member.depth}"
                for name, member, depth in zip(names, manifest.members, exit_.depths, strict=True)
            )
            lines.append(f"{number:>4}  {exit_.elapsed_us[1] / full_us:>6.0%}  {exit_.agreement:>7.1%}  {depths}")
        for name, gear in zip(("at rest", "near capacity"), manifest.gears, strict=False):
            lines.append(f"exits {name}: {', '.join(map(str, gear))}")
        for expected in self.expected:
            lines.append(
                f"at {expected.max_loss:.1%} loss: {expected.latency_us / full_us:.0%} of the full ensemble's time on "
                f"{expected.rows} calibration rows; {expected.unseen_latency_us / full_us:.0%} "
                f"({_range(expected.unseen_latency_range_us, full_us)}) and {expected.unseen_loss:.1%} loss "
                f"({_range(expected.unseen_loss_range, digits=1)}) on {expected.unseen_rows} others"
            )
        lines += [*self.members.lines(), *map(str, self.quantised)]
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])


def _range(ends: tuple[float, float], unit: float = 1.0, digits: int = 0) -> str:
    """An interval as shares of `unit`, in percent."""
    low, high = (100 * end / unit for end in ends)
    return f"{low:.{digits}f} to {high:.{digits}f} %"

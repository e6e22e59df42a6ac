"""Pictures of a run: latency of each model, and what an early-exit model did along the stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exeunt.contract import Reason
from exeunt.figures import INK, new_figure, save_figure, without_frame
from exeunt.measuring.load import LoadRun, RequestOutcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MODELS = ("#0b6e99", "#c4572b", "#6b7a3a", "#7a4f8f", "#444444")  # kept apart in print and by the colour-blind
_LATE = {
    Reason.LOSSLESS: ("lossless", "#33638d"),
    Reason.FULL: ("full vote", "#482677"),
    Reason.DEADLINE: ("deadline", "#c4572b"),
    Reason.DEGRADED: ("degraded", "#8c1d18"),
}
_WINDOW_ROWS = 200


@dataclass(frozen=True, slots=True)
class Course:
    """What happened to the rows of an early-exit model, in order of the stream, arrays over [rows].

    Attributes:
        stream_s: arrival, seconds since the stream began.
        exits: exit that answered.
        reasons: values of Reason.
        lost: bool, the label was not the full vote's.
    """

    stream_s: np.ndarray
    exits: np.ndarray
    reasons: np.ndarray
    lost: np.ndarray

    @classmethod
    def of(cls, outcomes: Sequence[RequestOutcome], full: np.ndarray, rows: int = 1) -> Course:
        """From the outcomes that were answered; `full` int [stream rows] is the full vote's label."""
        answered = sorted(
            (outcome for outcome in outcomes if outcome.answers is not None), key=lambda item: item.request
        )
        answers = [point.answers for point in answered if point.answers is not None]
        labels = np.concatenate([answer.labels for answer in answers])
        full_labels = np.concatenate([full[point.request * rows : (point.request + 1) * rows] for point in answered])
        return cls(
            stream_s=np.repeat([point.stream_s for point in answered], rows),
            exits=np.concatenate([answer.exits for answer in answers]),
            reasons=np.concatenate([answer.reasons for answer in answers]),
            lost=labels != full_labels,
        )


def run_picture(
    run: LoadRun,
    courses: Mapping[str, Course],
    path: Path,
    title: str,
    max_loss: float | None = None,
    difficulty: np.ndarray | None = None,
) -> None:
    """Draw latency of every model and, per early-exit model, exits and loss along the stream.

    Args:
        run: what the load generator saw.
        courses: early-exit model -> its course; not empty.
        path: PNG to write.
        title: over the picture.
        max_loss: promised loss, drawn as a line.
        difficulty: float [stream rows], drawn beside the loss.
    """
    figure, grid = new_figure(1 + 2 * len(courses), 1, (9, 3.2 + 4.2 * len(courses)), squeeze=False)
    axes = grid[:, 0]
    figure.suptitle(title, color=INK)
    draw_latency(axes[0], run)
    for number, (model, course) in enumerate(courses.items()):
        draw_exits(axes[1 + 2 * number], course, model)
        draw_loss(axes[2 + 2 * number], course, max_loss, difficulty)
    save_figure(figure, path, 150)


def draw_latency(axes: Axes, run: LoadRun) -> None:
    """Share of requests answered within a time, by model; the median is marked."""
    for (model, outcomes), colour in zip(run.outcomes.items(), _MODELS, strict=False):
        latency_ms = np.sort(
            [1e3 * (outcome.done_s - outcome.scheduled_s) for outcome in outcomes if outcome.answers is not None]
        )
        if not len(latency_ms):
            continue
        share = np.arange(1, len(latency_ms) + 1) / len(latency_ms)
        median_ms = float(np.median(latency_ms))
        axes.step(latency_ms, share, where="post", color=colour, label=f"{model}: median {median_ms:.1f} ms")
        axes.plot(median_ms, 0.5, "o", color=colour, markersize=4)
    axes.set_xscale("log")
    ticks = [value * 10.0**power for power in range(-1, 5) for value in (1, 2, 5)]
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in ticks if low <= tick <= high], minor=False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.set(xlabel="latency from the scheduled arrival, ms", ylabel="answered", ylim=(0, 1.01))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.legend(frameon=False, loc="lower right")
    _plain(axes)


def draw_exits(axes: Axes, course: Course, model: str) -> None:
    """Share of answers by exit along the stream; what did not leave early is split by reason."""
    from matplotlib import colormaps

    early = np.unique(course.exits[course.reasons == Reason.EARLY])
    layers = [(f"exit {exit_}", (course.exits == exit_) & (course.reasons == Reason.EARLY)) for exit_ in early]
    colours = [colormaps["viridis_r"](0.12 + 0.45 * exit_ / (exit_ + 1)) for exit_ in early]
    for reason, (name, colour) in _LATE.items():
        if (course.reasons == reason).any():
            layers.append((name, course.reasons == reason))
            colours.append(colour)
    shares = [moving_mean(answer_mask) for _, answer_mask in layers]
    axes.stackplot(course.stream_s, *shares, labels=[name for name, _ in layers], colors=colours, linewidth=0)
    axes.set_title(f"{model}: where answers left", loc="left", fontsize="medium")
    axes.set(ylabel="answers", ylim=(0, 1), xlim=(course.stream_s[0], course.stream_s[-1]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _plain(axes)


def draw_loss(axes: Axes, course: Course, max_loss: float | None, difficulty: np.ndarray | None) -> None:
    """Loss over the newest rows and since the start, the promise, and how hard the inputs were."""
    since_start = np.cumsum(course.lost) / np.arange(1, len(course.lost) + 1)
    newest = f"newest {min(_WINDOW_ROWS, len(course.lost))} rows"
    axes.plot(course.stream_s, moving_mean(course.lost), color=_MODELS[1], linewidth=1, label=newest)
    axes.plot(course.stream_s, since_start, color=INK, linewidth=1.5, label="since the start")
    if max_loss is not None:
        axes.axhline(max_loss, color=_MODELS[0], linestyle="--", linewidth=1, label="max_loss")
    axes.set(xlabel="time in the stream, s", ylabel="loss", xlim=(course.stream_s[0], course.stream_s[-1]))
    axes.set_ylim(0, max(1.15 * moving_mean(course.lost).max(), 2 * (max_loss or 0.0), 0.01))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.1f} %")
    if difficulty is not None and len(difficulty) >= len(course.stream_s):
        beside = axes.twinx()
        noise = difficulty[np.linspace(0, len(difficulty) - 1, len(course.stream_s)).astype(int)]
        beside.fill_between(course.stream_s, noise, color="#999999", alpha=0.18, linewidth=0)
        beside.set(ylabel="noise (grey)", ylim=(0, 1.05 * float(difficulty.max())))
        beside.spines[["top"]].set_visible(False)
        axes.set_zorder(beside.get_zorder() + 1)
        axes.patch.set_visible(False)
    axes.legend(frameon=False, loc="upper left", ncols=3, fontsize="small")
    _plain(axes)


def moving_mean(counted: np.ndarray, window_rows: int = _WINDOW_ROWS) -> np.ndarray:
    """Mean over the newest `window_rows` values up to each one, over fewer at the start; float64 [rows]."""
    summed = np.concatenate([[0.0], np.cumsum(counted, dtype=np.float64)])
    ends = np.arange(1, len(counted) + 1)
    starts = np.maximum(0, ends - window_rows)
    return np.asarray((summed[ends] - summed[starts]) / (ends - starts))


def _plain(axes: Axes) -> None:
    without_frame(axes)
    axes.grid(axis="y", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)

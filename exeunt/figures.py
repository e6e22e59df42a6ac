"""Pictures: matplotlib without a display and without global state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#333333"


def new_figure(down: int, across: int, inches: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    """A figure of `inches` (width, height) and its axes, as `Figure.subplots` gives them; `options` go there."""
    from matplotlib.figure import Figure  # not pyplot, which needs a display and keeps every figure

    figure = Figure(figsize=inches, layout="constrained", facecolor="white")
    return figure, figure.subplots(down, across, **options)


def save_figure(figure: Any, path: Path, dpi: int = 110) -> None:
    """Write a figure; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)


def without_frame(axes: Axes) -> None:
    """Axes with lines at the left and below only."""
    axes.spines[["top", "right"]].set_visible(False)

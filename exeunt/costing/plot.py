"""A picture of what answers cost, by rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exeunt.costing.answers import AnswerMix
from exeunt.costing.deployments import break_even_per_s, carried_per_s
from exeunt.costing.prices import Prices
from exeunt.figures import new_figure, save_figure

RATES_PER_S = np.geomspace(0.05, 500.0, 60)


def draw(ways: dict[str, AnswerMix], prices: Prices, path: Path) -> None:
    """Dollars per 1000 answers against requests a second: machines as many as it takes, and a function per answer.

    Args:
        ways: name -> answers.
        prices: of both.
        path: of the PNG.
    """
    figure, axes = new_figure(1, 1, (8, 4.5))
    for (name, mix), colour in zip(ways.items(), ("0.45", "tab:blue", "tab:green", "tab:orange"), strict=False):
        room = carried_per_s(mix, prices.machine.cores)
        machines = np.ceil(RATES_PER_S / room)
        machine_usd = 1000.0 * machines * prices.machine.usd_per_hour / 3600.0 / RATES_PER_S
        axes.plot(RATES_PER_S, machine_usd, color=colour, label=f"{name}: {prices.machine.name}, as many as needed")
        at_per_s = break_even_per_s(mix, prices)
        function_usd = 1000.0 * prices.machine.usd_per_hour / 3600.0 / at_per_s
        axes.axhline(function_usd, color=colour, linestyle="--", label=f"{name}: {prices.function.name}")
        if at_per_s < room:
            axes.plot([at_per_s], [function_usd], "o", color=colour)
            axes.annotate(f"{at_per_s:.1f}/s", (at_per_s, function_usd), textcoords="offset points", xytext=(4, 6))
    axes.set(xscale="log", yscale="log", xlabel="requests per second", ylabel="dollars per 1000 answers")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3, which="both", linewidth=0.4)
    save_figure(figure, path, 150)

"""What a server's metrics say."""

from __future__ import annotations

import re
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from exeunt.serving.pip_server import Server


def read_samples(server: Server) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(name, sorted labels) -> value, of every series; a text that is no valid exposition raises ValueError."""
    with urllib.request.urlopen(server.metrics_url, timeout=30) as answer:
        text = answer.read().decode()
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    names = set(re.findall(r"^\w+", text, re.MULTILINE))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name if sample.name in names else sample.name.removesuffix("_total")  # the parser adds it
            key = (name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"{key} is there twice"
            samples[key] = sample.value
    return samples


def value_of(server: Server, name: str) -> float:
    """Sum over all series of that name; 0 where there is none."""
    return sum(value for (series_name, _), value in read_samples(server).items() if series_name == name)

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install 'exeunt[torch]'")
pytest.importorskip("sklearn", reason="pip install 'exeunt[torch]'")

from benchmarks.small_nets import train  # noqa: E402
from benchmarks.small_nets.architectures import ARCHITECTURES  # noqa: E402
from exeunt.demo import data  # noqa: E402


@pytest.fixture(scope="module")
def few() -> data.DigitsPart:
    part = data.digits(seed=0).train
    return data.DigitsPart(part.images[:32], part.labels[:32])


@pytest.fixture(scope="module")
def trained(few: data.DigitsPart, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.nn.Module]]:
    cache = tmp_path_factory.mktemp("weights")
    return cache, train.trained_bag(few, cache, seed=5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_member_maps_images_to_logits(name: str) -> None:
    assert ARCHITECTURES[name]().eval()(torch.zeros(3, 1, 32, 32)).shape == (3, 10)


def test_members_learn_what_they_are_shown(
    few: data.DigitsPart, trained: tuple[Path, dict[str, torch.nn.Module]]
) -> None:
    votes = sum(train.probabilities(module, few.images) for module in trained[1].values())
    assert (np.asarray(votes).argmax(axis=1) == few.labels).mean() > 0.3  # one in ten by chance


def test_trained_members_come_from_the_cache(
    few: data.DigitsPart, trained: tuple[Path, dict[str, torch.nn.Module]]
) -> None:
    cache, modules = trained
    items: list[tuple[str, int, int]] = []
    again = train.trained_bag(few, cache, 5, lambda *item: items.append(item))
    assert sorted(item[0] for item in items) == sorted(ARCHITECTURES)  # one call each: nothing was trained
    for name, module in modules.items():
        assert np.array_equal(train.probabilities(module, few.images), train.probabilities(again[name], few.images))


def test_training_that_is_stopped_ends_at_once(few: data.DigitsPart) -> None:
    stop, epochs = threading.Event(), []
    stop.set()
    train.train(ARCHITECTURES["plain"](), few, 0, lambda epoch, total: epochs.append(epoch), stop)
    assert epochs == []

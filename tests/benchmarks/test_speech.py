"""The streams of speech: what is cut off, what is under noise. Sines stand for the prompts."""

from __future__ import annotations

import numpy as np

from benchmarks.serving.speech import PAUSE_S, RATE_HZ, SECONDS, turns


def prompt(seconds: float) -> np.ndarray:
    return np.ones(int(seconds * RATE_HZ), dtype=np.float32)


def speaking_s(window: np.ndarray) -> np.ndarray:
    return np.array([[np.count_nonzero(window) / RATE_HZ]], dtype=np.float32)


def test_what_is_cut_off_is_told_from_what_is_whole() -> None:
    windows, truth = turns([prompt(2.0)], np.zeros(40), 0, speaking_s)
    whole = windows[:, 0, 0] == 2.0
    assert np.array_equal(whole, truth == 1) and 0 < whole.mean() < 1
    assert windows[~whole].min() >= 0.6 - 1e-3 and windows[~whole].max() <= 1.6 + 1e-3


def test_of_a_long_prompt_the_end_counts() -> None:
    windows, truth = turns([prompt(SECONDS + 2.0)], np.zeros(10), 0, speaking_s)
    assert np.allclose(windows[truth == 1], SECONDS - PAUSE_S)


def test_noise_grows_with_the_difficulty() -> None:
    windows, _ = turns([prompt(1.0)], np.linspace(0, 1, 3), 0, lambda window: np.array([[window[:RATE_HZ].std()]]))
    assert windows[0, 0, 0] == 0.0 and windows[0, 0, 0] < windows[1, 0, 0] < windows[2, 0, 0]

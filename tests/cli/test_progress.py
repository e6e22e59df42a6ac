"""Progress in a log: lines as things happen."""

import io

from exeunt.cli.progress import Lines


def shown(steps):
    out, now = io.StringIO(), [0.0]
    lines = Lines(out, lambda: now[0])
    for at_s, *step in steps:
        now[0] = at_s
        lines(*step)
    return out.getvalue().splitlines()


def test_a_stage_has_a_line_when_it_starts_and_when_it_ends():
    assert shown([(0, "plan", 0, 2), (1, "plan", 1, 2), (2, "plan", 2, 2)]) == ["plan: 0/2, 0 s", "plan: 2/2, 2 s"]


def test_a_long_stage_has_a_line_every_ten_seconds():
    lines = shown([(second, "profile", second, 100) for second in range(31)])
    assert lines == ["profile: 0/100, 0 s", *(f"profile: {second}/100, {second} s" for second in (10, 20, 30))]

"""docs/promise.md says which test holds each sentence about attackers: they exist."""

import re

from tests.places import ROOT


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", (ROOT / "docs/promise.md").read_text(encoding="utf-8")))
    defined = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"^(?:    )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert len(named) > 10 and not named - defined

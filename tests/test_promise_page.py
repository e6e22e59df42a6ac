"""docs/promise.md and docs/reliability.md say which test holds each sentence: they exist."""

import re

import pytest

from tests.places import ROOT


@pytest.mark.parametrize("page", ["promise.md", "reliability.md"])
def test_every_test_that_the_page_names_exists(page):
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", (ROOT / "docs" / page).read_text(encoding="utf-8")))
    defined = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"^(?:    )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert len(named) > 10 and not named - defined


def test_every_line_of_what_an_attacker_can_and_cannot_do_names_a_test_that_holds_it():
    page = (ROOT / "docs/promise.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## 8\. .*?(?=^## 9\. )", page, re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| who | ")]
    assert len(lines) > 15
    for line in lines:
        assert re.fullmatch(r"`test_\w+`(, `test_\w+`)*", line.rstrip(" |").rpartition("| ")[2]), line


def test_every_one_of_tritons_thirty_cases_has_a_test_of_its_own():
    page = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r"^\| C(\d+) ", page, re.MULTILINE)] == list(range(1, 31))
    for line in re.findall(r"^\| C\d+ .*$", page, re.MULTILINE):
        assert re.search(r"`test_\w+`", line), line

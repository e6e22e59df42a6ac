import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.hosting.calls.failure_address import address_before_word, read_address


@given(st.integers(0, 2**62))
def test_an_address_says_where_and_for_which_call(word):
    assert read_address(f"{address_before_word('tiny')}{word}") == ("tiny_exit", word)


@pytest.mark.parametrize(
    "text", ["", "None", ":", "_exit:1", "tiny_exit", "tiny_exit:", "tiny_exit:-1", "tiny_exit:x", "other:1"]
)
def test_what_is_no_address_is_not_taken_for_one(text):
    assert read_address(text) is None


@given(st.text())
def test_a_strangers_text_raises_nothing(text):
    read_address(text)
    read_address(f"tiny_exit:{text}")

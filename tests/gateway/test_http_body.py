import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exeunt.gateway.http_body import read_body
from exeunt.gateway.refusal_errors import RefusalError, TooLargeError
from tests.triton.qa.wire import binary, tensor

ROWS = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)


def read(content, header_length=None):
    return read_body(content if isinstance(content, bytes) else json.dumps(content).encode(), header_length, 10**6)


def claiming(shape, **more):
    return {"inputs": [tensor(ROWS, shape=shape, **more)]}


@pytest.mark.parametrize("shape", [[4_000_000_000, 4], [2**62, 4], [2**32, 2**32], [2] * 40, [1000]])
def test_a_shape_of_more_than_what_came_is_refused(shape):
    with pytest.raises(RefusalError, match="elements in a body of"):
        read(claiming(shape, data=[1.0]))


@pytest.mark.parametrize("shape", [[-1, 4], [2.0, 4], ["2", 4], [True, 4], [None], [2**63], 7, {}, None])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(RefusalError, match="Unable to parse 'shape'"):
        read(claiming(shape))


@pytest.mark.parametrize(
    "content",
    [
        b'{"inputs": [{"name": "IMAGE", "shape": [2, 4], "shape": [4000000000, 4], "data": []}]}',
        b'{"inputs": [{"name": "IMAGE", "shape": [4000000000, 4], "sh\\u0061pe": [2, 4], "data": []}]}',
        b'{"inputs": [], "inputs": [{"shape": [4000000000]}]}',
        b'{"inputs": [], "parameters": {"service_class": "", "service_class": "gold"}}',
    ],
)
def test_a_name_that_comes_twice_is_refused(content):
    with pytest.raises(RefusalError, match="a name comes twice"):
        read(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"[" * 100_000,
        b"[1]",
        b"{}",
        b'{"inputs": 3}',
        b'{"inputs": [3]}',
        b'{"inputs": []} x',
        b"\xff\xfe",
        b"9" * 5000,
    ],
)
def test_what_is_no_request_is_refused(content):
    with pytest.raises(RefusalError):
        read(content)


@pytest.mark.parametrize("length", ["0", "-1", "x", "1e3", "100000", "9" * 30, "²", ""])
def test_a_wrong_length_of_the_json_is_refused(length):
    with pytest.raises(RefusalError, match="Inference-Header-Content-Length"):
        read(claiming([2, 4]), length)


def test_json_beyond_its_bound_is_refused_with_what_helps():
    with pytest.raises(TooLargeError, match="--max-json-mb"):
        read(b" " * 10**6 + b"{}")


def test_binary_tensors_are_sent_on_as_they_came():
    table, raw = binary(ROWS)
    head = json.dumps(table).encode()
    body = read(head + raw, str(len(head)))
    content, headers = body.written({})
    length = int(headers["Inference-Header-Content-Length"])
    assert content[length:] == raw and json.loads(content[:length]) == table and body.rows == 2


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20), st.text(max_size=20))
def test_numbers_and_texts_are_the_same_after_they_are_written_anew(data, name):
    table = {"id": name, "inputs": [{"name": name, "shape": [len(data)], "datatype": "FP64", "data": data}]}
    content, headers = read(table).written({"exit": "never"})
    assert headers == {} and json.loads(content) == table | {"parameters": {"exit": "never"}}

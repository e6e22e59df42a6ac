import pytest

from exeunt.gateway.http_paths import Target, target_of
from exeunt.gateway.refusal_errors import RefusalError

A = "/v2/models/a.b-c_1"


@pytest.mark.parametrize(
    ("method", "raw", "target"),
    [
        ("GET", "/v2", Target("/v2")),
        ("GET", "/v2/health/ready", Target("/v2/health/ready")),
        ("GET", "/v2/models/digits", Target("/v2/models/digits", "digits")),
        ("POST", "/v2/models/digits/infer", Target("/v2/models/digits/infer", "digits", "infer")),
        (
            "POST",
            "/v2/models/a.b-c_1/versions/1/infer",
            Target("/v2/models/a.b-c_1/versions/1/infer", "a.b-c_1", "infer"),
        ),
        ("GET", "/v2/models/digits/ready?x=/../tiny_exit", Target("/v2/models/digits/ready", "digits", "ready")),
    ],
)
def test_what_the_server_is_asked_is_written_from_what_was_read(method, raw, target):
    assert target_of(method, raw) == target


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "/",
        "/v2/",
        "/v1/models/digits",
        "//v2/models/digits",
        "/v2//models/digits",
        "/v2/models//digits",
        "/v2/models/digits/",
        "/V2/models/digits",
        "/v2/MODELS/digits",
        "/v2/models/digits/Ready",
        "/v2/models/digit%73",
        "/v2/models/digits%2fready",
        "/v2/models/%2e%2e/models/digits",
        "/v2/./models/digits",
        "/v2/models/digits/../digits_exit",
        "/v2/models/digits/versions/1/versions/2",
        "/v2/models/digits/versions/-1",
        "/v2/models/digits/versions/x",
        "/v2/models/digits\x00",
        "/v2/models/digits\n",
        "/v2/models/digits;a=b",
        "/v2/models/digits#x",
        "http://elsewhere/v2/models/digits",
        "*",
    ],
)
def test_a_path_that_is_not_written_as_the_protocol_has_it_is_none(raw):
    with pytest.raises(RefusalError, match="the protocol does not have") as caught:
        target_of("GET", raw)
    assert caught.value.http_status == 404


@pytest.mark.parametrize(
    ("method", "raw"), [("POST", "/v2"), ("GET", "/v2/models/a/infer"), ("DELETE", "/v2/models/a")]
)
def test_another_method_than_the_protocols_is_refused(method, raw):
    with pytest.raises(RefusalError, match="the protocol does not have"):
        target_of(method, raw)

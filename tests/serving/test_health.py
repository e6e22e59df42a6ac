"""The port that tells a balancer whether requests are welcome."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from exeunt.errors import ConfigError
from exeunt.serving.health import LEAVING, Health, health_port
from exeunt.serving.launch import choose_ports


def health_of(port: int) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_it_says_starting_then_ready_then_what_is_wrong() -> None:
    health, port = Health(), choose_ports(None, None, None).http
    with health_port(health, "127.0.0.1", port):
        assert health_of(port) == (503, "starting")
        health.welcome()
        assert health_of(port) == (200, "ready")
        health.turn_away("status 500: a member fails")
        assert health_of(port) == (503, "status 500: a member fails")
        health.welcome()
        assert health_of(port) == (200, "ready")


def test_who_leaves_is_not_welcomed_back_by_an_inference_that_was_under_way() -> None:
    health = Health()
    health.turn_away(LEAVING)
    health.welcome()
    assert health.says == LEAVING


def test_a_caller_that_hangs_up_at_once_disturbs_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    health, port = Health(), choose_ports(None, None, None).http
    with health_port(health, "127.0.0.1", port):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        assert health_of(port) == (503, "starting")
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--health-port = {port}"), health_port(Health(), "127.0.0.1", port):
            pass


def test_without_a_port_nobody_listens() -> None:
    with health_port(Health(), "127.0.0.1", 0):
        pass

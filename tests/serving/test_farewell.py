"""The last moment of a stop, with a plain server: whoever has sent a whole request is told 503, and nobody is reset."""

import http.client
import signal
import socket
import subprocess
import sys

import pytest

from exeunt.serving.farewell import Farewell

# answers GET /quick at once, keeps the connection, and never answers GET /never
SERVER = """
import sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/never":
            threading.Event().wait()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def plain():
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    port = int(process.stdout.readline())
    yield process, port
    process.kill()
    process.communicate()


def connected(port):
    """A connection that has been answered once and is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/quick")
    assert connection.getresponse().read() == b""
    return connection


def stop(process, port, meanwhile=lambda: None):
    farewell = Farewell(process.pid, port)
    meanwhile()
    process.send_signal(signal.SIGKILL)
    process.wait()
    return farewell.say()


def test_a_request_that_was_read_and_not_answered_is_told_to_come_again(plain):
    process, port = plain
    connection = connected(port)
    connection.request("GET", "/never")
    assert stop(process, port) == 1
    assert connection.getresponse().status == 503
    connection.close()


def test_a_request_that_comes_when_the_server_is_frozen_is_told_to_come_again(plain):
    process, port = plain
    connection = connected(port)
    stop(process, port, lambda: connection.request("GET", "/quick"))
    answer = connection.getresponse()
    assert answer.status == 503 and b"come again" in answer.read()
    connection.close()


def test_a_connection_that_waits_to_be_accepted_is_told_to_come_again(plain):
    process, port = plain
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    stop(process, port, lambda: connection.request("GET", "/quick"))
    assert connection.getresponse().status == 503
    connection.close()


def test_a_kept_connection_that_asks_after_the_end_reads_the_farewell_or_is_closed_in_order(plain):
    process, port = plain
    connection = connected(port)
    stop(process, port)
    with socket.socket(fileno=connection.sock.detach()) as idle:
        assert idle.recv(1000).startswith(b"HTTP/1.1 503")
        assert idle.recv(1000) == b""


def test_afterwards_the_port_is_free_and_newcomers_are_refused(plain):
    process, port = plain
    connection = connected(port)
    stop(process, port)
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_server_that_has_ended_already_has_nobody_to_be_told(plain):
    process, port = plain
    process.kill()
    process.wait()
    assert Farewell(process.pid, port).say() == 0

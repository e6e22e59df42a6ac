"""The probe before a server that answers wrongly: an error that the watch can count, whatever the answer."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from exeunt.errors import ServingError
from exeunt.serving.probe import probe

METADATA = b'{"inputs": [{"name": "IMAGE", "datatype": "FP32", "shape": [-1, 2]}]}'

ODD_ANSWERS = [b'{"model_name": "tiny"}', b'{"outputs": []}', b'{"outputs": [{"data": []}]}', b"x"]


@pytest.fixture
def server():
    """A server that gives METADATA of every model, and to inferences what `answer` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._say(METADATA)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(self.server.answer)

        def _say(self, content):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield http_server
        http_server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "answer", [b'{"model_name": "tiny"}', b'{"outputs": []}', b'{"outputs": [{"data": []}]}', b"x"]
)
def test_an_answer_without_its_output_is_an_error_of_the_server(server, answer):
    server.answer = answer
    with pytest.raises(ServingError, match="an answer without LABEL"):
        probe(f"127.0.0.1:{server.server_address[1]}", "tiny")


def test_an_answer_with_its_output_says_that_the_bag_is_alive(server):
    server.answer = b'{"outputs": [{"name": "LABEL", "data": [3]}]}'
    assert probe(f"127.0.0.1:{server.server_address[1]}", "tiny") == "tiny: alive, label 3"

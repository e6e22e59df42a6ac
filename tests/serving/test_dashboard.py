"""`exeunt dashboard`: the page and the status behind it."""

import json
import re
import threading
import urllib.error
import urllib.request

import pytest

from exeunt.cli.main import main
from exeunt.errors import ConfigError
from exeunt.hosting.status import Status, status_path, write_status
from exeunt.serving.dashboard import _is_local, dashboard_server, page

STATUS = Status(
    "digits", "abc", 7, 0.0, 100.0, "budget", 0.01, active=(True, True), answers=({"early": 3}, {"full": 1})
)


@pytest.fixture
def url(tmp_path):
    with dashboard_server(tmp_path, "digits", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.headers, response.read()


def test_the_page_needs_nothing_from_elsewhere(url):
    headers, body = fetch(url)
    assert body == page() and not re.search(rb"https?://|src=", body)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_the_status_is_the_servers_own_with_its_age(url, tmp_path):
    write_status(status_path(tmp_path, "abc"), STATUS)
    table = json.loads(fetch(f"{url}/status.json")[1])
    assert table["answers"] == [{"early": 3}, {"full": 1}] and table["age_s"] > 1000


@pytest.mark.parametrize(("path", "code"), [("/status.json", 503), ("/etc/passwd", 404), ("/../pyproject.toml", 404)])
def test_what_is_not_there_is_refused(url, path, code):
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(url + path)
    with refused.value:
        assert refused.value.code == code


def test_a_page_elsewhere_cannot_read_it_by_a_name_of_its_own(url):
    request = urllib.request.Request(f"{url}/status.json", headers={"Host": "evil.example:80"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    with refused.value:
        assert refused.value.code == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.1:80", "localhost:8123", "[::1]", "[::1]:8123"])
def test_every_name_of_this_machine_may_be_asked_for(name):
    assert _is_local(name)


@pytest.mark.parametrize("name", ["", "evil.example", "127.0.0.1.evil.example", "[::2]:80", "[::1", "::1"])
def test_no_other_name_may(name):
    assert not _is_local(name)


def test_every_name_the_page_reads_is_in_the_status():
    read = set(re.findall(rb"status\.(\w+)", page())) - {b"json"}
    assert read - {b"age_s"} <= {name.encode() for name in Status.__dataclass_fields__}


def test_a_taken_port_is_named(url, tmp_path):
    port = int(url.rsplit(":", 1)[1])
    with pytest.raises(ConfigError, match=f"--port {port}"):
        dashboard_server(tmp_path, "digits", port)


def test_without_a_server_the_verb_says_so(tmp_path, capsys):
    assert main(["dashboard", "digits", f"--state-dir={tmp_path}"]) == 78
    assert "no status" in capsys.readouterr().err

"""`exeunt dashboard` in a real browser, without a window: what its user sees."""

import dataclasses
import threading
import time

import pytest

from exeunt.hosting.status import Status, status_path, write_status
from exeunt.serving.dashboard import dashboard_server
from tests.serving.browser import running_browser

LAMBDA, BROKEN = "lambda", "promise_broken"


def status(full_rows: int, early_rows: int, broken: float = 0.0) -> Status:
    """A running server's status, written now."""
    metrics = {"promised_rows_all": early_rows, "losses": 1.0, BROKEN: broken, LAMBDA: 0.25}
    answers = ({"early": early_rows}, {"full": full_rows})
    now_s = time.time()
    return Status(
        "digits", "abc", 7, now_s - 100, now_s, "budget", 0.01, active=(True, True), answers=answers, metrics=metrics
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def url(folder):
    with dashboard_server(folder, "digits", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(url, folder, tmp_path_factory):
    """The page, open, with a first status shown."""
    write_status(status_path(folder, "abc"), status(100, 300))
    with running_browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.call("Page.navigate", url=f"{url}/")
        browser.until(text("bag"), "digits")
        yield browser


def text(identifier: str) -> str:
    """Expression for what an element says; "" before it is there."""
    return f"((document.getElementById('{identifier}') || {{}}).textContent || '')"


def test_it_shows_what_the_server_says(browser):
    browser.until(text("promise"), "kept")
    assert browser.value(text("lost")) == "1 of 300 answers"
    assert browser.value(text("lambda")) == "λ 0.25"


def test_every_exit_has_its_line(browser):
    assert browser.value("[...document.querySelectorAll('#table tr')].map(r => r.cells[0].textContent)") == [
        "0",
        "full",
    ]


def test_it_follows_the_server_by_itself(browser, folder):
    write_status(status_path(folder, "abc"), status(120, 480))
    browser.until(text("lost"), "1 of 480 answers")


def test_it_draws_what_left_where(browser, folder):
    write_status(status_path(folder, "abc"), status(130, 500))
    browser.until("document.querySelectorAll('#shares polygon').length", 2)


def test_it_shows_a_broken_promise(browser, folder):
    write_status(status_path(folder, "abc"), status(150, 600, broken=1.0))
    browser.until(text("promise"), "BROKEN")
    assert "bad" in browser.value("document.getElementById('promise').className").split()


def test_it_says_when_the_server_is_silent(browser, folder):
    silent = dataclasses.replace(status(150, 600), written_unix_s=time.time() - 60)
    write_status(status_path(folder, "abc"), silent)
    browser.until(f"{text('head')}.startsWith('silent for ')", True)


def test_everything_it_asks_for_is_its_own_servers(browser, url):
    assert {requested.rsplit("/", 1)[0] for requested in browser.requested} == {url}


def test_a_script_from_elsewhere_is_not_run(browser):
    browser.value(
        "const script = document.createElement('script'); script.src = 'data:text/javascript,window.foreign=1';"
        "new Promise(done => { script.onerror = script.onload = done; document.head.append(script); }).then(() => 0)"
    )
    assert browser.value("window.foreign") is None
    assert any("Content Security Policy" in problem for problem in browser.problems)

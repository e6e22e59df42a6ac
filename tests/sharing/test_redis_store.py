"""The store on a real Redis or Valkey server: exact once, and one kind of error whatever the server does."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exeunt.errors import ConfigError
from exeunt.sharing.ledger import Message
from exeunt.sharing.redis_store import (
    CA_FILE_VARIABLE,
    MOST_LESSONS,
    PASSWORD_FILE_VARIABLE,
    PASSWORD_VARIABLE,
    READ_LESSONS,
    WHOLE_LIMITS,
    RedisStore,
)
from exeunt.sharing.store import StoreError
from tests.places import ROOT
from tests.sharing.servers import StoreServer, odd_server, store_server

BAG = "0123456789abcdef"


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with store_server(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def server(module_server: StoreServer) -> StoreServer:
    """A server that holds nothing."""
    RedisStore(module_server.url, BAG)._client.flushall()
    return module_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[StoreServer]:
    """A server that a test may end."""
    with store_server(tmp_path) as running:
        yield running


def say(store: RedisStore, life: str, number: int, **rest: object):
    run_id = str(rest.pop("run_id", ""))
    return store.exchange("", Message(life, number, run_id, most=16.0, **rest))  # type: ignore[arg-type]


def hand_over(store: RedisStore, losses: float) -> Message:
    """Life `a` joins and hands over; the second message."""
    run_id = say(store, "a", 1).run_id
    message = Message("a", 2, run_id, deposit=losses, most=16.0, final=losses < 0)
    store.exchange("", message)
    return message


def test_accounts_change_hands_between_two_clients(server: StoreServer) -> None:
    hand_over(RedisStore(server.url, BAG), 3.0)
    assert say(RedisStore(server.url, BAG), "b", 1, want=2.0).savings == 2.0


def test_bags_and_classes_of_service_have_ledgers_of_their_own(server: StoreServer) -> None:
    store = RedisStore(server.url, BAG)
    hand_over(store, -3.0)
    assert RedisStore(server.url, "another").exchange("", Message("b", 1, "")).debt == 0.0
    assert store.exchange("gold", Message("b", 1, "")).debt == 0.0
    assert store.exchange("", Message("b", 1, "")).debt == 3.0


def test_a_message_that_was_sent_twice_counts_once(server: StoreServer) -> None:
    store = RedisStore(server.url, BAG)
    message = hand_over(store, 3.0)
    for _ in range(3):
        assert store.exchange("", message).at_rest == 3.0


def test_many_lives_at_once_lose_and_invent_nothing(server: StoreServer) -> None:
    hand_over(RedisStore(server.url, BAG), 16.0)
    savings: list[float] = []

    def live(name: str) -> None:
        store = RedisStore(server.url, BAG, limit_s=30.0)
        run_id = ""
        for number in range(1, 6):
            message = Message(name, number, run_id, want=1.5, most=16.0)
            while True:
                try:
                    reply = store.exchange("", message)
                    break
                except StoreError as error:
                    assert "busy" in str(error)
            run_id = reply.run_id
            savings.append(reply.savings)

    threads = [threading.Thread(target=live, args=(f"life{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(savings) == 30 and sum(savings) == pytest.approx(16.0)


def test_after_a_restart_from_an_old_copy_savings_are_void_and_debt_stays(own_server: StoreServer) -> None:
    store = RedisStore(own_server.url, BAG)
    message = hand_over(store, 3.0)
    say(store, "c", 1)
    say(store, "c", 2, deposit=-0.5, final=True)
    store._client.save()  # the copy
    assert say(store, "b", 1).debt == 0.5
    own_server.kill()
    own_server.start()
    assert store.exchange("", message).number == 2
    newcomer = say(store, "d", 1, want=3.0)
    assert newcomer.savings == 0.0 and newcomer.debt == 0.5


def test_after_a_wipe_what_is_sent_again_pays_nothing(server: StoreServer) -> None:
    store = RedisStore(server.url, BAG)
    message = hand_over(store, 3.0)
    assert say(store, "b", 1, want=3.0).savings == 3.0
    store._client.flushall()
    assert store.exchange("", message).at_rest == 0.0


def test_a_store_that_is_down_gives_one_kind_of_error(own_server: StoreServer) -> None:
    store = RedisStore(own_server.url, BAG)
    say(store, "a", 1)
    own_server.kill()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"127\.0\.0\.1 does not answer"):
            say(store, "a", 2)


def test_a_store_that_answers_nothing_is_given_up_in_time_and_comes_back(server: StoreServer) -> None:
    store = RedisStore(server.url, BAG, limit_s=0.2)
    say(store, "a", 1)
    server.pause()
    with pytest.raises(StoreError, match="does not answer: TimeoutError"):
        say(store, "a", 2)
    server.go_on()
    patient = RedisStore(server.url, BAG, limit_s=60.0)
    assert say(patient, "a", 2).number == 2


def test_a_reply_that_comes_byte_by_byte_is_cut_off(server: StoreServer) -> None:
    """A reply without end keeps every single wait short: only a limit on the whole call ends it."""
    with odd_server([b"$9999999\r\n"] + [b"x"] * 1000, pause_s=0.05) as url:
        began_s = time.monotonic()
        with pytest.raises(StoreError, match="does not answer"):
            say(RedisStore(url, BAG, limit_s=0.5), "a", 1)
        assert time.monotonic() - began_s >= 0.5 * WHOLE_LIMITS * 0.9  # not by a single wait


@pytest.mark.parametrize("chunk", [b"nonsense\r\n", b"\x00\xff" * 50, b"+OK\r\n", b":7\r\n", b"*-1\r\n", b"$-1\r\n"])
def test_a_server_that_is_no_store_gives_one_kind_of_error(server: StoreServer, chunk: bytes) -> None:
    with odd_server([chunk], pause_s=0.02) as url:
        store = RedisStore(url, BAG, limit_s=0.3)
        with pytest.raises(StoreError):
            say(store, "a", 1)
        with pytest.raises(StoreError):
            store.lessons("")


def test_a_store_that_is_full_takes_nothing_and_keeps_what_it_has(own_server: StoreServer) -> None:
    store = RedisStore(own_server.url, BAG)
    hand_over(store, 3.0)
    before = store._client.get(store.account_key(""))
    store._client.config_set("maxmemory", "1")
    with pytest.raises(StoreError, match=r"refuses: .*maxmemory"):
        say(store, "b", 1, want=1.0)
    assert store._client.get(store.account_key("")) == before


@pytest.mark.parametrize("text", [b"garbage", b"\xff\xfe", b"{}", b"x" * 5_000_000])
def test_garbage_in_place_of_a_ledger_is_left_alone(server: StoreServer, text: bytes) -> None:
    store = RedisStore(server.url, BAG)
    store._client.set(store.account_key(""), text)
    with pytest.raises((StoreError, ConfigError)):
        say(store, "a", 1)
    assert store._client.get(store.account_key("")) == text


def test_a_key_of_another_kind_is_refused(server: StoreServer) -> None:
    store = RedisStore(server.url, BAG)
    store._client.lpush(store.account_key(""), "x")
    store._client.lpush(store.lessons_key, "x")
    with pytest.raises(StoreError, match="refuses"):
        say(store, "a", 1)
    with pytest.raises(StoreError, match="refuses"):
        store.lessons("")


def test_lessons_come_in_order_after_a_place_and_are_bounded(server: StoreServer) -> None:
    store = RedisStore(server.url, BAG)
    for number in range(MOST_LESSONS + 5):
        store.publish("a", bytes([number]))
    assert store._client.xlen(store.lessons_key) == MOST_LESSONS
    lessons = store.lessons("")
    assert [lesson[0] for _, _, lesson in lessons] == list(range(MOST_LESSONS + 5 - READ_LESSONS, MOST_LESSONS + 5))
    assert [lesson for _, _, lesson in store.lessons(lessons[-3][0])] == [lessons[-2][2], lessons[-1][2]]


def test_lessons_that_are_none_give_one_kind_of_error(server: StoreServer) -> None:
    store = RedisStore(server.url, BAG)
    store._client.xadd(store.lessons_key, {"other": "field"})
    with pytest.raises(StoreError, match="garbage"):
        store.lessons("")


def test_the_password_comes_from_a_file_or_the_environment_and_is_in_no_message(
    own_server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_server.kill()
    own_server.start("--requirepass", "s3cret")
    with pytest.raises(StoreError, match="refuses"):
        say(RedisStore(own_server.url, BAG), "a", 1)
    monkeypatch.setenv(PASSWORD_VARIABLE, "wr0ng")
    with pytest.raises(StoreError) as caught:
        say(RedisStore(own_server.url, BAG), "a", 1)
    assert "wr0ng" not in str(caught.value)
    monkeypatch.setenv(PASSWORD_VARIABLE, "s3cret")
    assert say(RedisStore(own_server.url, BAG), "a", 1).number == 1
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    monkeypatch.delenv(PASSWORD_VARIABLE)
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(file))
    assert say(RedisStore(own_server.url, BAG), "a", 2).number == 2


def test_a_password_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("redis", reason="NO REDIS CLIENT, adapter not tested: pip install 'exeunt[redis]'")
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"EXEUNT_STATE_PASSWORD_FILE = .*none"):
        RedisStore("redis://127.0.0.1", BAG)


def test_a_user_with_the_commands_that_the_docs_name_can_do_everything(
    own_server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rules,) = re.findall(r"a user with `([^`]*)`", (ROOT / "docs/production.md").read_text(encoding="utf-8"))
    RedisStore(own_server.url, BAG)._client.acl_setuser(
        "exeunt", enabled=True, reset=True, passwords=["+s3cret"], keys=[], commands=[]
    )
    RedisStore(own_server.url, BAG)._client.execute_command("ACL", "SETUSER", "exeunt", *rules.split())
    monkeypatch.setenv(PASSWORD_VARIABLE, "s3cret")
    store = RedisStore(own_server.url.replace("://", "://exeunt@"), BAG)
    hand_over(store, 3.0)
    assert say(store, "b", 1, want=1.0).savings == 1.0
    store.publish("a", b"lesson")
    assert [lesson for _, _, lesson in store.lessons("")] == [b"lesson"]
    with pytest.raises(StoreError, match="refuses"):
        RedisStore(own_server.url.replace("://", "://exeunt@"), BAG)._do(lambda: store._client.flushall())


def test_a_store_behind_tls_is_believed_only_with_a_certificate_of_the_named_authority(
    own_server: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("NO OPENSSL, TLS not tested: apt-get install openssl")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=store",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    own_server.kill()
    port = str(own_server.port)
    tls = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"]
    own_server.start("--port", "0", "--tls-port", port, *tls)
    url = own_server.url.replace("redis://", "rediss://")
    with pytest.raises(StoreError, match="does not answer"):
        say(RedisStore(url, BAG, limit_s=30.0), "a", 1)
    monkeypatch.setenv(CA_FILE_VARIABLE, certificate)
    assert say(RedisStore(url, BAG, limit_s=30.0), "a", 1).number == 1

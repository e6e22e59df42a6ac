"""A bag's door, without any server: who waits, who is let in, who has left."""

import asyncio
import itertools

import pytest

from exeunt.deciding.request import ParsedOptions
from exeunt.errors import OverloadedError
from exeunt.gateway.door import Door
from tests.deciding.controller_bag import manifest


def answered(_answer):
    return True


NOBODY, SOON = ParsedOptions(), ParsedOptions(deadline_us=1000)


def door(max_outstanding=1, **settings):
    return Door(manifest(max_wait_ms=60_000.0, **settings), itertools.count(0, 10).__next__, max_outstanding)


async def settled():
    """Let everything happen that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def at_work(one, finish):
    turn, _ = await one.enter(1, NOBODY)
    return one.send(turn, finish.wait(), answered)


def test_so_many_rows_are_with_the_server_and_the_next_come_in_their_turn():
    async def scene():
        one, log, finish = door(2), [], asyncio.Event()

        async def caller(number):
            turn, _ = await one.enter(1, NOBODY)
            log.append(number)
            await asyncio.shield(one.send(turn, finish.wait(), answered))

        callers = [asyncio.create_task(caller(number)) for number in range(4)]
        await settled()
        assert log == [0, 1] and one.calls == 4
        finish.set()
        await asyncio.gather(*callers)
        assert log == [0, 1, 2, 3] and one.calls == 0

    asyncio.run(scene())


def test_who_leaves_while_it_waits_never_reaches_the_server():
    async def scene():
        one, finish = door(), asyncio.Event()
        work = await at_work(one, finish)
        waiting = [asyncio.create_task(at_work(one, finish)) for _ in range(3)]
        await settled()
        waiting[0].cancel()
        waiting[2].cancel()
        finish.set()
        await work
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False, True]
        await results[1]
        await settled()
        assert one.calls == 0

    asyncio.run(scene())


def test_a_turn_that_comes_as_its_caller_leaves_goes_to_the_next():
    async def scene():
        one, finish = door(), asyncio.Event()
        turn, _ = await one.enter(1, NOBODY)
        work = one.send(turn, finish.wait(), answered)
        waiting = [asyncio.create_task(at_work(one, finish)) for _ in range(2)]
        await settled()
        finish.set()
        while not work.done():  # its end lets the first in, who leaves in the same moment
            await asyncio.sleep(0)
        waiting[0].cancel()
        await (await waiting[1])
        await settled()
        assert one.calls == 0

    asyncio.run(scene())


def test_a_call_keeps_its_place_until_the_server_has_answered_whoever_left():
    async def scene():
        one, finish = door(), asyncio.Event()

        async def caller():
            await asyncio.shield(await at_work(one, finish))

        leaver, later = asyncio.create_task(caller()), asyncio.create_task(caller())
        await settled()
        leaver.cancel()
        await settled()
        assert one.calls == 2 and not later.done()
        finish.set()
        await later
        await settled()
        assert leaver.cancelled() and one.calls == 0

    asyncio.run(scene())


def test_a_call_that_fails_frees_its_place():
    async def scene():
        async def fail():
            raise ValueError("x")

        one = door()
        for _ in range(3):
            turn, _ = await one.enter(1, NOBODY)
            with pytest.raises(ValueError, match="x"):
                await one.send(turn, fail(), answered)
            await settled()

    asyncio.run(scene())


def test_a_deadline_that_passes_at_the_door_is_told_there():
    async def scene():
        one, finish = door(), asyncio.Event()
        work = await at_work(one, finish)
        with pytest.raises(OverloadedError, match=r"not begun within .* at the gateway; come again"):
            await one.enter(1, SOON)
        assert one.calls == 1
        finish.set()
        await work

    asyncio.run(scene())


def test_more_rows_than_may_wait_are_refused_at_once():
    async def scene():
        one, finish = door(max_waiting_rows=4), asyncio.Event()
        work = await at_work(one, finish)
        waiting = [asyncio.create_task(at_work(one, finish)) for _ in range(4)]
        await settled()
        with pytest.raises(OverloadedError, match="max_waiting_rows 4"):
            await one.enter(1, NOBODY)
        finish.set()
        await work
        await asyncio.gather(*waiting)

    asyncio.run(scene())


def test_a_class_of_service_has_its_turn_before_a_flood_of_another():
    async def scene():
        one, finish, log = door(service_classes={"gold": 0.01}), asyncio.Event(), []

        async def caller(name, options):
            turn, _ = await one.enter(1, options)
            log.append(name)
            await one.send(turn, finish.wait(), answered)

        flood = [asyncio.create_task(caller("flood", NOBODY)) for _ in range(20)]
        await settled()
        gold = asyncio.create_task(caller("gold", ParsedOptions(service_class=1)))
        await settled()
        finish.set()
        await asyncio.gather(*flood, gold)
        assert log.index("gold") <= 2

    asyncio.run(scene())


def test_a_closed_door_lets_in_who_came_before_and_refuses_newcomers():
    async def scene():
        one, finish = door(), asyncio.Event()
        work = await at_work(one, finish)
        waiting = asyncio.create_task(at_work(one, finish))
        await settled()
        one.close()
        with pytest.raises(OverloadedError, match="stopping"):
            await one.enter(1, NOBODY)
        finish.set()
        await work
        await (await waiting)

    asyncio.run(scene())


def test_who_leaves_before_any_answer_can_come_is_told_so_at_once():
    async def scene():
        now_us = [0]
        one, finish = Door(manifest(), lambda: now_us[0], 100), asyncio.Event()
        work = await at_work(one, finish)
        now_us[0] = 20_000
        finish.set()
        await work
        await settled()  # that took 20 ms: within 10 there is no hope
        trial, _ = await one.enter(1, NOBODY, leaves_us=9_000)
        with pytest.raises(OverloadedError, match="no answer can be hoped for within 9 ms; come again"):
            await one.enter(1, NOBODY, leaves_us=9_000)
        for leaves_us in (0, 11_000):
            turn, _ = await one.enter(1, NOBODY, leaves_us)
            await one.send(turn, finish.wait(), answered)
        await one.send(trial, finish.wait(), answered)

    asyncio.run(scene())


def test_a_quick_end_by_a_deadline_says_nothing_about_answers():
    async def scene():
        now_us = [0]
        one, finish = Door(manifest(), lambda: now_us[0], 100), asyncio.Event()
        slow = await at_work(one, finish)
        turn, _ = await one.enter(1, ParsedOptions(deadline_us=1000))
        forced = one.send(turn, settled(), answered)
        now_us[0] = 1500
        await forced
        await settled()
        now_us[0] = 20_000
        finish.set()
        await slow
        await settled()
        await one.enter(1, NOBODY, leaves_us=2_000)  # the trial
        with pytest.raises(OverloadedError, match="no answer can be hoped for"):
            await one.enter(1, NOBODY, leaves_us=2_000)

    asyncio.run(scene())

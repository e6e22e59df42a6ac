"""The gateway over HTTP: which calls it has, and how each goes through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from exeunt.deciding.request import parse_options
from exeunt.errors import ExeuntError
from exeunt.gateway.http_body import HEADER_LENGTH, Body, read_body
from exeunt.gateway.http_paths import Target, target_of
from exeunt.gateway.http_upstream import HttpAnswer, HttpUpstream
from exeunt.gateway.parameters import ClassRule, after_waiting, passed_on
from exeunt.gateway.public_models import PublicModels
from exeunt.gateway.refusal_errors import TooLargeError, http_status


class HttpSide:
    """What the gateway answers over HTTP.

    Args:
        models: what is public.
        upstream: the server behind.
        class_rule: who says the class of service.
        most_bytes: bound of a body, without its compression.
        most_json_bytes: bound of the JSON in it.

    Attributes:
        leaving: connections are closed after their next answer.
    """

    def __init__(
        self,
        models: PublicModels,
        upstream: HttpUpstream,
        class_rule: ClassRule,
        most_bytes: int,
        most_json_bytes: int,
    ) -> None:
        self.leaving = False
        self._models = models
        self._upstream = upstream
        self._class_rule = class_rule
        self._most_bytes = most_bytes
        self._most_json_bytes = most_json_bytes

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One call."""
        try:
            answer = await self._answer(request)
        except ExeuntError as error:
            answer = _refused(error)
        response = web.Response(status=answer.status, body=answer.content, headers=answer.headers)
        if self.leaving:
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> HttpAnswer:
        target = target_of(request.method, request.raw_path)
        if target.verb == "infer":
            return await self._infer(request, target)
        if target.model:
            self._models.door(target.model)  # or it is refused
        if target.verb == "config":
            return _without_steps(await self._upstream.ask("GET", target.path, {}))  # in clear: it is read here
        return await self._upstream.ask("GET", target.path, request.headers)

    async def _infer(self, request: web.BaseRequest, target: Target) -> HttpAnswer:
        door = self._models.door(target.model)
        body = read_body(await self._read(request), request.headers.get(HEADER_LENGTH), self._most_json_bytes)
        headers = {key.lower(): value for key, value in request.headers.items()}
        table, timeout_us = passed_on(body.parameters, self._class_rule.of(headers), None)
        options = parse_options(table, door.settings, timeout_us)  # as the controller will
        turn, waited_us = await door.enter(body.rows, options, timeout_us)
        parameters = after_waiting(table, options, waited_us)
        work = self._send(target.path, body, parameters, request.headers)
        return await asyncio.shield(door.send(turn, work, lambda answer: answer.status == HTTPStatus.OK))

    async def _send(self, path: str, body: Body, parameters: dict[str, Any], headers: Mapping[str, str]) -> HttpAnswer:
        content, body_headers = body.written(parameters)
        return await self._upstream.ask("POST", path, headers, content, body_headers)

    async def _read(self, request: web.BaseRequest) -> bytes:
        """The body without its compression."""
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise TooLargeError(
                f"more than {self._most_bytes} bytes; the caller may ask for fewer rows, the gateway's operator may "
                "set --max-body-mb"
            ) from None


def _without_steps(answer: HttpAnswer) -> HttpAnswer:
    """A model's config without the names of internal models, which callers cannot reach."""
    if answer.status != HTTPStatus.OK:
        return answer
    table = json.loads(answer.content)
    if "ensemble_scheduling" in table:
        table["ensemble_scheduling"] = {"step": []}
    return HttpAnswer(answer.status, json.dumps(table).encode(), answer.headers)


def _refused(error: ExeuntError) -> HttpAnswer:
    content = json.dumps({"error": str(error)}).encode()
    return HttpAnswer(http_status(error), content, CIMultiDict({"Content-Type": "application/json"}))

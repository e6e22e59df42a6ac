"""Clients of a served bag, blocking and asyncio, over HTTP and gRPC."""

from exeunt_client.aio import AsyncClient
from exeunt_client.answers import NO_EXIT, Answer, Answers
from exeunt_client.blocking import Client
from exeunt_client.errors import ClientError, OverloadedError, RequestError, ServingError
from exeunt_client.options import RequestOptions
from exeunt_client.streaming import Part

__all__ = [
    "NO_EXIT",
    "Answer",
    "Answers",
    "AsyncClient",
    "Client",
    "ClientError",
    "OverloadedError",
    "Part",
    "RequestError",
    "RequestOptions",
    "ServingError",
]

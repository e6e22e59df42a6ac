"""Clients of a served bag, blocking and asyncio, over HTTP and gRPC; open-loop load; what was measured."""

from exeunt_client.aio import AsyncClient
from exeunt_client.answers import NO_EXIT, Answer, Answers
from exeunt_client.blocking import Client
from exeunt_client.options import RequestOptions

__all__ = ["NO_EXIT", "Answer", "Answers", "AsyncClient", "Client", "RequestOptions"]

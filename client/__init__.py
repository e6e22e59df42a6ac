"""Clients of a served bag, blocking and asyncio, over HTTP and gRPC; open-loop load; what was measured."""

from exeunt.client.aio import AsyncClient
from exeunt.client.answer import NO_EXIT, Answer, Answers
from exeunt.client.blocking import Client
from exeunt.client.wishes import Wishes

__all__ = ["NO_EXIT", "Answer", "Answers", "AsyncClient", "Client", "Wishes"]

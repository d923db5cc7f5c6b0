"""The same calls in this process, without a server between: for Python programs that want no extra hop.

Owns the gateway of a program that is not ours: its journal is shipped as a worker's is, and it ends with its program.
"""

from backstay.client.answers import Answer
from backstay.client.asynchronous import AsyncClient
from backstay.client.streams import AsyncChunks, Chunks
from backstay.client.synchronous import Client

__all__ = ["Answer", "AsyncChunks", "AsyncClient", "Chunks", "Client"]

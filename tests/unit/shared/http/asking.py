"""Short ways to ask."""

import asyncio

from shared.http import HttpClient, Peer
from shared.http.request import Headers


def within(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def post(
    client: HttpClient,
    peer: Peer,
    *,
    body: bytes = b"{}",
    headers: Headers = (),
    seconds: float = 5,
    limit: int = 2**20,
) -> tuple[int, bytes]:
    with await client.send("POST", peer, "/a", headers=headers, body=body, until=within(seconds)) as response:
        return response.status, await response.read(limit)


async def get(client: HttpClient, peer: Peer, *, seconds: float = 5, limit: int = 2**20) -> tuple[int, bytes]:
    with await client.send("GET", peer, "/a", until=within(seconds)) as response:
        return response.status, await response.read(limit)

"""Python `websockets` against /echo and /raw.

    echo.py ws://HOST:PORT
"""

import asyncio
import sys

from checks import equal, run
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

MESSAGES = [
    "Hello",
    "Grüße, 世界, 👋",
    b"\x00\xff bytes that are no text \xc3\x28",
    "",
    b"",
    "x" * 125,
    "x" * 126,
    "x" * 65_535,
    "x" * 65_536,
    "é" * 524_288,
    bytes(range(256)) * 4_096,
]
MAX_MESSAGE = 1 << 20


async def every_size(url):
    "every message comes back as it was, from none to 1 MiB, text as text, binary as binary"
    async with connect(url + "/echo", max_size=None) as client:
        for message in MESSAGES:
            await client.send(message)
            equal(await client.recv(), message)


async def in_order(url):
    "a thousand messages sent without waiting come back in order"
    async with connect(url + "/echo") as client:
        expected = ["message %d" % n for n in range(1_000)]

        async def send():
            for message in expected:
                await client.send(message)

        sending = asyncio.create_task(send())
        equal([await client.recv() for _ in expected], expected)
        await sending


async def fragments(url):
    "fragments come back as one message, also with a ping between them"
    async with connect(url + "/echo") as client:

        async def pieces():
            yield "Hel"
            await (await client.ping(b"in between"))
            yield ""
            yield "lo"

        await client.send(pieces())
        equal(await client.recv(), "Hello")


async def raw_fragments(url):
    "in raw mode fragments come back one by one, pings are answered, a close is completed"
    async with connect(url + "/raw") as client:
        await client.send(["Hel", "", "lo"])
        # The client ends what it sends in pieces with an empty fragment.
        equal([piece async for piece in client.recv_streaming()], ["Hel", "", "lo", ""])
        await (await client.ping(b"raw"))
        await client.close(4001, "enough")
    equal((client.close_code, client.close_reason), (4001, "enough"))


async def pings(url):
    "pings are answered with their own payload"
    async with connect(url + "/echo", ping_interval=None) as client:
        for payload in (b"", b"ping", bytes(125)):
            await (await client.ping(payload))


async def close_codes(url):
    "a close is answered with its own code"
    for code in (1000, 1001, 1003, 1008, 1011, 1013, 3000, 4999):
        client = await connect(url + "/echo")
        await client.close(code, "goodbye")
        equal(client.protocol.close_rcvd.code, code)


async def too_large(url):
    "a message of one byte too many is closed with 1009"
    for endpoint in ("/echo", "/raw"):
        async with connect(url + endpoint) as client:
            try:
                await client.send(bytes(MAX_MESSAGE + 1))
                await client.recv()
            except ConnectionClosed as closed:
                equal(closed.rcvd and closed.rcvd.code, 1009)
            else:
                raise AssertionError("the message was taken")


async def refusals(url):
    "a foreign page gets 403, the own one is let in, an unknown path gets 404"
    for path, origin, status in (
        ("/echo", "http://example.org", 403),
        ("/nowhere", None, 404),
    ):
        try:
            await connect(url + path, origin=origin)
        except InvalidStatus as refused:
            equal(refused.response.status_code, status)
        else:
            raise AssertionError("let in: %s from %s" % (path, origin))
    async with connect(url + "/echo", origin=url.replace("ws", "http", 1)):
        pass


async def many(url):
    "three hundred connections at once, twenty messages each"

    async def talk(name):
        async with connect(url + "/echo", open_timeout=None) as client:
            for n in range(20):
                message = "%d from %d" % (n, name)
                await client.send(message)
                equal(await client.recv(), message)

    await asyncio.gather(*map(talk, range(300)))


if __name__ == "__main__":
    checks = [
        every_size,
        in_order,
        fragments,
        raw_fragments,
        pings,
        close_codes,
        too_large,
        refusals,
        many,
    ]
    asyncio.run(run("websockets", checks, sys.argv[1]))

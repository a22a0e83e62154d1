"""Python `websockets` against the example `compressed_echo`: every window, with takeover and without.

    compressed.py ws://HOST:PORT
"""

import asyncio
import itertools
import json
import random
import sys

from checks import equal, run
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

WINDOWS = range(9, 16)


def messages(seed):
    "Texts that repeat themselves and each other, some noise, and the sizes that matter."
    dice = random.Random(seed)
    words = "the quick brown fox jumps over a lazy dog, and the fox said: grüße 世界 👋".split()
    for n in range(60):
        text = " ".join(dice.choices(words, k=dice.randrange(40)))
        yield json.dumps({"from": "user%d" % dice.randrange(5), "n": n, "text": text})
    yield ""
    yield b""
    yield dice.randbytes(20_000)
    yield "x" * 100_000
    # What is far back, further than most windows reach.
    yield dice.randbytes(40_000).hex() * 2
    yield from ("Hello", "Hello", "Hello")


async def talk(url, path, **offer):
    "Has every message echoed; gives what was agreed."
    factory = ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5}, **offer)
    async with connect(url + path, compression=None, extensions=[factory], max_size=None) as client:
        expected = list(messages(path))
        for message in expected:
            await client.send(message)
            equal(await client.recv(), message)
        # Sent without waiting, and in fragments.
        sending = asyncio.gather(*(client.send(message) for message in expected))
        for message in expected:
            equal(await client.recv(), message)
        await sending
        await client.send(["frag", "men", "", "ts"])
        equal(await client.recv(), "fragments")
        [agreed] = client.protocol.extensions
        return agreed


async def what_the_server_asks(url):
    "every window that the server asks for, with takeover and without, is kept both ways"
    for bits, kind in itertools.product(WINDOWS, ("once", "takeover")):
        agreed = await talk(url, "/%s/%d" % (kind, bits), client_max_window_bits=True)
        once = kind == "once"
        equal(
            (
                agreed.local_max_window_bits,
                agreed.local_no_context_takeover,
                agreed.remote_no_context_takeover,
            ),
            (bits, once, once),
        )


async def what_the_client_asks(url):
    "every window that the client asks for is kept both ways"
    for bits in WINDOWS:
        agreed = await talk(
            url, "/takeover/15", server_max_window_bits=bits, client_max_window_bits=bits
        )
        equal((agreed.remote_max_window_bits, agreed.local_max_window_bits), (bits, bits))


async def no_takeover(url):
    "a client that wants no takeover gets none, each way by itself"
    for server, client in itertools.product((False, True), repeat=2):
        agreed = await talk(
            url,
            "/takeover/12",
            server_no_context_takeover=server,
            client_no_context_takeover=client,
            client_max_window_bits=True,
        )
        equal((agreed.remote_no_context_takeover, agreed.local_no_context_takeover), (server, client))


async def raw(url):
    "in raw mode messages come back too, compressed or in fragments"
    async with connect(
        url + "/raw/12",
        compression=None,
        extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)],
    ) as client:
        for message in ("Hello " * 50, "Hello " * 50, b"", "Hello " * 50):
            await client.send(message)
            equal(await client.recv(), message)
        await client.send(["Hel" * 30, "lo" * 30])
        equal(await client.recv(), "Hel" * 30 + "lo" * 30)


if __name__ == "__main__":
    checks = [what_the_server_asks, what_the_client_asks, no_takeover, raw]
    asyncio.run(run("websockets, compressed", checks, sys.argv[1]))

"""`chinwag connect` against servers made with Python `websockets`: plain, and with every window.

    served.py CHINWAG
"""

import asyncio
import itertools
import json
import random
import sys

from checks import equal, run
from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

WINDOWS = range(9, 16)


def lines(seed):
    "Texts that repeat themselves and each other, some noise, and what is far back."
    dice = random.Random(seed)
    words = "the quick brown fox jumps over a lazy dog, and the fox said: grüße 世界 👋".split()
    for n in range(100):
        text = " ".join(dice.choices(words, k=dice.randrange(40)))
        yield json.dumps({"from": "user%d" % dice.randrange(5), "n": n, "text": text}, ensure_ascii=False)
    yield from ("", "x" * 100_000, dice.randbytes(40_000).hex() * 2, "Hello", "Hello")


async def talk(chinwag, said, *options, handler=None, **settings):
    """Lets it connect, and echoes all that is said unless there is a handler; gives its lines, what it
    says beside them, its exit status, and the server's end."""
    ends = []

    async def handle(client):
        ends.append(client)
        if handler:
            return await handler(client)
        # Once it has a Close it sends no more, so the Close is its own.
        for _ in said:
            await client.send(await client.recv())

    async with serve(handle, "127.0.0.1", 0, **settings) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(chinwag, "connect", "--wait", "1h", *options, "ws://127.0.0.1:%d/" % port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdin = "".join(line + "\n" for line in said).encode()
        stdout, stderr = await process.communicate(stdin)
        await ends[0].wait_closed()
        return stdout.decode().splitlines(), stderr.decode(), process.returncode, ends[0]


async def plain(chinwag):
    "lines come back"
    said = list(lines("plain"))
    heard, _, status, end = await talk(chinwag, said, compression=None)
    equal(heard, said)
    equal((status, end.close_code), (0, 1000))


async def compressed(chinwag):
    "every window that the server asks for is kept both ways, with takeover and without"
    for bits, server, client in itertools.product(WINDOWS, (False, True), (False, True)):
        factory = ServerPerMessageDeflateFactory(
            server_no_context_takeover=server,
            client_no_context_takeover=client,
            server_max_window_bits=bits,
            client_max_window_bits=bits,
        )
        said = list(lines(bits))
        heard, told, status, end = await talk(
            chinwag, said, "--compress", compression=None, extensions=[factory]
        )
        equal(heard, said)
        equal((status, end.close_code), (0, 1000))
        assert ", compressed\n" in told, told
        [agreed] = end.protocol.extensions
        equal((agreed.remote_max_window_bits, agreed.local_max_window_bits), (bits, bits))
        equal((agreed.local_no_context_takeover, agreed.remote_no_context_takeover), (server, client))


async def fragments(chinwag):
    "messages in fragments are joined, compressed and not"

    async def handler(client):
        for message in (["frag", "men", "", "ts"], [b"\x00", b"\xff"], ["again " * 50] * 3):
            await client.send(message)

    for options in ((), ("--compress",)):
        heard, _, status, _ = await talk(chinwag, [], *options, handler=handler)
        equal((heard, status), (["fragments", "00ff", "again " * 150], 0))


async def closing(chinwag):
    "a close of the server's is answered, and its code is the exit status"
    for code, expected in ((1000, 0), (1001, 1), (4001, 1)):

        async def handler(client):
            await client.close(code, "bye")

        _, told, status, end = await talk(chinwag, [], handler=handler)
        equal((status, end.close_code), (expected, code))
        assert 'closed by the peer, %d "bye"' % code in told, told


async def asking(chinwag):
    "headers, origin and subprotocol arrive"
    _, told, status, end = await talk(
        *(chinwag, [], "--origin", "http://a.example", "-H", "Cookie: name=Ann"),
        *("--subprotocol", "chat.v1", "--subprotocol", "chat.v2"),
        origins=["http://a.example"],
        subprotocols=["chat.v2"],
    )
    equal((status, end.subprotocol, end.request.headers["Cookie"]), (0, "chat.v2", "name=Ann"))
    assert ", subprotocol chat.v2\n" in told, told


if __name__ == "__main__":
    checks = [plain, compressed, fragments, closing, asking]
    asyncio.run(run("a server of websockets", checks, sys.argv[1]))

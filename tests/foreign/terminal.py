"""`chinwag connect` on a terminal, which is a pty, against servers made with Python `websockets`.

    terminal.py CHINWAG
"""

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from checks import equal, run
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


# What the editor ends a drawing with.
DRAWN = b"\x1b[?2026l"


class Terminal:
    "A process on a terminal of its own, and all that it has written there."

    def __init__(self, *command):
        self.screen = b""
        self.mark = 0
        self.grown = asyncio.Event()
        self.ours, self.its = pty.openpty()
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**os.environ, "TERM": "xterm"}
        environment.pop("CHINWAG_HISTORY", None)
        self.process = subprocess.Popen(
            command, stdin=self.its, stdout=self.its, stderr=self.its, env=environment
        )
        asyncio.get_running_loop().add_reader(self.ours, self._read)

    def _read(self):
        self.screen += os.read(self.ours, 1 << 16)
        self.grown.set()

    async def _until(self, condition):
        while not condition():
            self.grown.clear()
            await self.grown.wait()

    async def shows(self, text):
        "Waits for what was not there when this was last called."
        text = text.encode()
        try:
            await self._until(lambda: text in self.screen[self.mark :])
        except asyncio.CancelledError:
            print("no %r in %r" % (text, self.screen[self.mark :]))
            raise
        self.mark = self.screen.index(text, self.mark) + len(text)

    async def ready(self):
        "Waits until the line is drawn anew, below what was printed above it."
        await self.shows("> ")
        await self._until(lambda: self.screen.endswith(DRAWN))

    async def key(self, key):
        "Presses a key of the line, and waits for what the editor makes of it, before the next one."
        seen = len(self.screen)
        os.write(self.ours, key.encode())
        await self._until(lambda: len(self.screen) > seen)

    async def recalls(self, line):
        """Goes back to an earlier line, and waits until the editor has drawn that: a key that it reads together
        with the one before it only counts once there is another."""
        self.mark = len(self.screen)
        os.write(self.ours, b"\x1b[A")
        await self.shows("> " + line)
        await self._until(lambda: self.screen.endswith(DRAWN))

    async def types(self, line):
        for character in line:
            await self.key(character)
        self.mark = len(self.screen)
        await self.key("\r")

    async def ended(self):
        "The exit status; the terminal is as it was."
        while self.process.poll() is None:
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().remove_reader(self.ours)
        settings = termios.tcgetattr(self.its)
        assert settings[3] & termios.ICANON and settings[3] & termios.ECHO, "it is left raw"
        os.close(self.ours)
        os.close(self.its)
        return self.process.returncode


class Conversation:
    "A server with one client, which is on a terminal."

    def __init__(self, chinwag, *options):
        self.command = (chinwag, "connect", *options)
        self.said = asyncio.Queue()
        self.connected = asyncio.get_running_loop().create_future()

    async def __aenter__(self):
        self.server = await serve(self._handle, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.terminal = Terminal(*self.command, "ws://127.0.0.1:%d/" % port)
        await self.terminal.shows("connected to")
        await self.terminal.ready()
        self.client = await self.connected
        return self

    async def __aexit__(self, *_):
        self.terminal.process.kill()
        self.server.close()

    async def _handle(self, client):
        self.connected.set_result(client)
        # How it ends, the checks ask themselves.
        with contextlib.suppress(ConnectionClosed):
            async for message in client:
                await self.said.put(message)


async def commands(chinwag):
    "what is typed is sent, and commands do what they say"
    async with Conversation(chinwag) as talk:
        for line, message in [
            ("Hello", "Hello"),
            ("grüße 世界", "grüße 世界"),
            ("//nick Ann", "/nick Ann"),
            ("/binary 00 ff", b"\x00\xff"),
            ("/fragments Hel | lo", "Hello"),
            ("/wire 81 83 00000000 616263", "abc"),
        ]:
            await talk.terminal.types(line)
            equal(await talk.said.get(), message)
            await talk.terminal.ready()
        for line, shown in [
            ("/ping", "pong after "),
            ("/ping there?", "pong after "),
            ("/help", "/fragments A | B"),
            ("/nonsense", "there is no /nonsense"),
            ("/close 1006", "close code 1006 must not be sent"),
            ("/json", "indenting JSON is on"),
        ]:
            await talk.terminal.types(line)
            await talk.terminal.shows(shown)
            await talk.terminal.ready()
        await talk.client.send('{"a":[1]}')
        await talk.terminal.shows('  "a": [\r\n    1\r\n  ]\r\n}')
        await talk.terminal.ready()
        await talk.terminal.types("/close 4001 see you")
        await talk.terminal.shows('closed here, 4001 "see you"')
        equal((await talk.terminal.ended(), talk.client.close_code), (0, 4001))
        equal(talk.said.qsize(), 0)


async def history(chinwag):
    "earlier lines come back"
    async with Conversation(chinwag) as talk:
        for line in ("one", "two"):
            await talk.terminal.types(line)
            equal(await talk.said.get(), line)
            await talk.terminal.ready()
        await talk.terminal.recalls("two")
        await talk.terminal.recalls("one")
        talk.terminal.mark = len(talk.terminal.screen)
        await talk.terminal.key("\r")
        equal(await talk.said.get(), "one")
        await talk.terminal.ready()
        os.write(talk.terminal.ours, b"\x04")
        equal((await talk.terminal.ended(), talk.client.close_code), (0, 1000))


async def interrupting(chinwag):
    "what arrives leaves the line that is edited alone"
    async with Conversation(chinwag) as talk:
        for character in "half ":
            await talk.terminal.key(character)
        for number in range(100):
            await talk.client.send("news %d" % number)
        await talk.terminal.shows("news 99")
        # The line is drawn anew below it.
        await talk.terminal.ready()
        drawn = talk.terminal.screen.rindex(b"> ")
        assert talk.terminal.screen[drawn:].startswith(b"> half "), talk.terminal.screen[drawn:]
        await talk.terminal.types("done")
        equal(await talk.said.get(), "half done")
        await talk.terminal.ready()
        os.write(talk.terminal.ours, b"\x03")
        equal((await talk.terminal.ended(), talk.client.close_code), (0, 1000))


async def hostile(chinwag):
    "what a server says never drives the terminal"
    for options in ((), ("--raw",), ("--json",)):
        async with Conversation(chinwag, *options) as talk:
            await talk.client.send("\x1b[2J\x1b]0;title\x07 \u009b31m \u202e \x08\x7f \n\r")
            await talk.terminal.shows("\\u{1b}[2J\\u{1b}]0;title\\u{7} \\u{9b}31m \\u{202e} \\u{8}\\u{7f} \\n\\r")
            await talk.client.send('{"\u202e":"\u009b"}')
            await talk.terminal.shows("\\u{9b}")
            await talk.client.send(b"\x1b[2J")
            await talk.terminal.shows("1b5b324a")
            await talk.client.ping(b"\x1b[2J")
            await talk.client.close(4003, "\x1b[2J\u202e")
            await talk.terminal.shows('4003 "\\u{1b}[2J\\u{202e}"')
            equal(await talk.terminal.ended(), 1)
            screen = talk.terminal.screen
            for text in ("\x1b[2J", "\x1b]0", "\x07", "\u009b", "\u202e", "\x08", "\x7f"):
                assert text.encode() not in screen, "%r in %r" % (text, screen)


async def frames(chinwag):
    "frames are shown both ways, with the time of Pongs"
    async with Conversation(chinwag, "--raw") as talk:
        await talk.terminal.types("/ping there?")
        await talk.terminal.shows("-> FIN 1 RSV 000 opcode 9 ping, length 6, key ")
        await talk.terminal.shows("<- FIN 1 RSV 000 opcode a pong, length 6, no key")
        await talk.terminal.shows(", after ")
        await talk.client.send("Hello")
        await talk.terminal.shows('<- FIN 1 RSV 000 opcode 1 text, length 5, no key')
        await talk.client.close(1000)
        equal(await talk.terminal.ended(), 0)


if __name__ == "__main__":
    checks = [commands, history, interrupting, hostile, frames]
    asyncio.run(run("on a terminal", checks, sys.argv[1]))

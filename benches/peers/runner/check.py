"""A small WebSocket client, to see that a server does its work before it is measured."""

import base64
import hashlib
import json
import os
import random
import socket
import struct
import zlib

OFFER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


class Client:
    """One connection to `ws://HOST:PORT/`."""

    def __init__(self, url, path="", deflate=False):
        host, port = url.removeprefix("ws://").rstrip("/").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read = self.socket.makefile("rb").read
        key = base64.b64encode(os.urandom(16)).decode()
        offer = f"Sec-WebSocket-Extensions: {OFFER}\r\n" if deflate else ""
        self.socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"{offer}\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.read(1)
            if not byte:
                raise ConnectionError(f"closed in the handshake: {head!r}")
            head += byte
        guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode() + guid).digest())
        if b" 101 " not in head or accept not in head:
            raise ConnectionError(f"refused: {head!r}")
        if deflate and b"permessage-deflate" not in head:
            raise ConnectionError(f"does not compress: {head!r}")
        self.deflate = deflate

    def send(self, *texts):
        """Sends some texts at once."""
        self.socket.sendall(b"".join(self.frame(text.encode()) for text in texts))

    def frame(self, payload):
        first = 0x81
        if self.deflate:
            first = 0xC1
            deflater = zlib.compressobj(wbits=-12)
            payload = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
            payload = payload.removesuffix(b"\x00\x00\xff\xff")
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", first, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", first, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, size)
        key = os.urandom(4)
        mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
        return head + key + (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")

    def receive(self):
        """The next text. A server that was asked to compress must have done so."""
        first, size = self.read(2)
        if size == 126:
            (size,) = struct.unpack("!H", self.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read(8))
        self.size = size
        payload = self.read(size)
        if first != (0xC1 if self.deflate else 0x81):
            raise ConnectionError(f"a frame that begins with {first:#x}")
        if self.deflate:
            payload = zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")
        return payload.decode()

    def close(self):
        self.socket.close()


def echo(url, path, text, deflate=False):
    """The same text again and again, alone and sixteen at once, is what comes back.

    Gives the bytes that the payload of an answer has on the wire.
    """
    client = Client(url, path, deflate)
    # What is sent at once must fit into the buffers between, as nobody reads meanwhile.
    for count in [1, 1, 16 if len(text) <= 1024 else 2]:
        client.send(*[text] * count)
        for _ in range(count):
            expect(client.receive(), text)
    client.close()
    return client.size


def sample(size, kind):
    """About `size` bytes of what the load generator sends by that name."""
    if kind == "json":
        dice = random.Random(6455)
        words = "tea kettle morning people talk answer room window".split()
        records = []
        while len(json.dumps(records)) < size - 90:
            user, room, *text = dice.choices(words, k=5)
            at = dice.randrange(1_763_000_000, 1_764_000_000)
            records.append({"user": user, "room": room, "text": " ".join(text), "at": at})
        return json.dumps(records, separators=(",", ":")).ljust(size)
    word = "ä€🙂x" if kind == "non-ascii" else "abcd"
    return word * (size // len(word.encode()))


def broadcast(url, path):
    """Everyone hears all of what everyone says, in one order."""
    members = [Client(url, path) for _ in range(5)]
    # A member may be known a moment after its handshake: the first word is said until all hear it.
    for turn in range(20):
        said = [f"{turn} said by {speaker}".ljust(128, ".") for speaker in (0, 3)]
        for speaker, text in zip((0, 3), said):
            members[speaker].send(text)
        heard = [[member.receive() for _ in said] for member in members]
        expect(sorted(heard[0]), sorted(said))
        for other in heard[1:]:
            expect(other, heard[0])
    for member in members:
        member.close()


def expect(found, wanted):
    if found != wanted:
        raise AssertionError(f"heard {str(found)[:80]!r}, not {str(wanted)[:80]!r}")

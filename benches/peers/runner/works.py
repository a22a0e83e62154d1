"""What is measured: each piece of work, who does it, and what is wanted of chinwag."""

from dataclasses import dataclass, field

FLOOR = "floor"
CHINWAG = "chinwag"

RUST = ["fastwebsockets", "sockudo-ws", "tokio-tungstenite", "axum", "yawc"]
PEERS = ["bun", *RUST, "ws"]
COMPRESSING = ["bun", "sockudo-ws", "yawc", "ws"]

# chinwag with a second thread, and its two faces: a service, told what happens, and a session, that
# asks for it.
TWO = "chinwag, two workers"
SERVICE = "chinwag, a service"
SESSION = "chinwag, a session"
OURS = [CHINWAG, TWO, SERVICE, SESSION]

ALL = [FLOOR, CHINWAG, *PEERS]
# Those that hand 30 messages to 10,000 members within the time of a sample; ws takes three seconds.
QUICKER = [name for name in ALL if name != "ws"]

MIB = 1 << 20

# Members of the broadcasts that show how the cost of a delivery grows.
GROWTH = [100, 1_000, 5_000, 15_000]


@dataclass(frozen=True)
class Work:
    """One row of the table."""

    name: str
    title: str
    # The generator's mode and its options.
    mode: str
    options: dict
    servers: list = field(default_factory=lambda: ALL)
    # What the servers are asked to do.
    serves: str = "echo"
    deflate: bool = False
    # Of the rounds that were asked for. Those that take long have fewer. Those that just fit into the
    # processor's caches have more: by where their memory happens to lie they take up to a quarter longer.
    rounds: float = 1.0

    @property
    def flags(self):
        """The options as the generator takes them."""
        words = []
        for name, value in self.options.items():
            words.append("--" + name.replace("_", "-"))
            if value is not True:
                words.append(str(value))
        return words

    @property
    def connections(self):
        return self.options.get("connections") or self.options.get("members") or 0


def echo(name, title, connections=100, servers=ALL, rounds=1.0, **options):
    options = {"connections": connections, **options}
    return Work(name, title, "echo", options, servers, rounds=rounds)


def broadcast(members, window, name=None, title="", servers=ALL, **more):
    return Work(
        name or f"broadcast-{members}-{window}",
        title or f"broadcast, {members:,} members, {window} in flight",
        "broadcast",
        {"members": members, "senders": 10, "size": 128, "window": window},
        servers,
        serves="broadcast",
        **more,
    )


def idle(connections, servers=ALL, **more):
    return Work(
        f"idle-{connections}",
        f"{connections:,} connections at rest",
        "idle",
        {"connections": connections},
        servers,
        rounds=0.2,
        **more,
    )


def compressed(size, title, **more):
    options = {"connections": 100, "size": size, "kind": "json", "compress": True}
    name = f"deflate-{size}"
    servers = [CHINWAG, *COMPRESSING]
    title = f"compressed echo, {title} of JSON"
    return Work(name, title, "echo", options, servers, deflate=True, **more)


WORKS = [
    echo("echo-20", "echo, 20 B", size=20),
    echo("echo-128", "echo, 128 B", size=128),
    echo("echo-1k", "echo, 1 KiB", size=1024),
    echo("echo-16k", "echo, 16 KiB", size=16 << 10),
    echo("echo-64k", "echo, 64 KiB", size=64 << 10, rounds=2),
    echo("echo-1m", "echo, 1 MiB", size=MIB, connections=10, rounds=2),
    echo(
        "echo-64k-non-ascii",
        "echo, 64 KiB, not ASCII",
        size=64 << 10,
        kind="non-ascii",
        rounds=2,
    ),
    echo("echo-20-x16", "echo, 20 B, 16 in flight", size=20, in_flight=16),
    echo("echo-128-x16", "echo, 128 B, 16 in flight", size=128, in_flight=16),
    echo("echo-1000", "echo, 128 B, 1,000 connections", size=128, connections=1000, rounds=2),
    broadcast(1_000, 1),
    broadcast(1_000, 3),
    broadcast(10_000, 1, servers=QUICKER, rounds=0.6),
    broadcast(10_000, 3, servers=QUICKER, rounds=0.6),
    compressed(128, "128 B"),
    compressed(1024, "1 KiB"),
    compressed(16 << 10, "16 KiB"),
    Work("handshakes", "handshakes", "connect", {}),
    idle(5_000, [FLOOR, CHINWAG]),
    idle(15_000),
    *[
        broadcast(
            members,
            3,
            name=f"growth-{members}",
            title=f"broadcast, {members:,} members",
            servers=[FLOOR, CHINWAG],
            rounds=0.6,
        )
        for members in GROWTH
    ],
    echo("workers-echo", "echo, 128 B, one worker and two", size=128, servers=[CHINWAG, TWO]),
    broadcast(
        1_000,
        3,
        name="workers-broadcast",
        title="broadcast, 1,000 members, one worker and two",
        servers=[CHINWAG, TWO],
    ),
    echo("sessions", "echo, 128 B", size=128, servers=[SERVICE, SESSION]),
    echo("sessions-x16", "echo, 128 B, 16 in flight", size=128, in_flight=16, servers=[SERVICE, SESSION]),
]

TASTE = ["echo-128", "echo-64k", "echo-128-x16", "deflate-128", "handshakes"]

# A taste of each kind.
QUICK = [*[work for work in WORKS if work.name in TASTE], broadcast(200, 3), idle(1_000)]

"""The servers: how they are built, started and stopped, and which versions they have."""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from .works import CHINWAG, FLOOR, RUST, SERVICE, SESSION, TWO

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent

# Where the Rust peers are built with mimalloc.
FAST = "mimalloc"

# How long a server may take to say its address, or to go away.
PATIENCE = 10

# What each is, and how it is set up where that is not the default.
SETTINGS = {
    FLOOR: "parses nothing, answers with frames prepared beforehand: what the system calls cost",
    CHINWAG: "`chinwag serve --workers 1 --log off`, /echo; in broadcast a `Topic`; compressed: level 3, "
    "below 256 bytes level 1",
    "bun": "`Bun.serve`, that is uWebSockets; `subscribe` and `publish`; compressed: `shared`",
    "fastwebsockets": "`FragmentCollector`, unconstrained; in broadcast behind a `BufWriter`",
    "sockudo-ws": "defaults, `feed` and `flush`; compressed: level 6, no takeover",
    "tokio-tungstenite": "defaults (buffers of 128 KiB), `feed` and `flush`",
    "axum": "defaults, `feed` and `flush`",
    "yawc": "read buffer 128 KiB, UTF-8 checked, `feed` and `flush`; compressed: level 6, a pool",
    "ws": "with `bufferutil`; compressed: level 6, no takeover, no threshold",
}


class Failure(Exception):
    """Something that ends the run, told in one line."""


@dataclass
class Server:
    """A server that runs."""

    process: subprocess.Popen
    url: str

    @property
    def pid(self):
        return self.process.pid

    def sockets(self):
        """How many sockets each of its threads watches, where it watches them by epoll."""
        counts = []
        for info in Path(f"/proc/{self.pid}/fdinfo").iterdir():
            try:
                counts.append(info.read_text().count("\ntfd:"))
            except FileNotFoundError:  # closed meanwhile
                pass
        return [count for count in counts if count]

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)
        self.process.stdout.close()


class Servers:
    """Everything there is to start."""

    def __init__(self, core, chinwag, fast):
        self.core = core
        self.binary = chinwag or target(ROOT) / "chinwag"
        self.plain = target(HERE) / "chinwag-against-peers"
        self.fast = target(HERE, FAST) / "chinwag-against-peers" if fast else self.plain

    def start(self, name, work):
        """Starts the server `name` for this work, on its core alone."""
        command, path = self.command(name, work)
        process = subprocess.Popen(
            ["taskset", "-c", str(self.core), *command],
            cwd=HERE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        # A server that says nothing ends, and so does its line.
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        line = process.stdout.readline().strip()
        timer.cancel()
        if "://" not in line:
            process.kill()
            raise Failure(f"{name} did not start: {' '.join(map(str, command))}")
        return Server(process, f"ws://{line.partition('://')[2].rstrip('/')}/{path}")

    def command(self, name, work):
        """The command line, and the path that is served."""
        if name in (SERVICE, SESSION):
            face = ["--sessions"] if name == SESSION else []
            return [self.plain, CHINWAG, work.serves, *face], ""
        if name in (CHINWAG, TWO):
            workers = ["--workers", "2" if name == TWO else "1"]
            if work.serves == "broadcast":
                return [self.plain, CHINWAG, work.serves, *workers], ""
            options = ["--listen", "127.0.0.1:0", "--log", "off", *workers]
            return [self.binary, "serve", *options], "echo"
        deflate = ["--deflate"] if work.deflate else []
        if name == "ws":
            return ["node", HERE / "servers/ws.mjs", work.serves, *deflate], ""
        if name == "bun":
            return [bun(), HERE / "servers/bun.js", work.serves, *deflate], ""
        # At rest the peers are smaller with the system's allocator.
        program = self.plain if name == FLOOR or work.mode == "idle" else self.fast
        return [program, name, work.serves, *deflate], ""


def target(package, *inside):
    return Path(os.environ.get("CARGO_TARGET_DIR", package / "target"), *inside, "release")


def bun():
    # Where its package may not run its script, the program is still where that would take it from.
    for place in ("node_modules/bun/bin/bun.exe", "node_modules/@oven/bun-linux-*/bin/bun"):
        for path in HERE.glob(place):
            if path.stat().st_size > 1 << 20:
                return path
    raise Failure("npm has brought no bun for this machine")


def prepare(names, fast):
    """Installs and builds what these servers need, and the load generator."""
    for tool in ("cargo", "taskset"):
        if not shutil.which(tool):
            raise Failure(f"there is no {tool}")
    build(ROOT, "--bin", "chinwag")
    build(HERE)
    if fast:
        build(HERE, "--features", "mimalloc", "--target-dir", str(target(HERE, FAST).parent))
    if {"ws", "bun"} & set(names):
        if not shutil.which("npm"):
            raise Failure("there is no npm: install it, or leave ws and bun out with --peers")
        quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--loglevel", "error"]
        run(["npm", "install", *quiet], HERE)


def build(package, *options):
    run(["cargo", "build", "--release", "--locked", "--quiet", *options], package)


def run(command, place):
    print("  " + " ".join(command), file=sys.stderr)
    if subprocess.run(command, cwd=place, stdout=sys.stderr, stdin=subprocess.DEVNULL).returncode:
        raise Failure(f"failed: {' '.join(command)}")


def versions(names):
    """The version of each server, and of what made them."""
    tree = output("cargo", "tree", "--locked", "--depth", "1", "--prefix", "none", "-e", "normal")
    crates = dict(re.findall(r"^(\S+) v(\S+)", tree, re.M))
    npm = json.loads((HERE / "package.json").read_text())["dependencies"]
    commit = output("git", "describe", "--always", "--dirty")
    found = {
        FLOOR: f"mio {crates['mio']}",
        CHINWAG: f"{crates['chinwag']} at {commit}",
        "bun": npm["bun"],
        **{name: crates[name] for name in RUST},
        "ws": f"{npm['ws']}, Node {output('node', '--version')}",
    }
    for name in ("fastwebsockets", "yawc", "axum"):
        found[name] += f", hyper {crates['hyper']}"
    tools = f"{output('rustc', '--version')}, fat LTO, one codegen unit; tokio {crates['tokio']}"
    return {name: version for name, version in found.items() if name in names}, tools


def machine():
    """The processor, the cores, the kernel."""
    cpu = re.search(r"^model name\s*: (.+)", Path("/proc/cpuinfo").read_text(), re.M)
    virtual = " (virtual machine)" if " hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    name = cpu[1] if cpu else platform.machine()
    return f"{name}{virtual}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def output(*command):
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"

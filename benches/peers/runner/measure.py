"""Measuring: the load on each server in turn, again and again."""

import json
import os
import statistics
import subprocess
import sys
import time

from . import check
from .servers import Failure
from .works import OURS

# Seconds of load before what counts.
WARM_UP = 0.4

# Seconds that a run may take beyond what was asked for: connecting, and hanging.
PATIENCE = 60


# What the generator calls them that are counted in a mode, and what each of them costs.
COUNTS = {
    "echo": ("messages_per_second", "server_cpu_us_per_message"),
    "broadcast": ("deliveries_per_second", "server_cpu_us_per_delivery"),
    "connect": ("handshakes_per_second", "server_cpu_us_per_handshake"),
}

# What must not happen at all: nobody is fast at the wrong thing.
FAULTS = ["failed", "lost_connections", "wrong", "unexpected", "lost", "repeated", "out_of_order"]


class Bench:
    """The load generator, on a core of its own."""

    def __init__(self, binary, core, servers, seconds):
        self.binary, self.core, self.servers, self.seconds = binary, core, servers, seconds

    def look(self, name, work):
        """Sees that a server does what is asked of it.

        Gives the bytes of an echo's payload on the wire.
        """
        server = self.servers.start(name, work)
        url, _, path = server.url.removeprefix("ws://").partition("/")
        try:
            if work.serves == "broadcast":
                return check.broadcast(url, path)
            text = check.sample(work.options.get("size", 20), work.options.get("kind"))
            return check.echo(url, path, text, work.deflate)
        except (OSError, AssertionError, ValueError) as error:
            raise Failure(f"{name} fails at {work.title}: {error}") from error
        finally:
            server.stop()

    def measure(self, name, work):
        """One sample: what the generator has found."""
        server = self.servers.start(name, work)
        try:
            if work.mode == "idle":
                # A server has what it needs once only when it has had a connection.
                self.warm(server)
            found = self.load(server, work)
        finally:
            server.stop()
        faults = {fault: found[fault] for fault in FAULTS if found.get(fault)}
        if faults:
            raise Failure(f"{name} fails at {work.title}: {faults}")
        if work.mode == "idle":
            return {"bytes": found["server_bytes_per_connection"]}
        rate, cpu = COUNTS[work.mode]
        return {
            "cpu": found[cpu],
            "rate": found[rate],
            "p99": found["latency_us"]["p99"],
            "bottleneck": found["bottleneck"],
            "sockets": found["sockets"],
        }

    def warm(self, server):
        url, _, path = server.url.removeprefix("ws://").partition("/")
        check.echo(url, path, "warm")

    def load(self, server, work):
        command = [
            *("taskset", "-c", str(self.core), self.binary),
            *("bench", work.mode, server.url, *work.flags),
            *("--duration", f"{round(self.seconds * 1000)}ms"),
            *("--warm-up", f"{round(WARM_UP * 1000)}ms"),
            *("--pid", str(server.pid), "--json"),
        ]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as process:
            # Looked at while all are connected.
            time.sleep(WARM_UP + self.seconds / 2)
            sockets = server.sockets()
            try:
                told, errors = process.communicate(timeout=self.seconds + PATIENCE)
            except subprocess.TimeoutExpired as error:
                raise Failure(str(error)) from error
            finally:
                process.kill()
        if process.returncode:
            raise Failure(f"{errors.strip()}: {' '.join(map(str, command))}")
        return {**json.loads(told), "sockets": sockets}


def all_works(bench, works, names, rounds):
    """Samples of all the work, interleaved round by round, and what went wrong, a line each.

    Samples are `{work: {server: [sample, …]}}`; a server that fails at a work is left out there.
    """
    samples, failures = {}, []
    for work in works:
        chosen = [name for name in work.servers if name in names or name in OURS]
        taken, failed = one_work(bench, work, chosen, max(1, round(rounds * work.rounds)))
        samples[work.name] = taken
        failures += failed
        tell(work, taken)
    return samples, failures


def one_work(bench, work, names, rounds):
    taken, wire, failures = {name: [] for name in names}, {}, []
    for turn in range(rounds):
        # Each round begins with another one, so that nobody always comes after the same.
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if name not in taken:
                continue
            try:
                if turn == 0:
                    wire[name] = bench.look(name, work)
                taken[name].append({"wire": wire[name], **bench.measure(name, work)})
            except Failure as failure:
                del taken[name]
                failures.append(str(failure))
                print(f"  {failure}", file=sys.stderr)
    return taken, failures


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def ratio(samples, others, key):
    """How many times `others` these are: the median over the rounds, in which each had a turn."""
    return statistics.median(a[key] / b[key] for a, b in zip(samples, others))


def tell(work, samples):
    key = "bytes" if work.mode == "idle" else "cpu"
    told = [f"{name} {median(all_of_it, key):,.2f}" for name, all_of_it in samples.items()]
    now, load = time.strftime("%H:%M:%S"), os.getloadavg()[0]
    print(f"{now} {work.title}: {', '.join(told)} (load {load:.1f})", file=sys.stderr)

"""What is wanted of chinwag, and whether it is so."""

from dataclasses import dataclass

from .measure import median, ratio
from .works import CHINWAG, FLOOR, GROWTH, PEERS, SERVICE, SESSION, TWO

# Bytes that a connection at rest may cost.
AT_REST = 256

# How far the most may be above the least where something is to stay as it is.
STEADY = 1.10


@dataclass
class Verdict:
    """One target on one piece of work."""

    work: str
    target: str
    found: str
    met: bool


def at_most(work, what, found, most, unit=" ×"):
    miss = f"{(found / most - 1) * 100:.0f} % over"
    target = f"{what} at most {most:.2f}{unit}"
    return verdict(work.title, target, f"{found:.2f}{unit}", found <= most, miss)


def at_least(work, what, found, least):
    miss = f"{(1 - found / least) * 100:.0f} % short"
    target = f"{what} at least {least:.2f} ×"
    return verdict(work.title, target, f"{found:.2f} ×", found >= least, miss)


def verdict(title, target, found, met, miss):
    return Verdict(title, target, found if met else f"{found}: {miss}", met)


def floor(most):
    def judge(work, samples):
        found = ratio(samples[CHINWAG], samples[FLOOR], "cpu")
        yield at_most(work, "CPU of the floor's", found, most)

    return judge, [CHINWAG, FLOOR]


def ahead(least, names=PEERS):
    """Less processor time than the best of those measured here."""

    def judge(work, samples):
        peers = [name for name in names if name in samples]
        if not peers:
            return
        best = min(peers, key=lambda name: median(samples[name], "cpu"))
        found = ratio(samples[best], samples[CHINWAG], "cpu")
        yield at_least(work, f"CPU of the best peer ({best}) to ours", found, least)

    return judge, [CHINWAG]


def bun(least):
    def judge(work, samples):
        found = ratio(samples["bun"], samples[CHINWAG], "cpu")
        yield at_least(work, "CPU of Bun to ours", found, least)

    return judge, [CHINWAG, "bun"]


def bun_waits_longer():
    def judge(work, samples):
        found = ratio(samples[CHINWAG], samples["bun"], "p99")
        yield at_most(work, "p99 of Bun's", found, 1.0)

    return judge, [CHINWAG, "bun"]


def small_at_rest():
    def judge(work, samples):
        found = median(samples[CHINWAG], "bytes")
        yield at_most(work, "memory each", found, AT_REST, " B")

    return judge, [CHINWAG]


def like_one(most):
    def judge(work, samples):
        found = ratio(samples[TWO], samples[CHINWAG], "cpu")
        yield at_most(work, "CPU with two workers to that with one", found, most)
        sockets = samples[TWO][0]["sockets"]
        found = max(sockets) / min(sockets)
        yield at_most(work, "most connections of a worker to fewest", found, STEADY)

    return judge, [CHINWAG, TWO]


def like_a_service(least):
    def judge(work, samples):
        found = ratio(samples[SERVICE], samples[SESSION], "cpu")
        yield at_least(work, "CPU of a service to that of a session", found, least)

    return judge, [SERVICE, SESSION]


BROADCAST = [bun(1.2), bun_waits_longer()]

TARGETS = {
    "echo-20": [floor(1.05), ahead(1.0)],
    "echo-128": [floor(1.05), ahead(1.0)],
    "echo-1k": [floor(1.05), ahead(1.0)],
    "echo-16k": [floor(1.15), ahead(1.05)],
    "echo-64k": [floor(1.15), ahead(1.05)],
    "echo-1m": [floor(1.15), ahead(1.05)],
    "echo-64k-non-ascii": [floor(1.25)],
    "echo-20-x16": [bun(1.4)],
    "echo-128-x16": [bun(1.4)],
    "echo-1000": [floor(1.05), ahead(1.0)],
    "broadcast-1000-1": BROADCAST,
    "broadcast-1000-3": BROADCAST,
    "broadcast-10000-1": BROADCAST,
    "broadcast-10000-3": BROADCAST,
    "deflate-128": [ahead(1.5)],
    "deflate-16384": [ahead(1.5)],
    "handshakes": [floor(1.1)],
    "idle-15000": [small_at_rest()],
    "workers-echo": [like_one(1.05)],
    "workers-broadcast": [like_one(1.10)],
    "sessions": [like_a_service(0.85)],
    "sessions-x16": [like_a_service(0.85)],
}


def verdicts(works, samples):
    """What the samples say to each target that they can say something to."""
    found = []
    for work in works:
        taken = samples.get(work.name, {})
        for judge, needed in TARGETS.get(work.name, []):
            if len(taken) > 1 and all(name in taken for name in needed):
                found += judge(work, taken)
    found += growth(samples)
    return found


def growth(samples):
    """That the cost of a delivery and of a connection does not depend on how many there are."""
    has_ours = lambda names: all(CHINWAG in samples.get(name, {}) for name in names)
    each = [f"growth-{members}" for members in GROWTH]
    if has_ours(each):
        costs = [median(samples[name][CHINWAG], "cpu") for name in each]
        span = f"{GROWTH[0]:,} to {GROWTH[-1]:,} members"
        yield steady(f"broadcast, {span}", "CPU a delivery", costs)
    rest = ["idle-5000", "idle-15000"]
    if has_ours(rest):
        costs = [median(samples[name][CHINWAG], "bytes") for name in rest]
        yield steady("5,000 and 15,000 connections at rest", "memory each", costs)


def steady(title, what, costs):
    found = max(costs) / min(costs)
    miss = f"{(found / STEADY - 1) * 100:.0f} % over"
    target = f"{what}: most to least at most {STEADY:.2f} ×"
    return verdict(title, target, f"{found:.2f} ×", found <= STEADY, miss)

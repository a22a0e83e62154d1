"""The results, in Markdown."""

from .measure import median, ratio
from .servers import SETTINGS
from .targets import verdicts
from .works import ALL, FLOOR, OURS


def markdown(facts, works, samples, failures):
    """The whole page: how it was measured, verdicts, tables."""
    parts = [HEAD.format(noise=NOISE, **facts)]
    if failures:
        parts += ["What failed is left out:\n", *[f"- {line}" for line in failures], ""]
    # One short sample says nothing about a target.
    judged = [] if facts["quick"] else verdicts(works, samples)
    if judged:
        parts += ["## Targets\n", *targets(judged)]
    for heading, note, names, cell in SECTIONS:
        rows = rows_of(works, names)
        if rows:
            parts += [f"## {heading}\n", note, *table(rows, samples, cell)]
    parts += ["## Who was measured\n", *servers(facts, works)]
    return "\n".join(parts) + "\n"


NOISE = "of small echoes a difference of 0.05 is noise, of large and many things up to a quarter"

HEAD = """# chinwag beside its peers

Written by `benches/peers/run{arguments}` on {date}: {machine}. {tools}.
Each server had one core and the load (`chinwag bench`) another; rounds: {rounds}, fewer for
what takes long, more for what varies; each server in turn in every round, {seconds} s a time;
{load}. Figures are medians, and ratios medians of the ratios within a round.
Figures are good for this machine and this hour only, ratios for longer;
{noise}.
"""


def targets(judged):
    yield "| work | target | found | |"
    yield "|---|---|---|---|"
    for verdict in judged:
        met = "met" if verdict.met else "**missed**"
        yield f"| {verdict.work} | {verdict.target} | {verdict.found} | {met} |"
    met = sum(verdict.met for verdict in judged)
    yield f"\n{met} of {len(judged)} are met.\n"


def rows_of(works, names):
    return [work for work in works if work.name.startswith(names)]


def section_table(heading, works, samples):
    """The table of one section alone."""
    ((names, cell),) = [(names, cell) for head, _, names, cell in SECTIONS if head == heading]
    return "\n".join(table(rows_of(works, names), samples, cell)).rstrip()


def table(works, samples, cell):
    """A row a work, a column a server."""
    named = {name for work in works for name in samples[work.name]}
    names = [name for name in dict.fromkeys([*ALL, *OURS]) if name in named]
    yield "| | " + " | ".join(names) + " |"
    yield "|---" + "|--:" * len(names) + "|"
    for work in works:
        taken = samples[work.name]
        cells = [cell(taken, name) if name in taken else "" for name in names]
        yield f"| {work.title} | " + " | ".join(cells) + " |"
    yield ""


def to_floor(taken, name):
    if name == FLOOR or FLOOR not in taken:
        return f"{micros(taken, name)} µs"
    return f"{ratio(taken[name], taken[FLOOR], 'cpu'):.2f}"


def micros(taken, name):
    return figure(median(taken[name], "cpu"))


def shrunk(taken, name):
    return f"{micros(taken, name)}, {taken[name][0]['wire']:,} B"


def pace(taken, name):
    mark = " †" if any(sample["bottleneck"] for sample in taken[name]) else ""
    wait = figure(median(taken[name], "p99") / 1000)
    return f"{figure(median(taken[name], 'rate'))}/s{mark}, {wait} ms"


def memory(taken, name):
    return f"{median(taken[name], 'bytes'):,.0f}"


def figure(value):
    """Three digits that count."""
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def servers(facts, works):
    yield "| server | version | how |"
    yield "|---|---|---|"
    for name, version in facts["versions"].items():
        yield f"| {name} | {version} | {SETTINGS[name]} |"
    yield "\nAll have TCP_NODELAY on and one thread; the peers in Rust are one program."
    if not facts["quick"]:
        yield "That has mimalloc, but where memory is measured; chinwag and the floor do without."
    yield ""
    yield "| work | options of the load |"
    yield "|---|---|"
    for work in works:
        yield f"| {work.title} | `{' '.join([work.mode, *work.flags])}` |"


SECTIONS = [
    (
        "Processor time of the server",
        "The floor in µs a message; all others as multiples of it, in which less is better. In broadcast a\n"
        "message is one delivery; there the floor is no lower bound: who is slower to start has more to\n"
        "send at once.\n",
        ("echo-", "broadcast-", "handshakes"),
        to_floor,
    ),
    (
        "Compressed",
        "Processor time of the server in µs a message, and the bytes that a message of this kind shrinks\n"
        "to. Nobody keeps a window from message to message.\n",
        ("deflate-",),
        shrunk,
    ),
    (
        "From few members to many",
        "Processor time of the server in µs a delivery.\n",
        ("growth-",),
        micros,
    ),
    (
        "One worker and two",
        "Processor time of the server in µs a message or delivery; both workers share the one core.\n",
        ("workers-",),
        micros,
    ),
    (
        "Services and sessions",
        "Processor time of the server in µs a message.\n",
        ("sessions",),
        micros,
    ),
    (
        "Messages a second, and how long the slowest hundredth took",
        "† the load was as busy as its core allows: the server could do more.\n",
        ("echo-", "broadcast-", "handshakes", "deflate-"),
        pace,
    ),
    (
        "Memory at rest",
        "Resident bytes that each connection adds.\n",
        ("idle-",),
        memory,
    ),
]

"""The README's share of the results: the blocks of it that hold figures, each written anew."""

import textwrap

from .report import NOISE, memory, section_table
from .servers import Failure
from .targets import verdicts
from .works import CHINWAG, PEERS

# As README.md is wrapped.
WIDTH = 118

# What the README calls the peers, where that is not what they are called here.
NAMES = {"bun": "Bun", "ws": "npm `ws`"}


def refreshed(readme, facts, works, samples):
    """The README with what a whole run has found."""
    blocks = readme.split("\n\n")
    judged = verdicts(works, samples)
    replace(blocks, "| | floor |", section_table("Processor time of the server", works, samples))
    replace(blocks, "| | chinwag |", section_table("Compressed", works, samples))
    replace(blocks, "| work | wanted |", missed(judged))
    replace(blocks, "Measured on ", measured(facts))
    replace(blocks, "At rest a connection costs ", at_rest(samples, judged))
    return "\n\n".join(blocks)


def replace(blocks, begins, block):
    """Puts `block` in the place of the one that begins so."""
    found = [at for at, old in enumerate(blocks) if old.startswith(begins)]
    if len(found) != 1:
        raise Failure(f"README.md has {len(found)} blocks that begin with {begins!r}, and one is meant")
    blocks[found[0]] = block


def missed(judged):
    rows = [f"| {it.work} | {it.target} | {it.found} |" for it in judged if not it.met]
    return "\n".join(["| work | wanted | found |", "|---|---|---|", *rows])


def measured(facts):
    versions = [f"{NAMES.get(name, name)} {facts['versions'][name].split(',')[0]}" for name in PEERS]
    return wrapped(
        f"Measured on {facts['date'][:10]} on {facts['machine']}, with {facts['tools'].replace(';', ',')}, "
        f"{', '.join(versions)}; medians of {facts['rounds']} rounds, fewer for what takes long, more for what "
        "varies. The floor in µs a message or delivery, all others as multiples of it, in which less is better; "
        f"{NOISE}:"
    )


def at_rest(samples, judged):
    held = [f"{NAMES.get(name, name)} {memory(samples['idle-15000'], name)}" for name in PEERS]
    met = sum(verdict.met for verdict in judged)
    return wrapped(
        f"At rest a connection costs its process {memory(samples['idle-15000'], CHINWAG)} bytes; with others: "
        f"{', '.join(held)}. Of {len(judged)} targets set beforehand {met} are met. The rest:"
    )


def wrapped(text):
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)

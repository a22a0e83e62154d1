"""The README's share of the results: figures only, each in the block that holds it."""

import textwrap

from .report import memory
from .targets import verdicts
from .works import CHINWAG, PEERS

# As README.md is wrapped.
WIDTH = 118

# What the README calls the peers, where that is not what they are called here.
NAMES = {"bun": "Bun", "ws": "npm `ws`"}


def refreshed(readme, page, facts, works, samples):
    """The README with what a whole run has found: its tables, and the sentences that hold figures."""
    blocks = readme.split("\n\n")
    judged = verdicts(works, samples)
    replace(blocks, "| | floor |", below(page, "## Processor time of the server"))
    replace(blocks, "| | chinwag |", below(page, "## Compressed"))
    replace(blocks, "| work | wanted |", missed(judged))
    replace(blocks, "Measured on ", measured(facts))
    replace(blocks, "At rest a connection costs ", at_rest(samples, judged))
    return "\n\n".join(blocks)


def replace(blocks, begins, block):
    """Puts `block` in the place of the one that begins so, of which there is one."""
    (at,) = [at for at, old in enumerate(blocks) if old.startswith(begins)]
    blocks[at] = block


def below(page, heading):
    """The table of a section."""
    section = page.split(heading, 1)[1]
    return next(block for block in section.split("\n\n") if block.startswith("| | ")).rstrip()


def missed(judged):
    rows = [f"| {it.work} | {it.target} | {it.found} |" for it in judged if not it.met]
    return "\n".join(["| work | wanted | found |", "|---|---|---|", *rows])


def measured(facts):
    versions = [f"{NAMES.get(name, name)} {facts['versions'][name].split(',')[0]}" for name in PEERS]
    return wrapped(
        f"Measured on {facts['date'][:10]} on {facts['machine']}, with {facts['tools'].replace(';', ',')}, "
        f"{', '.join(versions)}; medians of {facts['rounds']} rounds, fewer for what takes long, more for what "
        "varies. The floor in µs a message or delivery, all others as multiples of it, in which less is better; "
        "of small echoes a difference of 0.05 is noise, of large and many things up to a quarter:"
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

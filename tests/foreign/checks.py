"""Runs checks one after the other: each a coroutine with a deadline and a docstring that names it."""

import asyncio
import sys
import traceback

DEADLINE = 30


async def run(client, checks, *arguments):
    """Prints a line a check; ends the process with status 1 at the first that fails."""
    for check in checks:
        name = "%s: %s" % (client, check.__doc__)
        try:
            async with asyncio.timeout(DEADLINE):
                await check(*arguments)
        except Exception as error:
            print("FAIL " + name)
            traceback.print_exception(error, limit=-3, file=sys.stdout)
            sys.exit(1)
        print("ok   " + name, flush=True)


def equal(got, expected):
    assert got == expected, "got %s, expected %s" % (short(got), short(expected))


def short(value):
    text = repr(value)
    return text if len(text) <= 200 else "%s… (%d)" % (text[:200], len(value))

"""A Python and a Node program in one chat.

    chat.py COMMAND… ws://HOST:PORT

COMMAND… and the address of a room start the Node member. The server has just been started, so that the
first to come is user0.
"""

import asyncio
import json
import sys

from checks import equal, run
from websockets.asyncio.client import connect


class PythonMember:
    """A member by Python `websockets`."""

    @classmethod
    async def enter(cls, url):
        member = cls()
        member.client = await connect(url)
        return member

    async def say(self, text):
        await self.client.send(text)

    async def hear(self):
        return await self.client.recv()

    async def leave(self):
        await self.client.close()
        return self.client.close_code


class NodeMember:
    """A member by npm `ws`: a process that speaks JSON lines."""

    command = []

    @classmethod
    async def enter(cls, url):
        member = cls()
        member.process = await asyncio.create_subprocess_exec(
            *cls.command, url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        return member

    async def say(self, text):
        self.process.stdin.write(json.dumps(text).encode() + b"\n")
        await self.process.stdin.drain()

    async def hear(self):
        line = await self.process.stdout.readline()
        assert line, "the Node member has ended"
        return json.loads(line)

    async def leave(self):
        self.process.stdin.close()
        while not isinstance(heard := await self.hear(), int):
            pass
        await self.process.wait()
        return heard


async def next_said(member):
    """The next message of a person; notices and what commands answer begin with a star."""
    while (heard := await member.hear()).startswith("* "):
        pass
    return heard


async def next_told(member, *words):
    """The next notice that has all these words in it."""
    while True:
        heard = await member.hear()
        if heard.startswith("* ") and all(word in heard for word in words):
            return heard


async def two_talk(url):
    "a Python and a Node member are greeted by name and hear each other and themselves"
    python = await PythonMember.enter(url + "/chat")
    equal(await next_said(python), "You've logged in as [user0]")
    node = await NodeMember.enter(url + "/chat")
    equal(await next_said(node), "You've logged in as [user1]")
    await next_told(python, "user1")
    for speaker, said in ((python, "[user0]: Hello, Node"), (node, "[user1]: Grüße, 世界 👋")):
        await speaker.say(said.split(": ", 1)[1])
        for listener in (python, node):
            equal(await next_said(listener), said)
    await node.leave()
    await next_told(python, "user1")
    equal(await python.leave(), 1000)


async def order(url):
    "two who talk at once are heard by both in one order"
    python = await PythonMember.enter(url + "/chat/order")
    node = await NodeMember.enter(url + "/chat/order")
    names = [(await next_said(member)).split("[")[1].rstrip("]") for member in (python, node)]
    # Who talks before the other is there is not heard by it.
    await next_told(python, names[1])
    for n in range(100):
        await asyncio.gather(python.say("p%d" % n), node.say("n%d" % n))
    heard = [[await next_said(member) for _ in range(200)] for member in (python, node)]
    equal(heard[0], heard[1])
    for name, letter in zip(names, "pn"):
        said = ["[%s]: %s%d" % (name, letter, n) for n in range(100)]
        equal([line for line in heard[0] if line in said], said)
    await node.leave()
    await python.leave()


async def commands(url):
    "/nick, /who, /help, a wrong command and /quit do what they say"
    python = await PythonMember.enter(url + "/chat/commands")
    node = await NodeMember.enter(url + "/chat/commands")
    await next_said(python)
    await next_said(node)
    await python.say("/nick ada")
    await next_told(node, "ada")
    await python.say("/who")
    await next_told(python, "ada")
    await python.say("/help")
    await next_told(python, "command")
    await python.say("/nonsense")
    await next_told(python, "/help")
    await python.say("still here")
    equal(await next_said(node), "[ada]: still here")
    await node.say("/quit")
    while not isinstance(heard := await node.hear(), int):
        pass
    equal(heard, 1000)
    await python.leave()


async def rooms(url):
    "rooms by path, by query and by /join keep apart, and a newcomer sees what was said"
    tea = await PythonMember.enter(url + "/chat/tea")
    await next_said(tea)
    await tea.say("/nick grace")
    await tea.say("milk first")
    equal(await next_said(tea), "[grace]: milk first")

    coffee = await PythonMember.enter(url + "/chat?room=coffee")
    await next_said(coffee)
    await coffee.say("/nick linus")
    await coffee.say("black")
    equal(await next_said(coffee), "[linus]: black")

    newcomer = await NodeMember.enter(url + "/chat?room=tea")
    heard = [await next_said(newcomer) for _ in range(2)]
    assert heard[0].startswith("You've logged in as [user"), heard
    equal(heard[1], "(earlier) [grace]: milk first")

    await coffee.say("/join tea")
    equal(await next_said(coffee), "(earlier) [grace]: milk first")
    await coffee.say("may I?")
    for member in (coffee, tea, newcomer):
        equal(await next_said(member), "[linus]: may I?")
    await newcomer.leave()
    await coffee.leave()
    await tea.leave()


if __name__ == "__main__":
    *NodeMember.command, url = sys.argv[1:]
    asyncio.run(run("websockets and ws", [two_talk, order, commands, rooms], url))

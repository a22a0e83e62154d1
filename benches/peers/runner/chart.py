"""Charts as SVG text: bars, in panels, for light pages and for dark ones."""

from html import escape

from .measure import median, ratio
from .works import ALL, CHINWAG, FLOOR

WIDTH = 720
LABEL = 130
BAR = 16
GAP = 5
HEAD = 34
FIGURE = 80

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 13px; }
  .note { fill: #59636e; }
  .bar { fill: #b6bfc9; }
  .ours { fill: #d1632a; }
  .floor { fill: #7d8590; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .note { fill: #9198a1; }
    .bar { fill: #4b535d; }
    .ours { fill: #f0883e; }
    .floor { fill: #6e7681; }
  }
"""


def charts(works, samples):
    """`{file name: SVG}` of what there are samples for."""
    titles = {work.name: work.title for work in works}
    drawn = {}
    for name, (title, note, rows, value, text) in CHARTS.items():
        panels = []
        for row in rows:
            taken = samples.get(row, {})
            wanted = {CHINWAG} if row.startswith("deflate") else {CHINWAG, FLOOR}
            if not wanted < taken.keys():
                continue
            bars = [(server, value(taken, server)) for server in ALL if server in taken]
            bars.sort(key=lambda bar: bar[1])
            panels.append((titles[row], [(server, size, text(size)) for server, size in bars]))
        if panels:
            drawn[f"{name}.svg"] = draw(title, note, panels)
    return drawn


def of_floor(taken, server):
    return ratio(taken[server], taken[FLOOR], "cpu")


def each(key):
    return lambda taken, server: median(taken[server], key)


LESS = "less is better"

CHARTS = {
    "echo": (
        "Echo: processor time of the server a message",
        f"multiples of the floor, that is of the system calls alone; {LESS}",
        ["echo-128", "echo-16k", "echo-64k", "echo-64k-non-ascii", "echo-128-x16"],
        of_floor,
        lambda size: f"{size:.2f} ×",
    ),
    "broadcast": (
        "Broadcast: processor time of the server a delivery",
        f"128 bytes by 10 senders; µs; {LESS}",
        ["broadcast-1000-1", "broadcast-1000-3", "broadcast-10000-3"],
        each("cpu"),
        lambda size: f"{size:.2f} µs",
    ),
    "deflate": (
        "Compressed echo: processor time of the server a message",
        f"JSON, chinwag at level 3, others at level 6; µs; {LESS}",
        ["deflate-128", "deflate-1024", "deflate-16384"],
        each("cpu"),
        lambda size: f"{size:.1f} µs",
    ),
    "memory": (
        "Connections at rest",
        f"resident bytes each; {LESS}",
        ["idle-15000"],
        each("bytes"),
        lambda size: f"{size:,.0f} B",
    ),
}


def draw(title, note, panels):
    """A chart: panels one below the other, each with a scale of its own."""
    parts = [
        f'<text class="title" x="0" y="16">{escape(title)}</text>',
        f'<text class="note" x="0" y="34">{escape(note)}</text>',
    ]
    top = 46
    for name, bars in panels:
        parts.append(f'<text class="title" x="0" y="{top + 18}">{escape(name)}</text>')
        top += HEAD - 6
        most = max(size for _, size, _ in bars)
        for server, size, text in bars:
            parts += bar(top, server, size / most, text)
            top += BAR + GAP
        top += 10
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" '
        f'height="{top}" role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def bar(top, server, share, text):
    kind = {CHINWAG: "ours", FLOOR: "floor"}.get(server, "bar")
    length = max(1, share * (WIDTH - LABEL - FIGURE))
    middle = top + BAR - 4
    yield f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end">{escape(server)}</text>'
    yield f'<rect class="{kind}" x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>'
    yield f'<text class="note" x="{LABEL + length + 6:.1f}" y="{middle}">{escape(text)}</text>'

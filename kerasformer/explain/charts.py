"""Small pictures for a page without a server: SVG that takes the page's colours, and PNG as data URLs."""

import base64
import html
import struct
import zlib

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 300, 46, 40, 10


def reliability_svg(rows, described) -> str:
    """The reliability curve: accuracy over confidence, a circle a bin as large as its share of the answers.

    Args:
        rows: what `reliability` returns.
        described: what it shows, for people who do not see it.
    """
    most = max((row.count for row in rows), default=1)
    x, y = _scale(0, 1, _LEFT, _WIDTH - 12), _scale(0, 1, _HEIGHT - _BOTTOM, _TOP)
    parts = [f'<line class="even" x1="{x(0):.0f}" y1="{y(0):.0f}" x2="{x(1):.0f}" y2="{y(1):.0f}"/>']
    points = " ".join(f"{x(row.confidence):.1f},{y(row.accuracy):.1f}" for row in rows)
    parts.append(f'<polyline class="curve" points="{points}"/>')
    for row in rows:
        told = f"{row.count} answers, probability {row.confidence:.3f}, right {row.accuracy:.3f}"
        size = 3 + 9 * (row.count / most) ** 0.5
        parts.append(
            f'<circle class="dot" cx="{x(row.confidence):.1f}" cy="{y(row.accuracy):.1f}" r="{size:.1f}" tabindex="0">'
            f"<title>{told}</title></circle>"
        )
    return _framed(parts, x, y, [0, 0.25, 0.5, 0.75, 1], [0, 0.25, 0.5, 0.75, 1], "probability", "right", described)


def lines_svg(lines, across, along, described) -> str:
    """Lines from 0 to 1 over whole numbers from 0.

    Args:
        lines: `{name: values}`; all of one length; the first is drawn solid.
        across, along: names of the axes.
        described: what it shows, for people who do not see it.
    """
    count = max(map(len, lines.values()))
    x, y = _scale(0, max(count - 1, 1), _LEFT, _WIDTH - 12), _scale(0, 1, _HEIGHT - _BOTTOM, _TOP)
    parts = []
    for number, (name, values) in enumerate(lines.items()):
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in enumerate(values))
        parts.append(f'<polyline class="curve c{number}" points="{points}"/>')
        for place, value in enumerate(values):
            parts.append(
                f'<circle class="dot c{number}" cx="{x(place):.1f}" cy="{y(value):.1f}" r="4">'
                f"<title>{html.escape(name)}, {html.escape(across)} {place}: {value:.3f}</title></circle>"
            )
    steps = range(0, count, max(1, count // 8))
    return _framed(parts, x, y, steps, [0, 0.25, 0.5, 0.75, 1], across, along, described)


def weights_png(weights) -> str:
    """A data URL of a picture of `[height, width]` weights from 0 to 1: blue, as opaque as the weight."""
    alpha = np.round(255 * np.clip(np.asarray(weights, np.float64), 0, 1) ** 0.5).astype(np.uint8)
    height, width = alpha.shape
    rows = np.zeros([height, 1 + width], np.uint8)
    rows[:, 1:] = alpha
    # A palette of 256 blues, each with its opacity.
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes([37, 120, 200] * 256)),
        (b"tRNS", bytes(range(256))),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _scale(low, high, first, last):
    return lambda value: first + (value - low) / (high - low) * (last - first)


def _framed(parts, x, y, ticks_across, ticks_along, across, along, described):
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - 12
    frame = []
    for value in ticks_along:
        frame.append(f'<line class="grid" x1="{_LEFT}" y1="{y(value):.1f}" x2="{right}" y2="{y(value):.1f}"/>')
        frame.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks_across:
        frame.append(f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    middle = (_LEFT + right) / 2
    frame.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{html.escape(across)}</text>')
    frame.append(
        f'<text transform="translate(12 {(bottom + _TOP) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(along)}</text>"
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(described)}">'
        f"{''.join(frame)}{''.join(parts)}</svg>"
    )

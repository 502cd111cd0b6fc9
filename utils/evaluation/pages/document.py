"""HTML pages that a browser opens offline: one file each, style and script within, nothing loaded from elsewhere."""

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

UNKNOWN = "–"


def read_asset(name: str) -> str:
    """The text of a style, script or template of the pages."""
    return Path(__file__).with_name(name).read_text("utf-8")


def document(title: str, body: str, script: str = "", images: str = "data:", style: str = "") -> str:
    """A whole document; `title` is text, `body` HTML, `script` a name for `read_asset`, `images` where images may lie.

    Its policy lets the browser run that script alone, fetch nothing but these images, and send nothing anywhere.
    """
    code = read_asset(script) if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'" if code else "script-src 'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src {images}; {allowed}; base-uri 'none'; form-action 'none'"
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{read_asset('page.css')}{style}</style>"
    )
    tail = f"<script>{code}</script>" if code else ""
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}{tail}</body></html>\n'


def embed(content: Any, name: str) -> str:
    """Data for a page's script, as JSON that no value can end early."""
    text = json.dumps(content, ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'


def picture(path: Path) -> str:
    """A PNG file as an HTML image that holds its bytes."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{content}">'


def table(titles: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    """A table that scrolls where it is too wide, from texts; each row has its kind (a class of the style) and its cells."""
    head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    lines = []
    for kind, (first, *cells) in rows:
        others = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr class="{kind}"><td class="text">{html.escape(first)}</td>{others}</tr>')
    head = head.replace("<th>", '<th class="text">', 1)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def number(value: Any, form: str) -> str:
    """A number in a format, or a dash where there is none. Raises ValueError or TypeError for what is no number."""
    return form.format(value) if math.isfinite(float(value)) else UNKNOWN


def interval(low: Any, high: Any) -> str:
    """Both ends of an interval of F1."""
    return f"{number(low, '{:.3f}')} – {number(high, '{:.3f}')}"

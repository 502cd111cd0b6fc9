"""A browser of this machine, headless and cut off from the network, that tests ask what a page shows."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), "")
needs_browser = pytest.mark.skipif(not PROGRAM, reason=f"no browser is on PATH (one of {', '.join(NAMES)})")

# What a question may use: words that are broken over lines (Latin letters and digits; Japanese may break anywhere),
# whether a person sees an element, and a pause in which the browser's events arrive.
VOCABULARY = r"""
const all = (selector) => [...document.querySelectorAll(selector)];
const one = (selector) => document.querySelector(selector);
const seen = (element) => element.checkVisibility();
const pause = () => new Promise((done) => setTimeout(done, 50));
function brokenWords() {
  const broken = [], range = document.createRange();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    if (!seen(node.parentElement)) continue;
    for (const word of node.data.matchAll(/[\p{Script=Latin}\p{N}_.,=]+/gu)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].filter((box) => box.width).map((box) => Math.round(box.top)));
      if (lines.size > 1) broken.push(word[0]);
    }
  }
  return broken;
}
"""
# A browser's window has a least width, a frame has none.
FRAME = """<!doctype html><script>
addEventListener("message", (message) => {{ document.getElementById("answer").textContent = JSON.stringify(message.data); }});
</script><pre id="answer"></pre><iframe width="{width}" height="900" style="border: 0" src="{address}"></iframe>"""


def ask(page: Path, question: str, width: int = 1280, address: str = "", printed: bool = False) -> Any:
    """What a function's body in JavaScript returns in an opened page, `address` being the part after `#`.

    The page is opened from its folder under another name, in a frame, its policy extended by the question's script alone.
    `printed` shows it as on paper.
    """
    script = f"{VOCABULARY}addEventListener('load', async () => parent.postMessage(await (async () => {{ {question} }})(), '*'))"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = page.read_text("utf-8").replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    if printed:
        text = text.replace("@media print", "@media all")
    copy = page.with_name(f"asked-{page.name}")
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    frame = page.with_name(f"frame-{page.stem}.html")
    frame.write_text(FRAME.format(width=width, address=html.escape(f"{copy.name}#{address}")), "utf-8")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={profile}", "--window-size=1400,1000", "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=5000", "--dump-dom", frame.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    copy.unlink()
    frame.unlink()
    answer = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.DOTALL)
    assert answer and answer[1], done.stderr[-2000:]
    return json.loads(html.unescape(answer[1]))

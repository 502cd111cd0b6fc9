"""Progress of long computations: a bar in an interactive notebook, a line every 15 seconds in a log."""

import time
from typing import Literal

from tqdm.auto import tqdm

Style = Literal["bar", "lines", "none"]
BLOCK_SECONDS = 15.0  # between two lines


def duration(seconds: float) -> str:
    """Seconds in words: `48 s`, `12 min`, `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class Progress:
    """Progress towards a total: `with Progress("train", 2400, "rows", style) as progress: progress.add(32)`."""

    def __init__(self, label: str, total: int, unit: str, style: Style = "bar") -> None:
        self.label, self.total, self.unit, self.style = label, total, unit, style
        self.done, self.start, self.last_print, self.note = 0, time.monotonic(), time.monotonic(), ""
        self.bar = tqdm(total=total, desc=label, unit=unit) if style == "bar" else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif kind is None and self.done:
            self._print_line(self.note)

    @property
    def seconds(self) -> float:
        """Seconds since the start, above 0."""
        return max(1e-9, time.monotonic() - self.start)

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self.done / self.seconds

    def add(self, count: int, note: str = "") -> None:
        """Count finished units; `note` is printed behind the rate (the loss, for example)."""
        self.done, self.note = self.done + count, note
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.last_print >= BLOCK_SECONDS and self.done < self.total:
            self._print_line(note)

    def _print_line(self, note: str) -> None:
        if self.style == "none":
            return
        self.last_print = time.monotonic()
        seconds_left = (self.total - self.done) / self.rate
        ends = self.done >= self.total
        time_part = duration(self.last_print - self.start) if ends else f"ETA {duration(seconds_left)}"
        parts = [f"{self.label}: {self.done:,}/{self.total:,} {self.unit}", f"{self.rate:,.0f}/s", time_part, note]
        print("  " + ", ".join(part for part in parts if part), flush=True)

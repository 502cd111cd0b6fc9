"""Standard output and error of a command: no character that a terminal's encoding lacks may end a run, no password is shown."""

import re
import sys

# As Python's own error stream writes such characters.
ESCAPES = "backslashreplace"


def hide_passwords(text: str) -> str:
    """A text whose addresses have lost what stands before their host: a user's name and password."""
    return re.sub(r"://[^\s'\"]*@", "://****@", text)


def accept_all_text() -> None:
    """Write what the encoding of an output stream lacks as an escape (`\\u8d64`); every command calls it first.

    The encoding itself is the terminal's or the user's choice and stays. Streams that something else has replaced, a notebook's
    for instance, take every text already.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ESCAPES)

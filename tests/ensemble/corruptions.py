"""Every way to spoil a valid submission: its lines, its archive, its folder."""

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

from utils.core.schema import TASKS

Lines = list[bytes]
Edit = Callable[[Lines, random.Random], Lines]
Spoil = Callable[[Path, random.Random], object]


def change(key: int, value: object) -> Edit:
    """Gives one line another value of its key of that number; a function makes it from the old one."""

    def corrupt(lines: Lines, draw: random.Random) -> Lines:
        place = draw.randrange(len(lines))
        content = json.loads(lines[place])
        name = list(content)[key]
        content[name] = value(content[name], draw) if callable(value) else value
        return [
            *lines[:place],
            json.dumps(content, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass"),
            *lines[place + 1 :],
        ]

    return corrupt


def on_line(edit: Callable[[bytes], bytes]) -> Edit:
    def corrupt(lines: Lines, draw: random.Random) -> Lines:
        place = draw.randrange(len(lines))
        return [*lines[:place], edit(lines[place]), *lines[place + 1 :]]

    return corrupt


def edit_text(text: str | None, draw: random.Random) -> str | None:
    """Another text: a character more or less, another form of it, null for empty and the reverse."""
    if not text:
        return draw.choice(["x", "null", "nan", " ", "" if text is None else None])
    place = draw.randrange(len(text))
    hidden = draw.choice([" ", "\u200b", "\u202e", "\u0301", "\u0000"])
    return draw.choice(
        [
            text[:place] + hidden + text[place:],
            text[:place] + text[place + 1 :],
            text + " ",
            None,
            text.swapcase() + ".",
        ]
    )


def swap(lines: Lines, draw: random.Random) -> Lines:
    one, other = draw.sample(range(len(lines)), 2)
    lines = list(lines)
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def drop(lines: Lines, draw: random.Random) -> Lines:
    place = draw.randrange(len(lines))
    return lines[:place] + lines[place + 1 :]


def double(lines: Lines, draw: random.Random) -> Lines:
    place, target = draw.randrange(len(lines)), draw.randrange(len(lines) + 1)
    return [*lines[:target], lines[place], *lines[target:]]


def add(line: bytes) -> Edit:
    def corrupt(lines: Lines, draw: random.Random) -> Lines:
        place = draw.randrange(len(lines) + 1)
        return [*lines[:place], line, *lines[place:]]

    return corrupt


def exchange_ids(lines: Lines, draw: random.Random) -> Lines:
    one, other = draw.sample(range(len(lines)), 2)
    contents = [json.loads(line) for line in lines]
    contents[one]["id"], contents[other]["id"] = contents[other]["id"], contents[one]["id"]
    return [json.dumps(content).encode() for content in contents]


FIRST_KEY = b'{"id": '
OF_LINES: dict[str, Edit] = {
    "missing id": drop,
    "extra id": add(b'{"id": 5000, "language": "vn", "origin_query": "", "item_title": "", "prediction": 1}'),
    "duplicate id": double,
    "swapped lines": swap,
    "shuffled lines": lambda lines, draw: draw.sample(lines, len(lines)),
    "exchanged ids": exchange_ids,
    "sorted lines": lambda lines, draw: sorted(lines, key=lambda line: json.loads(line)["id"]),
    "id as text": change(0, lambda value, draw: str(value)),
    "id as float": change(0, lambda value, draw: float(value)),
    "id true": change(0, True),
    "another id": change(0, lambda value, draw: value + draw.choice([1000, -1000, 2**64])),
    "language": change(1, lambda value, draw: draw.choice(["vi", "VN", "en", "", None, 1])),
    "query": change(2, edit_text),
    "target": change(3, edit_text),
    "half a surrogate": change(2, "\ud83d"),
    "flipped prediction": change(4, lambda value, draw: 1 - value),
    "prediction": change(4, lambda value, draw: draw.choice([True, False, "1", "0", 1.0, 0.0, 2, -1, 0.5, None, [1], {}, 2**70])),
    "key twice": on_line(lambda line: line[:-1] + b', "prediction": 1}'),
    "another key": on_line(lambda line: line[:-1] + b', "probability": 0.5}'),
    "key missing": on_line(lambda line: line[: line.rindex(b",")] + b"}"),
    "renamed key": on_line(lambda line: line.replace(b'"prediction"', b'"label"')),
    "keys in another order": on_line(lambda line: json.dumps(dict(reversed(json.loads(line).items()))).encode()),
    "NaN for null": lambda lines, draw: [line.replace(b": null", b": NaN") for line in lines],
    "blank line": add(b""),
    "line of spaces": add(b" \t "),
    "two blank lines at the end": lambda lines, draw: [*lines, b"", b""],
    "byte-order mark": lambda lines, draw: [b"\xef\xbb\xbf" + lines[0], *lines[1:]],
    "byte-order mark within": on_line(lambda line: b"\xef\xbb\xbf" + line),
    "Windows line ends": lambda lines, draw: [line + b"\r" for line in lines],
    "one Windows line end": on_line(lambda line: line + b"\r"),
    "old Mac line ends": lambda lines, draw: [b"\r".join(lines)],
    "truncated line": on_line(lambda line: line[:-3]),
    "two values in a line": on_line(lambda line: line + b" " + line),
    "list instead of lines": lambda lines, draw: [b"[" + b",".join(lines) + b"]"],
    "not UTF-8": on_line(lambda line: line.replace(b'"vn"', b'"v\xe9"')),
    "UTF-16": lambda lines, draw: [b"\n".join(lines).decode().encode("utf-16")],
    "NUL": on_line(lambda line: line + b"\x00"),
    "empty file": lambda lines, draw: [],
    "nested without end": on_line(lambda line: FIRST_KEY + b"[" * 100_000),
    "thousands of digits": on_line(lambda line: FIRST_KEY + b"7" * 5000 + b"}"),
}  # fmt: skip


def zip_files(path: Path, entries: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def rezip(edit: Callable[[list, random.Random], list]) -> Spoil:
    """Writes the archive again with edited entries, `(name, content)`."""

    def corrupt(folder: Path, draw: random.Random) -> None:
        entries = [(f"submit_{task}.txt", (folder / f"submit_{task}.txt").read_bytes()) for task in TASKS]
        draw.shuffle(entries)
        zip_files(folder / "submit.zip", edit(entries, draw))

    return corrupt


def rename(new: Callable[[str], str]) -> Spoil:
    return rezip(lambda entries, draw: [(new(entries[0][0]), entries[0][1]), *entries[1:]])


def flip_byte(folder: Path, draw: random.Random) -> None:
    """Another byte within the compressed content of the first entry."""
    content = bytearray((folder / "submit.zip").read_bytes())
    with zipfile.ZipFile(folder / "submit.zip") as archive:
        entry = archive.infolist()[0]
    start = 30 + len(entry.filename)
    content[draw.randrange(start, start + entry.compress_size)] ^= 1 << draw.randrange(8)
    (folder / "submit.zip").write_bytes(content)


def encrypt(folder: Path, draw: random.Random) -> None:
    content = bytearray((folder / "submit.zip").read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (folder / "submit.zip").write_bytes(content)


def unknown_method(folder: Path, draw: random.Random) -> None:
    content = bytearray((folder / "submit.zip").read_bytes())
    content[8] = content[content.index(b"PK\x01\x02") + 10] = 97
    (folder / "submit.zip").write_bytes(content)


def replace_by_folder(folder: Path, draw: random.Random) -> None:
    name = draw.choice(["submit.zip", "submit_QC.txt", "submit_QI.txt"])
    (folder / name).unlink()
    (folder / name).mkdir()


def keep_half(folder: Path, draw: random.Random) -> None:
    content = (folder / "submit.zip").read_bytes()
    (folder / "submit.zip").write_bytes(content[: draw.randrange(len(content))])


OF_FOLDERS: dict[str, Spoil] = {
    "other name in the zip": rename(lambda name: name.replace(".txt", ".json")),
    "capital name in the zip": rename(str.upper),
    "folder in the zip": rename(lambda name: f"small/{name}"),
    "dot folder in the zip": rename(lambda name: f"./{name}"),
    "absolute name in the zip": rename(lambda name: f"/{name}"),
    "name of a folder in the zip": rename(lambda name: f"{name}/"),
    "doubled in the zip": rezip(lambda entries, draw: [*entries, draw.choice(entries)]),
    "doubled with other bytes": rezip(lambda entries, draw: [(entries[0][0], b"{}"), *entries]),
    "missing in the zip": rezip(lambda entries, draw: entries[1:]),
    "empty zip": rezip(lambda entries, draw: []),
    "more in the zip": rezip(lambda entries, draw: [*entries, ("__MACOSX/x", b"")]),
    "other bytes in the zip": rezip(lambda entries, draw: [(entries[0][0], entries[0][1][:-1]), *entries[1:]]),
    "exchanged in the zip": rezip(lambda entries, draw: [(entries[0][0], entries[1][1]), (entries[1][0], entries[0][1])]),
    "flipped bit in the zip": flip_byte,
    "truncated zip": keep_half,
    "no zip": lambda folder, draw: (folder / "submit.zip").write_bytes(b"PK\x03\x04 and no more"),
    "encrypted zip": encrypt,
    "unknown compression": unknown_method,
    "zip missing": lambda folder, draw: (folder / "submit.zip").unlink(),
    "file missing": lambda folder, draw: (folder / f"submit_{draw.choice(TASKS)}.txt").unlink(),
    "a folder instead": replace_by_folder,
    "a renamed file": lambda folder, draw: (folder / "submit_QC.txt").rename(folder / "submit_qc.txt"),
    "exchanged files": lambda folder, draw: (folder / "submit_QC.txt").write_bytes((folder / "submit_QI.txt").read_bytes()),
}  # fmt: skip


def corrupt_lines(name: str, folder: Path, draw: random.Random) -> None:
    """Corrupts one file; the archive is made anew, so that the lines alone tell."""
    path = folder / f"submit_{draw.choice(TASKS)}.txt"
    lines = OF_LINES[name](path.read_bytes()[:-1].split(b"\n"), draw)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    zip_again(folder)


def zip_again(folder: Path) -> None:
    """The archive of the files as they are."""
    rezip(lambda entries, draw: entries)(folder, random.Random(0))


def corrupt(name: str, folder: Path, draw: random.Random) -> None:
    """The corruption of this name, of lines or of the folder."""
    corrupt_lines(name, folder, draw) if name in OF_LINES else OF_FOLDERS[name](folder, draw)


NAMES = (*OF_LINES, *OF_FOLDERS)

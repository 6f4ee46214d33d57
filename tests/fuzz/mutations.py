"""Broken variants of good files: bytes changed blindly, and values changed where the structure of a file is known."""

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

NUMBERS = [0, -1, 1, 2, 0.5, -0.0, 2**31, 2**32, -(2**63), 10**9, 10**20, 10**400, 1e308, -1e308]
NUMBERS += [float("nan"), float("inf"), -float("inf")]
TEXTS = ["", "a", "0", "1e999", "\0", "\ud800", "../a", "/etc/passwd", "a/b", ".", "..", "~~", "0" * 300, "\x1b[31m\n"]
OTHERS = [None, True, False, [], {}, [[]], [None], {"size": [20, 30], "counts": [600]}, {"size": 1, "counts": None}]
TOKENS = ["", "nan", "inf", "-1", "1e400", "9" * 400, "0.5", "x", "..", "/", "\0", "\ufeff", "a b", "26", "\u0663"]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mutate(data: bytes, random: Random) -> bytes:
    """A broken variant of a file."""
    kind = _kind_of(data) if random.random() < 0.75 else None
    try:
        changed = kind(data, random) if kind else mutate_bytes(data, random)
    except (
        ValueError,
        ArithmeticError,
        LookupError,
        RuntimeError,
        EOFError,
        OSError,
        zlib.error,
        zipfile.BadZipFile,
        struct.error,
    ):
        changed = mutate_bytes(data, random)  # it was broken before
    return mutate_bytes(changed, random) if random.random() < 0.1 else changed


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Flips, insertions, repetitions and losses of bytes, up to four."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at, length = random.randint(0, len(changed)), 1 << random.randint(0, 8)
        way = random.randrange(6)
        if way == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif way == 1:
            changed[at:at] = random.randbytes(random.randint(1, 8))
        elif way == 2:
            del changed[at : at + length]
        elif way == 3:
            changed[at:at] = changed[at : at + length]
        elif way == 4:
            changed[at : at + 4] = random.choice([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
        elif random.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def mutate_json(data: bytes, random: Random) -> bytes:
    """Values of other types, huge numbers, and fields that are lost, doubled or exchanged."""
    content = [json.loads(data)]
    for _ in range(random.randint(1, 3)):
        places = _places(content)
        holder, key = random.choice(places)
        way = random.randrange(8)
        if way == 0 and (isinstance(holder, dict) or holder is not content):
            del holder[key]
        elif way == 1 and isinstance(holder, list) and holder is not content:
            holder.insert(key, holder[key])
        elif way == 2:
            other, name = random.choice(places)
            holder[key] = json.loads(json.dumps(other[name]))
        else:
            holder[key] = _other_value(holder[key], random)
    text = json.dumps(content[0], indent=random.choice([None, 1]), ensure_ascii=random.random() < 0.8)
    return text.encode(errors="surrogatepass")


def mutate_lines(data: bytes, random: Random) -> bytes:
    """Other words, fewer or more of them, and lines that are lost or doubled; of JSON Lines, other values."""
    lines = data.decode().split("\n")
    at = random.randrange(len(lines))
    if lines[at].startswith("{"):
        lines[at] = mutate_json(lines[at].encode(), random).decode(errors="replace").replace("\n", " ")
    else:
        words = re.split(r"( +)", lines[at])
        word = random.randrange(len(words))
        words[word] = random.choice([*TOKENS, words[word] * 2, ""])
        lines[at] = "".join(words)
    if random.random() < 0.2:
        lines.insert(at, random.choice(lines))
    return "\n".join(lines).encode(errors="surrogatepass")


def mutate_png(data: bytes, random: Random) -> bytes:
    """Another chunk with a checksum that is right: the header with other sizes, or any chunk with other bytes."""
    chunks, at = [], len(_SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    number = 0 if random.random() < 0.5 else random.randrange(len(chunks))
    name, body = chunks[number]
    if name == b"IHDR" and random.random() < 0.7:
        size = random.choice([(0, 0), (1, 2**31 - 1), (60_000, 60_000), (2**31 - 1,) * 2, (2000, 2000), (30, 19)])
        body = struct.pack(">II", *size) + body[8:]
    else:
        body = mutate_bytes(body, random)
    chunks[number] = (name, body)
    if random.random() < 0.1:
        chunks.insert(number, random.choice(chunks))
    parts = (struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks)
    return _SIGNATURE + b"".join(parts)


def mutate_zip(data: bytes, random: Random) -> bytes:
    """Another member, with a checksum that is right."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(changed, "w") as new:
        names = old.namelist()
        chosen = next((n for n in names if n.endswith(".pkl")), names[0])
        chosen = chosen if random.random() < 0.6 else random.choice(names)
        for name in names:
            body = old.read(name)
            if name != chosen or random.random() < 0.9:
                new.writestr(name, mutate_bytes(body, random) if name == chosen else body)
    return changed.getvalue()


def mutate_safetensors(data: bytes, random: Random) -> bytes:
    """Another header, whose length is right."""
    (length,) = struct.unpack("<Q", data[:8])
    header = mutate_json(data[8 : 8 + length], random)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def mutate_gzip(data: bytes, random: Random) -> bytes:
    """Other content, packed."""
    return gzip.compress(mutate(gzip.decompress(data), random), 1)


def _kind_of(data: bytes) -> Callable[[bytes, Random], bytes] | None:
    starts = {_SIGNATURE: mutate_png, b"PK": mutate_zip, b"\x1f\x8b": mutate_gzip}
    found = next((kind for start, kind in starts.items() if data.startswith(start)), None)
    if found is None and data[8:9] == b"{":
        return mutate_safetensors
    if found is None and data.lstrip()[:1] in (b"{", b"["):
        return mutate_lines if b'}\n\n{"' in data else mutate_json
    if found is None and data and b"\0" not in data and b"\xff" not in data:
        return mutate_lines
    return found


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every member of every object and item of every list, each before what is in it."""
    found: list[tuple[Any, Any]] = []

    def add(holder: Any) -> None:
        items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, inner in items:
            found.append((holder, key))
            add(inner)

    add(value)
    return found


def _other_value(value: Any, random: Random) -> Any:
    chance = random.random()
    if chance < 0.1:
        deep: Any = value
        for _ in range(random.choice([10, 400, 700])):
            deep = [deep]
        return deep
    if chance < 0.3 and isinstance(value, int | float) and not isinstance(value, bool):
        return random.choice([-value, value + 1, value * 1000, float(value), str(value)])
    if chance < 0.4 and isinstance(value, str):
        at = random.randint(0, len(value))
        return value[:at] + chr(random.choice([0, 47, 48, 63, 79, 80, 111, 112, 233, 0x663])) + value[at + 1 :]
    return random.choice([random.choice(NUMBERS), random.choice(TEXTS), random.choice(OTHERS)])

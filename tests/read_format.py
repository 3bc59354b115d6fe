#!/usr/bin/env python3
"""Reads kpd files by the page >>format of kpd.h alone: prints every section, and checks every sum and rule.

    python3 tests/read_format.py FILE ...        exit status 1 when a file breaks a rule

Python's standard library only. It is a second implementation of the page, not a tool to be fast.
"""
import struct
import sys

MAGIC = bytes([0x89, 0x4B, 0x50, 0x44, 0x0D, 0x0A, 0x1A, 0x0A])
KINDS = {1: "model", 2: "index", 3: "checkpoint"}
TYPES = {1: "u8", 2: "i32", 3: "i64", 4: "f32", 5: "bf16", 8: "f32 panels", 9: "bf16 panels", 10: "int8 panels"}
REQUIRED, SUMMED = 1, 2
MASK = (1 << 64) - 1
P1, P2, P3, P4, P5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)


class Broken(Exception):
    """A rule of the page that a file does not keep."""


def need(ok, what):
    if not ok:
        raise Broken(what)


def rotate(x, n):
    return (x << n | x >> (64 - n)) & MASK


def xxh64(data):
    """Collet's 64-bit xxHash with seed 0."""
    def mix(acc, lane):
        return rotate((acc + lane * P2) & MASK, 31) * P1 & MASK

    at, n = 0, len(data)
    if n >= 32:
        acc = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        for lanes in struct.iter_unpack("<4Q", data[:n // 32 * 32]):
            acc = [mix(a, lane) for a, lane in zip(acc, lanes)]
        at = n // 32 * 32
        h = sum(rotate(a, r) for a, r in zip(acc, (1, 7, 12, 18))) & MASK
        for a in acc:
            h = ((h ^ mix(0, a)) * P1 + P4) & MASK
    else:
        h = P5
    h = (h + n) & MASK
    while at + 8 <= n:
        h = (rotate(h ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= n:
        h = (rotate(h ^ struct.unpack_from("<I", data, at)[0] * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ byte * P5 & MASK, 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


def up(n, step):
    return -(-n // step) * step


def payload_size(kind, shape):
    """Bytes of a section by type and shape; None where the page leaves the shape to the section's own words."""
    if kind in (1, 2, 3, 4, 5):
        return shape[0] * shape[1] * shape[2] * {1: 1, 2: 4, 3: 8, 4: 4, 5: 2}[kind]
    parts, n, k = shape if shape[2] > 1 else (1, shape[0], shape[1])        # a joined matrix is {3, N, K}, K at least 2
    return parts * up(n, 16) * {8: k * 4, 9: up(k, 32) * 2, 10: up(k, 64)}[kind]


def header(data):
    need(len(data) >= 64, "shorter than a header")
    magic, major, minor, kind, order, features, size, count, zero, table_sum, zero2, own = struct.unpack_from(
        "<8sHHIIIQIIQQQ", data)
    need(magic == MAGIC, "the magic bytes")
    need(own == xxh64(data[:56]), "the header's sum")
    need(major == 2, f"the major version, {major}")
    need(kind in KINDS and order == 0x01020304 and not features and not zero and not zero2, "the header's fields")
    need(size == len(data), f"the size, {size} of {len(data)}")
    need(count <= 65536 and 64 + 128 * count <= len(data), "the number of sections")
    need(table_sum == xxh64(data[64:64 + 128 * count]), "the table's sum")
    return KINDS[kind], major, minor, count


def section(data, i, end):
    """One entry of the table; returns it and where its payload ends."""
    raw, kind, flags, a, b, c, offset, size, stored, zero = struct.unpack_from("<64sIIQQQQQQQ", data, 64 + 128 * i)
    name = raw.split(b"\0")[0]
    need(len(name) < 64 and not raw[len(name):].strip(b"\0"), f"section {i}: its name")
    name = name.decode()
    need(offset == up(end, 64) and offset + size <= len(data), f"{name}: its place")
    need(not data[end:offset].strip(b"\0"), f"{name}: zeros before it")
    need(not flags & ~(REQUIRED | SUMMED) and not zero, f"{name}: its flags")
    need(kind in TYPES, f"{name}: its type, {kind}")
    payload = data[offset:offset + size]
    need(stored == xxh64(payload), f"{name}: its sum")
    need(size == payload_size(kind, (a, b, c)), f"{name}: {size} bytes for {TYPES[kind]} {a} x {b} x {c}")
    return (name, kind, (a, b, c), flags, payload), offset + size


def sections(data):
    """Each entry of the table, and where its payload ends."""
    count = header(data)[3]
    end = 64 + 128 * count
    for i in range(count):
        entry, end = section(data, i, end)
        yield entry, end


def describe(name, kind, shape, flags, payload):
    marks = ("R" if flags & REQUIRED else "-") + ("S" if flags & SUMMED else "-")
    line = f"  {name:48} {marks} {TYPES[kind]:12} {'x'.join(map(str, shape)):>16} {len(payload):>10} bytes"
    if name == "config" and kind == 2:
        line += "\n    " + " ".join(str(v) for v, in struct.iter_unpack("<i", payload))
    elif name in ("templates", "special"):
        line += "\n    " + " / ".join(t.decode() for t in payload.split(b"\0")[:-1])
    return line


def read(path):
    with open(path, "rb") as f:
        data = f.read()
    kind, major, minor, count = header(data)
    print(f"{path}: {kind}, version {major}.{minor}, {len(data)} bytes, {count} sections")
    end = 64
    for entry, end in sections(data):
        print(describe(*entry))
    need(end == len(data) or (up(end, 64) == len(data) and not data[end:].strip(b"\0")), "bytes behind the last section")


def main():
    failed = 0
    for path in sys.argv[1:]:
        try:
            read(path)
        except (Broken, OSError, struct.error, UnicodeDecodeError) as e:
            print(f"{path}: broken: {e}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())

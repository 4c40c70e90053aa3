"""WebAssembly modules made by hand: a small program, what is none, and what takes an engine long (core specification,
section 5; component model, binary format)."""

import random

HEADER = b"\0asm\1\0\0\0"
# The header of a component instead of a module's.
COMPONENT = b"\0asm\x0d\0\1\0"


def leb(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + leb(n >> 7)


def section(kind, content):
    return bytes([kind]) + leb(len(content)) + content


def name(text):
    return leb(len(text)) + text


def vector(*items):
    return leb(len(items)) + b"".join(items)


def body(code, variables=b"\0"):
    """A function's, with its variables."""
    return name(variables + code + END)


FUNC, I32, FUNCREF, END = b"\x60", b"\x7f", b"\x70", b"\x0b"
ZERO = b"\x41\0" + END  # an offset
MOST = b"\xff\xff\xff\xff\x0f"  # 2^32 - 1
START = name(b"_start")


def exiting(code):
    """The body of the program: exit with a code below 64."""
    return body(b"\x41" + leb(code) + b"\x10\0")


SECTIONS = {
    "type": section(1, vector(FUNC + vector(I32) + vector(), FUNC + vector() + vector())),
    "import": section(2, vector(name(b"wasi_snapshot_preview1") + name(b"proc_exit") + b"\0\0")),
    "function": section(3, vector(b"\1")),
    "table": section(4, vector(FUNCREF + b"\0\1")),
    "memory": section(5, vector(b"\0\1")),
    "global": section(6, vector(I32 + b"\1" + ZERO)),
    "export": section(7, vector(START + b"\0\1", name(b"memory") + b"\2\0")),
    "start": b"",
    "element": section(9, vector(b"\0" + ZERO + vector(b"\1"))),
    "count": section(12, b"\1"),
    "code": section(10, vector(exiting(0))),
    "data": section(11, vector(b"\0" + ZERO + name(b"some data"))),
    "custom": section(0, name(b"custom") + b"some bytes"),
}


def program(status=0, **sections):
    """One that exits with a code, with other sections in the places of these."""
    assert set(sections) <= set(SECTIONS)
    return HEADER + b"".join((SECTIONS | {"code": section(10, vector(exiting(status)))} | sections).values())


def start_of(code, variables=b"\0"):
    """The code section with another body of _start."""
    return section(10, vector(body(code, variables)))


def long_module(steps):
    """One function, _start, that adds to a local that often."""
    code = b"\x01\x01\x7f" + b"\x20\x00\x41\x07\x6a\x21\x00" * steps + b"\x0b"
    return (HEADER + section(1, b"\x01\x60\0\0") + section(3, b"\x01\0") + section(7, b"\x01\x06_start\0\0") +
            section(10, b"\x01" + leb(len(code)) + code))


def nested(depth):
    made = COMPONENT
    for _ in range(depth):
        made = COMPONENT + section(4, made)
    return made


# What no engine may run, and has to say so. The file's name is the key.
MALFORMED = {
    "magic": b"\0asm",
    "header-cut": HEADER[:7],
    "version": b"\0asm\xff\xff\xff\xff",
    "version-of-the-other": b"\0asm\1\0\1\0",
    "layer": b"\0asm\x0d\0\2\0",
    "zeros": HEADER + bytes(4096),
    "ones": HEADER + b"\xff" * 4096,
    "random": HEADER + random.Random(1).randbytes(4096),
    "section-longer": HEADER + b"\1" + MOST + SECTIONS["type"],
    "section-shorter": program(type=b"\1\1" + SECTIONS["type"][2:]),
    "section-twice": program(table=SECTIONS["type"]),
    "section-late": program(custom=SECTIONS["type"]),
    "section-unknown": program(custom=section(200, b"content")),
    "number-overlong": program(function=section(3, b"\x81\x80\x80\x80\x80\x80\0" + b"\1")),
    "number-of-33-bits": program(function=section(3, b"\x81\x80\x80\x80\x70" + b"\1")),
    "types": program(type=section(1, MOST)),
    "functions": program(function=section(3, vector(*[b"\1"] * 1000))),
    "functions-of-no-type": program(function=section(3, vector(b"\x63"))),
    "no-code": program(code=b""),
    "code-longer": program(code=section(10, b"\1" + MOST + b"\0" + END)),
    "variables-beyond-32-bits": program(code=start_of(b"", vector(MOST + I32, MOST + I32))),
    "instruction": program(code=start_of(b"\xff")),
    "stack-empty": program(code=start_of(b"\x1a")),
    "branch-to-nothing": program(code=start_of(b"\x0c" + MOST)),
    "branches": program(code=start_of(b"\x41\0\x0e" + MOST)),
    "call-of-nothing": program(code=start_of(b"\x10" + MOST)),
    "memory-beyond": program(memory=section(5, vector(b"\0" + leb(65537)))),
    "memory-the-wrong-way": program(memory=section(5, vector(b"\1\2\1"))),
    "exports-alike": program(export=section(7, vector(START + b"\0\1", START + b"\0\1"))),
    "export-of-nothing": program(export=section(7, vector(START + b"\0\x63"))),
    "export-not-utf8": program(export=section(7, vector(START + b"\0\1", name(b"\xff\xfe") + b"\0\1"))),
    "start-of-nothing": program(start=section(8, b"\x63")),
    "start-with-arguments": program(start=section(8, b"\0")),
    "element-of-nothing": program(element=section(9, vector(b"\0" + ZERO + vector(b"\x63")))),
    "data-nowhere": program(memory=b"", export=section(7, vector(START + b"\0\1"))),
    "data-longer": program(data=section(11, b"\1\0" + ZERO + MOST)),
    "data-of-another-count": program(count=section(12, MOST)),
    "component-empty": COMPONENT,
    "component-cut": COMPONENT + b"\7\x7f",
    "component-longer": COMPONENT + b"\4" + MOST + COMPONENT,
    "component-random": COMPONENT + random.Random(2).randbytes(4096),
}

# What an engine may take or refuse, or break over: a worker's end is the end of its container.
HEAVY = {
    "variables": lambda: program(code=start_of(b"", vector(MOST + I32))),
    "blocks": lambda: program(code=start_of(b"\2\x40" * 100_000 + END * 100_000)),
    "targets": lambda: program(code=start_of(b"\x41\0\x0e" + vector(*[b"\0"] * 1_000_000) + b"\0")),
    "many-functions": lambda: program(function=section(3, vector(*[b"\1"] * 20_000)), code=section(10, vector(*[body(b"")] * 20_000))),
    "many-types": lambda: program(type=section(1, vector(FUNC + vector(I32) + vector(), *[FUNC + vector() + vector()] * 900_000))),
    "many-exports": lambda: program(export=section(7, vector(START + b"\0\1", *[name(b"%d" % i) + b"\0\1" for i in range(90_000)]))),
    "long-name": lambda: program(export=section(7, vector(START + b"\0\1", name(b"n" * 90_000) + b"\0\1"))),
    "long-custom": lambda: program(custom=section(0, name(b"custom") + bytes(32 << 20))),
    "memory": lambda: program(memory=section(5, vector(b"\0" + leb(65536)))),
    "table": lambda: program(table=section(4, vector(FUNCREF + b"\0" + MOST))),
    "components": lambda: nested(500),
}

# How numbers lie: none, one, many, more than there are bits, the longest, and longer than that.
NUMBERS = [b"\0", b"\1", b"\x7f", b"\xff\x7f", b"\x80\x80\x80\0", MOST, b"\xff\xff\xff\xff\x7f", b"\x80" * 12 + b"\0"]


def mutant(rng, base):
    """`base` with one to three changes behind its header: cut off, bits and bytes changed, numbers that lie, pieces
    that come twice, that are missing, or that come from elsewhere."""
    data = bytearray(base)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(8, max(len(data), 9))
        size = rng.randint(1, 16)
        match rng.randrange(8):
            case 0:
                del data[at:]
            case 1:
                data[at:at + 1] = bytes([(data[at] if at < len(data) else 0) ^ 1 << rng.randrange(8)])
            case 2:
                data[at:at + 1] = rng.choice([b"\0", b"\x7f", b"\x80", b"\xff"])
            case 3:
                data[at:at] = rng.randbytes(size)
            case 4:
                data[at:at + 1] = rng.choice(NUMBERS)
            case 5:
                data[at:at] = data[at:at + size]
            case 6:
                del data[at:at + size]
            case 7:
                there = rng.randrange(8, max(len(data), 9))
                data[at:at + size] = data[there:there + size]
    return bytes(data)

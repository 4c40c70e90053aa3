"""Our own clients for what containerd speaks to the daemons: messages made by hand, calls by gRPC and ttrpc, and
raw bytes where no client would send them. Used inside the node."""

import contextlib
import socket
import struct
import subprocess
import time

import grpc

from node import SOCKET, TASK_SOCKET

# Codes of google.rpc.Code, as both protocols use them.
OK, CANCELLED, UNKNOWN, INVALID, DEADLINE, NOT_FOUND, EXISTS, DENIED = range(8)
EXHAUSTED, PRECONDITION, ABORTED, RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = range(8, 15)

CONTROLLER = "containerd.services.sandbox.v1.Controller"
TASK = "containerd.task.v3.Task"
NAMESPACE = "k8s.io"
RUNNING = 2  # a status of tasks


class Status(Exception):
    """An answer that is an error."""

    def __init__(self, code, text):
        super().__init__(f"code {code}: {text}")
        self.code = code
        self.text = text


# ---- protobuf -----------------------------------------------------------------------------------


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def message(*fields):
    """(number, value)...: int and bool become varints, str and bytes length-delimited; None is left out."""
    out = b""
    for number, value in fields:
        if value is None:
            continue
        if isinstance(value, int):
            out += varint(number << 3) + varint(int(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def any_of(type_url, value):
    return message((1, type_url), (2, value))


def string_map(number, entries):
    return [(number, message((1, k), (2, v))) for k, v in entries.items()]


def parse(data):
    """number -> values (int or bytes), in their order."""
    fields, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            value = number()
        elif tag & 7 in (1, 5):
            size = 8 if tag & 7 == 1 else 4
            value = data[at:at + size]
            at += size
        else:
            size = number()
            value = data[at:at + size]
            at += size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


# ---- gRPC ---------------------------------------------------------------------------------------


class Grpc:
    """One connection to the sandboxer. Payloads are bytes."""

    def __init__(self, path=SOCKET):
        self.channel = grpc.insecure_channel(f"unix://{path}", options=[
            ("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def method(self, name, service=CONTROLLER):
        return self.channel.unary_unary(f"/{service}/{name}", lambda b: b, lambda b: b)

    def call(self, name, payload=b"", service=CONTROLLER, timeout=20, metadata=(("containerd-namespace", NAMESPACE),)):
        try:
            return self.method(name, service)(payload, timeout=timeout, metadata=metadata)
        except grpc.RpcError as e:
            raise Status(e.code().value[0], e.details()) from None


def controller(name, payload=b"", **more):
    """One call on a connection of its own."""
    with Grpc() as g:
        return g.call(name, payload, **more)


def curl(path, *options, data=b""):
    """A request that no gRPC client sends; returns the head of the answer, lower case."""
    argv = ["curl", "-sS", "-D", "-", "-o", "/dev/null", "--max-time", "10", "--http2-prior-knowledge", "--unix-socket", SOCKET,
            "--data-binary", "@-", *options, f"http://localhost{path}"]
    return subprocess.run(argv, input=data, capture_output=True, timeout=20).stdout.decode().lower()


# ---- HTTP/2 frames ------------------------------------------------------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name, value):
    """A header field as HPACK's literal without indexing."""
    def string(text):
        data = text.encode()
        if len(data) < 127:
            return bytes([len(data)]) + data
        rest, size = len(data) - 127, bytearray([127])
        while rest > 0x7F:
            size.append(rest & 0x7F | 0x80)
            rest >>= 7
        return bytes(size + bytearray([rest])) + data
    return b"\0" + string(name) + string(value)


def request_headers(method="Status", **more):
    fields = {":method": "POST", ":scheme": "http", ":path": f"/{CONTROLLER}/{method}", ":authority": "localhost",
              "content-type": "application/grpc", "te": "trailers", **more}
    return b"".join(header(k, v) for k, v in fields.items())


class Raw:
    """A unix socket for bytes. Sending is cut off quietly when the peer has closed."""

    def __init__(self, path, timeout=5):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(timeout)
        self.s.connect(path)
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()

    def send(self, data):
        """False once the peer is gone."""
        try:
            self.s.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True
        return not self.closed

    def pour(self, data, seconds):
        """Sends `data` again and again for `seconds` and reads nothing; returns the bytes that were taken."""
        end, sent = time.monotonic() + seconds, 0
        self.s.setblocking(False)
        try:
            while time.monotonic() < end:
                try:
                    sent += self.s.send(data)
                except BlockingIOError:
                    time.sleep(0.005)
                except (BrokenPipeError, ConnectionResetError):
                    self.closed = True
                    break
        finally:
            self.s.settimeout(5)
        return sent

    def read(self, seconds=5):
        """Everything until the peer closes or `seconds` are over; `closed` tells which."""
        end, data = time.monotonic() + seconds, b""
        while (left := end - time.monotonic()) > 0:
            self.s.settimeout(left)
            try:
                chunk = self.s.recv(1 << 20)
            except (TimeoutError, socket.timeout):
                break
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                self.closed = True
                break
            data += chunk
        return data


def frames(data):
    """[(type, flags, stream, payload)] of the whole frames in `data`."""
    found = []
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        if len(data) < 9 + size:
            break
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:9 + size]))
        data = data[9 + size:]
    return found


def goaway(data):
    """The error code of a GOAWAY in these bytes, or None."""
    for kind, _, _, payload in frames(data):
        if kind == GOAWAY:
            return int.from_bytes(payload[4:8], "big")
    return None


# ---- ttrpc --------------------------------------------------------------------------------------

REQUEST, RESPONSE, STREAM_DATA = 1, 2, 3
FRAME_MAX = 4 << 20


def ttrpc_frame(stream, kind, payload=b"", flags=0, length=None):
    return struct.pack(">IIBB", len(payload) if length is None else length, stream, kind, flags) + payload


def ttrpc_request(method, payload=b"", service=TASK, timeout=0, metadata=(("containerd-namespace-ttrpc", NAMESPACE),)):
    pairs = [(5, message((1, k), (2, v))) for k, v in metadata]
    return message((1, service), (2, method), (3, payload), (4, int(timeout * 1e9) or None), *pairs)


class Ttrpc:
    """One connection to the task server."""

    def __init__(self, path=TASK_SOCKET, timeout=20):
        self.raw = Raw(path, timeout)
        self.id = -1
        self.held = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.raw.s.close()

    def begin(self, method, payload=b"", **more):
        """Sends a request and returns its stream id."""
        self.id += 2
        self.raw.send(ttrpc_frame(self.id, REQUEST, ttrpc_request(method, payload, **more)))
        return self.id

    def next(self):
        """(stream, type, payload) of the next frame; EOFError at the end."""
        while len(self.held) < 10 or len(self.held) < 10 + int.from_bytes(self.held[:4], "big"):
            chunk = self.raw.s.recv(1 << 16)
            if not chunk:
                raise EOFError("the task server closed the connection")
            self.held += chunk
        size, stream, kind, _ = struct.unpack(">IIBB", self.held[:10])
        payload, self.held = self.held[10:10 + size], self.held[10 + size:]
        return stream, kind, payload

    def answer(self, stream):
        """The payload that answers `stream`, or a Status. Other frames are dropped."""
        while True:
            got, kind, payload = self.next()
            if got == stream and kind == RESPONSE:
                return response(payload)

    def call(self, method, payload=b"", **more):
        return self.answer(self.begin(method, payload, **more))


def response(payload):
    fields = parse(payload)
    status = parse(fields.get(1, [b""])[0])
    code = status.get(1, [0])[0]
    if code:
        raise Status(code, status.get(2, [b""])[0].decode())
    return fields.get(2, [b""])[0]


def task(method, payload=b"", **more):
    """One call on a connection of its own."""
    with Ttrpc() as t:
        return t.call(method, payload, **more)


@contextlib.contextmanager
def refused(code, *texts):
    """The calls inside are refused with this code and a text that has all of `texts`."""
    try:
        yield
    except Status as e:
        assert e.code == code, f"want code {code}, got {e}"
        for text in texts:
            assert text in e.text, f"want {text!r} in {e}"
    else:
        raise AssertionError(f"not refused; want code {code} with {texts}")

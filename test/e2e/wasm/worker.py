"""A worker without a task server: started with the descriptors that wasm-task gives it (wasm-task/worker/worker.h),
asked what it has to say."""

import contextlib
import dataclasses
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
import time

CODE_MAX = 256 << 20
CODE_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK
NAME_MAX = 160
# Longer than a worker may take; who takes longer is killed.
SECONDS = 120
ENTRY = "m.wasm"
# A path, and a word: none.
CONSOLE = PLUGINS = ""


@dataclasses.dataclass
class Answer:
    """What a worker has said, and how it ended."""

    cached: bool = False  # its code was found
    name: str = ""  # of the code; "": it did not come so far
    status: int | None = None  # a code of google.rpc.Code; None: it ended, or took too long, before it said one
    text: str = ""
    code: bytes = dataclasses.field(default=b"", repr=False)  # compiled code that is to be kept
    output: bytes = b""
    exit: int = 0  # exit code, or minus a signal
    late: bool = False


class Bundle:
    """A directory with a root that has one file, the module."""

    def __init__(self, directory, **spec):
        self.dir = directory
        self.cache = directory / "cache"
        self.root = directory / "rootfs"
        self.cache.mkdir(mode=0o700)
        self.root.mkdir()
        self.root.chmod(0o755)
        self.spec(**spec)

    def spec(self, process=(), **linux):
        """Writes config.json with more members of process and linux."""
        namespaces = [{"type": kind} for kind in ("mount", "network", "ipc", "uts")]
        (self.dir / "config.json").write_text(json.dumps({
            "ociVersion": "1.2.0",
            "process": {"cwd": "/", "args": [f"/{ENTRY}"], "user": {"uid": 1000, "gid": 1000}} | dict(process),
            "root": {"path": "rootfs"},
            "linux": {"namespaces": namespaces} | linux}))

    def put(self, module):
        path = self.root / ENTRY
        path.unlink(missing_ok=True)
        path.write_bytes(module)
        path.chmod(0o644)

    def work(self, engine, module, go=False):
        """Has a worker get the module ready, and run it if `go`."""
        self.put(module)
        with contextlib.ExitStack() as stack:
            return Worker(stack, engine, self).hear(go)


class Worker:
    def __init__(self, stack, engine, bundle):
        def pipe(ours):
            """(our end, its end)"""
            ends = os.pipe()
            return ends[ours], ends[1 - ours]

        self.control, its_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(self.control)
        self.ready, its_ready = pipe(0)
        self.go, its_go = pipe(1)
        self.out, its_out = pipe(0)
        self.code = os.memfd_create("code", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.code, CODE_MAX)
        fcntl.fcntl(self.code, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        null = os.open("/dev/null", os.O_RDONLY)
        for fd in (self.ready, self.out, self.code):
            stack.callback(os.close, fd)
        given = [null, its_out, its_out, its_control.fileno(), its_ready, its_go, self.code]
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in given]
        program = shutil.which("wasm-worker")
        self.pid = os.posix_spawn(program, [program, "run", engine, str(bundle.cache), CONSOLE, PLUGINS, str(bundle.dir)], {},
                                  file_actions=[(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate(high)], setsid=True)
        for fd in [*high, null, its_out, its_ready, its_go]:
            os.close(fd)
        its_control.close()
        self.end = time.monotonic() + SECONDS
        self.answer = Answer()

    def comes(self, fd):
        """Whether there is something to read, or its end, in time; it is killed otherwise."""
        if select.select([fd], [], [], max(0, self.end - time.monotonic()))[0]:
            return True
        self.answer.late = True
        os.kill(self.pid, signal.SIGKILL)
        return False

    def hear_module(self):
        said = self.control.recv(4096) if self.comes(self.control) else b""
        if said:
            assert len(said) == 4 + NAME_MAX and b"\0" in said[4:]
            self.answer.cached = struct.unpack("=I", said[:4])[0] != 0
            self.answer.name = said[4:].split(b"\0")[0].decode()

    def hear_ready(self):
        said = os.read(self.ready, select.PIPE_BUF) if self.comes(self.ready) else b""
        if not said:
            return
        made, status = struct.unpack("=II", said[:8])
        assert b"\0" in said[8:] and made in (0, 1) and status <= 16
        self.answer.status, self.answer.text = status, said[8:].split(b"\0")[0].decode()
        assert not os.read(self.ready, 1) if self.comes(self.ready) else True, "it says more than one thing"
        size = os.fstat(self.code).st_size
        if made and status == 0:
            assert fcntl.fcntl(self.code, fcntl.F_GET_SEALS) & CODE_SEALS == CODE_SEALS and 0 < size <= CODE_MAX
            self.answer.code = os.pread(self.code, size, 0)

    def hear(self, go):
        try:
            self.hear_module()
            self.hear_ready()
            if go and self.answer.status == 0:
                with contextlib.suppress(BrokenPipeError):
                    os.write(self.go, b"R")
        finally:
            os.close(self.go)
        while self.comes(self.out) and (data := os.read(self.out, 1 << 16)):
            self.answer.output += data
        _, status = os.waitpid(self.pid, 0)
        self.answer.exit = os.waitstatus_to_exitcode(status)
        return self.answer


def keep(bundle, answer, code=None):
    """Files what it has compiled, or other code, where wasm-task would; returns the file."""
    entry = bundle.cache / answer.name
    entry.mkdir(mode=0o755, exist_ok=True)
    entry.chmod(0o755)
    file = entry / "code"
    file.unlink(missing_ok=True)
    file.write_bytes(answer.code if code is None else code)
    file.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
    return file

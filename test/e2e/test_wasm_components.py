"""WebAssembly containers whose program is a component, for WASI 0.2. What is of the container and not of
its program is in test_wasm.py."""

import contextlib
import json
import os
import pathlib
import socket
import struct
import subprocess
import threading
import time

import pytest

import node as kuasar
import wasm
from node import Failed, crictl, exit_code, until
from test_io import Terminal
from test_wasm import refusal

if kuasar.KIND != "wasm":
    pytest.skip("for the Wasm kind", allow_module_level=True)

TOOL = "/tool.wasm"
CACHE = pathlib.Path("/var/cache/kuasar-wasm")


@pytest.fixture(scope="module", autouse=True)
def image(the_node, tmp_path_factory):
    wasm.load_components(tmp_path_factory.mktemp("components"))


def create(pod, *command, **fields):
    return pod.create(*command, image=wasm.COMPONENTS, **fields)


def run(pod, *command, **fields):
    return create(pod, *command, **fields).start()


def outcome(pod, *command, **fields):
    """Exit code and log of a container that ends by itself."""
    container = run(pod, *command, **fields)
    return container.wait_exit(), container.logs()


# ---- a program's life ---------------------------------------------------------------------------


@pytest.mark.parametrize("verb, code", [("show", 0), ("fail", 1), ("exit", 1), ("code", 255)])
def test_exit_codes(pod, verb, code):
    """As run returns, by exit, by exit with a code."""
    assert outcome(pod, TOOL, verb)[0] == code


@pytest.mark.parametrize("kind, code, text", [
    ("trap", 128 + 4, "unreachable"),
    ("divide", 128 + 8, "divide by zero"),
    ("memory", 128 + 11, "out of bounds"),
    ("stack", 128 + 11, "stack"),
])
def test_traps_are_signals_with_a_text(pod, kind, code, text):
    container = run(pod, TOOL, kind)
    assert container.wait_exit() == code, container.logs()
    assert text in crictl("logs", container.id).stderr


def test_arguments_and_environment(pod):
    code, text = outcome(pod, TOOL, "show", "two words", "", "ünïcode", envs=[{"key": "MINE", "value": "a=b"}])
    assert code == 0
    lines = text.splitlines()
    assert lines[:5] == [TOOL, "show", "two words", "", "ünïcode"]
    assert {"MINE=a=b", "FROM=image", "PATH=/bin"} <= set(lines[5:])


@pytest.mark.parametrize("verb", ["wait", "spin"])
def test_ends_by_term_within_the_grace_time(pod, verb):
    container = run(pod, TOOL, verb)
    until(lambda: container.logs(), "it runs")
    begin = time.monotonic()
    container.stop(grace=30)
    assert time.monotonic() - begin < 20  # it did not take KILL
    assert container.status()["exitCode"] == 128 + 15


def test_none_of_its_code_runs_before_start(pod):
    """Code that an instantiation runs, too."""
    container = create(pod, "/start.wasm")
    assert container.state() == "CONTAINER_CREATED"
    assert container.start().wait_exit() == 128 + 4
    assert "unreachable" in crictl("logs", container.id).stderr


# ---- bytes, files, memory -----------------------------------------------------------------------


def test_standard_input_of_an_exec(pod):
    container = run(pod, TOOL, "wait")
    data = os.urandom(1 << 20)
    result = subprocess.run(["crictl", "exec", "-i", container.id, TOOL, "echo"], input=data, capture_output=True, timeout=120)
    assert result.returncode == 0 and result.stdout == data


def test_a_terminal(pod):
    container = run(pod, TOOL, "wait", tty=True)
    assert until(lambda: container.logs(), "it runs") == "waiting\n"
    terminal = Terminal("exec", "-it", container.id, TOOL, "echo")
    terminal.send("typed\r")
    terminal.expect("typed\r\ntyped")
    terminal.send("\x04")
    assert terminal.process.wait(timeout=30) == 0


def test_exec(pod):
    container = run(pod, TOOL, "wait")
    assert container.exec(TOOL, "read", "data/file").stdout == "from the image\n"
    assert exit_code(container.exec(TOOL, "code", check=False)) == 255
    assert exit_code(container.exec(TOOL, "trap", check=False)) == 128 + 4
    with pytest.raises(Failed, match="wasi:cli/run"):
        container.exec("/library.wasm")
    assert container.state() == "CONTAINER_RUNNING"


def test_files(pod, tmp_path):
    (tmp_path / "given").write_text("by the host\n")
    volume = {"host_path": str(tmp_path), "container_path": "/volume"}
    assert outcome(pod, TOOL, "read", "data/file") == (0, "from the image\n")
    assert outcome(pod, TOOL, "read", "volume/given", mounts=[volume]) == (0, "by the host\n")
    for path in ("nothing", "../etc/kuasar-node/crictl.yaml", "data/outside"):
        assert outcome(pod, TOOL, "read", path) == (1, ""), path
    assert os.path.exists("/etc/kuasar-node/crictl.yaml")


def test_memory_that_it_cannot_have(pod):
    limit = {"linux": {"resources": {"memory_limit_in_bytes": 64 << 20}}}
    assert outcome(pod, TOOL, "grow", **limit)[0] == 1
    assert outcome(pod, TOOL, "grow")[0] == 0


# ---- the network --------------------------------------------------------------------------------


@contextlib.contextmanager
def name_server(name, address):
    """A name server on the pods' bridge that knows one name (RFC 1035); yields its address."""
    bridge = json.loads(kuasar.run("ip", "-j", "-4", "address", "show", "cni0").stdout)[0]["addr_info"][0]["local"]
    asked = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"

    def serve(server):
        while True:
            query, sender = server.recvfrom(512)
            if not query:
                return
            question = query[12:12 + len(asked) + 4]
            known = question == asked + b"\0\1\0\1"
            answer = b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", 1, 4) + socket.inet_aton(address) if known else b""
            code = 0 if question.startswith(asked) else 3  # no such name
            header = query[:2] + struct.pack("!5H", 0x8580 | code, 1, int(known), 0, 0)
            server.sendto(header + question + answer, sender)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((bridge, 53))
        thread = threading.Thread(target=serve, args=[server])
        thread.start()
        try:
            yield bridge
        finally:
            server.sendto(b"", (bridge, 53))
            thread.join()


def test_http_requests_in_the_pods_network(node):
    node.pod()  # the bridge is there with the first pod
    with name_server("web.test", "127.0.0.1") as address:
        pod = node.pod(dns_config={"servers": [address]})
        server = pod.run("sh", "-c", "mkdir /tmp/w; echo hi >/tmp/w/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp/w")
        until(lambda: "127.0.0.1:8080" in server.exec("netstat", "-ltn").stdout, "the server listens")
        assert outcome(pod, "/http.wasm")[0] == 200
        server.stop(grace=0)
        assert outcome(pod, "/http.wasm")[0] == 1


def test_sockets_are_denied(pod):
    """By Wasmtime: its C API (50.0.1) has nothing to allow them."""
    assert outcome(pod, "/socket.wasm")[0] == 1  # access-denied


# ---- what cannot be run -------------------------------------------------------------------------


@pytest.mark.parametrize("entry, says", [
    ("/truncated.wasm", ["truncated.wasm", "no WebAssembly component"]),
    ("/library.wasm", ["library.wasm", "exports no wasi:cli/run"]),
    ("/import.wasm", ["import.wasm", "nobody offers", "exit-with-music"]),
    ("/proxy.wasm", ["proxy.wasm", "wasi:http/incoming-handler", "wasi:cli/command"]),
])
def test_what_cannot_be_run_says_why(pod, entry, says):
    message = refusal(create(pod, entry))
    for text in says:
        assert text in message


# ---- the cache ----------------------------------------------------------------------------------


def test_compiled_code_is_used_again(pod):
    for entry in CACHE.glob("*/code"):
        entry.unlink()
    assert outcome(pod, TOOL, "code")[0] == 255
    [entry] = until(lambda: list(CACHE.glob("*/code")), "it is kept")
    made = entry.stat()
    os.utime(entry, (1, 1))
    assert outcome(pod, TOOL, "code")[0] == 255
    assert entry.stat().st_ino == made.st_ino
    if os.environ.get("KUASAR_KERNEL") != "uml":  # whose file system of the host's files sets no time to now
        assert entry.stat().st_mtime > 1

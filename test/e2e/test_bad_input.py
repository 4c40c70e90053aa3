"""What nobody should send: broken bytes, floods, wrong fields, wrong order, on both sockets and on the command line.

Every refusal has the code that containerd expects and a text that names the cause. After each test both daemons are
the same processes, hold the descriptors that they held before, and a pod works. In none they take much memory, not
for a moment either, and over all of them no memory grows.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import threading
import time
import uuid
from signal import SIGKILL

import pytest

import node as kuasar
import programs
import wire
from node import HANDLER, KIND, SANDBOXER, SOCKET, STATE, TASK, TASK_SOCKET, run, until
from programs import WAIT, answers
from wire import (EXHAUSTED, EXISTS, INVALID, NOT_FOUND, PRECONDITION, UNIMPLEMENTED, any_of, controller, message,
                  refused, task)

TTRPC_SOCKETS = [TASK_SOCKET, str(STATE / "sandboxer-inspect.sock")]
RSS_SLACK = 16 * 1024  # KiB
# What a test may take at its worst, where that is more: a request of nearly 16 MiB, and what is read of it.
PEAK_SLACK = {"test_grpc_messages": 40 * 1024}
FLOOD_SECONDS = 2
BAD_IDS = ["", "a/b", "../x", "..", "a\0b", "a" * 77, "a..b", "-a", "a\n", "a b", "\u00e4"]
BAD_ID_NAMES = ["empty", "slash", "up-slash", "up", "nul", "77-bytes", "two-dots", "minus", "newline", "space", "umlaut"]


def daemons(node):
    return node.daemon_pids()


@pytest.fixture(scope="module", autouse=True)
def nothing_grows(the_node):
    pids = daemons(the_node)
    before = {name: kuasar.rss_kib(pid) for name, pid in pids.items()}
    yield
    assert daemons(the_node) == pids
    if os.environ.get("KUASAR_PRESET") == "asan":
        return  # the sanitizer keeps freed memory
    for name, pid in pids.items():
        now = kuasar.rss_kib(pid)
        assert now - before[name] < RSS_SLACK, f"{name}: {before[name]} KiB before, {now} after"


@contextlib.contextmanager
def no_peak(pids, slack):
    """What is sent is bounded while it is held, not only given back."""
    if os.environ.get("KUASAR_PRESET") == "asan" or not all([kuasar.reset_peak_rss(pid) for pid in pids.values()]):
        yield
        return
    before = {name: kuasar.rss_kib(pid) for name, pid in pids.items()}
    yield
    for name, pid in pids.items():
        peak = kuasar.peak_rss_kib(pid)
        assert peak - before[name] < slack, f"{name}: {before[name]} KiB before, {peak} at the worst"


@pytest.fixture(autouse=True)
def unhurt(request, nothing_grows):
    if "node" not in request.fixturenames and "pod" not in request.fixturenames:
        yield
        return
    node = request.getfixturevalue("node")
    pids = daemons(node)
    before = {name: kuasar.open_fds(pid) for name, pid in pids.items()}
    sandboxes = sorted(os.listdir(STATE / "sandboxes"))
    with no_peak(pids, PEAK_SLACK.get(request.node.originalname, RSS_SLACK)):
        yield
        node.remove_pods()
    assert node.daemon.poll() is None, "the sandboxer ended"
    assert daemons(node) == pids, "a daemon is not the same process"
    assert programs.run(node.pod(), *programs.leave(5)).wait_exit() == 5, "a pod works"
    node.remove_pods()
    assert sorted(os.listdir(STATE / "sandboxes")) == sandboxes
    until(lambda: {n: kuasar.open_fds(p) for n, p in pids.items()} == before, f"descriptors as before: {before}", 10)


@contextlib.contextmanager
def served_all_the_while(limit=20.0):
    """Both daemons answer others while the block runs; the slowest answer takes less than `limit` seconds."""
    slowest, failures, stop = [0.0, 0.0], [], threading.Event()

    def probe(n, ask):
        while not stop.is_set():
            begin = time.monotonic()
            try:
                with refused(NOT_FOUND, "nobody"):
                    ask()
            except Exception as e:  # pylint: disable=broad-except
                failures.append(repr(e))
                return
            slowest[n] = max(slowest[n], time.monotonic() - begin)
            stop.wait(0.05)
    with wire.Grpc() as g, wire.Ttrpc() as t:
        threads = [threading.Thread(target=probe, args=(0, lambda: g.call("Status", message((1, "nobody"))))),
                   threading.Thread(target=probe, args=(1, lambda: t.call("State", message((1, "nobody")))))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
    assert not failures, failures
    assert max(slowest) < limit, f"slowest answers: gRPC {slowest[0]:.2f} s, ttrpc {slowest[1]:.2f} s"


def census():
    """Without the sleeps of the containers' loops, which come and go."""
    found = kuasar.census()
    found["processes"] = [name for name in found["processes"] if name != "sleep"]
    return found


def nothing_is_left(before, timeout=5):
    end = time.monotonic() + timeout
    while (now := census()) != before and time.monotonic() < end:
        time.sleep(0.05)
    assert now == before


# ---- bytes: gRPC --------------------------------------------------------------------------------

GARBAGE = {
    "random": os.urandom(1 << 16),
    "zeros": bytes(1 << 20),
    "ones": b"\xff" * (1 << 16),
    "http1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(512),
    "ttrpc": wire.ttrpc_frame(1, wire.REQUEST, wire.ttrpc_request("State", message((1, "x")))),
    "frame-too-large": wire.PREFACE + wire.frame(wire.SETTINGS) + b"\xff\xff\xff" + bytes(1 << 16),
    "data-before-headers": wire.PREFACE + wire.frame(wire.SETTINGS) + wire.frame(wire.DATA, 0, 1, b"x"),
    "push": wire.PREFACE + wire.frame(wire.SETTINGS) + wire.frame(wire.PUSH_PROMISE, 4, 1, b"\0\0\0\2"),
    "hpack": wire.PREFACE + wire.frame(wire.SETTINGS) + wire.frame(wire.HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff"),
    "even-stream": wire.PREFACE + wire.frame(wire.SETTINGS) + wire.frame(wire.HEADERS, 5, 2, wire.request_headers()),
    "no-settings": wire.PREFACE + wire.frame(wire.PING, 0, 0, bytes(8)),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_grpc_garbage_ends_its_connection(node, what):
    with served_all_the_while(), wire.Raw(SOCKET) as raw:
        raw.send(GARBAGE[what])
        raw.read(5)
        assert raw.closed


def test_grpc_cut_off_anywhere(node):
    """A whole exchange, cut after each of its bytes."""
    body = message((1, "nobody"))
    whole = (wire.PREFACE + wire.frame(wire.SETTINGS) + wire.frame(wire.HEADERS, wire.END_HEADERS, 1, wire.request_headers())
             + wire.frame(wire.DATA, wire.END_STREAM, 1, b"\0" + len(body).to_bytes(4, "big") + body))
    with served_all_the_while():
        for n in range(len(whole) + 1):
            with wire.Raw(SOCKET) as raw:
                raw.send(whole[:n])


@pytest.mark.parametrize("path", [SOCKET, *TTRPC_SOCKETS], ids=["controller", "tasks", "inspect"])
def test_slow_drip(node, path):
    """Two hundred peers that send a byte now and then."""
    grpc = wire.PREFACE + wire.frame(wire.SETTINGS) + wire.frame(wire.HEADERS, wire.END_HEADERS, 1, wire.request_headers())
    whole = grpc if path == SOCKET else GARBAGE["ttrpc"]
    with served_all_the_while(), contextlib.ExitStack() as stack:
        peers = [stack.enter_context(wire.Raw(path)) for _ in range(200)]
        for byte in whole[:30]:
            for peer in peers:
                assert peer.send(bytes([byte]))
            time.sleep(0.05)


def opened(raw):
    raw.send(wire.PREFACE + wire.frame(wire.SETTINGS))


def resets(count):
    """Streams that are opened and reset at once (CVE-2023-44487)."""
    headers = wire.request_headers("Wait")
    return b"".join(wire.frame(wire.HEADERS, wire.END_HEADERS, i, headers) + wire.frame(wire.RST_STREAM, 0, i, b"\0\0\0\x08")
                    for i in range(1, 2 * count, 2))


def continuations():
    big = wire.header("x-filler", "y" * 4000)
    return (wire.frame(wire.HEADERS, 0, 1, wire.request_headers())
            + b"".join(wire.frame(wire.CONTINUATION, 0, 1, big) for _ in range(500)))


def header_list():
    fields = wire.request_headers() + b"".join(wire.header(f"x-{i}", "y" * 1000) for i in range(14))
    return b"".join(wire.frame(wire.HEADERS, wire.END_HEADERS, i, fields) for i in range(1, 201, 2))


# name -> (bytes, poured repeatedly?, whether the server must end the connection)
FLOODS = {
    "settings": (wire.frame(wire.SETTINGS) * 500, True, True),
    "settings-entries": (wire.frame(wire.SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff" * 2000) * 5, True, True),
    "ping": (wire.frame(wire.PING, 0, 0, bytes(8)) * 1000, True, True),
    "rapid-reset": (resets(20000), False, True),
    "window-update": (wire.frame(wire.WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 1000, True, True),
    "priority": (wire.frame(wire.PRIORITY, 0, 1, bytes(4) + b"\1") * 1000, True, True),
    "unknown-frames": (wire.frame(0xBB, 0, 0, bytes(64)) * 1000, True, True),
    "continuation": (continuations(), False, True),
    "empty-data": (wire.frame(wire.HEADERS, wire.END_HEADERS, 1, wire.request_headers()) + wire.frame(wire.DATA, 0, 1) * 5000, False, True),
    "header-lists": (header_list(), False, False),
}


@pytest.mark.parametrize("what", FLOODS)
def test_http2_flood(node, what):
    data, again, ends = FLOODS[what]
    with served_all_the_while(), wire.Raw(SOCKET) as raw:
        opened(raw)
        if again:
            raw.pour(data, FLOOD_SECONDS)
        else:
            sender = threading.Thread(target=raw.send, args=(data,))
            sender.start()
            sender.join(FLOOD_SECONDS)
        answer = raw.read(FLOOD_SECONDS)
        assert raw.closed == ends
    if wire.goaway(answer) is not None:
        assert wire.goaway(answer) in (1, 2, 9, 11), "PROTOCOL, INTERNAL (nghttp2's own limit), COMPRESSION or ENHANCE_YOUR_CALM"


def test_http2_streams_without_an_end(node):
    """Twenty thousand requests that never get their message are held, cheaply, and gone with the connection."""
    headers = wire.request_headers()
    with served_all_the_while(), wire.Raw(SOCKET) as raw:
        opened(raw)
        raw.send(b"".join(wire.frame(wire.HEADERS, wire.END_HEADERS, i, headers) for i in range(1, 40001, 2)))
        raw.read(1)


def test_a_thousand_waits_are_dropped_with_their_connection(node):
    """Parked Waits: some are kept, more are refused, none outlives the connection."""
    pod = node.pod()
    with wire.Grpc() as g:
        calls = [g.method("Wait").future(message((1, pod.id)), timeout=60) for _ in range(1000)]
        done = until(lambda: [c for c in calls if c.done()], "some are refused")
        until(lambda: len([c for c in calls if c.done()]) == len(done) or done.clear() or done.extend(c for c in calls if c.done()),
              "the others are parked")
        assert all(c.code().value[0] == EXHAUSTED and pod.id in c.details() for c in done)
    assert pod.state() == "SANDBOX_READY"


# ---- requests: gRPC -----------------------------------------------------------------------------


def test_grpc_unknown_names(node):
    with refused(UNIMPLEMENTED, "unknown service", "no.such.Service"):
        controller("Create", service="no.such.Service")
    with refused(UNIMPLEMENTED, "NoSuchMethod"):
        controller("NoSuchMethod")
    with refused(UNIMPLEMENTED, "State"):
        controller("State", message((1, "x")), service=wire.TASK)


def test_grpc_messages(node):
    with refused(EXHAUSTED, "16 MiB"):
        controller("Status", message((1, "x" * (17 << 20))))
    with refused(INVALID, "sandbox_id"):
        controller("Status", message((1, "x" * (15 << 20))))
    with refused(INVALID):
        controller("Status", b"\xff\xff\xff\xff")
    with refused(INVALID, "sandbox_id"):
        controller("Status", b"\x0a\x7fcut")
    with refused(INVALID, "sandbox_id"):
        controller("Status", message((1, b"\xff\xfe")))
    with refused(INVALID, "sandbox_id"):
        controller("Status", message((1, 5)))
    for broken in (b"\xff", message((8, b"\xff" * 10)), message((2, b"\xff\xfe"))):
        with refused(INVALID, "options"):
            controller("Create", message((1, "x"), (3, any_of("runtime.v1.PodSandboxConfig", broken)), (4, "/run/netns/x")))
    with refused(EXHAUSTED, "header"):
        controller("Status", message((1, "x")), metadata=[(f"x-{i}", "y" * 100) for i in range(70)])


def test_grpc_requests_that_no_client_sends(node):
    path, grpc = f"/{wire.CONTROLLER}/Status", ("-H", "content-type: application/grpc")
    empty = bytes(5)
    assert "http/2 415" in wire.curl(path, "-H", "content-type: text/plain", data=empty)
    head = wire.curl(path, "-H", "content-type: application/json", data=empty)
    assert "http/2 415" in head and "grpc-status: 3" in head and "content-type" in head
    assert "http/2 405" in wire.curl(path, "-X", "GET", *grpc, data=empty)
    assert "grpc-status: 12" in wire.curl("/", *grpc, data=empty)
    assert "grpc-status: 12" in wire.curl("/nothing", *grpc, data=empty)
    assert "grpc-status: 13" in wire.curl(path, *grpc, data=b"")
    assert "grpc-status: 13" in wire.curl(path, *grpc, data=b"\0\0\0\0\x09cut")
    assert "grpc-status: 13" in wire.curl(path, *grpc, data=empty + empty)
    assert "grpc-status: 12" in wire.curl(path, *grpc, data=b"\1\0\0\0\0")
    assert "grpc-status: 13" in wire.curl(path, *grpc, data=b"\7\0\0\0\0")
    assert "http/2 400" in wire.curl(path, *grpc, "-H", "grpc-timeout: soon", data=empty)
    assert "grpc-status: 12" in wire.curl(path, *grpc, "-H", "grpc-encoding: gzip", data=empty)


CONTROLLER_METHODS = ["Start", "Platform", "Stop", "Wait", "Status", "Shutdown", "Metrics", "Update"]


@pytest.mark.parametrize("sandbox_id", BAD_IDS, ids=BAD_ID_NAMES)
def test_controller_bad_ids(node, sandbox_id):
    before = kuasar.state_files()
    for method in CONTROLLER_METHODS + ["Create"]:
        with refused(INVALID, "sandbox_id"):
            controller(method, message((1, sandbox_id)), timeout=5)
    assert kuasar.state_files() == before


def test_controller_unknown_ids(node):
    for method in CONTROLLER_METHODS:
        with refused(NOT_FOUND, "nobody"):
            controller(method, message((1, "nobody")), timeout=5)


# ---- Create of a sandbox ------------------------------------------------------------------------


@pytest.fixture
def netns():
    name = f"bad-{uuid.uuid4().hex[:8]}"
    run("ip", "netns", "add", name)
    yield f"/run/netns/{name}"
    run("ip", "netns", "del", name)


def pod_config(network=0, pid=1, ipc=0, userns=None, sysctls=(), hostname="", cgroup_parent="", servers=()):
    namespaces = message((1, network), (2, pid), (3, ipc), (5, userns))
    linux = message((1, cgroup_parent), (2, message((1, namespaces))), *wire.string_map(3, dict(sysctls)))
    dns = message(*[(1, s) for s in servers]) if servers else None
    return message((1, message((1, "bad"), (2, "uid"), (3, "ns"))), (2, hostname), (4, dns), (8, linux))


def users(mode=0, uids=((100000, 0, 65536),), gids=((100000, 0, 65536),)):
    """A UserNamespace; mappings are (host, container, length)."""
    def runs(number, maps):
        return [(number, message((1, host), (2, inside), (3, length))) for host, inside, length in maps]
    return message((1, mode), *runs(2, uids), *runs(3, gids))


def create_request(sandbox_id, netns, config):
    return message((1, sandbox_id), (3, any_of("runtime.v1.PodSandboxConfig", config)), (4, netns), (10, HANDLER))


OPTIONS = "linux.security_context.namespace_options"
def of_machines(others, machines):
    """A virtual machine is refused for another reason."""
    return machines if KIND == "vmm" else others


BAD_CONFIGS = {
    "network-mode-CONTAINER": (pod_config(network=1), f"{OPTIONS}.network"),
    "network-mode-TARGET": (pod_config(network=3), f"{OPTIONS}.network"),
    "network-mode-99": (pod_config(network=99), f"{OPTIONS}.network"),
    "ipc-mode-CONTAINER": (pod_config(ipc=1), f"{OPTIONS}.ipc"),
    "ipc-mode-negative": (pod_config(ipc=-1), f"{OPTIONS}.ipc"),
    "pid-mode-TARGET": (pod_config(pid=3), f"{OPTIONS}.pid"),
    "pid-mode-99": (pod_config(pid=99), f"{OPTIONS}.pid"),
    "userns-mode-CONTAINER": (pod_config(userns=users(mode=1)), f"{OPTIONS}.userns_options.mode"),
    "userns-mode-99": (pod_config(userns=users(mode=99)), f"{OPTIONS}.userns_options.mode"),
    "userns-no-gids": (pod_config(userns=users(gids=[])), f"{OPTIONS}.userns_options.gids: 0 mappings"),
    "userns-two-uids": (pod_config(userns=users(uids=[(100000, 0, 10), (200000, 10, 10)])), f"{OPTIONS}.userns_options.uids: 2 mappings"),
    "userns-no-root": (pod_config(userns=users(gids=[(100000, 1, 10)])), f"{OPTIONS}.userns_options.gids: container_id is 1"),
    "userns-no-ids": (pod_config(userns=users(uids=[(100000, 0, 0)])), f"{OPTIONS}.userns_options.uids: 0 ids"),
    "userns-beyond": (pod_config(userns=users(uids=[(4294967295, 0, 1)])), f"{OPTIONS}.userns_options.uids: 1 ids from host_id 4294967295"),
    "userns-of-the-host": (pod_config(userns=users(mode=2)), f"{OPTIONS}.userns_options: mode NODE with id mappings"),
    "sysctl-of-the-host": (pod_config(sysctls={"kernel.panic": "1"}), "kernel.panic"),
    "sysctl-vm": (pod_config(sysctls={"vm.swappiness": "1"}), "vm.swappiness"),
    "sysctl-path": (pod_config(sysctls={"net/../kernel/panic": "1"}), "net/../kernel/panic"),
    "sysctl-dots": (pod_config(sysctls={"net...kernel.panic": "1"}), "net...kernel.panic"),
    "sysctl-unknown": (pod_config(sysctls={"net.ipv4.no_such": "1"}), "net.ipv4.no_such"),
    "sysctl-value": (pod_config(sysctls={"net.ipv4.ip_forward": "many"}), "net.ipv4.ip_forward"),
    "sysctl-ipc-of-the-host": (pod_config(ipc=2, sysctls={"kernel.shmmax": "1"}), of_machines("kernel.shmmax", "hostIPC")),
    "hostname-long": (pod_config(hostname="h" * 65), "hostname"),
    "hostname-newline": (pod_config(hostname="a\nb"), "hostname"),
    "dns-newline": (pod_config(servers=["1.1.1.1\nnameserver 6.6.6.6"]), "dns_config.servers"),
    "cgroup-up": (pod_config(cgroup_parent="/../../up"), "cgroup_parent"),
    "host-network-with-netns": (pod_config(network=2), of_machines("netns_path", "hostNetwork")),
}


@pytest.mark.parametrize("what", BAD_CONFIGS)
def test_sandbox_create_bad_config(node, netns, what):
    config, text = BAD_CONFIGS[what]
    before = census()
    with refused(INVALID, text):
        controller("Create", create_request("bad", netns, config))
    nothing_is_left(before)
    with refused(NOT_FOUND):
        controller("Status", message((1, "bad")))


@pytest.mark.parametrize("path,code", [("", INVALID), ("relative", INVALID), ("/run/netns/../netns/x", INVALID), ("/run/netns/absent", NOT_FOUND),
                                       ("/etc/hostname", INVALID), ("/run", INVALID), ("/proc/self/ns/uts", INVALID), ("/" + "n" * 5000, INVALID)],
                         ids=["empty", "relative", "dots", "absent", "file", "directory", "other-namespace", "long"])
def test_sandbox_create_bad_netns(node, path, code):
    before = census()
    with refused(code, "netns_path"):
        controller("Create", create_request("bad", path, pod_config()))
    assert census() == before


def test_sandbox_create_of_the_hosts_network_by_path(node):
    """The path of the host's own namespace would share it under another name."""
    with refused(PRECONDITION, "the host's own"):
        controller("Create", create_request("bad", "/proc/1/ns/net", pod_config()))


def test_sandbox_create_with_users_in_the_hosts_users_network(node, netns):
    """The network namespace must have been made by the pod's users."""
    before = census()
    with refused(*of_machines((PRECONDITION, netns, "belongs to the host's users"), (INVALID, "userns_options"))):
        controller("Create", create_request("bad", netns, pod_config(userns=users())))
    nothing_is_left(before)


def test_sandbox_created_twice(node, netns):
    """The second Create is refused; the living pod keeps its files, mounts and processes."""
    pod = node.pod()
    container = programs.run(pod, *WAIT)
    before = census()
    for _ in range(3):
        with refused(EXISTS, pod.id):
            controller("Create", create_request(pod.id, netns, pod_config()))
    assert census() == before
    assert pod.state() == "SANDBOX_READY"
    assert answers(container)
    assert programs.run(pod, *programs.leave(0)).wait_exit() == 0


def test_sandbox_started_twice(node):
    pod = node.pod()
    with refused(PRECONDITION, pod.id, "already started"):
        controller("Start", message((1, pod.id)))
    assert programs.run(pod, *programs.leave(0)).wait_exit() == 0
    pod.stop()
    with refused(PRECONDITION, pod.id, "stopped"):
        controller("Start", message((1, pod.id)))


def test_sandbox_update_of_unknown_fields(node):
    pod = node.pod()
    with refused(INVALID, "runtime", "extensions"):
        controller("Update", message((1, pod.id), (4, "runtime")))
    sandbox = message((7, message((1, "updated-resources"), (2, any_of("io.containerd.cri.v1/UpdatedResources", b'{"Overhead":')))))
    with refused(INVALID, "updated-resources"):
        controller("Update", message((1, pod.id), (3, sandbox), (4, "extensions")))


# ---- bytes: ttrpc -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["random", "zeros", "ones", "http1", "tls", "http2"])
@pytest.mark.parametrize("path", TTRPC_SOCKETS, ids=["tasks", "inspect"])
def test_ttrpc_garbage(node, path, what):
    data = wire.PREFACE + wire.frame(wire.SETTINGS) + os.urandom(4096) if what == "http2" else GARBAGE[what]
    with served_all_the_while(), wire.Raw(path) as raw:
        raw.send(data)
        raw.read(0.3)


@pytest.mark.parametrize("path", TTRPC_SOCKETS, ids=["tasks", "inspect"])
def test_ttrpc_cut_off_anywhere(node, path):
    with served_all_the_while():
        for n in range(len(GARBAGE["ttrpc"]) + 1):
            with wire.Raw(path) as raw:
                raw.send(GARBAGE["ttrpc"][:n])


def test_ttrpc_frame_over_the_limit(node):
    """It is thrown away, its stream is answered, the connection goes on; what is promised takes no memory."""
    with wire.Ttrpc() as t:
        t.id += 2
        t.raw.send(wire.ttrpc_frame(t.id, wire.REQUEST, bytes(wire.FRAME_MAX + 1)))
        with refused(EXHAUSTED, str(wire.FRAME_MAX)):
            t.answer(t.id)
        with refused(NOT_FOUND, "nobody"):
            t.call("State", message((1, "nobody")))
    pid = node.task_pid()
    before = kuasar.rss_kib(pid)
    with contextlib.ExitStack() as stack, served_all_the_while():
        for _ in range(50):
            raw = stack.enter_context(wire.Raw(TASK_SOCKET))
            raw.send(wire.ttrpc_frame(1, wire.REQUEST, bytes(1 << 16), length=0xFFFFFFFF))
        time.sleep(0.5)
        if os.environ.get("KUASAR_PRESET") != "asan":
            assert kuasar.rss_kib(pid) - before < RSS_SLACK


def test_ttrpc_breaches_of_the_protocol(node):
    state = wire.ttrpc_request("State", message((1, "nobody")))

    def answer(*frames, stream):
        with wire.Ttrpc() as t:
            for f in frames:
                t.raw.send(f)
            return t.answer(stream)
    with refused(INVALID, "odd"):
        answer(wire.ttrpc_frame(2, wire.REQUEST, state), stream=2)
    with wire.Ttrpc() as t:
        for stream in (5, 3):
            t.raw.send(wire.ttrpc_frame(stream, wire.REQUEST, state))
        with refused(NOT_FOUND):
            t.answer(5)
        with refused(INVALID):
            t.answer(3)
    with refused(INVALID):
        answer(wire.ttrpc_frame(1, wire.REQUEST, b"\xff\xff\xff"), stream=1)
    with refused(INVALID):
        answer(wire.ttrpc_frame(7, wire.STREAM_DATA, b"x"), stream=7)
    with refused(NOT_FOUND, "nobody"):
        answer(wire.ttrpc_frame(0, 9, b"unknown type"), wire.ttrpc_frame(1, 200), wire.ttrpc_frame(1, wire.REQUEST, state), stream=1)
    with refused(UNIMPLEMENTED, "no.such.Service"):
        task("State", service="no.such.Service")
    with refused(UNIMPLEMENTED, "NoSuchMethod"):
        task("NoSuchMethod")
    with refused(UNIMPLEMENTED, "no.such.Service"):
        answer(wire.ttrpc_frame(1, wire.REQUEST, wire.ttrpc_request("Stream", service="no.such.Service"), flags=2), stream=1)
    with refused(INVALID, "containerd-namespace-ttrpc"):
        task("State", message((1, "x")), metadata=())
    for namespace in ("", "..", "../../etc", "a/b", "n" * 77):
        with refused(INVALID, "containerd-namespace-ttrpc"):
            task("State", message((1, "x")), metadata=(("containerd-namespace-ttrpc", namespace),))
    with refused(INVALID, "id"):
        task("State", message((1, b"\xff\xfe")))
    with refused(INVALID):
        task("State", b"\xff\xff\xff\xff")


def test_ttrpc_peer_that_does_not_read(node):
    request = b"".join(wire.ttrpc_frame(i, wire.REQUEST, wire.ttrpc_request("State", message((1, "nobody")))) for i in range(1, 40001, 2))
    with served_all_the_while(), wire.Raw(TASK_SOCKET) as raw:
        sender = threading.Thread(target=raw.send, args=(request,))
        raw.s.settimeout(FLOOD_SECONDS)
        sender.start()
        time.sleep(FLOOD_SECONDS)
        raw.s.shutdown(socket.SHUT_RDWR)
        sender.join()


def test_ttrpc_leaked_waits(node):
    """Clients that give up on a Wait say nothing; so many on one connection that no more are taken."""
    container = programs.run(node.pod(), *WAIT)
    with wire.Ttrpc() as t:
        for _ in range(1100):
            t.begin("Wait", message((1, container.id)))
        with refused(EXHAUSTED):
            t.answer(t.id)
        # Another connection is served.
        assert wire.parse(task("State", message((1, container.id))))[4] == [wire.RUNNING]
    container.stop(grace=0)
    assert container.wait_exit() == 137


# ---- requests: Task API -------------------------------------------------------------------------

TASK_METHODS = ["State", "Start", "Delete", "Pids", "Pause", "Resume", "Kill", "Exec", "ResizePty", "CloseIO", "Update", "Wait", "Stats"]


@pytest.mark.parametrize("container_id", BAD_IDS, ids=BAD_ID_NAMES)
def test_task_bad_ids(node, container_id):
    before = kuasar.state_files()
    for method in TASK_METHODS + ["Create"]:
        with refused(INVALID, "id"):
            task(method, message((1, container_id), (2, "/run/bundle") if method == "Create" else (9, None)), timeout=5)
    assert kuasar.state_files() == before


def test_task_unknown_ids(node):
    for method in TASK_METHODS:
        with refused(NOT_FOUND, "nobody"):
            task(method, message((1, "nobody")), timeout=5)
    with refused(UNIMPLEMENTED, "Checkpoint"):
        task("Checkpoint", message((1, "nobody")))
    connected = wire.parse(task("Connect", message((1, "nobody"))))
    assert connected[1] == [node.task_pid()] and 2 not in connected, "Connect is answered for any id"
    assert task("Shutdown", message((1, "nobody"))) == b""
    with refused(NOT_FOUND, "nobody"):
        task("State", message((1, "nobody")), service="containerd.task.v2.Task")


@pytest.fixture
def bundle(node, pod):
    """A bundle of our own that would work in this pod, with a link to the root of a container, and its spec."""
    container = programs.run(pod, *WAIT)
    others = pathlib.Path("/run/containerd/io.containerd.runtime.v2.task/k8s.io") / container.id
    spec = json.loads((others / "config.json").read_text())
    path = pathlib.Path(f"/run/bad-{uuid.uuid4().hex[:8]}")
    path.mkdir()
    (path / "rootfs").mkdir()
    (path / "others").symlink_to(STATE / "rootfs/k8s.io" / container.id)  # which the daemons have
    spec["linux"]["cgroupsPath"] = f"/bad-{path.name}"
    (path / "config.json").write_text(json.dumps(spec))
    yield path, spec
    run("umount", path / "rootfs", check=False)
    shutil.rmtree(path)


def task_create(path, **fields):
    numbers = {"terminal": 4, "stdin": 5, "stdout": 6, "stderr": 7, "checkpoint": 8, "parent_checkpoint": 9, "options": 10}
    mounts = [(3, m) for m in fields.pop("rootfs", [])]
    return task("Create", message((1, "bad"), (2, str(path)), *mounts, *[(numbers[k], v) for k, v in fields.items()]))


def nothing_of_it(before):
    with refused(NOT_FOUND, "bad"):
        task("State", message((1, "bad")))
    nothing_is_left(before)


@pytest.mark.parametrize("path,code", [("", INVALID), ("relative", INVALID), ("/run/../etc", INVALID), ("/run/absent", NOT_FOUND),
                                       ("/" + "b" * 5000, INVALID)], ids=["empty", "relative", "dots", "absent", "long"])
def test_task_create_bad_bundle(node, path, code):
    before = census()
    with refused(code, path[:20] if code == NOT_FOUND else "bundle"):
        task_create(path)
    nothing_of_it(before)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"ociVersion":"1.2.0"', '{"linux":5}', '{"linux":{"namespaces":{}}}',
                                  "[" * 100000, "\0", '{"a":"\ud800"}',
                                  '{"linux":{"namespaces":[{"type":"network","path":5}]}}'])
def test_task_create_broken_config_json(node, bundle, text):
    path, _ = bundle
    before = census()
    (path / "config.json").write_bytes(text.encode(errors="surrogatepass"))
    with refused(INVALID, "config.json"):
        task_create(path)
    nothing_of_it(before)


@pytest.mark.parametrize("what", ["absent", "directory", "fifo", "symlink", "huge"])
def test_task_create_config_json_that_is_no_file(node, bundle, what):
    path, _ = bundle
    config = path / "config.json"
    before = census()
    config.unlink()
    if what == "directory":
        config.mkdir()
    elif what == "fifo":
        os.mkfifo(config)
    elif what == "symlink":
        config.symlink_to("/etc/hostname")
    elif what == "huge":
        with config.open("wb") as f:
            f.truncate(1 << 32)
    try:
        task_create(path)
        assert False, "not refused"
    except wire.Status as e:
        assert e.code in ((NOT_FOUND,) if what == "absent" else (INVALID, PRECONDITION)), e
        assert str(config) in e.text
    nothing_of_it(before)


def runc_options(**fields):
    numbers = {"binary_name": 6, "root": 7}
    return any_of("containerd.runc.v1.Options", message(*[(numbers[k], v) for k, v in fields.items()]))


@pytest.mark.parametrize("binary,code", [("no-such-runtime", NOT_FOUND), ("/no/such/runtime", NOT_FOUND), ("../runc", INVALID), ("-runc", INVALID)])
def test_task_create_unknown_runtime(node, bundle, binary, code):
    before = census()
    with refused(of_machines(code, INVALID), binary):
        task_create(bundle[0], options=runc_options(binary_name=binary))
    nothing_of_it(before)


def test_task_create_broken_options(node, bundle):
    before = census()
    with refused(INVALID, "options"):
        task_create(bundle[0], options=any_of("containerd.runc.v1.Options", b"\xff\xff"))
    with refused(INVALID, "root"):
        task_create(bundle[0], options=runc_options(root="relative/../x"))
    nothing_of_it(before)


def test_task_create_in_no_pod(node, bundle):
    path, spec = bundle
    before = census()
    key = "io.kubernetes.cri.sandbox-id"
    for sandbox, code in (("nobody", PRECONDITION), ("../sandboxes", INVALID), ("a" * 77, INVALID)):
        spec["annotations"][key] = sandbox
        (path / "config.json").write_text(json.dumps(spec))
        with refused(code, "sandbox", sandbox[:10]):
            task_create(path)
        nothing_of_it(before)


def mount(kind="bind", source="/no/such/source", target="", options=("bind",)):
    return message((1, kind), (2, source), (3, target), *[(4, o) for o in options])


@pytest.mark.parametrize("mounts,code,text", [
    ([mount()], NOT_FOUND, "/no/such/source"),
    ([mount("nosuchfs", "x", options=())], None, "nosuchfs"),
    ([mount(target="etc")], UNIMPLEMENTED, "rootfs[0].target"),
    ([mount("tmpfs", "x", options=["nosuchoption=1"])], INVALID, "tmpfs"),
    ([mount(source="/run")] * 1000, INVALID, "rootfs"),
    ([mount(source="/run", options=["ro"] * 100000)], INVALID, "rootfs[0].options"),
], ids=["absent-source", "unknown-type", "target", "unknown-option", "too-many", "too-many-options"])
def test_task_create_bad_rootfs(node, bundle, mounts, code, text):
    before = census()
    try:
        task_create(bundle[0], rootfs=mounts)
        assert False, "not refused"
    except wire.Status as e:
        assert code is None or e.code == code, e
        assert text in e.text and "rootfs" in e.text, e
    nothing_of_it(before)


def killed_before_it_is_started(path, signal):
    """What a container's exit code is then; nothing is left of it."""
    before = census()
    name = message((1, "bad"))
    task_create(path, rootfs=[mount(source=str(path / "others"), options=["rbind"])])
    task("Kill", message((1, "bad"), (3, int(signal))))
    code = wire.parse(task("Wait", name))[1][0]
    with refused(PRECONDITION, "bad", "only a created container can be started"):
        task("Start", name)
    state = wire.parse(task("State", name))
    assert (state[2], state[9]) == ([str(path).encode()], [code])
    assert wire.parse(task("Delete", name))[2] == [code]
    nothing_of_it(before)
    return code


def test_task_killed_before_it_is_started(node, bundle):
    assert killed_before_it_is_started(bundle[0], SIGKILL) == 128 + SIGKILL


@pytest.mark.parametrize("url,code,text", [
    ("relative", INVALID, "stdout"),
    ("/run/../x", INVALID, "stdout"),
    ("/etc/hostname", PRECONDITION, "not a FIFO"),
    ("/run", PRECONDITION, "not a FIFO"),
    ("/no/such/fifo", NOT_FOUND, "/no/such/fifo"),
    ("ftp://somewhere", None, "ftp"),
    ("file://relative", INVALID, "stdout"),
    ("/" + "s" * 5000, INVALID, "stdout"),
], ids=["relative", "dots", "file", "directory", "absent", "scheme", "file-relative", "long"])
def test_task_create_bad_stdio(node, bundle, url, code, text):
    before = census()
    try:
        task_create(bundle[0], stdout=url)
        assert False, "not refused"
    except wire.Status as e:
        assert e.code == code if code else e.code in (INVALID, UNIMPLEMENTED), e
        assert text in e.text, e
    nothing_of_it(before)


def test_task_create_from_a_checkpoint(node, bundle):
    before = census()
    for field in ("checkpoint", "parent_checkpoint"):
        with refused(UNIMPLEMENTED, "checkpoint"):
            task_create(bundle[0], **{field: "/run/checkpoint"})
    nothing_of_it(before)


def test_task_created_twice(node, bundle, pod):
    container = programs.run(pod, *WAIT)
    before = census()
    with refused(EXISTS, container.id):
        task("Create", message((1, container.id), (2, str(bundle[0]))))
    assert census() == before
    assert answers(container)


def test_task_calls_in_the_wrong_order(node, pod):
    container = programs.run(pod, *WAIT)
    name = message((1, container.id))
    for method, text in (("Start", "running"), ("Delete", "kill it first"), ("Resume", "paused")):
        with refused(PRECONDITION, container.id, text):
            task(method, name)
    assert answers(container)
    task("Pause", name)
    with refused(PRECONDITION, container.id, "paused"):
        task("Pause", name)
    task("Resume", name)
    with refused(UNIMPLEMENTED, "Checkpoint"):
        task("Checkpoint", message((1, container.id), (2, "/run/x")))
    assert answers(container)


@pytest.mark.parametrize("signal", [0, 65, 4096, 0xFFFFFFFF])
def test_task_kill_with_no_signal(node, pod, signal):
    container = programs.run(pod, *WAIT)
    with refused(INVALID, "signal", str(signal)):
        task("Kill", message((1, container.id), (3, signal)))
    assert container.state() == "CONTAINER_RUNNING"


RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"


@pytest.mark.parametrize("resources", [None, any_of("some.Type", b"{}"), any_of(RESOURCES, b""), any_of(RESOURCES, b'{"memory":'),
                                       any_of(RESOURCES, b"[]"),
                                       any_of(RESOURCES, b"null"), any_of(RESOURCES, b"[" * 100000)],
                         ids=["none", "type", "empty", "cut", "array", "null", "deep"])
def test_task_update_broken_resources(node, pod, resources):
    container = programs.run(pod, *WAIT)
    with refused(INVALID, "resources"):
        task("Update", message((1, container.id), (2, resources)))
    assert answers(container)


@pytest.mark.parametrize("resources", [b'{"memory":5}', b'{"memory":{"limit":"much"}}'])
def test_task_update_with_other_types(node, pod, resources):
    """Refused before a runtime is asked: crun takes them, and changes nothing."""
    container = programs.run(pod, *WAIT)
    with refused(INVALID, "resources: memory"):
        task("Update", message((1, container.id), (2, any_of(RESOURCES, resources))))
    assert answers(container)


PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
ARGS = json.dumps({"args": programs.leave(0), "cwd": "/", "user": {"uid": 0, "gid": 0}}).encode()


BAD_PROCESSES = {
    "none": (None, "spec"),
    "type": (any_of("some.Type", ARGS), "some.Type"),
    "empty": (any_of(PROCESS, b""), "spec"),
    "cut": (any_of(PROCESS, b'{"args":['), "spec"),
    "array": (any_of(PROCESS, b"[]"), "object"),
    "no-args": (any_of(PROCESS, b'{"cwd":"/"}'), "args"),
    "zero-args": (any_of(PROCESS, b'{"args":[],"cwd":"/"}'), "args"),
    "number": (any_of(PROCESS, b'{"args":[5],"cwd":"/"}'), "args"),
    "relative-cwd": (any_of(PROCESS, b'{"args":["true"],"cwd":"here"}'), "cwd"),
}


@pytest.mark.parametrize("what", BAD_PROCESSES)
def test_task_exec_bad_spec(node, pod, what):
    spec, text = BAD_PROCESSES[what]
    container = programs.run(pod, *WAIT)
    with refused(INVALID, text):
        task("Exec", message((1, container.id), (2, "x"), (7, spec)))
    with refused(NOT_FOUND, "x"):
        task("State", message((1, container.id), (2, "x")))


def test_task_exec_bad_order(node, pod):
    container = programs.run(pod, *WAIT)
    spec = any_of(PROCESS, ARGS)
    named = message((1, container.id), (2, "x"))
    for exec_id in BAD_IDS:
        with refused(INVALID, "exec_id"):
            task("Exec", message((1, container.id), (2, exec_id), (7, spec)))
    for method in ("Start", "Delete", "State", "Wait", "Kill", "ResizePty", "CloseIO"):
        with refused(NOT_FOUND, "x", container.id):
            task(method, named, timeout=5)
    with refused(INVALID, "stdout"):
        task("Exec", message((1, container.id), (2, "x"), (5, "relative"), (7, spec)))
    task("Exec", message((1, container.id), (2, "x"), (7, spec)))
    with refused(EXISTS, "x", container.id):
        task("Exec", message((1, container.id), (2, "x"), (7, spec)))
    with refused(INVALID, "all"):
        task("Kill", message((1, container.id), (2, "x"), (3, 9), (4, True)))
    task("Start", named)
    with refused(PRECONDITION, "x"):
        task("Start", named)
    task("Wait", named)
    task("Delete", named)
    with refused(NOT_FOUND, "x"):
        task("Delete", named)


def test_task_exec_into_a_container_that_ended(node, pod):
    container = programs.create(pod, *programs.leave(0))
    with wire.Ttrpc():
        container.start()
        assert container.wait_exit() == 0
    with refused(NOT_FOUND, container.id):
        task("Exec", message((1, container.id), (2, "x"), (7, any_of(PROCESS, ARGS))))


def test_end_of_a_sandbox_by_a_bad_name(node):
    for sandbox_id in BAD_IDS:
        with refused(INVALID, "sandbox_id"):
            task("End", message((1, sandbox_id)), service="kuasar.internal.v1.Pods")
    assert task("End", message((1, "nobody")), service="kuasar.internal.v1.Pods") == b"", "none were ended"


# ---- command line and configuration -------------------------------------------------------------

PROGRAMS = [SANDBOXER, TASK]


def start(program, directory, *argv):
    """Runs it, not for long, away from the daemons under test."""
    return run(program, "--dir", directory, "--listen", directory / "sock", *argv, check=False, timeout=20)


@pytest.mark.parametrize("program", PROGRAMS)
def test_command_line(program, tmp_path):
    for argv in (["--no-such-option"], ["-x"], ["--dir"], ["--version=1"], ["--help=1"]):
        result = run(program, *argv, check=False, timeout=10)
        assert result.returncode == 2, argv
        assert "usage: " + program in result.stderr.lower() and result.stdout == ""
    result = start(program, tmp_path, "stray")
    assert result.returncode == 2 and "stray" in result.stderr
    result = start(program, tmp_path, "--log-level", "loud")
    assert result.returncode == 2 and "--log-level" in result.stderr and "loud" in result.stderr
    for option in ("-v", "--version"):
        result = run(program, option, timeout=10)
        assert result.stdout.startswith("Version: ") and result.stderr == ""
    for option in ("-h", "--help"):
        result = run(program, option, timeout=10)
        assert result.stdout.lower().startswith("usage: " + program) and result.stderr == ""
    assert list(tmp_path.iterdir()) == [], "nothing was made"


@pytest.mark.parametrize("program", PROGRAMS)
def test_bad_directories(program, tmp_path):
    (tmp_path / "file").write_text("")
    for directory in ("relative", "/run/../run", ""):
        result = run(program, "--dir", directory, "--listen", tmp_path / "sock", check=False, timeout=10)
        assert result.returncode in (1, 2) and "--dir" in result.stderr, result.stderr
    result = run(program, "--dir", tmp_path / "file", "--listen", tmp_path / "sock", check=False, timeout=10)
    assert result.returncode == 1 and str(tmp_path / "file") in result.stderr


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("text,line,key", [
    ('\n\nno_such_key = "x"\n', 3, "no_such_key"),
    ("runtime = 5\n", 1, "runtime"),
    ('runtime = "runc"\n[other]\nfoo = "x"\n', 2, "other"),
    ('# comment\nruntime = "runc\n', 2, ""),
    ("runtime\n", 1, ""),
    ('runtime = "a"\nruntime = "b"\n', 2, "runtime"),
    ('default_unprivileged_ports = "yes"\n', 1, "default_unprivileged_ports"),
], ids=["unknown-key", "wrong-type", "unknown-table", "open-string", "no-value", "twice", "bool-as-text"])
def test_bad_configuration(program, tmp_path, text, line, key):
    config = tmp_path / f"{KIND}.toml"
    config.write_text(text)
    directory = tmp_path / "state"
    result = start(program, directory, "--config", config)
    assert result.returncode == 1, result.stderr
    assert f"{config}:{line}" in result.stderr and key in result.stderr, result.stderr
    assert not (directory / "sock").exists()


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("text,words", [
    ('sandboxer_metrics_address = "0.0.0.0:9464"\n', ["sandboxer_metrics_address", "127.0.0.1:PORT"]),
    ('task_metrics_address = "10.0.0.1:9464"\n', ["task_metrics_address", "127.0.0.1:PORT"]),
    ('task_metrics_address = "127.0.0.1"\n', ["task_metrics_address", "127.0.0.1:PORT"]),
    ('sandboxer_metrics_address = "[::1]:1"\ntask_metrics_address = "[::1]:1"\n', ["task_metrics_address", "port of its own"]),
], ids=["everywhere", "another", "no-port", "the-same"])
def test_metrics_only_on_loopback(program, tmp_path, text, words):
    config = tmp_path / f"{KIND}.toml"
    config.write_text(text)
    result = start(program, tmp_path / "state", "--config", config)
    assert result.returncode == 1 and all(word in result.stderr for word in [str(config), *words]), result.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_absent_configuration(program, tmp_path):
    for path in (tmp_path / "absent.toml", tmp_path):
        result = start(program, tmp_path / "state", "-c", path)
        assert result.returncode == 1 and str(path) in result.stderr, result.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_all_keys_are_known_to_both(program, tmp_path):
    """Both daemons read one file. (It ends at the state directory that is a file.)"""
    config, tools = tmp_path / f"{KIND}.toml", tmp_path / "tools"
    (tools / "container").mkdir(parents=True)
    config.write_text('runtime = "crun"\nengine = "wasmedge"\nruntime_root = "/run/x"\ncontainerd_events = "/run/y"\ndefault_unprivileged_ports = false\n'
                      'default_unprivileged_icmp = true\nsandboxer_metrics_address = "127.0.0.1:9464"\ntask_metrics_address = "[::1]:9464"\n'
                      f'debug_rootfs = "{tools}"\nwasmedge_plugins = true\n')
    (tmp_path / "file").write_text("")
    result = run(program, "--dir", tmp_path / "file", "--listen", tmp_path / "sock", "--config", config, check=False, timeout=10)
    assert result.returncode == 1 and str(tmp_path / "file") in result.stderr and config.name not in result.stderr, result.stderr

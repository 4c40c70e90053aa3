"""Fixtures: one node for the whole run, clean before and after every test."""

import contextlib
import os

import pytest

import node as kuasar
import wasm

ENGINES = ["wasmtime", "wasmedge"]


@pytest.fixture(scope="session")
def the_node():
    n = kuasar.Node()
    # ip makes /run/netns a mount of its own the first time it is used, and leaves it so; tests use it.
    kuasar.run("ip", "netns", "add", "first")
    kuasar.run("ip", "netns", "delete", "first")
    n.start_sandboxer()
    n.start_containerd()
    # Directories and cgroups that the first pod makes and that stay (containerd's, the CNI bridge's).
    n.pod().run("true").wait_exit()
    n.remove_pods()
    before = kuasar.census()
    fds = {name: kuasar.open_fds(pid) for name, pid in n.daemon_pids().items()}
    yield n
    n.remove_pods()
    n.pod().run("true").wait_exit()  # connections that a restarted containerd opens when it needs them
    n.remove_pods()
    # Nothing of the whole suite is left: no process, mount, cgroup, netns, state file, bundle or descriptor.
    kuasar.nothing_left(before)
    # Connections of streams that are over are closed a little later.
    with contextlib.suppress(AssertionError):
        kuasar.until(lambda: all(kuasar.open_fds(pid) <= fds[name] for name, pid in n.daemon_pids().items()), "descriptors", 5)
    after = {name: kuasar.open_fds(pid) for name, pid in n.daemon_pids().items()}
    assert all(after[name] <= fds[name] for name in fds), f"open descriptors before {fds}, after {after}"
    n.stop_containerd()
    n.end_daemons()
    n.close()


@pytest.fixture
def node(the_node):
    yield the_node
    the_node.revive()
    the_node.remove_pods()


@pytest.fixture
def pod(node):
    return node.pod()


# ---- the Wasm kind ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def image(the_node, tmp_path_factory):
    """Of modules (wasm.IMAGE); the path of one of them, the tool."""
    return wasm.load(tmp_path_factory.mktemp("wasm"))


@pytest.fixture(params=ENGINES)
def engine(request):
    return wasm.there(request.param)


# The engines themselves have no sanitizers.
@pytest.fixture(params=ENGINES[:1] if os.environ.get("KUASAR_PRESET") == "asan" else ENGINES)
def handler(request):
    """Of one engine and no other."""
    return f"kuasar-{wasm.there(request.param)}"


# ---- failures -----------------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of the daemons' logs."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for name in (f"{kuasar.SANDBOXER}.log", "containerd.log"):
            report.sections.append((name, kuasar.tail(kuasar.LOGS / name, 12)))

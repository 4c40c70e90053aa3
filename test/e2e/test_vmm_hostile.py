"""Virtual machines whose guest is an enemy (vmm/hostile.c): whatever it says or does, its pod fails with a reason, nobody else does, and nothing stays."""

import contextlib
import pathlib
import re
import stat

import pytest

import node as kuasar
from node import Failed, STATE, until

if kuasar.KIND != "vmm":
    pytest.skip("of virtual machines", allow_module_level=True)

HERE = pathlib.Path(__file__).resolve().parent
SLACK = 8 << 10  # KiB that a daemon may need more, at the worst


def entry(name, mode, data=b"", device=(0, 0)):
    """Of an initramfs: the format `newc` of cpio."""
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    kuasar.run("gcc", "-O1", "-static", "-o", folder / "init", HERE / "vmm/hostile.c", timeout=120)
    parts = [entry("dev", stat.S_IFDIR | 0o755), entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
             entry("init", stat.S_IFREG | 0o755, (folder / "init").read_bytes()), entry("TRAILER!!!", 0)]
    path = pathlib.Path("/var/lib/kuasar/hostile.img")  # which the monitor's user may read
    path.write_bytes(b"".join(parts))
    yield path
    path.unlink()


@contextlib.contextmanager
def hostile(node, image, how):
    """Machines are such from here on. Afterwards the daemons are the same processes, no larger, and a good machine works."""
    config = f'[hypervisor]\nkernel_params = "hostile={how}"\ninitrd_path = "{image}"\n[hypervisor.uml]\ninitrd_path = "{image}"\n'
    node.restart_daemons("--config", node.write(f"{how}.toml", config))
    pids = node.daemon_pids()
    before = kuasar.census()
    peaks = {name: kuasar.rss_kib(pid) for name, pid in pids.items() if kuasar.reset_peak_rss(pid)}
    fds = {name: kuasar.open_fds(pid) for name, pid in pids.items()}
    try:
        yield
        node.remove_pods()
        assert node.daemon.poll() is None and node.daemon_pids() == pids, "the same daemons"
        for name, rss in peaks.items():
            assert kuasar.peak_rss_kib(pids[name]) < rss + SLACK, name
        # containerd has connected meanwhile, by two for calls and one for events at most.
        until(lambda: all(kuasar.open_fds(pid) <= fds[name] + 3 for name, pid in pids.items()), "no descriptor is left", 10)
        kuasar.nothing_left(before)
    finally:
        node.remove_pods()
        node.restart_daemons()
    assert machine(node).run("sh", "-c", "exit 5").wait_exit() == 5


def machine(node):
    return node.pod(annotations={"io.kuasar.vmm": "uml"})


@pytest.mark.parametrize("how", ["dead", "silent", "loud", "garbage", "huge", "closed", "never"])
def test_a_guest_without_an_agent_is_no_pod(node, image, how):
    with hostile(node, image, how):
        with pytest.raises(Failed) as e:
            machine(node)
        assert re.search("guest|virtual machine", e.value.err), e.value.err
        assert len(e.value.err) < 8000 and "\x1b" not in e.value.err


@pytest.mark.parametrize("how", ["mute", "junk", "yes", "twice", "strangers", "refuse", "flood", "eager"])
def test_an_agent_that_is_an_enemy_hurts_its_pod_alone(node, image, how):
    with hostile(node, image, how):
        pod = machine(node)
        container = pod.create("sleep", "1000")
        with contextlib.suppress(Failed):
            container.start()
        until(lambda: pod.state() == "SANDBOX_NOTREADY" or container.state() != "CONTAINER_RUNNING" or how == "yes", "nothing runs", 40)
        pod.remove()
        assert not list(STATE.glob(f"sandboxes/{pod.id}"))


def console(pod):
    return (kuasar.of_space(STATE / f"sandboxes/{pod.id}/vm/console.log")).read_text(errors="replace")


def test_a_guest_finds_one_port_of_the_host(node, image):
    """Where it says that it is ready."""
    with hostile(node, image, "ports"):
        pod = machine(node)
        said = re.findall(r"hostile: (port \d+|\d+ ports)", console(pod))
        assert said == ["port 1025", "1 ports"]


def test_a_guest_changes_no_file_but_its_own(node, image):
    canary = pathlib.Path("/etc/kuasar-canary")
    canary.write_text("as it was\n")
    try:
        with hostile(node, image, "files"):
            pod = machine(node)
            said = dict(re.findall(r"hostile: ([a-z-]+): (.*)", console(pod)))
            files, kib = (int(re.search(rf"hostile: (\d+) {what}", console(pod))[1]) for what in ("files", "KiB"))
            for what in ("mkdir", "rename", "rmdir"):
                assert said[what] in ("Read-only file system", "Device or resource busy", "Permission denied", "Operation not permitted"), (what, said)
            assert said["device"] != "done" and files < 20 and kib < 4096, said
            shared = kuasar.of_space(STATE / f"sandboxes/{pod.id}/shared")
            assert {p.name for p in shared.iterdir()} == {"etc"}
            for path in (shared / "etc").iterdir():
                assert not path.lstat().st_mode & 0o6000 or "nosuid" in kuasar.in_space("findmnt", "-no", "OPTIONS", "-T", path).stdout, path
        assert canary.read_text() == "as it was\n"
    finally:
        canary.unlink()

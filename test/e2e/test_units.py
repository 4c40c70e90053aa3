"""What an init system has of the daemons: the units that are installed, and the word that one is ready."""

import configparser
import os
import pathlib
import re
import subprocess
import tempfile

import pytest

import node as kuasar
from node import KIND, SANDBOXER, TASK, until

UNITS = pathlib.Path("/usr/local/lib/systemd/system")
PROGRAMS = {f"kuasar-{KIND}.service": SANDBOXER, f"kuasar-{KIND}-task.service": TASK}


@pytest.mark.parametrize("unit", PROGRAMS)
def test_a_unit(unit):
    text = configparser.ConfigParser(strict=False, interpolation=None)
    text.optionxform = str
    text.read(UNITS / unit)
    service = text["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"] == f"/usr/local/bin/{PROGRAMS[unit]}" and os.access(service["ExecStart"], os.X_OK)
    # Pods outlive their daemons.
    assert service["KillMode"] == "process" and service["Delegate"] == "yes" and service["Restart"] == "always"
    assert "RuntimeDirectory" not in service or service["RuntimeDirectoryPreserve"] == "yes"
    # What would give a daemon mounts of its own, or forbid containers what it may not do.
    forbidden = [key for key in service if re.match("Private|Protect|ReadOnly|Inaccessible|SystemCall|NoNewPrivileges|Restrict|Capability", key)]
    assert not forbidden
    assert text["Unit"]["Documentation"] == f"man:{PROGRAMS[unit]}(8)"
    assert (pathlib.Path("/usr/local/share/man/man8") / f"{PROGRAMS[unit]}.8").exists()


def test_systemd_has_nothing_to_say_of_them():
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", *(str(UNITS / unit) for unit in PROGRAMS)], capture_output=True, text=True,
                            timeout=60, env=os.environ | {"SYSTEMD_LOG_TARGET": "console"})
    # Of the units there is only what the node has installed.
    said = [line for line in result.stderr.splitlines() if "kuasar-" in line]
    assert result.returncode == 0 and not said, result.stderr


def children_of(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("program", [SANDBOXER, TASK])
def test_ready_is_said_when_it_listens(program):
    """Not before: who waits for it calls at once."""
    with tempfile.TemporaryDirectory() as directory:
        trace = pathlib.Path(directory, "trace")
        state = pathlib.Path(directory, "state")
        state.mkdir(mode=0o700)
        before = set(kuasar.pids_of(TASK))
        daemon = subprocess.Popen(
            ["strace", "-qq", "-s", "100", "-e", "trace=listen,sendto,sendmsg", "-o", trace, program, "--dir", state,
             "--listen", state / "daemon.sock"],
            env=os.environ | {"NOTIFY_SOCKET": "@kuasar-test-notify", "ASAN_OPTIONS": "detect_leaks=0"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: trace.exists() and "READY=1" in trace.read_text(), "it says that it is ready")
            assert state.stat().st_mode & 0o777 == 0o711, "containers with users of their own get through it"
        finally:
            for pid in [child for child in children_of(daemon.pid) if kuasar.processes().get(child, "").startswith(program)]:
                os.kill(pid, 15)
            daemon.wait(timeout=20)
            started = set(kuasar.pids_of(TASK)) - before
            for pid in started:  # a sandboxer's task server
                os.kill(pid, 15)
            until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in started), "its task server ends")
            kuasar.run("umount", "-R", state)  # the mount namespace stays
        lines = trace.read_text().splitlines()
        ready = next(i for i, line in enumerate(lines) if "READY=1" in line)
        listens = [i for i, line in enumerate(lines) if line.startswith("listen(")]
        assert listens and max(listens) < ready, lines

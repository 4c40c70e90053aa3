"""What containerd publishes, as `ctr events` shows it."""

import contextlib
import pathlib
import re
import subprocess

from node import run, until


@contextlib.contextmanager
def watched(directory):
    """Yields a function: the topics of a container's events, in their order, since containerd began to show them."""
    shown = pathlib.Path(directory) / "events"
    with open(shown, "w") as out:
        watcher = subprocess.Popen(["ctr", "events"], stdout=out)
    try:
        label = ["ctr", "namespaces", "label", "k8s.io", "watched=1"]
        until(lambda: run(*label) and "/namespaces/update" in shown.read_text(), "events are shown")
        yield lambda container: [match.group() for line in shown.read_text().splitlines()
                                 if container.id in line and (match := re.search(r"/tasks/[a-z-]+", line))]
    finally:
        watcher.terminate()
        watcher.wait()

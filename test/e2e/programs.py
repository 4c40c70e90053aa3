"""What tests of all kinds run in a container: programs that do the same, made as the kind under test has them.
(A pod of any kind runs native programs, too: Pod.run by itself.)"""

import functools
import itertools
import pathlib
import tempfile
import threading

import node as kuasar
import wasm

if kuasar.KIND == "wasm":
    WAIT = ["/tool.wasm", "wait", "3600"]
    HANDLERS = itertools.cycle([f"kuasar-{engine}" for engine in wasm.engines()])  # of every engine, for pods one after the other

    def leave(code):
        return ["/tool.wasm", "exit", str(code)]
else:
    WAIT = ["sh", "-c", "while :; do sleep 1; done"]
    HANDLERS = itertools.repeat(kuasar.HANDLER)

    def leave(code):
        return ["/bin/sh", "-c", f"exit {code}"]  # an exec may have no PATH

lock = threading.Lock()


@functools.cache
def load_modules():
    with tempfile.TemporaryDirectory() as directory:
        wasm.load(pathlib.Path(directory))


def image():
    """Name of the image that has them."""
    if kuasar.KIND != "wasm":
        return kuasar.IMAGE
    with lock:
        load_modules()
    return wasm.IMAGE


def create(pod, *command, **fields):
    return pod.create(*command, image=image(), **fields)


def run(pod, *command, **fields):
    return create(pod, *command, **fields).start()


def answers(container):
    """Whether an exec works in it."""
    if kuasar.KIND == "wasm":
        return container.exec(*leave(0)).stdout.startswith("to stdout\n")
    return container.exec("echo", "unhurt").stdout == "unhurt\n"

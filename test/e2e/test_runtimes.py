"""Which OCI runtime runs a container: our configuration's, or the one that containerd's options name."""

import pathlib

import pytest

import node as kuasar

LOOP = ["sh", "-c", "while :; do sleep 1; done"]


def use(container, name):
    """The container works, and its state is the named runtime's (crun writes `status`, runc `state.json`)."""
    assert container.exec("echo", "hello").stdout == "hello\n"
    assert kuasar.exit_code(container.exec("sh", "-c", "exit 3", check=False)) == 3
    files = {p.name for p in pathlib.Path("/run").glob(f"**/k8s.io/{container.id}/*") if "runtime" in str(p)}
    assert ("status" in files) == (name == "crun") and ("state.json" in files) == (name == "runc"), files
    container.stop(grace=0)
    assert container.status()["exitCode"] == 137


def test_runc_is_the_default(node):
    use(node.pod().run(*LOOP), "runc")


def test_crun_by_our_configuration(node):
    config = node.write("crun.toml", 'runtime = "crun"\n')
    node.restart_daemons("--config", config)
    try:
        pod = node.pod()
        use(pod.run(*LOOP), "crun")
        assert pod.run("sh", "-c", "exit 7").wait_exit() == 7
        scored = pod.run(*LOOP, linux={"resources": {"oom_score_adj": 500}})
        assert scored.exec("cat", "/proc/self/oom_score_adj").stdout == "500\n"
        failed = pod.create("/does/not/exist")
        with pytest.raises(kuasar.Failed, match="/does/not/exist"):
            failed.start()
    finally:
        node.restart_daemons()


@pytest.mark.skipif(kuasar.CONTAINERD.startswith("2.1"), reason="containerd 2.1 refuses an options table of a foreign runtime type")
def test_crun_by_containerds_options(node):
    with node.handler("kuasar-crun", '  BinaryName = "/usr/bin/crun"') as handler:
        use(node.pod(handler=handler).run(*LOOP), "crun")
        use(node.pod().run(*LOOP), "runc")


def test_a_runtime_sees_no_other_pods(node):
    """What pods have mounted slows neither the host's programs down nor a runtime: both read the mount table."""
    seen = node.dir / "seen"
    runtime = pathlib.Path(node.write("runtime", f"""#!/bin/sh
        for word; do case $word in create|exec) break ;; esac; done
        grep {kuasar.STATE}/ /proc/self/mountinfo >{seen}.$word
        exec runc "$@"
        """))
    runtime.chmod(0o755)
    node.restart_daemons("--config", node.write("seen.toml", f'runtime = "{runtime}"\n'))
    try:
        node.pod().run(*LOOP)
        pod = node.pod()
        container = pod.run(*LOOP)
        container.exec("true")
        told = {verb: {line.split()[4] for line in pathlib.Path(f"{seen}.{verb}").read_text().splitlines()} - {str(kuasar.SPACE)}
                for verb in ("create", "exec")}
        ours = {m for m in kuasar.mounts() if pod.id in m or container.id in m}
        assert len(ours) > 2 and told["create"] - ours == {f"{kuasar.STATE}/sandboxes/{pod.id}"} and not ours - told["create"]
        assert not told["exec"]
        assert not [m for m in kuasar.host_mounts() if pod.id in m or container.id in m]
    finally:
        node.restart_daemons()

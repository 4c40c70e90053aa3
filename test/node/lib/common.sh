# shellcheck shell=bash
# What the verbs of test/node/node share: names of places, messages, the recipe's key.

NODE_SUITE=forky
NODE_CACHE=${KUASAR_NODE_CACHE:-/var/cache/kuasar-node}
# shellcheck disable=SC2034  # for run.sh
NODE_RUNS=${KUASAR_NODE_RUNS:-$NODE_CACHE/runs}
# The files that decide what the root contains. Nothing else may be read while a root is built.
NODE_RECIPE=(packages images pause.c setuid.c lib/build.sh lib/stage.sh tools/containerd/go.mod tools/containerd/go.sum
    tools/containerd/nri-log/main.go tools/cri/go.mod tools/cri/go.sum tools/wasmtime/Cargo.toml tools/wasmtime/requirements.txt)

say() { printf 'node: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

need_root() { ((EUID == 0)) || die "'node $1' makes mounts and namespaces: run it as root"; }

# recipe_key: sixteen hex digits that change with any recipe file, the suite or the architecture.
recipe_key() {
    local sums
    sums=$(cd "$NODE_DIR" && sha256sum -- "${NODE_RECIPE[@]}") || return
    sums=$(printf '%s\n%s\n%s\n' "$sums" "$NODE_SUITE" "$(uname -m)" | sha256sum)
    printf '%s\n' "${sums:0:16}"
}

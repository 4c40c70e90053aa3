#!/bin/bash
# The steps of a build that run inside the unfinished root: stage.sh STEP.
# /mnt/recipe is test/node (read-only), /mnt/downloads survives from build to build; both are mounts
# and leave nothing in the root.
set -euo pipefail

wanted() { sed 's/#.*//' /mnt/recipe/packages | xargs; }

download() {
    local list
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # no package may start its daemon
    chmod 0755 /usr/sbin/policy-rc.d
    printf 'force-unsafe-io\n' >/etc/dpkg/dpkg.cfg.d/node # a root that is not complete is thrown away
    printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' \
        >/etc/dpkg/dpkg.cfg.d/node-thin
    cat >/etc/apt/apt.conf.d/node <<'CONF'
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
# A mirror that stands still still has good signatures; a disposable root wants it rather than nothing.
Acquire::Check-Valid-Until "false";
Binary::apt::APT::Keep-Downloaded-Packages "true";
APT::Keep-Downloaded-Packages "true";
CONF
    sed 's/^deb /deb-src /' /etc/apt/sources.list >/etc/apt/sources.list.d/source.list
    apt-get update -q
    read -ra list <<<"$(wanted)"
    apt-get install -q -y --download-only "${list[@]}"
}

packages() {
    local list
    read -ra list <<<"$(wanted)"
    apt-get install -q -y "${list[@]}"
}

go_env() {
    export GOMODCACHE=/mnt/downloads/go-mod GOCACHE=/mnt/downloads/go-build GOPATH=/tmp/go
    export GOFLAGS='-modcacherw -mod=readonly -trimpath -buildvcs=false' CGO_ENABLED=1
    export SSL_CERT_FILE=/mnt/host-ca.crt # the host's proxy may have a certificate of its own
    # A copy, so that the recipe is never written to.
    cp -r "/mnt/recipe/tools/$1" "$TMPDIR/go-$1"
    cd "$TMPDIR/go-$1"
}

containerd() {
    local version=v2.3.4 bin=/opt/containerd-2.3.4/bin program
    go_env containerd
    mkdir -p "$bin"
    for program in containerd ctr containerd-shim-runc-v2; do
        go build -o "$bin/$program" \
            -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$version" \
            "github.com/containerd/containerd/v2/cmd/$program"
    done
    "$bin/containerd" --version
    mkdir -p /opt/nri/bin
    go build -o /opt/nri/bin/nri-log -ldflags '-s -w' ./nri-log # a plugin for it
}

# The busybox of the images, Debian's source in busybox's default configuration: Debian's static one lacks applets, and its
# shell runs them without looking for their files. Kept beside the downloads, it takes minutes.
busybox() {
    local dsc kept bin=/opt/busybox/bin line='if (!iflag || g_parsefile->pf_fd > 0)'
    mkdir -p /mnt/downloads/source "$bin"
    cd /mnt/downloads/source
    dsc=$(apt-get source -q --print-uris busybox | grep -o 'busybox_[^ /]*\.dsc' | tail -n 1)
    kept=${dsc%.dsc}-$(uname -m)-$(declare -f busybox | sha256sum | cut -c-16) # another recipe is another busybox
    if [[ ! -e $kept ]]; then
        apt-get source -q --download-only busybox # apt checks the files, dpkg-source need not
        export KCONFIG_NOTIMESTAMP=1 SOURCE_DATE_EPOCH=0 # the same bytes from the same source
        dpkg-source --no-check -x "$dsc" "$TMPDIR/busybox"
        # critest compares a complaint of the shell word by word: since 1.38 it says 'line 0' where it knows no line.
        grep -qF "$line" "$TMPDIR/busybox/shell/ash.c"
        sed -i "s/$line/if (commandname \&\& (!iflag || g_parsefile->pf_fd > 0))/" "$TMPDIR/busybox/shell/ash.c"
        make -s -C "$TMPDIR/busybox" defconfig
        sed -i 's/^# CONFIG_STATIC is not set/CONFIG_STATIC=y/' "$TMPDIR/busybox/.config"
        make -s -C "$TMPDIR/busybox" -j "$(nproc)" busybox
        cp "$TMPDIR/busybox/busybox" "$kept.new"
        mv "$kept.new" "$kept"
    fi
    cp "$kept" "$bin/busybox"
    "$bin/busybox" --list | wc -l
}

# The C API of a WebAssembly engine, in /opt/wasmtime: the headers from its crate, of which nothing is compiled, the library
# from its package for Python.
wasmtime() {
    local version to=/opt/wasmtime
    export CARGO_HOME=/mnt/downloads/cargo CARGO_HTTP_CAINFO=/mnt/host-ca.crt PIP_CERT=/mnt/host-ca.crt
    cp -r /mnt/recipe/tools/wasmtime "$TMPDIR/wasmtime"
    cd "$TMPDIR/wasmtime"
    version=$(sed -n 's/^wasmtime==\([^ ]*\).*/\1/p' requirements.txt)
    cargo fetch -q --target "$(uname -m)-unknown-linux-gnu"
    pip download -q --no-deps --only-binary=:all: --require-hashes -d /mnt/downloads/pip -r requirements.txt
    mkdir -p "$to/include" "$to/lib" wheel
    cp -r "$CARGO_HOME"/registry/src/*/"wasmtime-c-api-impl-$version"/include/. "$to/include"
    # What the library was built with: everything.
    sed '/DISABLE_LOGGING/d; s/^#cmakedefine /#define /' "$to/include/wasmtime/conf.h.in" >"$to/include/wasmtime/conf.h"
    python3 -m zipfile -e /mnt/downloads/pip/"wasmtime-$version"-*"$(uname -m)".whl wheel
    cp "wheel/wasmtime/linux-$(uname -m)/_libwasmtime.so" "$to/lib/libwasmtime.so"
    grep -F "#define WASMTIME_VERSION \"$version\"" "$to/include/wasmtime.h"
}

# The oldest WasmEdge that its module builds with, that of Debian 13, in /opt/wasmedge-0.14: nothing of it is installed.
old_wasmedge() {
    local options=(-o "Dir::Etc::sourcelist=$TMPDIR/old.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$TMPDIR/old-lists" -o Dir::State::status=/dev/null)
    mkdir -p "$TMPDIR/old-lists" "$TMPDIR/old"
    sed -E 's/^(deb( \[[^]]*\])? [^ ]+) [^ ]+ /\1 trixie /' /etc/apt/sources.list >"$TMPDIR/old.list"
    cd "$TMPDIR/old"
    apt-get "${options[@]}" update -q
    apt-get "${options[@]}" download -q libwasmedge-dev libwasmedge0
    for package in *.deb; do dpkg-deb -x "$package" /opt/wasmedge-0.14; done
    grep 'WASMEDGE_VERSION_MINOR 14' /opt/wasmedge-0.14/usr/include/wasmedge/version.h
}

images() {
    local name
    for name in pause setuid; do
        gcc -Os -static -s -Wall -Wextra -Werror -o "$TMPDIR/$name" "/mnt/recipe/$name.c"
    done
    mkdir -p /opt/images /opt/registry
    python3 /mnt/recipe/images --busybox /opt/busybox/bin/busybox \
        --pause "$TMPDIR/pause" --setuid "$TMPDIR/setuid" --nginx /usr/sbin/nginx --out /opt/images --registry /opt/registry
}

cri() {
    local version=v1.36.0 bin=/opt/cri-tools/bin source=$TMPDIR/cri-tools digest
    go_env cri
    mkdir -p "$bin"
    # One image is named in critest's source by the digest of its content. Ours has another: that name is the one
    # change to the source.
    go mod download sigs.k8s.io/cri-tools # `go list` knows the directory of what is there only
    cp -r "$(go list -m -f '{{.Dir}}' sigs.k8s.io/cri-tools)" "$source"
    digest=$(jq -er '.manifests[] | select(.annotations[] == "k8s-staging-cri-tools/test-image-digest").digest' /opt/registry/index.json)
    grep -qE '"test-image-digest@sha256:[0-9a-f]{64}"' "$source/pkg/validate/consts.go"
    sed -i -E "s/\"(test-image-digest)@sha256:[0-9a-f]{64}\"/\"\1@$digest\"/" "$source/pkg/validate/consts.go"
    go mod edit -replace "sigs.k8s.io/cri-tools=$source"
    go build -o "$bin/crictl" \
        -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$version" sigs.k8s.io/cri-tools/cmd/crictl
    go test -c -o "$bin/critest" \
        -ldflags "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$version" sigs.k8s.io/cri-tools/cmd/critest
    "$bin/crictl" --version
    "$bin/critest" --version
}

tidy() {
    # Where the CNI plugins are looked for by default.
    mkdir -p /opt/cni /src /out /var/lib/containerd /var/lib/kuasar /etc/containerd/conf.d /etc/cni/net.d
    ln -s /usr/lib/cni /opt/cni/bin
    ln -sf ../proc/self/mounts /etc/mtab
    rm -f /etc/cni/net.d/* /etc/containerd/config.toml
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/*.log /root/.cache
    printf 'kuasar-node\n' >/etc/hostname
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 kuasar-node\n' >/etc/hosts
    local program
    for program in containerd runc crun crictl critest tini gcc clang cmake wasm-ld; do
        PATH=/opt/cri-tools/bin:$PATH command -v "$program"
    done
}

"$1"

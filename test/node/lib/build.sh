# shellcheck shell=bash
# node build: make the cached root, once per recipe.

# step TEXT CMD...: run one step of the build: one line with the elapsed seconds, details in the log.
step() {
    local text=$1
    shift
    say "$(printf '[%4ds] %s' $((SECONDS - build_t0)) "$text")"
    printf '=== %s\n' "$text" >>"$build_log"
    if ! "$@" >>"$build_log" 2>&1 </dev/null; then
        tail -n 15 -- "$build_log" >&2
        die "build failed at '$text'; the whole log: $build_log"
    fi
}

# host_packages: what the host itself needs, by package name, only what is missing.
host_packages() {
    local missing=()
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || missing+=(ca-certificates)
    ((${#missing[@]})) || return 0
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# debian_mirror: the Debian mirror that the host's own apt uses; nothing where there is none, and
# debootstrap then takes its default.
debian_mirror() {
    if [[ -n ${KUASAR_NODE_MIRROR:-} ]]; then
        printf '%s\n' "$KUASAR_NODE_MIRROR"
        return
    fi
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed 's/#.*//' | tr -s '[:space:]' '\n' | grep -E '^https?://.*/debian/?$' | head -n 1 || true
}

# apt_proxy: hand the host's apt proxy to debootstrap and to the apt inside.
apt_proxy() {
    local proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null || true)"
    [[ -z $proxy || -n ${http_proxy:-} ]] || export http_proxy=$proxy
}

bootstrap() {
    local root=$1 mirror script=/usr/share/debootstrap/scripts/sid
    mirror=$(debian_mirror)
    mkdir -p -- "$NODE_CACHE/downloads/debootstrap"
    # In namespaces of its own, as every step: it mounts things and has children that outlive it.
    setpriv --pdeathsig KILL unshare --mount --pid --mount-proc --fork --kill-child \
        debootstrap --variant=minbase --cache-dir="$NODE_CACHE/downloads/debootstrap" \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        "$NODE_SUITE" "$root" "$mirror" "$script"
}

# in_stage ROOT SCRIPT OUT [ARG...] (with OUT the first ARG is a folder that is shown as /mnt/in): run a script inside a root, in mount and pid namespaces of its own, so that a killed build
# leaves neither mounts nor processes. OUT empty: the root is unfinished, and the script makes it. Else the root is only
# read, and the script sees the folder OUT as /mnt/out.
in_stage() {
    local root=$1 script=$2 out=$3 downloads=$NODE_CACHE/downloads
    shift 3
    mkdir -p -- "$downloads/apt/partial" "$downloads/go-mod" "$downloads/go-build"
    # The parent dies with us: setpriv before unshare, --kill-child behind it.
    # shellcheck disable=SC2016  # expanded by the inner shell
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child bash -euc '
        root=$1 script=$2 out=$3 downloads=$4 recipe=$5
        shift 5
        if [[ $out ]]; then
            mkdir "$out.d" "$out.d/upper" "$out.d/work" "$out.d/root"
            mount -t overlay -o "lowerdir=$root,upperdir=$out.d/upper,workdir=$out.d/work" overlay "$out.d/root"
            root=$out.d/root
        else
            mount --bind -- "$root" "$root"
        fi
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=0755 dev "$root/dev"
        mknod -m 666 "$root/dev/null" c 1 3
        mknod -m 666 "$root/dev/zero" c 1 5
        mknod -m 666 "$root/dev/random" c 1 8
        mknod -m 666 "$root/dev/urandom" c 1 9
        ln -s /proc/self/fd "$root/dev/fd"
        mount -t tmpfs tmp "$root/tmp"
        mount -t tmpfs mnt "$root/mnt"
        mkdir "$root/mnt/downloads" "$root/mnt/recipe" "$root/mnt/out" "$root/mnt/tmp"
        mount --bind -- "$downloads" "$root/mnt/downloads"
        mount --bind -o ro -- "$recipe" "$root/mnt/recipe"
        cp -- "$script" "$root/mnt/script"
        mount --bind -- "$downloads/apt" "$root/var/cache/apt/archives"
        cp -L -- /etc/resolv.conf "$root/mnt/resolv.conf"
        [[ -e $root/etc/resolv.conf ]] || touch "$root/etc/resolv.conf"
        mount --bind -- "$root/mnt/resolv.conf" "$root/etc/resolv.conf"
        cp -L -- /etc/ssl/certs/ca-certificates.crt "$root/mnt/host-ca.crt"
        if [[ $out ]]; then
            mount --bind -- "$out" "$root/mnt/out"
            mkdir "$root/mnt/in"
            mount --bind -o ro -- "$1" "$root/mnt/in"
            shift
        fi
        pass=()
        for v in GOPROXY GOSUMDB GONOSUMDB GOPRIVATE http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
            if [[ -n ${!v:-} ]]; then pass+=("$v=${!v}"); fi
        done
        exec chroot "$root" /usr/bin/env -i "${pass[@]}" HOME=/tmp LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/mnt/tmp \
            bash /mnt/script "$@"
    ' in_stage "$root" "$script" "$out" "$downloads" "$NODE_DIR" "$@"
}

# stage ROOT NAME: a step of lib/stage.sh in an unfinished root.
stage() { in_stage "$1" "$NODE_DIR/lib/stage.sh" '' "$2"; }

# where: print the path of a complete root; 1 if there is none.
where() {
    local root
    root=$NODE_CACHE/$(recipe_key)/root
    [[ -e $root ]] && printf '%s\n' "$root"
}

# lock_builds NAME: one build of this kind at a time, until the caller closes $build_lock. Under the lock every temporary
# directory NAME.tmp.* is a dead build's: they are removed.
lock_builds() {
    exec {build_lock}>"$NODE_CACHE/$1.lock"
    if ! flock -n "$build_lock"; then
        say "another build is running; waiting for it"
        flock "$build_lock"
    fi
    rm -rf --one-file-system -- "$NODE_CACHE/$1".tmp.*
}

# build_root: print the path of a complete root, making it first where there is none.
build_root() {
    local key dir tmp build_lock build_log build_t0=$SECONDS
    key=$(recipe_key)
    dir=$NODE_CACHE/$key
    if [[ -e $dir/root ]]; then
        printf '%s\n' "$dir/root"
        return
    fi
    need_root build
    mkdir -p -- "$NODE_CACHE"
    lock_builds build
    if [[ -e $dir/root ]]; then # the other one made it
        exec {build_lock}>&-
        printf '%s\n' "$dir/root"
        return
    fi

    build_log=$NODE_CACHE/build-$key.log
    : >"$build_log"
    tmp=$(mktemp -d -- "$NODE_CACHE/build.tmp.XXXXXX")
    chmod 0755 -- "$tmp"
    say "building the root $key (a few minutes, once per recipe; log: $build_log)"
    step "install what the host lacks" host_packages
    apt_proxy
    step "debootstrap $NODE_SUITE" bootstrap "$tmp/root"
    step "download Debian packages" stage "$tmp/root" download
    step "install Debian packages" stage "$tmp/root" packages
    step "build containerd 2.3.4 (Go)" stage "$tmp/root" containerd
    step "build busybox" stage "$tmp/root" busybox
    step "unpack Wasmtime" stage "$tmp/root" wasmtime
    step "unpack an old WasmEdge" stage "$tmp/root" old_wasmedge
    step "make the images" stage "$tmp/root" images
    step "build crictl and critest (Go)" stage "$tmp/root" cri
    step "tidy" stage "$tmp/root" tidy
    mv -T -- "$tmp" "$dir"
    say "$(printf '[%4ds] done: %s' $((SECONDS - build_t0)) "$(du -sh -- "$dir" | cut -f1)")"
    exec {build_lock}>&-
    printf '%s\n' "$dir/root"
}

# build_extra SCRIPT [FILE...]: print the path of a folder with what SCRIPT puts into /mnt/out, making it first where there is none:
# what is made in a root, with its compilers and the network, but is no part of it, because few need it. SCRIPT finds copies of the
# FILEs in /mnt/in. A new root is no reason to make it anew.
build_extra() {
    local script root key dir tmp build_lock build_log build_t0=$SECONDS
    script=$(readlink -e -- "${1:-}") || die "extra: no script '${1:-}'"
    shift
    need_root extra
    root=$(build_root)
    key=$({ cat -- "$script" "$@" && printf '%s\n' "$NODE_SUITE" "$(uname -m)"; } | sha256sum)
    dir=$NODE_CACHE/${script##*/}-${key:0:16}
    lock_builds extra # it may take long: who needs a root alone does not wait for it
    if [[ ! -e $dir ]]; then
        build_log=$NODE_CACHE/build-${dir##*/}.log
        : >"$build_log"
        tmp=$(mktemp -d -- "$NODE_CACHE/extra.tmp.XXXXXX")
        chmod 0755 -- "$tmp"
        mkdir -- "$tmp.in"
        (($# == 0)) || cp -- "$@" "$tmp.in/"
        apt_proxy
        step "${script##*/} (once per recipe; log: $build_log)" in_stage "$root" "$script" "$tmp" "$tmp.in"
        rm -rf --one-file-system -- "$tmp.d" "$tmp.in"
        mv -T -- "$tmp" "$dir"
        say "$(printf '[%4ds] done: %s' $((SECONDS - build_t0)) "$(du -sh -- "$dir" | cut -f1)")"
    fi
    exec {build_lock}>&-
    printf '%s\n' "$dir"
}

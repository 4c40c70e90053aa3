# shellcheck shell=bash
# node run and node clean: disposable nodes, and the leftovers of dead ones.
#
# A run is a folder $NODE_RUNS/ID: 'lock' is held (flock) as long as its runner lives, 'cgroups' names its
# cgroups, 'disk/' is what must not be on overlayfs. Everything else lives in namespaces and dies with them.

usage_run() {
    cat >&2 <<'TEXT'
usage: node run [--kernel host|uml] [--time-limit SECONDS] [--install DIR] [--containerd 2.3.4|2.1]
                [--bind HOST:INSIDE[:ro]]... [--env K=V]... [--out DIR] [--] CMD [ARG...]
TEXT
    exit 2
}

# remove_run DIR: everything a dead run left. Called with the run's lock held or its owner's consent.
remove_run() {
    local dir=$1
    if [[ -e $dir/cgroups ]] && ! cgroup_remove "$dir/cgroups"; then
        say "cannot remove cgroups: $(xargs <"$dir/cgroups"); 'node clean' tries again"
        return 1
    fi
    rm -rf --one-file-system -- "$dir"
}

# sweep: remove the leftovers of dead runs. The caller holds the lock of $NODE_RUNS.
sweep() {
    local dir fd
    for dir in "$NODE_RUNS"/*/; do
        [[ -d $dir ]] || continue
        dir=${dir%/}
        exec {fd}>>"$dir/lock"
        if flock -n "$fd"; then remove_run "$dir" || true; fi
        exec {fd}>&-
    done
}

clean() {
    local fd kind build_lock
    [[ -d $NODE_RUNS || -d $NODE_CACHE ]] || return 0
    need_root clean
    mkdir -p -- "$NODE_RUNS"
    exec {fd}>"$NODE_RUNS/.lock"
    flock "$fd"
    sweep
    if [[ ${1:-} == --cache ]]; then
        [[ -z $(ls -- "$NODE_RUNS") ]] || die "nodes are running (or not removable) in $NODE_RUNS: the cache stays"
        for kind in build extra; do
            exec {build_lock}>"$NODE_CACHE/$kind.lock"
            flock -n "$build_lock" || die "a build is running: the cache stays"
        done
        rm -rf --one-file-system -- "$NODE_CACHE"
    fi
    exec {fd}>&-
}

# check_install DIR: a staged tree is laid over the root, so a folder in it where the root has a link
# (/lib, /bin: Debian merged them into /usr) would hide the whole system.
check_install() {
    local name
    [[ -d $1 ]] || die "--install: no folder $1"
    for name in bin sbin lib lib64; do
        if [[ -d $1/$name && ! -L $1/$name ]]; then
            die "--install: $1/$name would hide the node's own /$name; install with prefix /usr or /usr/local"
        fi
    done
}

# close_fds: nothing of the caller's but the three standard files gets into the node.
close_fds() {
    local fd
    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        ((fd <= 2)) || eval "exec $fd>&-"
    done
}

# setup RUN-DIR ROOT: runs in the new namespaces, with the host's programs; ends by becoming the node's pid 1.
setup() {
    local run_dir=$1 lower=$2 m=$1/mnt root=$1/mnt/root layers name spec mode at
    # run_dir is the host's; nothing we mount on it is seen outside.
    mount -t tmpfs -o mode=0755 node "$m"
    mkdir "$m/root" "$m/upper" "$m/work" "$m/base"
    mount --bind -- "$lower" "$m/base"
    layers=base
    if [[ -n $install ]]; then
        mkdir "$m/install"
        mount --bind -- "$install" "$m/install"
        layers=install:base
        # The topmost layer gives the root folder its owner and mode.
        chown 0:0 "$m/upper" && chmod 0755 "$m/upper"
    fi
    (cd "$m" && mount -t overlay -o "lowerdir=$layers,upperdir=upper,workdir=work" node root)

    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount -t sysfs -o nosuid,nodev,noexec sys "$root/sys"
    cgroup_mount "$root"

    mount -t tmpfs -o mode=0755,nosuid dev "$root/dev"
    for name in null zero full random urandom tty fuse kvm kmsg vsock vhost-vsock vhost-net net/tun; do
        [[ -c /dev/$name ]] || continue
        mkdir -p -- "$(dirname -- "$root/dev/$name")"
        cp -dR --preserve=mode,ownership -- "/dev/$name" "$root/dev/$name"
    done
    mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5,nosuid,noexec devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
    mount -t mqueue -o nosuid,nodev,noexec mqueue "$root/dev/mqueue"
    ln -s pts/ptmx "$root/dev/ptmx"
    for name in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
        ln -s "/proc/self/${name#*:}" "$root/dev/${name%%:*}"
    done

    mount -t tmpfs -o mode=0755,nosuid,nodev run "$root/run"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmp "$root/tmp"
    for name in containerd kuasar; do
        mkdir -p "$root/var/lib/$name"
        mount --bind -- "$disk/$name" "$root/var/lib/$name"
    done
    mkdir -p "$root/src"
    mount --bind -- "$checkout" "$root/src"
    mount -o remount,bind,ro "$root/src"
    for spec in "${binds[@]}"; do
        IFS=: read -r name at mode <<<"$spec"
        if [[ -d $name ]]; then
            mkdir -p -- "$root$at"
        else
            mkdir -p -- "$(dirname -- "$root$at")"
            [[ -e $root$at ]] || : >"$root$at"
        fi
        mount --bind -- "$name" "$root$at"
        [[ $mode != ro ]] || mount -o remount,bind,ro "$root$at"
    done

    # What may change without a new root.
    cp -rT -- "$NODE_DIR/etc" "$root/etc/kuasar-node"
    cp -- "$NODE_DIR/etc/crictl.yaml" "$root/etc/crictl.yaml"
    mkdir -p "$root/etc/cni/net.d" "$root/etc/containerd/conf.d"
    cp -- "$NODE_DIR"/etc/cni/* "$root/etc/cni/net.d/"
    # No network leaves the node: names fail at once instead of after a timeout.
    rm -f "$root/etc/resolv.conf"
    echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"

    hostname kuasar-node
    mkdir "$root/.host"
    cd "$root" || exit
    ./usr/bin/busybox pivot_root . .host # the host may have no pivot_root program
    # shellcheck disable=SC2016  # expanded by the inner shell
    exec /usr/sbin/chroot . /usr/bin/env -i "${env[@]}" /bin/bash -euc '
        umount -l /.host
        rmdir /.host
        mount --make-rshared /
        ip link set lo up
        echo 1 >/proc/sys/net/ipv4/ip_forward
        cd /src
        exec tini -- "$@"
    ' node "${cmd[@]}"
}

# kill_node PID: kill the node's pid 1, the child of unshare: unshare then reaps it, and nothing is left
# to the host's init. Before there is a child, unshare itself.
kill_node() {
    local child=''
    read -r child <"/proc/$1/task/$1/children" || true
    kill -KILL "${child:-$1}" || true
} 2>/dev/null

run() {
    local install='' version=2.3.4 kernel=host limit=3600 binds=() env=() cmd=()
    local checkout lower id run_dir disk path pid rc=0 signal='' fd lock name at mode cgroup_hierarchies
    while (($#)); do
        case $1 in
        --install | --containerd | --kernel | --time-limit | --bind | --env | --out)
            (($# >= 2)) || usage_run
            case $1 in
            --install) install=$(readlink -f -- "$2") ;;
            --containerd) version=$2 ;;
            --kernel) kernel=$2 ;;
            --time-limit) limit=$2 ;;
            --bind)
                IFS=: read -r name at mode <<<"$2"
                [[ -e $name && $at == /* && ($mode == '' || $mode == ro || $mode == rw) ]] ||
                    die "--bind $2: want HOST:INSIDE[:ro], HOST existing and INSIDE absolute"
                binds+=("$(readlink -f -- "$name"):$at:$mode")
                ;;
            --env)
                [[ $2 == ?*=* ]] || die "--env $2: want NAME=VALUE"
                env+=("$2")
                ;;
            --out)
                mkdir -p -- "$2"
                binds+=("$(readlink -f -- "$2"):/out:")
                ;;
            esac
            shift 2
            ;;
        --)
            shift
            break
            ;;
        -*) usage_run ;;
        *) break ;;
        esac
    done
    (($#)) || usage_run
    cmd=("$@")
    [[ $kernel == host || $kernel == uml ]] || die "--kernel $kernel: there are host and uml"
    [[ $limit =~ ^[1-9][0-9]{0,5}$ ]] || die "--time-limit $limit: want seconds"
    [[ $kernel == host ]] || cmd=(/src/test/node/lib/uml-boot "$limit" "${cmd[@]}")
    need_root run
    [[ -z $install ]] || check_install "$install"
    path=/opt/cri-tools/bin:/src/test/node/inside:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    case $version in
    2.3.4) path=/opt/containerd-2.3.4/bin:$path ;;
    2.1) ;;
    *) die "--containerd $version: there are 2.3.4 and 2.1" ;;
    esac
    env=("PATH=$path" HOME=/root LANG=C.UTF-8 "TERM=${TERM:-dumb}" "KUASAR_CONTAINERD=$version" "KUASAR_KERNEL=$kernel" "${env[@]}")
    checkout=$(readlink -f -- "$NODE_DIR/../..")
    lower=$(build_root)

    mkdir -p -- "$NODE_RUNS"
    exec {lock}>"$NODE_RUNS/.lock"
    flock "$lock"
    sweep
    run_dir=$(mktemp -d -- "$NODE_RUNS/XXXXXX")
    chmod 0711 -- "$run_dir"
    exec {fd}>"$run_dir/lock"
    flock "$fd"
    exec {lock}>&-

    id=kuasar-node-${run_dir##*/}
    mkdir -- "$run_dir/mnt"
    disk=$run_dir/disk
    mkdir -p -- "$disk/containerd" "$disk/kuasar"

    trap 'signal=INT' INT
    trap 'signal=TERM' TERM
    trap 'signal=HUP' HUP
    cgroup_create "$id" "$run_dir/cgroups"
    # In the background, or the traps would wait for the node's end; and there the shell ignores
    # SIGINT and SIGQUIT for its child and takes its standard input away: give both back.
    # setpriv: whatever kills this shell kills unshare, and --kill-child then the node's pid 1.
    # The waiting unshare stays outside the run's cgroups: on v2 no process may sit in their top.
    # unshare complains when that was killed: its own words are kept apart from the command's.
    (
        exec {fd}>&-
        trap - INT TERM HUP
        export -f setup close_fds cgroup_enter cgroup_mount cgroup_is_v2
        declare -p install binds env cmd checkout disk cgroup_hierarchies NODE_DIR >"$run_dir/settings"
        # shellcheck disable=SC2016  # expanded by the inner shell
        exec env --default-signal=INT,QUIT setpriv --pdeathsig KILL \
            unshare --mount --pid --net --uts --ipc --fork --kill-child \
            bash -euo pipefail -c 'exec 2>&3 3>&-; close_fds; cgroup_enter "$1/cgroups"
                exec unshare --cgroup bash -euo pipefail -c '\''. "$1/settings"; setup "$1" "$2"'\'' "$0" "$@"' \
            node-setup "$run_dir" "$lower" 3>&2 2>"$run_dir/unshare.err"
    ) <&0 &
    pid=$!
    while :; do
        rc=0
        wait "$pid" 2>/dev/null || rc=$?
        [[ -z $signal ]] || kill_node "$pid"
        kill -0 "$pid" 2>/dev/null || break
    done
    # From here on nothing may interrupt: it is short.
    trap '' INT TERM HUP
    [[ -n $signal || ! -s $run_dir/unshare.err ]] || cat -- "$run_dir/unshare.err" >&2
    remove_run "$run_dir" || rc=125
    exec {fd}>&-
    case $signal in
    INT) rc=130 ;;
    TERM) rc=143 ;;
    HUP) rc=129 ;;
    esac
    return "$rc"
}

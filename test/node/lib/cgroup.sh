# shellcheck shell=bash
# The cgroups of one run, on cgroup v1 (one child in every hierarchy) and on pure v2.

# cgroup_v1_mounts: one line 'CONTROLLERS MOUNTPOINT OWN-PATH' per v1 hierarchy of the host.
cgroup_v1_mounts() {
    local id controllers path point
    while IFS=: read -r id controllers path; do
        [[ $id != 0 && -n $controllers ]] || continue
        # A hierarchy's mount names its controllers among the super options, the last field.
        point=$(awk -v want="${controllers%%,*}" '
            / - cgroup / {
                n = split($NF, o, ",")
                for (i = 1; i <= n; i++) if (o[i] == want && $4 == "/") { print $5; exit }
            }' /proc/self/mountinfo)
        [[ -n $point ]] || continue
        printf '%s %s %s\n' "$controllers" "$point" "$path"
    done </proc/self/cgroup
}

cgroup_is_v2() { [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; }

# cgroup_create NAME LIST: make the run's cgroups and write their directories to the file LIST, each
# before it is made, so that a killed run's cgroups are known. Leaves the v1 hierarchies for cgroup_mount in
# the array cgroup_hierarchies: behind a cgroup namespace the host's mounts cannot be told from mountinfo.
cgroup_create() {
    local name=$1 list=$2 controllers point path dir file
    : >"$list"
    cgroup_hierarchies=()
    if cgroup_is_v2; then
        for file in $(</sys/fs/cgroup/cgroup.controllers); do
            echo "+$file" 2>/dev/null >/sys/fs/cgroup/cgroup.subtree_control || true
        done
        dir=/sys/fs/cgroup/$name
        printf '%s\n' "$dir" >>"$list"
        mkdir -- "$dir"
        return
    fi
    while read -r controllers point path; do
        dir=$point${path%/}
        # The cgroup we are in may be hidden here (we are in a container): start at what is visible.
        [[ -d $dir ]] || dir=$point
        dir=$dir/$name
        cgroup_hierarchies+=("$controllers ${point##*/}")
        printf '%s\n' "$dir" >>"$list"
        mkdir -- "$dir"
        if [[ ,$controllers, == *,cpuset,* ]]; then
            for file in cpuset.cpus cpuset.mems; do
                cat -- "${dir%/*}/$file" >"$dir/$file"
            done
        fi
    done < <(cgroup_v1_mounts)
}

# cgroup_enter LIST: move the calling shell into the run's cgroups.
cgroup_enter() {
    local dir
    while read -r dir; do
        echo 0 >"$dir/cgroup.procs" # the writer itself, whatever its pid namespace
    done <"$1"
}

# cgroup_remove LIST: kill what is left in the run's cgroups and remove them; fails where something stays.
cgroup_remove() {
    local dir try left pids
    [[ -s $1 ]] || return 0
    for try in {1..100}; do
        left=0
        while read -r dir; do
            [[ -d $dir ]] || continue
            # Frozen processes do not die.
            find "$dir" -depth -type d 2>/dev/null | while read -r sub; do
                if [[ -e $sub/freezer.state ]]; then echo THAWED >"$sub/freezer.state" || true; fi
                if [[ -e $sub/cgroup.freeze ]]; then echo 0 >"$sub/cgroup.freeze" || true; fi
                pids=$(cat -- "$sub/cgroup.procs" 2>/dev/null || true)
                # shellcheck disable=SC2086  # a list of numbers
                if [[ -n $pids ]]; then kill -KILL $pids || true; fi
                rmdir -- "$sub" || true
            done 2>/dev/null
            [[ ! -d $dir ]] || left=1
        done <"$1"
        ((left)) || return 0
        if ((try < 20)); then sleep 0.02; else sleep 0.1; fi
    done
    return 1
}

# cgroup_mount ROOT: inside the new namespaces, mount the node's view of its cgroups.
cgroup_mount() {
    local base=$1/sys/fs/cgroup hierarchy controllers point one
    if cgroup_is_v2; then
        mount -t cgroup2 cgroup2 "$base"
        # No process may sit in a cgroup that hands controllers down.
        mkdir "$base/init"
        echo 0 >"$base/init/cgroup.procs"
        for one in $(<"$base/cgroup.controllers"); do
            echo "+$one" 2>/dev/null >"$base/cgroup.subtree_control" || true
        done
        return
    fi
    # v1 alone: with a v2 mount beside it crun takes the node for a hybrid one and refuses.
    mount -t tmpfs -o mode=0755 cgroup "$base"
    for hierarchy in "${cgroup_hierarchies[@]}"; do
        read -r controllers point <<<"$hierarchy"
        mkdir "$base/$point"
        mount -t cgroup -o "$controllers" cgroup "$base/$point"
        for one in ${controllers//,/ }; do
            [[ $one == name=* || -e $base/$one ]] || ln -s "$point" "$base/$one"
        done
    done
}

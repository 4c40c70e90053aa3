#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "linux/userns.h"

// ---- namespaces ---------------------------------------------------------------------------------

struct join {
    const char *kind, *path;
    int flag, fd;
};

static int make_namespaces(const struct plan *p, struct error *err)
{
    if (unshare(p->new_ns & ~CLONE_NEWPID) < 0)
        return error_errno(err, errno, "linux.namespaces");
    if (!(p->new_ns & CLONE_NEWUTS))
        return 0;
    if (p->hostname && sethostname(p->hostname, strlen(p->hostname)) < 0)
        return error_errno(err, errno, "hostname");
    if (p->domainname && setdomainname(p->domainname, strlen(p->domainname)) < 0)
        return error_errno(err, errno, "domainname");
    return 0;
}

int enter_namespaces(const struct plan *p, struct error *err)
{
    // All are opened before one is joined: their paths are the host's.
    struct join joins[] = {
        {"ipc", p->ipc_ns, CLONE_NEWIPC, -1},
        {"uts", p->uts_ns, CLONE_NEWUTS, -1},
        {"net", p->net_ns, CLONE_NEWNET, -1},
        {"cgroup", p->cgroup_ns, CLONE_NEWCGROUP, -1},
    };
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(joins) && r == 0; i++) {
        if (!joins[i].path)
            continue;
        joins[i].fd = open(joins[i].path, O_RDONLY | O_CLOEXEC);
        if (joins[i].fd < 0)
            r = error_errno(err, errno, "the pod's %s namespace %s", joins[i].kind, joins[i].path);
    }
    for (size_t i = 0; i < ARRAY_SIZE(joins); i++) {
        if (joins[i].fd >= 0 && r == 0 && setns(joins[i].fd, joins[i].flag) < 0)
            r = error_errno(err, errno, "join the pod's %s namespace", joins[i].kind);
        close_fd(&joins[i].fd);
    }
    return r < 0 ? r : make_namespaces(p, err);
}

static void end_by_signal(int number)
{
    _exit(128 + number);
}

// What would end any other process does not end the first of a pid namespace (pid_namespaces(7)).
static int become_first(struct error *err)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM};
    struct sigaction end = {.sa_handler = end_by_signal};
    struct sigaction reap = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        if (sigaction(signals[i], &end, NULL) < 0)
            return error_errno(err, errno, "signal %d", signals[i]);
    }
    return sigaction(SIGCHLD, &reap, NULL) < 0 ? error_errno(err, errno, "SIGCHLD") : 0;
}

int enter_pids(const struct plan *p, struct error *err)
{
    bool own = !p->pid_ns && (p->new_ns & CLONE_NEWPID);
    // A container does not end with the server that has started it. (Behind a fork this is so.)
    (void)prctl(PR_SET_PDEATHSIG, 0);
    if (!p->pid_ns && !own)
        return 0;
    if (own && getpid() == 1) // it was started so
        return become_first(err);
    _cleanup_close_ int fd = p->pid_ns ? open(p->pid_ns, O_RDONLY | O_CLOEXEC) : -1;
    if (p->pid_ns && fd < 0)
        return error_errno(err, errno, "the pod's pid namespace %s", p->pid_ns);
    if ((fd >= 0 ? setns(fd, CLONE_NEWPID) : unshare(CLONE_NEWPID)) < 0)
        return error_errno(err, errno, "pid namespace");
    pid_t pid = fork();
    if (pid < 0)
        return error_errno(err, errno, "pid namespace: fork");
    if (pid > 0)
        _exit(0);
    return own ? become_first(err) : 0;
}

int enter_users_open(const struct plan *p, int *ret, struct error *err)
{
    *ret = p->user_ns ? open(p->user_ns, O_RDONLY | O_CLOEXEC) : -1;
    return p->user_ns && *ret < 0
               ? error_errno(err, errno, "the pod's user namespace %s", p->user_ns)
               : 0;
}

// ---- the root -----------------------------------------------------------------------------------

// Whose a new file is.
struct owner {
    uid_t uid;
    gid_t gid;
};
static const struct owner host_root = {0, 0};

// What is made from here on has this owner. Only that changes: the rights are the host's root's.
// (setfsuid(2) takes those that it has for files away.)
static int make_as(const struct owner *o, struct error *err)
{
    struct __user_cap_header_struct self = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
    // They have no errors of their own; -1 is nobody and tells who it is.
    if ((uid_t)setfsuid((uid_t)-1) == o->uid && (gid_t)setfsgid((gid_t)-1) == o->gid)
        return 0;
    setfsgid(o->gid);
    setfsuid(o->uid);
    if ((uid_t)setfsuid((uid_t)-1) != o->uid || (gid_t)setfsgid((gid_t)-1) != o->gid)
        return error_set(err, STATUS_INTERNAL, "root of the user namespace: cannot be it");
    if (syscall(SYS_capget, &self, caps) < 0)
        return error_errno(err, errno, "capabilities");
    for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
        caps[i].effective = caps[i].permitted;
    return syscall(SYS_capset, &self, caps) < 0 ? error_errno(err, errno, "capabilities") : 0;
}

// Opens a path, whose last component is made if it is missing.
static int open_or_make(int root, char *path, bool directory)
{
    int fd = file_open_inside(root, path, O_PATH);
    if (fd != -ENOENT)
        return fd;
    char *slash = strrchr(path, '/');
    *slash = '\0';
    _cleanup_close_ int dir = file_open_inside(root, path[0] ? path : "/", O_PATH | O_DIRECTORY);
    *slash = '/';
    if (dir < 0)
        return dir;
    int r = directory ? mkdirat(dir, slash + 1, 0755) : mknodat(dir, slash + 1, S_IFREG | 0644, 0);
    return r < 0 && errno != EEXIST ? -errno : file_open_inside(root, path, O_PATH);
}

// Opens what a mount goes on; what is missing on the way is made. Returns a descriptor (O_PATH) or
// a negative errno.
static int open_target(int root, const char *path, bool directory)
{
    char part[PATH_MAX];
    if (path_format(part, sizeof(part), "%s", path) < 0)
        return -ENAMETOOLONG;
    for (char *end = strchr(part + 1, '/'); end; end = strchr(end + 1, '/')) {
        *end = '\0';
        _cleanup_close_ int fd = open_or_make(root, part, true);
        *end = '/';
        if (fd < 0)
            return fd;
    }
    return open_or_make(root, part, directory);
}

static bool is_same(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// What becomes of a mount belongs to the container's root; what a bind shows is looked up as the
// host's.
static int mount_as(const struct owner *o, int root, int users, const struct plan_mount *m,
                    bool directory, struct error *err)
{
    const bool bind = mount_is_bind(&m->spec);
    if (make_as(o, err) < 0)
        return -1;
    _cleanup_close_ int target = open_target(root, m->destination, directory);
    if (target < 0)
        return error_errno(err, target, "destination %s", m->destination);
    if (is_same(root, target)) // it would not become our root
        return error_set(err, STATUS_INVALID_ARGUMENT, "destination %s: is the root itself",
                         m->destination);
    if (bind && make_as(&host_root, err) < 0)
        return -1;
    if (mount_apply_at(&m->spec, m->mapped ? users : -1, target, m->destination, err) < 0)
        return -1;
    return bind ? 0 : make_as(&host_root, err);
}

static int mount_one(const struct owner *o, int root, int users, const struct plan_mount *m,
                     struct error *err)
{
    struct stat st;
    bool directory = true;
    if (mount_is_bind(&m->spec)) {
        if (!m->spec.source || stat(m->spec.source, &st) < 0)
            return error_errno(err, errno, "source %s", m->spec.source ? m->spec.source : "");
        directory = S_ISDIR(st.st_mode);
    }
    return mount_as(o, root, users, m, directory, err);
}

// The rootfs on itself, so that it is a mount of this namespace alone; returns its descriptor.
static int take_root(const struct plan *p, struct error *err)
{
    if (unshare(CLONE_NEWNS) < 0)
        return error_errno(err, errno, "mount namespace");
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return error_errno(err, errno, "mount propagation");
    if (mount(p->root, p->root, NULL, MS_BIND | MS_REC, NULL) < 0 ||
        mount(NULL, p->root, NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return error_errno(err, errno, "root.path %s", p->root);
    int root = open(p->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root < 0 ? error_errno(err, errno, "root.path %s", p->root) : root;
}

// Covers a file with what cannot be opened (a device, which our mounts do not have), a directory
// with an empty one.
static int mask(int at)
{
    struct stat st;
    static const char *const options[] = {"ro", "nr_inodes=1", "nr_blocks=1", "mode=0555"};
    static const struct mount_spec empty = {
        .type = "tmpfs", .source = "tmpfs", .options = options, .n_options = ARRAY_SIZE(options)};
    static const struct mount_spec none = {.type = "bind", .source = "/dev/null"};
    if (fstat(at, &st) < 0)
        return -errno;
    return mount_apply_at(S_ISDIR(st.st_mode) ? &empty : &none, -1, at, "", NULL) < 0 ? -EINVAL : 0;
}

// Covers a path with itself, read-only.
static int make_readonly(int at)
{
    struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
    _cleanup_close_ int tree = open_tree(
        at, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (unsigned)AT_RECURSIVE);
    if (tree < 0 ||
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &readonly, sizeof(readonly)) < 0 ||
        move_mount(tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return -errno;
    return 0;
}

// A path that is not there needs nothing.
static int cover(int root, char *const *paths, const char *field, int (*how)(int at),
                 struct error *err)
{
    for (; paths && *paths; paths++) {
        _cleanup_close_ int at = file_open_inside(root, *paths, O_PATH);
        int r = at == -ENOENT || at == -ENOTDIR ? 0 : at < 0 ? at : how(at);
        if (r < 0)
            return error_errno(err, r, "linux.%s: %s", field, *paths);
    }
    return 0;
}

static int mount_all(const struct plan *p, const struct owner *o, int root, int users,
                     struct error *err)
{
    for (size_t i = 0; i < p->n_mounts; i++) {
        if (mount_one(o, root, users, &p->mounts[i], err) < 0)
            return error_wrap(err, "mounts[%zu]", i);
    }
    return 0;
}

int enter_mounts(const struct plan *p, int users, struct error *err)
{
    struct owner owner;
    _cleanup_close_ int root = take_root(p, err);
    if (root < 0)
        return -1;
    if (id_map_outside(&p->ids.uid, 0, &owner.uid) < 0 ||
        id_map_outside(&p->ids.gid, 0, &owner.gid) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "the user namespace has no root");
    if (mount_all(p, &owner, root, users, err) < 0 ||
        cover(root, p->readonly, "readonlyPaths", make_readonly, err) < 0 ||
        cover(root, p->masked, "maskedPaths", mask, err) < 0)
        return -1;
    return take_fd(&root);
}

int enter_root(const struct plan *p, int root, struct error *err)
{
    struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
    // Devices of an image or a volume, and programs that give rights, are for nobody here.
    struct mount_attr harmless = {.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID};
    if (mount_setattr(root, "", AT_EMPTY_PATH | AT_RECURSIVE, &harmless, sizeof(harmless)) < 0)
        return error_errno(err, errno, "mounts without devices");
    if (p->root_readonly && mount_setattr(root, "", AT_EMPTY_PATH, &readonly, sizeof(readonly)) < 0)
        return error_errno(err, errno, "root.readonly");
    if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0)
        return error_errno(err, errno, "change of the root");
    return 0;
}

// ---- a container that is there -----------------------------------------------------------------

// The user namespace of a process, and whose ids it has; *ret_users is -1 if it is ours.
static int find_users(pid_t pid, struct id_maps *ids, int *ret_users, struct error *err)
{
    char path[64];
    struct stat theirs, ours;
    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    *ret_users = -1;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &theirs) < 0 || stat("/proc/self/ns/user", &ours) < 0)
        return error_errno(err, errno, "the container's user namespace");
    if (theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino)
        return 0;
    int r = userns_maps(pid, ids);
    if (r < 0)
        return error_errno(err, r, "the container's user namespace");
    *ret_users = take_fd(&fd);
    return 0;
}

int enter_container_pids(int pidfd, pid_t pid, struct plan *p, int *ret_users, struct error *err)
{
    char path[64];
    _cleanup_close_ int users = -1;
    snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
    _cleanup_close_ int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root >= 0 && find_users(pid, &p->ids, &users, err) < 0)
        return -1;
    // If the process is there still, the number has been its all the time.
    if (root < 0 || syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0 ||
        setns(pidfd, CLONE_NEWPID) < 0)
        return error_errno(err, errno, "the container");
    pid_t child = fork();
    if (child < 0)
        return error_errno(err, errno, "fork");
    if (child > 0)
        _exit(0);
    if (plan_check_ids(p, err) < 0)
        return -1;
    *ret_users = take_fd(&users);
    return take_fd(&root);
}

int enter_container(int pidfd, struct error *err)
{
    if (setns(pidfd, CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWNS) <
        0)
        return error_errno(err, errno, "the container's namespaces");
    return 0;
}

// ---- identity -----------------------------------------------------------------------------------

// As the host has them.
static int set_host_groups(const struct plan *p)
{
    _cleanup_free_ gid_t *groups = calloc(p->n_groups + 1, sizeof(*groups));
    if (!groups)
        return -1;
    for (size_t i = 0; i < p->n_groups; i++) {
        int r = id_map_outside(&p->ids.gid, p->groups[i], &groups[i]);
        if (r < 0) {
            errno = -r;
            return -1;
        }
    }
    return setgroups(p->n_groups, groups);
}

// Groups are not given back: no file is opened with them meanwhile, and the identity sets them.
int enter_user(const struct plan *p, struct error *err)
{
    const uid_t uid = plan_host_uid(p);
    const gid_t gid = plan_host_gid(p);
    if (set_host_groups(p) < 0)
        return error_errno(err, errno, "process.user: groups");
    setfsgid(gid);
    setfsuid(uid);
    // They have no errors of their own; -1 is nobody and tells who it is.
    if ((uid_t)setfsuid((uid_t)-1) != uid || (gid_t)setfsgid((gid_t)-1) != gid)
        return error_set(err, STATUS_INTERNAL, "process.user: cannot be it");
    return 0;
}

int enter_user_left(struct error *err)
{
    setfsuid(geteuid());
    setfsgid(getegid());
    if ((uid_t)setfsuid((uid_t)-1) != geteuid() || (gid_t)setfsgid((gid_t)-1) != getegid())
        return error_set(err, STATUS_INTERNAL, "process.user: cannot be left");
    return 0;
}

int enter_directory(const struct plan *p, struct error *err)
{
    _cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int dir = root < 0 ? -1 : file_open_inside(root, p->cwd, O_PATH | O_DIRECTORY);
    if (dir < 0 || fchdir(dir) < 0)
        return error_errno(err, dir < -1 ? dir : errno, "process.cwd %s", p->cwd);
    return 0;
}

int enter_profile_open(const struct plan *p, int *ret_attr, struct error *err)
{
    *ret_attr = -1;
    if (!p->apparmor)
        return 0;
    *ret_attr = open("/proc/thread-self/attr/apparmor", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return *ret_attr < 0 ? error_errno(err, errno,
                                       "process.apparmorProfile %s: is AppArmor on in this kernel?",
                                       p->apparmor)
                         : 0;
}

// The kernel wants the one who writes to be the one who has opened the file.
static int take_profile(const struct plan *p, int attr, struct error *err)
{
    char text[sizeof("changeprofile ") + PLAN_PROFILE_MAX];
    if (!p->apparmor)
        return 0;
    int r = path_format(text, sizeof(text), "changeprofile %s", p->apparmor);
    if (r == 0)
        r = file_write_value_at(attr, "current", text);
    return r < 0 ? error_errno(err, r, "process.apparmorProfile %s (is it loaded?)", p->apparmor)
                 : 0;
}

// By system calls: libraries for it look into /proc, which is not there any more.
static int drop_bounds(struct error *err)
{
    for (unsigned long cap = 0;; cap++) {
        int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (held < 0)
            return 0; // no such capability: that was the last
        if (held && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return error_errno(err, errno, "bounding set of capabilities");
    }
}

static int give_up_privileges(struct error *err)
{
    struct __user_cap_header_struct self = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    // Without capabilities only this keeps others of the same user out.
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return error_errno(err, errno, "not dumpable");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        syscall(SYS_capset, &self, none) < 0)
        return error_errno(err, errno, "capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_errno(err, errno, "no_new_privs");
    return 0;
}

static int take_user(const struct plan *p, int users, struct error *err)
{
    // Before the user namespace is joined: raising one takes the host's root.
    for (size_t i = 0; i < p->n_rlimits; i++) {
        if (setrlimit((__rlimit_resource_t)p->rlimits[i].resource, &p->rlimits[i].limit) < 0)
            return error_errno(err, errno, "process.rlimits[%zu]", i);
    }
    // Hidden first: it is the host's root still when it is where the pod's root may have the right
    // to trace others.
    if (users >= 0 && (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setns(users, CLONE_NEWUSER) < 0))
        return error_errno(err, errno, "join the pod's user namespace");
    if (setgroups(p->n_groups, p->groups) < 0 || setresgid(p->gid, p->gid, p->gid) < 0)
        return error_errno(err, errno, "process.user: groups");
    // The bounding set can only be emptied with CAP_SETPCAP, so before the user changes; the other
    // sets go with no_new_privs behind it.
    if (drop_bounds(err) < 0)
        return -1;
    if (setresuid(p->uid, p->uid, p->uid) < 0)
        return error_errno(err, errno, "process.user.uid %u", p->uid);
    umask(p->umask);
    return 0;
}

// What is given up here is given up by the thread that does it.
static int be_alone(struct error *err)
{
    return unshare(CLONE_THREAD) < 0
               ? error_set(err, STATUS_FAILED_PRECONDITION,
                           "there are other threads, which would keep root's rights: does a plugin "
                           "of the engine start some when it is loaded? Remove it, or give the "
                           "container a pid namespace of its own")
               : 0;
}

// Keys that the server's session has are none of the container's. A kernel without keys has none.
static int leave_keys(struct error *err)
{
    return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS
               ? error_errno(
                     err, errno,
                     "session keyring (its quota is root's: sysctl kernel.keys.root_maxkeys "
                     "and root_maxbytes)")
               : 0;
}

int enter_identity(const struct plan *p, int users, int attr, struct error *err)
{
    int r = be_alone(err) < 0 || leave_keys(err) < 0 || take_user(p, users, err) < 0 ||
                    take_profile(p, attr, err) < 0
                ? -1
                : give_up_privileges(err);
    close_fd(&users);
    close_fd(&attr);
    return r;
}

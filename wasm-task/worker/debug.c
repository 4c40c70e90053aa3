#include "debug.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "debug_rootfs.h"
#include "enter.h"
#include "oci/entry.h"

// ---- the program --------------------------------------------------------------------------------

bool debug_has(int root, const struct plan *p)
{
    _cleanup_close_ int fd = oci_entry_open(root, p->args[0], p->cwd, plan_path(p));
    return fd >= 0 || (fd != -ENOENT && fd != -ENOTDIR);
}

// A path from the container's directory leads to nothing here.
static bool is_relative(const char *name)
{
    return name[0] != '/' && strchr(name, '/');
}

// What is mounted in there is not meant, and what others mount later does not come along.
static int make_tree(int dir, struct error *err)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                              .propagation = MS_PRIVATE};
    _cleanup_close_ int tree =
        open_tree(dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)AT_EMPTY_PATH);
    if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return error_errno(err, errno, "debug_rootfs: mount");
    return take_fd(&tree);
}

int debug_find(const char *path, const struct plan *p, int *ret_tree, struct error *err)
{
    *ret_tree = -1;
    _cleanup_close_ int dir = debug_rootfs_open(path, err);
    if (dir < 0)
        return -1;
    _cleanup_close_ int tree = make_tree(dir, err);
    if (tree < 0)
        return -1;
    if (!is_relative(p->args[0]) && debug_has(tree, p))
        *ret_tree = take_fd(&tree);
    return 0;
}

// ---- the root -----------------------------------------------------------------------------------

// Of procfs the processes alone: the rest is the host kernel's, and root could write there without
// any capability.
static int make_proc(void)
{
    _cleanup_close_ int fs = fsopen("proc", FSOPEN_CLOEXEC);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "subset", "pid", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    return fsmount(fs, FSMOUNT_CLOEXEC,
                   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

static int show_processes(int tree, struct error *err)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    _cleanup_close_ int at = (int)syscall(SYS_openat2, tree, "proc", &how, sizeof(how));
    if (at < 0)
        return 0;
    _cleanup_close_ int proc = make_proc();
    if (proc < 0 ||
        move_mount(proc, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return error_errno(err, errno, "debug_rootfs: proc");
    return 0;
}

// Mounts it on the container's root, and lets the two change places.
static int take_root(int tree, int container, struct error *err)
{
    if (move_mount(tree, "", container, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return error_errno(err, errno, "debug_rootfs: mount");
    if (show_processes(tree, err) < 0)
        return -1;
    if (fchdir(tree) < 0 || syscall(SYS_pivot_root, ".", DEBUG_CONTAINER) < 0)
        return error_errno(err, errno, "debug_rootfs: change of the root");
    return 0;
}

int debug_enter(int tree, const char *cwd, struct error *err)
{
    // The container is to see nothing of it.
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return error_errno(err, errno, "debug_rootfs: mount namespace");
    _cleanup_close_ int container = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (container < 0)
        return error_errno(err, errno, "the container's root");
    if (take_root(tree, container, err) < 0)
        return -1;
    _cleanup_close_ int dir = file_open_inside(container, cwd, O_PATH | O_DIRECTORY);
    if (dir < 0 || fchdir(dir) < 0)
        return error_errno(err, dir < 0 ? dir : errno, "process.cwd %s", cwd);
    return 0;
}

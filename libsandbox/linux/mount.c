// Mounting for containers.
//
// The target is a path that containerd made, in a directory tree that other programs write to as
// well, so its last component is opened once without following links and everything is mounted on
// that descriptor. Binds are assembled detached (open_tree), get their flags there and appear at
// the target in one step: there is no moment in which a read-only bind can be written to. All else
// goes through mount(2), because its option strings are the ones that containerd hands out.
//
// With id mappings (containerd's words uidmap= and gidmap=) mount(2) is called in a mount namespace
// of our own, where the lower directories of an overlay are covered by mapped views of themselves.
// What came out is taken from there as a detached mount and put on the target, so that the rest of
// the host never sees more than that, and a failure or our death leaves nothing.
#include "linux/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/id_map.h"
#include "base/ident.h"
#include "linux/idmap.h"
#include "linux/mountinfo.h"
#include "linux/userns.h"

// Layers on one mount point, and rounds over a tree of mounts, before we give up.
#define MOUNT_LAYERS_MAX 1024
#define MOUNT_ROUNDS_MAX 64
// All options of one mount together, before shortening.
#define MOUNT_DATA_MAX (256 * 1024)
// "/proc/self/fd/<int>"
#define FD_PATH_MAX 40
// Lower directories of one overlay (the kernel's OVL_MAX_STACK).
#define LOWER_MAX 500

static void cleanup_buf(struct buf *b)
{
    buf_free(b);
}

// ---- options ---------------------------------------------------------------------------------

// A word either sets or clears `flag`, or names a propagation.
struct flag_word {
    const char *word;
    unsigned long flag;
    bool clears;
    unsigned long propagation;
};

static const struct flag_word flag_words[] = {
    {"defaults", 0, false, 0},
    {"ro", MS_RDONLY, false, 0},
    {"rw", MS_RDONLY, true, 0},
    {"nosuid", MS_NOSUID, false, 0},
    {"suid", MS_NOSUID, true, 0},
    {"nodev", MS_NODEV, false, 0},
    {"dev", MS_NODEV, true, 0},
    {"noexec", MS_NOEXEC, false, 0},
    {"exec", MS_NOEXEC, true, 0},
    {"sync", MS_SYNCHRONOUS, false, 0},
    {"async", MS_SYNCHRONOUS, true, 0},
    {"dirsync", MS_DIRSYNC, false, 0},
    {"noatime", MS_NOATIME, false, 0},
    {"atime", MS_NOATIME, true, 0},
    {"nodiratime", MS_NODIRATIME, false, 0},
    {"diratime", MS_NODIRATIME, true, 0},
    {"relatime", MS_RELATIME, false, 0},
    {"norelatime", MS_RELATIME, true, 0},
    {"strictatime", MS_STRICTATIME, false, 0},
    {"nostrictatime", MS_STRICTATIME, true, 0},
    {"mand", MS_MANDLOCK, false, 0},
    {"nomand", MS_MANDLOCK, true, 0},
    {"remount", MS_REMOUNT, false, 0},
    {"bind", MS_BIND, false, 0},
    {"rbind", MS_BIND | MS_REC, false, 0},
    {"private", 0, false, MS_PRIVATE},
    {"rprivate", 0, false, MS_PRIVATE | MS_REC},
    {"shared", 0, false, MS_SHARED},
    {"rshared", 0, false, MS_SHARED | MS_REC},
    {"slave", 0, false, MS_SLAVE},
    {"rslave", 0, false, MS_SLAVE | MS_REC},
    {"unbindable", 0, false, MS_UNBINDABLE},
    {"runbindable", 0, false, MS_UNBINDABLE | MS_REC},
};

// What the options come to.
struct options {
    unsigned long set, clear;  // MS_* flags; a flag is in one of them at most
    struct mount_attr deep;    // of the recursive words ("rro"): for all mounts of the tree
    unsigned long propagation; // the last word wins
    const char *lowerdir;      // behind "lowerdir=", borrowed
    const char *upperdir;      // likewise, and in `data` as well
    struct id_maps maps;       // lengths 0: none
    struct buf data;           // everything else, comma-separated
};

static void cleanup_options(struct options *o)
{
    buf_free(&o->data);
}

static const struct flag_word *flag_word_find(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(flag_words); i++)
        if (strcmp(flag_words[i].word, word) == 0)
            return &flag_words[i];
    return NULL;
}

static void flag_apply(struct options *o, const struct flag_word *w)
{
    if (w->propagation)
        o->propagation = w->propagation;
    if (w->clears) {
        o->clear |= w->flag;
        o->set &= ~w->flag;
    } else {
        o->set |= w->flag;
        o->clear &= ~w->flag;
    }
}

static int data_add(struct buf *data, const char *key, const char *value)
{
    return buf_printf(data, "%s%s%s", data->len ? "," : "", key, value);
}

// containerd's uidmap= and gidmap= are for whoever mounts; the kernel does not know them.
static int option_map(struct id_map *map, const char *word, struct error *err)
{
    if (id_map_parse(word + strlen("uidmap="), map) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "mount option \"%.100s\": want one run of ids, inside:outside:length",
                         word);
    return 0;
}

static const struct {
    unsigned long flag;
    uint64_t attr;
    uint64_t mask; // attributes that the flag replaces
} bind_attrs[] = {
    {MS_RDONLY, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY},
    {MS_NOSUID, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSUID},
    {MS_NODEV, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODEV},
    {MS_NOEXEC, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOEXEC},
    {MS_NODIRATIME, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NODIRATIME},
    {MS_RELATIME, MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {MS_NOATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {MS_STRICTATIME, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
};

// "rro" is what "ro" is, for all mounts of the tree (OCI runtime spec, mount options). False: not
// such a word.
static bool deep_word_apply(struct options *o, const char *word)
{
    const struct flag_word *f = word[0] == 'r' ? flag_word_find(word + 1) : NULL;
    for (size_t i = 0; f && i < ARRAY_SIZE(bind_attrs); i++) {
        if (bind_attrs[i].flag != f->flag)
            continue;
        o->deep.attr_set &= ~bind_attrs[i].mask;
        o->deep.attr_set |= f->clears ? 0 : bind_attrs[i].attr;
        o->deep.attr_clr |= bind_attrs[i].mask;
        flag_apply(o, f); // for what has no tree
        return true;
    }
    return false;
}

static int option_add(struct options *o, const char *word, bool overlay, struct error *err)
{
    bool uids = strncmp(word, "uidmap=", 7) == 0;
    if (uids || strncmp(word, "gidmap=", 7) == 0)
        return option_map(uids ? &o->maps.uid : &o->maps.gid, word, err);
    const struct flag_word *flag = flag_word_find(word);
    if (flag) {
        flag_apply(o, flag);
        return 0;
    }
    if (deep_word_apply(o, word))
        return 0;
    if (overlay && strncmp(word, "lowerdir=", 9) == 0) {
        o->lowerdir = word + 9;
        return 0;
    }
    if (overlay && strncmp(word, "upperdir=", 9) == 0)
        o->upperdir = word + 9;
    int r = data_add(&o->data, word, "");
    return r < 0 ? error_errno(err, r, "mount options") : 0;
}

static int options_parse(const struct mount_spec *spec, struct options *o, struct error *err)
{
    if (spec->n_options > MOUNT_OPTIONS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "mount of type \"%.40s\" has %zu options; at most %d are accepted",
                         spec->type, spec->n_options, MOUNT_OPTIONS_MAX);
    bool overlay = strcmp(spec->type, "overlay") == 0;
    for (size_t i = 0; i < spec->n_options; i++)
        if (spec->options[i][0] != '\0' && option_add(o, spec->options[i], overlay, err) < 0)
            return -1;
    if (strcmp(spec->type, "bind") == 0)
        o->set |= MS_BIND;
    if (strcmp(spec->type, "rbind") == 0)
        o->set |= MS_BIND | MS_REC;
    bool mapped = o->maps.uid.length;
    if (mapped != (o->maps.gid.length != 0))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "mount options: uidmap= and gidmap= only go together");
    if (mapped && o->set & MS_REMOUNT)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "mount options: remount does not go with uidmap= and gidmap=");
    return 0;
}

bool mount_is_bind(const struct mount_spec *spec)
{
    static const char *const words[] = {"bind", "rbind"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(spec->type, words[i]) == 0)
            return true;
        for (size_t k = 0; k < spec->n_options; k++) {
            if (strcmp(spec->options[k], words[i]) == 0)
                return true;
        }
    }
    return false;
}

// ---- overlay: many lower directories -----------------------------------------------------------

// Length of the longest directory that all entries lie in (without its slash); 0 for "/" and when
// an entry is not absolute or the list has empty entries.
static size_t lower_common(const char *list)
{
    size_t common = lower_len(list);
    for (const char *p = list;; p++) {
        size_t n = lower_len(p);
        if (n == 0 || *p != '/')
            return 0;
        size_t same = 0;
        while (same < common && same < n && p[same] == list[same])
            same++;
        while (same > 0 && list[same] != '/')
            same--; // a common beginning of a name is no common directory
        if (same == n)
            return 0; // one entry is the parent of another
        common = same;
        p += n;
        if (*p == '\0')
            return common;
    }
}

// Appends "lowerdir=" with the first `skip` bytes and a slash cut off from each entry.
static int lower_add(struct buf *data, const char *list, size_t skip)
{
    int r = data_add(data, "lowerdir=", "");
    for (const char *p = list; r == 0; p++) {
        size_t n = lower_len(p);
        size_t cut = skip ? skip + 1 : 0;
        r = buf_append(data, p + cut, n - cut);
        p += n;
        if (*p == '\0')
            break;
        if (r == 0)
            r = buf_append(data, ":", 1);
    }
    return r;
}

// Makes the data string of an overlay. If it would not fit into the page that mount(2) copies, the
// lower directories become relative to their common parent and *ret_cwd is that directory.
static int overlay_data(struct options *o, int *ret_cwd, struct error *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t skip = 0;
    if (o->data.len + strlen(",lowerdir=") + strlen(o->lowerdir) >= page)
        skip = lower_common(o->lowerdir);
    if (skip) {
        _cleanup_free_ char *parent = strndup(o->lowerdir, skip);
        if (!parent)
            return error_errno(err, ENOMEM, "overlay");
        *ret_cwd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (*ret_cwd < 0)
            return error_errno(err, errno, "parent \"%.200s\" of the overlay's lower directories",
                               parent);
    }
    int r = lower_add(&o->data, o->lowerdir, skip);
    if (r < 0)
        return error_errno(err, r, "overlay");
    if (o->data.len >= page)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "overlay options are %zu bytes long, the kernel takes %zu: the image has "
                         "too many layers; squash it",
                         o->data.len, page - 1);
    return 0;
}

// Whether `below` can be a layer beside the others; what is more than a page would have to be
// shortened.
static bool fits_below(const struct options *o, const char *below)
{
    struct stat upper, lower;
    size_t n = 1;
    for (const char *p = strchr(o->lowerdir, ':'); p; p = strchr(p + 1, ':'))
        n++;
    return o->upperdir && n < LOWER_MAX &&
           o->data.len + strlen(",lowerdir=:") + strlen(o->lowerdir) + strlen(below) <
               (size_t)sysconf(_SC_PAGESIZE) &&
           stat(o->upperdir, &upper) == 0 && stat(below, &lower) == 0 && S_ISDIR(lower.st_mode) &&
           upper.st_dev == lower.st_dev;
}

// ---- mounting ----------------------------------------------------------------------------------

static void fd_path(char out[static FD_PATH_MAX], int fd)
{
    // The buffer holds the longest int.
    (void)path_format(out, FD_PATH_MAX, "/proc/self/fd/%d", fd);
}

// Opens the target (the uppermost mount on it). Its directory is trusted, its name is not.
static int target_open(const char *target)
{
    const char *name = strrchr(target, '/');
    if (!name || name[1] == '\0')
        return -EINVAL;
    _cleanup_free_ char *dir = strndup(target, (size_t)(name - target) + 1);
    if (!dir)
        return -ENOMEM;
    _cleanup_close_ int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return -errno;
    // Without O_NOFOLLOW, which together with O_PATH would open the link itself.
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH};
    // RESOLVE_BENEATH forbids no mount points: the uppermost mount is what we get.
    int fd = (int)syscall(SYS_openat2, dirfd, name + 1, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

static struct mount_attr bind_attr(const struct options *o)
{
    struct mount_attr attr = {0};
    for (size_t i = 0; i < ARRAY_SIZE(bind_attrs); i++) {
        if (o->set & bind_attrs[i].flag)
            attr.attr_set = (attr.attr_set & ~bind_attrs[i].mask) | bind_attrs[i].attr;
        if ((o->set | o->clear) & bind_attrs[i].flag)
            attr.attr_clr |= bind_attrs[i].mask;
    }
    return attr;
}

static int tree_propagation(int tree, unsigned long propagation)
{
    struct mount_attr prop = {.propagation = propagation & ~(unsigned long)MS_REC};
    unsigned deep = propagation & MS_REC ? AT_RECURSIVE : 0;
    return mount_setattr(tree, "", AT_EMPTY_PATH | deep, &prop, sizeof(prop)) < 0 ? -errno : 0;
}

static int tree_attach(int tree, int target)
{
    unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    return move_mount(tree, "", target, "", flags) < 0 ? -errno : 0;
}

// userns: whose ids the files get; -1: their own.
static int bind_apply(const struct mount_spec *spec, const struct options *o, int userns,
                      int target)
{
    unsigned recursive = o->set & MS_REC ? AT_RECURSIVE : 0;
    _cleanup_close_ int tree =
        open_tree(AT_FDCWD, spec->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
    if (tree < 0)
        return -errno;
    struct mount_attr attr = bind_attr(o);
    unsigned whole = spec->flags_on_top ? 0 : recursive;
    if ((attr.attr_set || attr.attr_clr) &&
        mount_setattr(tree, "", AT_EMPTY_PATH | whole, &attr, sizeof(attr)) < 0)
        return -errno;
    struct mount_attr deep = o->deep;
    if (deep.attr_clr &&
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &deep, sizeof(deep)) < 0)
        return -errno;
    // Where the options say whose, the whole tree is theirs.
    int r = userns >= 0 ? idmap_tree(tree, userns, recursive && o->maps.uid.length) : 0;
    if (r == 0 && o->propagation)
        r = tree_propagation(tree, o->propagation);
    return r < 0 ? r : tree_attach(tree, target);
}

// mount(2), from working directory `cwd` if that is not -1.
static int mount_from(int cwd, const struct mount_spec *spec, const char *target,
                      unsigned long flags, const char *data)
{
    _cleanup_close_ int old = -1;
    if (cwd >= 0) {
        old = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (old < 0 || fchdir(cwd) < 0)
            return -errno;
    }
    int r = mount(spec->source, target, spec->type, flags, data) < 0 ? -errno : 0;
    if (old >= 0 && fchdir(old) < 0 && r == 0)
        r = -errno;
    return r;
}

static int propagation_apply(const char *target, unsigned long propagation)
{
    _cleanup_close_ int fd = target_open(target);
    if (fd < 0)
        return fd;
    char path[FD_PATH_MAX];
    fd_path(path, fd);
    return mount(NULL, path, NULL, propagation, NULL) < 0 ? -errno : 0;
}

// mount(2) as the options say, on what target_fd is. 0 or negative errno.
static int plain_mount(const struct mount_spec *spec, struct options *o, int cwd, int target_fd)
{
    const char *data = NULL;
    if (o->data.len) {
        data = buf_cstr(&o->data);
        if (!data)
            return -ENOMEM;
    }
    char path[FD_PATH_MAX];
    fd_path(path, target_fd);
    return mount_from(cwd, spec, path, o->set, data);
}

static int plain_apply(const struct mount_spec *spec, struct options *o, int cwd, int target_fd,
                       const char *target)
{
    int r = plain_mount(spec, o, cwd, target_fd);
    if (r < 0 || !o->propagation)
        return r;
    r = propagation_apply(target, o->propagation);
    if (r < 0 && !(o->set & MS_REMOUNT))
        (void)umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW);
    return r;
}

static const char *mount_remedy(int r, bool mapped)
{
    if (mapped && r == -EINVAL)
        return " (maybe its file system or this kernel has no id-mapped mounts: then run the pod "
               "without a user namespace, hostUsers: true)";
    if (mapped && r == -EPERM)
        return " (its ids are mapped already, or it needs CAP_SYS_ADMIN in the host's user "
               "namespace)";
    switch (-r) {
    case ENODEV:
        return " (the kernel does not know this file system: load its module)";
    case ENOENT:
        return " (the source or one of the layers is missing)";
    case EPERM:
        return " (needs CAP_SYS_ADMIN in the host's user namespace)";
    case ENOSYS:
        return " (needs Linux 5.12 or newer)";
    case EINVAL:
        return " (the kernel log tells which option it refused)";
    default:
        return "";
    }
}

static int mount_error(const struct mount_spec *spec, const char *target, int r, bool mapped,
                       struct error *err)
{
    return error_errno(err, r, "cannot mount %.40s \"%.300s\" on \"%.300s\"%s", spec->type,
                       spec->source, target, mount_remedy(r, mapped));
}

static int target_error(const char *target, int r, struct error *err)
{
    if (r == -ELOOP)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "mount target \"%.300s\" is a symbolic link; it must be a directory",
                         target);
    return error_errno(err, r, "mount target \"%.300s\"", target);
}

// Mounts without ids being mapped.
static int apply(const struct mount_spec *spec, struct options *o, const char *target,
                 struct error *err)
{
    _cleanup_close_ int cwd = -1;
    if (o->lowerdir && overlay_data(o, &cwd, err) < 0)
        return -1;
    _cleanup_close_ int fd = target_open(target);
    if (fd < 0)
        return target_error(target, fd, err);
    bool bind = o->set & MS_BIND && !(o->set & MS_REMOUNT);
    int r = bind ? bind_apply(spec, o, -1, fd) : plain_apply(spec, o, cwd, fd, target);
    return r < 0 ? mount_error(spec, target, r, false, err) : 0;
}

// With one layer more. What the kernel refuses then, it may take without.
static int apply_below(const struct mount_spec *spec, const char *lowers, const char *target)
{
    _cleanup_(cleanup_options) struct options o = {0};
    char *list = NULL;
    int r = -1;
    buf_init(&o.data, MOUNT_DATA_MAX);
    if (options_parse(spec, &o, NULL) == 0 && asprintf(&list, "%s:%s", lowers, spec->below) >= 0) {
        o.lowerdir = list;
        r = apply(spec, &o, target, NULL);
        free(list);
    }
    return r;
}

// Assembles a mapped mount in the mount namespace of our own. Returns it, detached, or -1.
static int mapped_tree(const struct mount_spec *spec, struct options *o, int userns,
                       const char *target, struct error *err)
{
    _cleanup_close_ int cwd = -1;
    if (o->lowerdir &&
        (idmap_lowers(o->lowerdir, userns, err) < 0 || overlay_data(o, &cwd, err) < 0))
        return -1;
    _cleanup_close_ int fd = target_open(target);
    if (fd < 0)
        return target_error(target, fd, err);
    int r = plain_mount(spec, o, cwd, fd);
    if (r < 0)
        return mount_error(spec, target, r, true, err);
    _cleanup_close_ int tree =
        open_tree(AT_FDCWD, target, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
    r = tree < 0 ? -errno : 0;
    if (r == 0 && !o->lowerdir)
        r = idmap_tree(tree, userns, false);
    if (r == 0 && o->propagation)
        r = tree_propagation(tree, o->propagation);
    return r < 0 ? mount_error(spec, target, r, true, err) : take_fd(&tree);
}

static int apply_mapped(const struct mount_spec *spec, struct options *o, const char *target,
                        struct error *err)
{
    _cleanup_close_ int userns = userns_new(&o->maps, err);
    if (userns < 0)
        return -1;
    _cleanup_close_ int fd = target_open(target);
    if (fd < 0)
        return target_error(target, fd, err);
    if (o->set & MS_BIND) {
        int r = bind_apply(spec, o, userns, fd);
        return r < 0 ? mount_error(spec, target, r, true, err) : 0;
    }
    struct aside aside = ASIDE_NONE;
    int tree = aside_enter(&aside, err);
    if (tree == 0)
        tree = mapped_tree(spec, o, userns, target, err);
    _cleanup_close_ int made = tree;
    if (aside_leave(&aside, made < 0 ? NULL : err) < 0 || made < 0)
        return -1;
    int r = tree_attach(made, fd);
    return r < 0 ? mount_error(spec, target, r, true, err) : 0;
}

int mount_apply(const struct mount_spec *spec, const char *target, struct error *err)
{
    if (!spec->type || !spec->source)
        return error_set(err, STATUS_INVALID_ARGUMENT, "mount without a type or a source");
    if (ident_path_check(target, "mount target", err) < 0)
        return -1;
    _cleanup_(cleanup_options) struct options o = {0};
    buf_init(&o.data, MOUNT_DATA_MAX);
    if (options_parse(spec, &o, err) < 0)
        return -1;
    if (o.maps.uid.length)
        return apply_mapped(spec, &o, target, err);
    if (o.lowerdir && spec->below && fits_below(&o, spec->below) &&
        apply_below(spec, o.lowerdir, target) == 0)
        return 0;
    return apply(spec, &o, target, err);
}

int mount_apply_at(const struct mount_spec *spec, int userns, int target, const char *name,
                   struct error *err)
{
    _cleanup_(cleanup_options) struct options o = {0};
    buf_init(&o.data, MOUNT_DATA_MAX);
    if (!spec->type || !spec->source)
        return error_set(err, STATUS_INVALID_ARGUMENT, "mount without a type or a source");
    if (options_parse(spec, &o, err) < 0)
        return -1;
    if (o.maps.uid.length || o.lowerdir || o.set & MS_REMOUNT)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "mount on %.300s: an option that has no "
                         "meaning there",
                         name);
    if (o.set & MS_BIND && o.data.len)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "mount on %.300s: a bind has no option \"%.100s\"", name,
                         buf_cstr(&o.data) ? buf_cstr(&o.data) : "");
    int r =
        o.set & MS_BIND ? bind_apply(spec, &o, userns, target) : plain_mount(spec, &o, -1, target);
    return r < 0 ? mount_error(spec, name, r, userns >= 0, err) : 0;
}

// ---- unmounting --------------------------------------------------------------------------------

// Not mounted, or no such path.
static bool is_gone(int errnum)
{
    return errnum == EINVAL || errnum == ENOENT || errnum == ENOTDIR;
}

int mount_remove(const char *path)
{
    for (int i = 0; i < MOUNT_LAYERS_MAX; i++)
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
            return is_gone(errno) ? 0 : -errno;
    return -EBUSY;
}

// The path as the mount table spells it: directories resolved, the last component as it is.
// -ENOENT if its directory does not exist; *ret is left alone on failure.
static int canonical(const char *path, char **ret)
{
    _cleanup_free_ char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    size_t len = strlen(copy);
    while (len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    char *name = strrchr(copy, '/');
    if (!name)
        return -EINVAL;
    if (name[1] == '\0') {
        *ret = take_ptr(copy);
        return 0;
    }
    *name++ = '\0';
    _cleanup_free_ char *dir = realpath(copy[0] ? copy : "/", NULL);
    if (!dir)
        return errno == ENOTDIR ? -ENOENT : -errno;
    char *full;
    if (asprintf(&full, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name) < 0)
        return -ENOMEM;
    *ret = full;
    return 0;
}

int mount_is_mounted(const char *path)
{
    _cleanup_free_ char *real = NULL;
    int r = canonical(path, &real);
    if (!real)
        return r == -ENOENT ? 0 : r;
    _cleanup_(cleanup_buf) struct buf table = {0};
    r = mountinfo_read(&table);
    if (r < 0)
        return r;
    char *cursor = (char *)table.data;
    struct mountinfo m;
    while (mountinfo_next(&cursor, &m))
        if (strcmp(m.target, real) == 0)
            return 1;
    return 0;
}

// Is `path` `dir` itself or below it?
static bool path_covers(const char *dir, const char *path)
{
    size_t n = strlen(dir);
    if (strcmp(dir, "/") == 0)
        return true;
    return strncmp(dir, path, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static int deepest_first(const void *a, const void *b)
{
    size_t x = strlen(*(char *const *)a), y = strlen(*(char *const *)b);
    return x < y ? 1 : x > y ? -1 : 0; // what lies below a path is longer than it
}

// The mount points at and below `dir`, deepest first. They point into `table`.
static int targets_below(struct buf *table, const char *dir, char ***ret, size_t *ret_n)
{
    size_t n = 0, cap = 0;
    _cleanup_free_ char **list = NULL;
    char *cursor = (char *)table->data;
    struct mountinfo m;
    while (mountinfo_next(&cursor, &m)) {
        if (!path_covers(dir, m.target))
            continue;
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            char **more = reallocarray(list, cap, sizeof(*list));
            if (!more)
                return -ENOMEM;
            list = more;
        }
        list[n++] = m.target;
    }
    if (n)
        qsort(list, n, sizeof(*list), deepest_first);
    *ret = take_ptr(list);
    *ret_n = n;
    return 0;
}

// One pass over the mount table. *ret_progress tells whether anything was unmounted.
static int remove_below_once(const char *dir, bool *ret_progress)
{
    _cleanup_(cleanup_buf) struct buf table = {0};
    int r = mountinfo_read(&table);
    if (r < 0)
        return r;
    _cleanup_free_ char **targets = NULL;
    size_t n = 0;
    r = targets_below(&table, dir, &targets, &n);
    for (size_t i = 0; i < n; i++) {
        if (umount2(targets[i], MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
            *ret_progress = true;
        else if (!is_gone(errno) && r == 0)
            r = -errno;
    }
    return r;
}

int mount_remove_below(const char *path)
{
    _cleanup_free_ char *real = NULL;
    int r = canonical(path, &real);
    if (!real)
        return r == -ENOENT ? 0 : r;
    // A mount that was covered by another one comes to light only when that is gone.
    bool progress = true;
    for (int round = 0; progress && round < MOUNT_ROUNDS_MAX; round++) {
        progress = false;
        r = remove_below_once(real, &progress);
    }
    return r;
}

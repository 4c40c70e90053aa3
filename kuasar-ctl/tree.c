#include "ctl/tree.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/table.h"

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static char type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return 'd';
    case S_IFREG:
        return '-';
    case S_IFLNK:
        return 'l';
    case S_IFSOCK:
        return 's';
    case S_IFIFO:
        return 'p';
    case S_IFCHR:
        return 'c';
    case S_IFBLK:
        return 'b';
    default:
        return '?';
    }
}

static int add_line(const FTSENT *e, struct buf *out)
{
    char path[PATH_MAX];
    text_clean(path, sizeof path, e->fts_path);
    if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
        return buf_printf(out, "? %s: %s\n", path, strerror(e->fts_errno));
    const struct stat *st = e->fts_statp;
    return buf_printf(out, "%c%04o %u:%u %lld %s\n", type_of(st->st_mode), st->st_mode & 07777,
                      st->st_uid, st->st_gid, (long long)st->st_size, path);
}

int tree_list(const char *dir, struct buf *out)
{
    char *roots[] = {(char *)dir, NULL};
    int r = 0;
    FTS *all = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, by_name);
    if (!all)
        return -errno;
    for (FTSENT *e; r == 0 && (errno = 0, e = fts_read(all));) {
        if (e->fts_info == FTS_DP) // a directory once more, behind its contents
            continue;
        if (e->fts_info == FTS_D && e->fts_level >= TREE_DEPTH_MAX)
            fts_set(all, e, FTS_SKIP);
        r = add_line(e, out);
    }
    if (r == 0 && errno)
        r = -errno;
    fts_close(all);
    return r;
}

#include "ctl/trust.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ident.h"

static int check_part(const struct doctor *d, const char *path, bool last, struct error *err)
{
    char full[PATH_MAX];
    struct stat st;
    const char *wrong = NULL;
    int r = doctor_path(d, full, sizeof full, "%s", path);
    if (r < 0 || lstat(full, &st) < 0)
        return error_errno(err, r < 0 ? r : errno, "%s", path);
    if (last && !S_ISREG(st.st_mode))
        wrong = "no regular file";
    else if (!last && !S_ISDIR(st.st_mode))
        wrong = "no directory";
    if (wrong)
        return error_set(err, STATUS_FAILED_PRECONDITION, "%s is %s", path, wrong);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return error_set(err, STATUS_FAILED_PRECONDITION, "%s belongs to user %u", path, st.st_uid);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "%s has mode %04o: others may write to it", path, st.st_mode & 07777);
    return 0;
}

int trust_program(const struct doctor *d, const char *path, struct error *err)
{
    char part[PATH_MAX];
    if (ident_path_check(path, "program", err) < 0 || check_part(d, "/", false, err) < 0)
        return -1;
    for (const char *slash = path; (slash = strchr(slash + 1, '/'));) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (check_part(d, part, false, err) < 0)
            return -1;
    }
    return check_part(d, path, true, err);
}

#include "oci/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static int open_inside(int root, const char *path)
{
    char self[sizeof("/proc/self/fd/") + 10];
    struct stat st;
    // Opens nothing yet: an image can have device nodes, and some devices begin to work when they
    // are opened.
    _cleanup_close_ int found = file_open_inside(root, path, O_PATH);
    if (found < 0)
        return found;
    if (fstat(found, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode)) // as execve(2) has it
        return -EACCES;
    int r = path_format(self, sizeof(self), "/proc/self/fd/%d", found);
    int fd = r < 0 ? r : open(self, O_RDONLY | O_NOCTTY | O_CLOEXEC);
    return fd < 0 && r == 0 ? -errno : fd;
}

// The first that can be opened; if there is none, but one that may not be, -EACCES.
static int open_in_path(int root, const char *name, const char *path)
{
    char file[PATH_MAX];
    int fd = -ENOENT;
    bool denied = false;
    for (size_t n; path && *path && fd < 0; path += n + (path[n] == ':')) {
        n = strcspn(path, ":");
        if (path_format(file, sizeof(file), "%.*s/%s", (int)n, path, name) == 0)
            fd = open_inside(root, file);
        denied = denied || fd == -EACCES;
    }
    if (fd < 0)
        fd = path_format(file, sizeof(file), "/%s", name) < 0 ? -ENAMETOOLONG
                                                              : open_inside(root, file);
    return fd < 0 && denied ? -EACCES : fd;
}

int oci_entry_open(int root, const char *name, const char *cwd, const char *path)
{
    char file[PATH_MAX];
    if (name[0] == '/')
        return open_inside(root, name);
    if (!strchr(name, '/'))
        return open_in_path(root, name, path);
    return path_format(file, sizeof(file), "%s/%s", cwd, name) < 0 ? -ENAMETOOLONG
                                                                   : open_inside(root, file);
}

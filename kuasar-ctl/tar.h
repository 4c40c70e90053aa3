// Writing a tar archive (POSIX ustar): regular files only, all of them root's, 0600.
#ifndef CTL_TAR_H
#define CTL_TAR_H

#include <stddef.h>
#include <stdio.h>
#include <time.h>

// Longest name of a file in it.
#define TAR_NAME_MAX 255

// Appends a file. A name that is too long is cut in its middle. Returns 0, -EINVAL with nothing
// written for a name that is empty, absolute or has a ".." component, or -errno of the stream.
int tar_add(FILE *out, const char *name, const void *data, size_t len, time_t mtime);
// Ends the archive. Returns 0 or -errno.
int tar_end(FILE *out);

#endif

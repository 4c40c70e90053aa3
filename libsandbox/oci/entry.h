// The file that a container's first argument names, found as the container would find it.
#ifndef OCI_ENTRY_H
#define OCI_ENTRY_H

// Opens it for reading, below the rootfs (a descriptor of it): links and ".." are resolved inside,
// and nothing but a regular file is opened (-EACCES for others, as for what the caller may not
// read).
// A name with a slash is a path (from `cwd` if it is relative); one without is looked for in the
// directories of `path` ($PATH; NULL: none), then in the root, where images that hold nothing but a
// module have it. Strings are the container's. A descriptor or a negative errno, -ENOENT if there
// is none. Needs /proc.
int oci_entry_open(int root, const char *name, const char *cwd, const char *path);

#endif

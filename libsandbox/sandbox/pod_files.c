#include "sandbox/pod_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

// Longest file of /etc: more than a full resolv.conf.
#define ETC_FILE_MAX (1024 * 1024)
// Size and files of the file system that holds the pod's /etc files. Containers may write them, and
// must not fill the host's /run by it. It is not that of /dev/shm, though this would save a mount:
// an app that takes all 64 MiB there would miss the pages of these files (with that much more room,
// df would show more than 64 MiB), and once it is full the files could not grow.
#define ETC_SIZE  "4m"
#define ETC_FILES "16"

static int write_file(int dirfd, const char *name, const struct buf *text, struct error *err)
{
    _cleanup_close_ int fd =
        openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || fchmod(fd, 0644) < 0)
        return error_errno(err, errno, "cannot make %s", name);
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(fd, text->data + done, text->len - done);
        if (n < 0)
            return error_errno(err, errno, "cannot write %s", name);
        done += (size_t)n;
    }
    return 0;
}

// Copies a file of the host; an absent one gives an empty file.
static int copy_etc(int dirfd, const char *name, const char *host_path, struct error *err)
{
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, ETC_FILE_MAX);
    char *real = realpath(host_path, NULL); // /etc/resolv.conf may be a symlink
    int e = real ? file_read_at(AT_FDCWD, real, &text) : -errno;
    free(real);
    if (e < 0 && e != -ENOENT)
        return error_errno(err, e, "cannot read the host's %s", host_path);
    return write_file(dirfd, name, &text, err);
}

// "search a b\nnameserver x\nnameserver y\noptions o\n", as containerd's parseDNSOptions writes it.
static int write_resolv_conf(int dirfd, const Cri__DNSConfig *dns, struct error *err)
{
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, ETC_FILE_MAX);
    int e = 0;
    for (size_t i = 0; i < dns->n_searches; i++)
        e |= buf_printf(&text, "%s%s", i ? " " : "search ", dns->searches[i]);
    if (dns->n_searches)
        e |= buf_printf(&text, "\n");
    for (size_t i = 0; i < dns->n_servers; i++)
        e |= buf_printf(&text, "nameserver %s\n", dns->servers[i]);
    for (size_t i = 0; i < dns->n_options; i++)
        e |= buf_printf(&text, "%s%s", i ? " " : "options ", dns->options[i]);
    if (dns->n_options)
        e |= buf_printf(&text, "\n");
    if (e)
        return error_set(err, STATUS_INVALID_ARGUMENT, "dns_config: too long");
    return write_file(dirfd, "resolv.conf", &text, err);
}

static int write_hostname(int dirfd, const char *hostname, struct error *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, ETC_FILE_MAX);
    if (!*hostname && gethostname(host, sizeof host - 1) < 0)
        return error_errno(err, errno, "gethostname");
    if (buf_printf(&text, "%s\n", *hostname ? hostname : host) < 0)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    return write_file(dirfd, "hostname", &text, err);
}

int pod_files_make(const char *dir, int dirfd, const struct sandbox_record *r,
                   const Cri__PodSandboxConfig *config, struct error *err)
{
    char path[PATH_MAX];
    if (path_format(path, sizeof path, "%s/etc", dir) < 0 || mkdirat(dirfd, "etc", 0755) < 0)
        return error_errno(err, errno, "cannot make etc");
    if (mount("etc", path, "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV,
              "mode=0755,size=" ETC_SIZE ",nr_inodes=" ETC_FILES) < 0)
        return error_errno(err, errno, "cannot mount a file system for the pod's /etc files at %s",
                           path);
    _cleanup_close_ int etc = openat(dirfd, "etc", O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (etc < 0)
        return error_errno(err, errno, "cannot open etc");
    // A pod's own hostname is kept in the record only where it has its own uts namespace.
    const char *hostname = config && config->hostname ? config->hostname : r->hostname;
    if (copy_etc(etc, "hosts", "/etc/hosts", err) < 0 || write_hostname(etc, hostname, err) < 0)
        return -1;
    return config && config->dns_config ? write_resolv_conf(etc, config->dns_config, err)
                                        : copy_etc(etc, "resolv.conf", "/etc/resolv.conf", err);
}

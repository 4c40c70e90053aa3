#include "ctl/tar.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define BLOCK 512

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

// Splits a name at a slash into prefix (155) and name (100).
static void set_name(struct header *h, const char *name)
{
    char shorter[TAR_NAME_MAX + 1];
    size_t len = strlen(name);
    const char *slash = name;
    if (len > sizeof h->name + sizeof h->prefix - 60) {
        snprintf(shorter, sizeof shorter, "%.60s...%s", name, name + len - 90);
        name = slash = shorter;
        len = strlen(name);
    }
    if (len <= sizeof h->name) {
        memcpy(h->name, name, len);
        return;
    }
    // The first slash that leaves a name short enough.
    while ((slash = strchr(slash, '/')) && len - (size_t)(slash + 1 - name) > sizeof h->name)
        slash++;
    if (slash && (size_t)(slash - name) <= sizeof h->prefix) {
        memcpy(h->prefix, name, (size_t)(slash - name));
        memcpy(h->name, slash + 1, len - (size_t)(slash + 1 - name));
    } else {
        memcpy(h->name, name + len - sizeof h->name, sizeof h->name);
    }
}

// Could unpacking it write outside of the directory where that is done?
static bool leads_out(const char *name)
{
    const char *part = name;
    while (true) {
        size_t len = strcspn(part, "/");
        if (len == 2 && part[0] == '.' && part[1] == '.')
            return true;
        if (!part[len])
            return !*name || *name == '/';
        part += len + 1;
    }
}

static void set_checksum(struct header *h)
{
    unsigned sum = 0;
    memset(h->checksum, ' ', sizeof h->checksum);
    for (size_t i = 0; i < sizeof *h; i++)
        sum += ((const unsigned char *)h)[i];
    snprintf(h->checksum, sizeof h->checksum, "%06o", sum);
}

int tar_add(FILE *out, const char *name, const void *data, size_t len, time_t mtime)
{
    static const char zeros[BLOCK];
    struct header h = {.type = '0', .magic = "ustar", .version = {'0', '0'}};
    if (leads_out(name))
        return -EINVAL;
    set_name(&h, name);
    snprintf(h.mode, sizeof h.mode, "%07o", 0600);
    snprintf(h.uid, sizeof h.uid, "%07o", 0);
    snprintf(h.gid, sizeof h.gid, "%07o", 0);
    snprintf(h.size, sizeof h.size, "%011llo", (unsigned long long)len & 077777777777ULL);
    snprintf(h.mtime, sizeof h.mtime, "%011llo", (unsigned long long)mtime & 077777777777ULL);
    set_checksum(&h);
    errno = 0;
    if (fwrite(&h, sizeof h, 1, out) != 1 || (len && fwrite(data, len, 1, out) != 1) ||
        (len % BLOCK && fwrite(zeros, BLOCK - len % BLOCK, 1, out) != 1))
        return errno ? -errno : -EIO;
    return 0;
}

int tar_end(FILE *out)
{
    static const char zeros[2 * BLOCK];
    errno = 0;
    return fwrite(zeros, sizeof zeros, 1, out) == 1 && fflush(out) == 0 ? 0 : errno ? -errno : -EIO;
}

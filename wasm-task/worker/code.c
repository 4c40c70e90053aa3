#include "code.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nettle/base16.h>
#include <nettle/sha2.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cache.h"
#include "processor.h"

void code_name(const struct engine_ops *engine, const void *module, size_t len,
               char ret[WORKER_NAME_MAX])
{
    struct sha256_ctx hash;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char hex[BASE16_ENCODE_LENGTH(SHA256_DIGEST_SIZE) + 1] = "", processor[PROCESSOR_NAME_SIZE];
    sha256_init(&hash);
    sha256_update(&hash, len, module);
    sha256_digest(&hash, sizeof(digest), digest);
    base16_encode_update(hex, sizeof(digest), digest);
    processor_name(processor);
    snprintf(ret, WORKER_NAME_MAX, "%s-%s-%s-%s-%s", engine->name, engine->version(),
             engine->options, processor, hex);
}

static bool is_roots(const struct stat *st, mode_t type, mode_t forbidden)
{
    return (st->st_mode & S_IFMT) == type && st->st_uid == 0 && !(st->st_mode & forbidden);
}

int code_find(const char *cache, const char *name)
{
    char path[PATH_MAX];
    struct stat all, dir, code;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    if (path_format(path, sizeof(path), "%s/%s", cache, name) < 0 || lstat(cache, &all) < 0 ||
        !is_roots(&all, S_IFDIR, 077))
        return -1;
    _cleanup_close_ int tree = open_tree(
        AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)AT_SYMLINK_NOFOLLOW);
    if (tree < 0 || fstat(tree, &dir) < 0 || !is_roots(&dir, S_IFDIR, 022) ||
        fstatat(tree, CACHE_CODE, &code, AT_SYMLINK_NOFOLLOW) < 0 ||
        !is_roots(&code, S_IFREG, 022) || code.st_nlink != 1)
        return -1;
    (void)utimensat(tree, CACHE_CODE, NULL, 0); // the last use, for who makes room
    return mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -1 : take_fd(&tree);
}

void *code_load(const struct engine_ops *engine, int dir)
{
    return dir >= 0 && fchdir(dir) == 0 ? engine->restore(CACHE_CODE) : NULL;
}

bool code_leave(const struct engine_ops *engine, void *loaded, int file)
{
    return engine->save(loaded, file) == 0 && code_seal(file);
}

bool code_seal(int file)
{
    const int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    off_t size = lseek(file, 0, SEEK_CUR);
    return size > 0 && ftruncate(file, size) == 0 && fcntl(file, F_ADD_SEALS, seals) == 0;
}

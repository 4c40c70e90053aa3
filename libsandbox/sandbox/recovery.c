// After a restart: the journal says what was there, the kernel says what is there. It runs before
// the daemon listens, so that containerd finds every sandbox that lives.
//
//   creating   its Create was never answered: undone, removed
//   created,   everything still there (namespaces pinned, init alive): adopted.
//   ready      else it died while nobody looked: ended with 255, which its Wait reports
//   stopping   ended again
//   stopped    adopted (Status and Wait answer until Shutdown), or its removal is finished
//
// What is to be ended goes the usual way down, from the loop: its containers may live and be the
// task server's to end.
//
// A record that cannot be read may describe a pod that lives: it is moved aside whole, reported,
// and nothing of it is touched. That it cannot be read for want of memory or descriptors is another
// thing: then nobody is disowned, the start fails and may be tried again.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/ident.h"
#include "base/log.h"
#include "sandbox/sandbox.h"

// Exit status of a sandbox that died while no sandboxer looked.
#define STATUS_LOST 255

static void quarantine(struct sandbox_manager *m, const char *name, const char *why)
{
    char from[PATH_MAX], dir[PATH_MAX], to[PATH_MAX];
    if (path_format(dir, sizeof dir, "%s/quarantine", m->config->dir) < 0 ||
        path_format(from, sizeof from, "%s/%s", m->sandboxes_dir, name) < 0 ||
        path_format(to, sizeof to, "%s/%.100s.%lld", dir, name, (long long)time(NULL)) < 0 ||
        file_mkdir_all(dir, 0700) < 0 || rename(from, to) < 0)
        log_error("sandbox %s: %s; it could not be moved to %s: %s", name, why, dir,
                  strerror(errno));
    else
        log_error("sandbox %s: %s; moved to %s, nothing of it was touched", name, why, to);
}

// A directory without a record is empty, or holds the record that its maker was about to write:
// killed between mkdir and the first record, it has made nothing else.
static int remove_unrecorded(const char *dir)
{
    _cleanup_close_ int fd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    unlinkat(fd, "." RECORD_FILE ".tmp", 0);
    return rmdir(dir) < 0 ? -errno : 0;
}

// Is this what sandbox_remove_dir has renamed?
static bool is_removed(struct sandbox_manager *m, const char *name)
{
    const size_t n = strlen(SANDBOX_REMOVED_PREFIX);
    char path[PATH_MAX];
    struct stat st;
    return strncmp(name, SANDBOX_REMOVED_PREFIX, n) == 0 && ident_valid(name + n) &&
           path_format(path, sizeof path, "%s/%s", m->sandboxes_dir, name) == 0 &&
           lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void finish_removal(struct sandbox_manager *m, const char *id)
{
    int e = sandbox_remove_dir(m, id);
    if (e < 0)
        log_error("sandbox %s: cannot remove what is left in %s/%s%s: %s", id, m->sandboxes_dir,
                  SANDBOX_REMOVED_PREFIX, id, strerror(-e));
}

// What a living sandbox needs, is it there? Its end is watched from now on.
static int take_back(struct sandbox *s, struct error *err)
{
    return s->manager->ops->check(s->manager, &s->record, err) < 0 ||
                   sandbox_watch_processes(s, err) < 0
               ? -1
               : 0;
}

static int settle(struct sandbox *s, struct error *ret_err)
{
    struct error err = {0};
    bool living = s->record.state == SANDBOX_CREATED || s->record.state == SANDBOX_READY;
    if (!living || take_back(s, &err) == 0) {
        sandbox_resume(s);
        return 0;
    }
    if (err.status == STATUS_RESOURCE_EXHAUSTED)
        return error_set(ret_err, err.status, "sandbox %s: %s", s->record.id, err.text);
    log_warn("sandbox %s: it died meanwhile: %s", s->record.id, err.text);
    sandbox_died(s, STATUS_LOST);
    return 0;
}

static int recover_one(struct sandbox_manager *m, const char *id, struct error *ret_err)
{
    char dir[PATH_MAX];
    struct error err = {0};
    struct sandbox_record record;
    if (is_removed(m, id)) {
        finish_removal(m, id + strlen(SANDBOX_REMOVED_PREFIX));
        return 0;
    }
    if (!ident_valid(id)) {
        quarantine(m, id, "no name that a sandbox can have");
        return 0;
    }
    if (path_format(dir, sizeof dir, "%s/%s", m->sandboxes_dir, id) < 0)
        return error_set(ret_err, STATUS_INVALID_ARGUMENT, "state directory: path too long");
    if (record_load(&record, dir, id, &err) < 0) {
        if (err.status == STATUS_RESOURCE_EXHAUSTED)
            return error_set(ret_err, err.status, "sandbox %s: %s", id, err.text);
        if (err.status != STATUS_NOT_FOUND || remove_unrecorded(dir) < 0)
            quarantine(m, id, err.text);
        return 0;
    }
    struct sandbox *s = sandbox_adopt(m, &record);
    if (!s) {
        record_done(&record);
        return error_set(ret_err, STATUS_RESOURCE_EXHAUSTED, "sandbox %s: no memory", id);
    }
    log_info("sandbox %s: found, %s", s->record.id, sandbox_state_name(s->record.state));
    return settle(s, ret_err);
}

int sandbox_manager_recover(struct sandbox_manager *m, struct error *err)
{
    DIR *dir = opendir(m->sandboxes_dir);
    if (!dir)
        return error_errno(err, errno, "cannot read %s", m->sandboxes_dir);
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = recover_one(m, e->d_name, err);
    closedir(dir);
    return r;
}

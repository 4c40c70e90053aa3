// After a restart: the journal says what was there, the kernel says what is there. It runs before
// the daemon listens, so it may block; it is bounded by the number of records.
//
//   creating   its Create was never answered: undone, removed
//   created,   everything still there (namespaces pinned, init alive): adopted.
//   ready      else it died while nobody looked: undone, STOPPED with 255, which its Wait reports
//   stopping   the undo list is run again, STOPPED
//   stopped    adopted (Status and Wait answer until Shutdown)
//
// A record that cannot be read may describe a pod that lives: it is moved aside whole, reported,
// and nothing of it is touched.
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

static void remove_dir(struct sandbox_manager *m, const char *id)
{
    _cleanup_close_ int dirfd = open(m->sandboxes_dir, O_DIRECTORY | O_PATH | O_CLOEXEC);
    int e = dirfd < 0 ? -errno : file_remove_tree_at(dirfd, id);
    if (e < 0)
        log_error("sandbox %s: cannot remove its directory: %s", id, strerror(-e));
}

static int undo_record(const struct sandbox_record *r)
{
    struct error err = {0};
    if (undo_run(&r->undo, &err) == 0)
        return 0;
    log_error("sandbox %s: %s", r->id, err.text);
    return -1;
}

// Undoes what is left of it and keeps it as stopped. On failure it stays STOPPING: the next Stop or
// Shutdown tries again.
static void stop_record(struct sandbox_manager *m, const char *dir, struct sandbox_record *r,
                        uint32_t status)
{
    struct error err = {0};
    if (undo_record(r) == 0) {
        undo_done(&r->undo);
        r->state = SANDBOX_STOPPED;
        r->exit_status = status;
        r->init = (struct process_id){0};
        clock_gettime(CLOCK_REALTIME, &r->exited_at);
    } else {
        r->state = SANDBOX_STOPPING;
    }
    if (record_store(r, dir, &err) < 0)
        log_error("sandbox %s: %s", r->id, err.text);
    (void)m;
}

// Brings the record and the world together. Returns whether the sandbox is to be kept.
static bool settle(struct sandbox_manager *m, const char *dir, struct sandbox_record *r)
{
    struct error err = {0};
    switch (r->state) {
    case SANDBOX_CREATING:
        log_warn("sandbox %s: its creation was cut off; undoing it", r->id);
        if (undo_record(r) == 0)
            remove_dir(m, r->id);
        return false;
    case SANDBOX_CREATED:
    case SANDBOX_READY:
        if (m->ops->check(m, r, &err) < 0) {
            log_warn("sandbox %s: it died meanwhile: %s", r->id, err.text);
            stop_record(m, dir, r, STATUS_LOST);
        }
        return true;
    case SANDBOX_STOPPING:
        stop_record(m, dir, r, 0);
        return true;
    case SANDBOX_STOPPED:
    case SANDBOX_STATE_MAX_:
        break;
    }
    return true;
}

static void recover_one(struct sandbox_manager *m, const char *id)
{
    char dir[PATH_MAX];
    struct error err = {0};
    struct sandbox_record record;
    if (!ident_valid(id)) {
        quarantine(m, id, "no name that a sandbox can have");
        return;
    }
    if (path_format(dir, sizeof dir, "%s/%s", m->sandboxes_dir, id) < 0)
        return;
    if (record_load(&record, dir, id, &err) < 0) {
        // Killed between mkdir and the first record: an empty directory is all there is.
        if (err.status == STATUS_NOT_FOUND && rmdir(dir) == 0)
            return;
        quarantine(m, id, err.text);
        return;
    }
    struct sandbox *s = settle(m, dir, &record) ? sandbox_adopt(m, &record) : NULL;
    if (!s) {
        record_done(&record);
        return;
    }
    log_info("sandbox %s: recovered, %s", s->record.id, sandbox_state_name(s->record.state));
    if (s->record.init.pid && sandbox_watch_init(s) < 0)
        sandbox_died(s, STATUS_LOST);
}

int sandbox_manager_recover(struct sandbox_manager *m, struct error *err)
{
    DIR *dir = opendir(m->sandboxes_dir);
    if (!dir)
        return error_errno(err, errno, "cannot read %s", m->sandboxes_dir);
    for (struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            recover_one(m, e->d_name);
    closedir(dir);
    return 0;
}

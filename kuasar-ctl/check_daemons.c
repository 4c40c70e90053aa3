// doctor: the state directories, the sockets in them, and whether the daemons behind them answer
// and are of our version.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/internal.pb-c.h"
#include "api/message.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "ctl/client.h"
#include "ctl/doctor.h"

// A directory or socket must be ours (this program runs as the daemons' user: root), and nobody
// else's to write.
static bool check_owner(struct doctor *d, const char *path, const struct stat *st, mode_t forbidden)
{
    if (st->st_uid != geteuid()) {
        found(d, VERDICT_ERROR, "%s belongs to user %u", path, st->st_uid);
        remedy(d, "end the daemons, chown it to the user that they run as (now: %u), start them",
               geteuid());
        return false;
    }
    if (st->st_mode & forbidden) {
        found(d, VERDICT_ERROR, "%s has mode %04o: others may use it", path, st->st_mode & 07777);
        remedy(d, "chmod %04o %s", st->st_mode & 07777 & ~forbidden, path);
        return false;
    }
    return true;
}

static void check_dir(struct doctor *d, const struct kind *kind)
{
    static const char *const parts[] = {"", "/sandboxes", "/tasks"};
    char path[PATH_MAX];
    struct stat st;
    bool good = true;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (path_format(path, sizeof path, "%s%s", kind->dir, parts[i]) == 0 &&
            lstat(path, &st) == 0)
            good &= check_owner(d, path, &st, S_IWGRP | S_IWOTH);
    if (good)
        found(d, VERDICT_OK, "%s is as it should be", kind->dir);
}

// Records that a daemon could not read are put there, and what they describe is left alone.
static void check_quarantine(struct doctor *d, const struct kind *kind)
{
    char path[PATH_MAX];
    size_t n = 0;
    if (path_format(path, sizeof path, "%s/quarantine", kind->dir) < 0)
        return;
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir && (e = readdir(dir));)
        n += e->d_name[0] != '.';
    if (dir)
        closedir(dir);
    if (!n)
        return;
    found(d, VERDICT_WARNING, "%s holds %zu records that could not be read", path, n);
    remedy(d, "what they describe may still run: the daemon's log names each; end it by hand, then "
              "remove the files");
}

static void check_answer(struct doctor *d, const struct kind *kind, enum role role,
                         const char *socket)
{
    Internal__ListRequest req = INTERNAL__LIST_REQUEST__INIT;
    struct error err = {0};
    req.limit = 1;
    ProtobufCMessage *msg =
        client_ask(d->ctl->loop, socket, "List", &req.base, &internal__list_response__descriptor,
                   d->ctl->options->timeout, &err);
    const Internal__ListResponse *r = (const Internal__ListResponse *)(const void *)msg;
    if (!r || !r->daemon) {
        found(d, VERDICT_ERROR, "the %s of kind %s does not answer: %s", role_name(role),
              kind->name, r ? "its answer makes no sense" : err.text);
        remedy(d, "%s", client_remedy(&err));
    } else if (strcmp(r->daemon->version, CTL_VERSION) != 0) {
        found(d, VERDICT_WARNING, "the %s of kind %s is version %s, this program %s",
              role_name(role), kind->name, r->daemon->version, CTL_VERSION);
        remedy(d, role == ROLE_TASK
                      ? "end it when it has no containers; the sandboxer starts the new one"
                      : "restart it; pods do not notice");
    } else {
        found(d, VERDICT_OK, "the %s of kind %s answers: pid %d, %u entries", role_name(role),
              kind->name, r->daemon->pid, r->daemon->entries);
    }
    api_message_free(msg);
}

static void check_daemon(struct doctor *d, const struct kind *kind, enum role role)
{
    char socket[PATH_MAX];
    struct stat st;
    if (role_socket(role, kind, socket, sizeof socket) < 0)
        return;
    if (lstat(socket, &st) == 0 && !check_owner(d, socket, &st, S_IRWXG | S_IRWXO))
        return;
    check_answer(d, kind, role, socket);
}

void check_daemons(struct doctor *d)
{
    struct kinds kinds;
    struct error err = {0};
    char run_dir[PATH_MAX];
    if (doctor_path(d, run_dir, sizeof run_dir, "%s", d->ctl->options->run_dir) < 0)
        return;
    if (kinds_find(&kinds, run_dir, d->ctl->options->kind, &err) < 0 || !kinds.n) {
        found(d, VERDICT_ERROR, "%s",
              *err.text ? err.text : "no sandboxer has been started: there is no state directory");
        remedy(d, "start one: systemctl enable --now kuasar-runc (or kuasar-wasm)");
        return;
    }
    for (size_t i = 0; i < kinds.n; i++) {
        check_dir(d, &kinds.list[i]);
        check_quarantine(d, &kinds.list[i]);
        for (enum role role = 0; role < ROLE_MAX_; role++)
            check_daemon(d, &kinds.list[i], role);
    }
}

// kuasar-ctl dump: all that a bug report needs, in one tar archive, without secrets.
//
// Everything is small and read at once: list, details, records, events, doctor's findings,
// containerd's configuration, mounts, kernel, logs. What is redacted is in redact.h, and said in
// the archive's README. A part that cannot be had leaves a line in "errors" instead.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "api/message.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "ctl/client.h"
#include "ctl/doctor.h"
#include "ctl/json.h"
#include "ctl/look.h"
#include "ctl/program.h"
#include "ctl/redact.h"
#include "ctl/table.h"
#include "ctl/tar.h"
#include "ctl/text.h"
#include "ctl/tree.h"

// Largest file that is taken whole, and how much of the end of a log.
#define FILE_MAX (2u * 1024 * 1024)
#define LOG_MAX  (512u * 1024)
// Most entries whose details are asked for, and most records that are read.
#define DETAILS_MAX 1000
#define RECORDS_MAX 2000

static const char readme[] =
    "What kuasar-ctl dump found on this node, for a bug report.\n"
    "\n"
    "Taken out, and marked " REDACTED ": values of environment variables, command lines behind\n"
    "the program, annotations and labels (but names and ids that containerd and a kubelet give),\n"
    "values whose key or table speaks of registries, keys or credentials, and users and passwords\n"
    "in URLs. Not taken out: names of pods, paths, ids, and the text of the logs.\n"
    "Look through it before you give it away; --no-logs leaves the logs out.\n"
    "\n"
    "list.json, show/      what the daemons have, as kuasar-ctl list and show print it\n"
    "events/               what the daemons remember of what happened\n"
    "doctor.txt            kuasar-ctl doctor\n"
    "records/              the journal, file by file\n"
    "config/               containerd's configuration and ours, as JSON and without comments\n"
    "system/               kernel, versions, mounts of ours, cgroups, limits of the daemons\n"
    "logs/                 the end of the daemons' logs, where they were found\n"
    "errors                what could not be read, or not to its end\n";

struct dump {
    struct ctl *ctl;
    FILE *out;
    time_t now;
    struct buf errors;
    size_t records;
    int failed; // negative errno of the archive
};

// ---- parts --------------------------------------------------------------------------------------

// One line of "errors", whatever is in the names.
static void missing(struct dump *d, const char *what, const char *why)
{
    char clean[2][ERROR_TEXT_MAX];
    text_clean(clean[0], sizeof clean[0], what);
    text_clean(clean[1], sizeof clean[1], why);
    (void)buf_printf(&d->errors, "%s: %s\n", clean[0], clean[1]);
}

static void add(struct dump *d, const char *name, const void *data, size_t len)
{
    char path[TAR_NAME_MAX];
    int r = path_format(path, sizeof path, "kuasar-dump/%s", name);
    if (r == 0 && !d->failed)
        r = tar_add(d->out, path, data, len, d->now);
    if (r == -ENAMETOOLONG)
        missing(d, name, "its name is too long for an archive");
    else if (r == -EINVAL)
        missing(d, name, "its name leads out of the archive");
    else if (r < 0)
        d->failed = r;
}

// Takes the object.
static void add_json(struct dump *d, const char *name, json_object *o)
{
    const char *text =
        o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                  JSON_C_TO_STRING_NOSLASHESCAPE)
          : NULL;
    if (text)
        add(d, name, text, strlen(text));
    else
        missing(d, name, "no memory");
    json_object_put(o);
}

// Reads an open file; at most `max` bytes of its end. Returns 0 or -errno.
static int read_end_of(int fd, size_t max, struct buf *out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_size > (off_t)max && lseek(fd, st.st_size - (off_t)max, SEEK_SET) < 0)
        return -errno;
    for (ssize_t n = 1; n > 0 && out->len < max;) {
        size_t want = max - out->len < 65536 ? max - out->len : 65536;
        int r = buf_reserve(out, want);
        if (r < 0)
            return r;
        n = read(fd, out->data + out->len, want);
        if (n < 0)
            return -errno;
        out->len += (size_t)n;
    }
    return 0;
}

static int read_end(const char *path, size_t max, struct buf *out)
{
    buf_init(out, max);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? -errno : read_end_of(fd, max, out);
}

// A file as it is.
static void add_file(struct dump *d, const char *name, const char *path, size_t max)
{
    _cleanup_(buf_free) struct buf text;
    int r = read_end(path, max, &text);
    if (r < 0)
        missing(d, path, strerror(-r));
    else
        add(d, name, text.data, text.len);
}

// What a program prints, on both outputs.
static void add_output(struct dump *d, const char *name, const char *const *argv)
{
    struct program p = {0};
    struct error err = {0};
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, FILE_MAX);
    if (program_run(d->ctl, argv, d->ctl->options->timeout, &p, &err) < 0) {
        missing(d, argv[0], err.text);
    } else {
        if (p.cut)
            missing(d, name, "it had more to print, which is not kept");
        buf_printf(&text, "%s%s%s", p.out, p.err,
                   p.timed_out ? "(killed: it took too long)\n" : "");
        add(d, name, text.data, text.len);
    }
    program_done(&p);
}

// ---- what the daemons have ----------------------------------------------------------------------

static void add_details(struct dump *d, struct view *v, const struct item *item)
{
    struct error err = {0};
    struct look look;
    char name[TAR_NAME_MAX];
    const Internal__Entry *e = view_detail(v, item, d->ctl, &err);
    if (!e) {
        missing(d, item->entry->id, err.text);
        return;
    }
    look_at(&look, e->exited_at ? 0 : e->pid, e->cgroup);
    json_object *o = json_of_entry(item->source, e);
    json_add(o, "now", json_of_look(&look));
    look_done(&look);
    snprintf(name, sizeof name, "show/%s/%s%s%s.json", item->source->kind->name, e->namespace_,
             *e->namespace_ ? "-" : "", e->id);
    add_json(d, name, o);
}

static void add_events(struct dump *d, const struct source *s)
{
    Internal__EventsRequest req = INTERNAL__EVENTS_REQUEST__INIT;
    struct error err = {0};
    char socket[PATH_MAX], name[TAR_NAME_MAX];
    json_object *list = json_object_new_array();
    bool more = s->answered && role_socket(s->role, s->kind, socket, sizeof socket) == 0;
    req.limit = UINT32_MAX;
    while (more) {
        ProtobufCMessage *msg =
            client_ask(d->ctl->loop, socket, "Events", &req.base,
                       &internal__events_response__descriptor, d->ctl->options->timeout, &err);
        const Internal__EventsResponse *r = (const Internal__EventsResponse *)(const void *)msg;
        if (!msg)
            missing(d, socket, err.text);
        more = msg && r->n_events && r->events[r->n_events - 1]->number > req.after;
        for (size_t i = 0; more && i < r->n_events; i++)
            json_object_array_add(list, json_of_event(s->kind, r->events[i]));
        if (more) {
            req.epoch = r->epoch;
            req.after = r->events[r->n_events - 1]->number;
            more = req.after < r->last;
        }
        api_message_free(msg);
    }
    snprintf(name, sizeof name, "events/%s-%s.json", s->kind->name,
             s->role == ROLE_TASK ? "task" : "sandboxer");
    add_json(d, name, list);
}

// ---- files of ours ------------------------------------------------------------------------------

static void add_record(struct dump *d, const char *kind, const char *dir, const char *relative)
{
    char path[PATH_MAX], name[TAR_NAME_MAX];
    struct error err = {0};
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, FILE_MAX);
    if (path_format(path, sizeof path, "%s/%s", dir, relative) < 0)
        return;
    int r = file_read_at(AT_FDCWD, path, &text);
    json_object *o = r == 0 ? json_parse(text.data, text.len, relative, &err) : NULL;
    if (!o) {
        // One that is no JSON cannot be redacted: it stays out.
        missing(d, path, r < 0 ? strerror(-r) : err.text);
        return;
    }
    redact_json(o);
    if (path_format(name, sizeof name, "records/%s/%s", kind, relative) == 0) {
        add_json(d, name, o);
    } else {
        missing(d, path, "its name is too long for an archive");
        json_object_put(o);
    }
}

// Every JSON file below a state directory.
static void add_records(struct dump *d, const char *kind, const char *dir, const char *relative,
                        int depth)
{
    char path[PATH_MAX], inner[PATH_MAX];
    struct stat st;
    if (path_format(path, sizeof path, "%s/%s", dir, relative) < 0)
        return;
    DIR *all = opendir(path);
    for (const struct dirent *e; all && (e = readdir(all));) {
        size_t len = strlen(e->d_name);
        if (e->d_name[0] == '.' ||
            path_format(inner, sizeof inner, "%s/%s", relative, e->d_name) < 0 ||
            path_format(path, sizeof path, "%s/%s", dir, inner) < 0 || lstat(path, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth)
            add_records(d, kind, dir, inner, depth - 1);
        else if (S_ISREG(st.st_mode) && len > 5 && !strcmp(e->d_name + len - 5, ".json") &&
                 d->records++ < RECORDS_MAX)
            add_record(d, kind, dir, inner);
    }
    if (all)
        closedir(all);
}

// What doctor complains of is to be seen.
static void add_tree(struct dump *d, const struct kind *kind)
{
    char name[TAR_NAME_MAX];
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, FILE_MAX);
    snprintf(name, sizeof name, "records/%s/tree.txt", kind->name);
    int r = tree_list(kind->dir, &text);
    if (r < 0)
        missing(d, name, r == -EMSGSIZE ? "there is more than is listed" : strerror(-r));
    add(d, name, text.data, text.len);
}

static void add_toml(struct dump *d, const char *name, const char *text, size_t len)
{
    struct error err = {0};
    json_object *o = redact_toml(text, len, &err);
    if (o)
        add_json(d, name, o);
    else // what cannot be redacted stays out
        missing(d, name, err.text);
}

// One file, by its absolute path.
static void add_toml_file(struct dump *d, const char *path)
{
    char name[TAR_NAME_MAX];
    _cleanup_(buf_free) struct buf text;
    int r = read_end(path, DOCUMENT_SIZE_MAX, &text);
    if (r == 0 && text.len == DOCUMENT_SIZE_MAX)
        r = -EFBIG; // its end alone may be out of the table that says what it is
    if (r == 0)
        r = path_format(name, sizeof name, "config%s.json", path);
    if (r < 0)
        missing(d, path, strerror(-r));
    else
        add_toml(d, name, (const char *)text.data, text.len);
}

// `pattern` is a constant.
static void add_toml_files(struct dump *d, const char *pattern)
{
    glob_t paths = {0};
    if (glob(pattern, 0, NULL, &paths) == 0)
        for (size_t i = 0; i < paths.gl_pathc; i++)
            add_toml_file(d, paths.gl_pathv[i]);
    globfree(&paths);
}

// ---- the system ---------------------------------------------------------------------------------

// Of the mount table of process `who`, what is of ours.
static void add_mount_table(struct dump *d, const struct view *v, const char *who, const char *name)
{
    _cleanup_(buf_free) struct buf all, ours;
    char path[64];
    buf_init(&all, FILE_MAX);
    buf_init(&ours, FILE_MAX);
    (void)path_format(path, sizeof path, "/proc/%s/mountinfo", who);
    int r = file_read_at(AT_FDCWD, path, &all);
    if (r < 0) {
        missing(d, path, strerror(-r));
        return;
    }
    char *rest = (char *)(uintptr_t)buf_cstr(&all);
    for (char *line; rest && (line = strsep(&rest, "\n"));) {
        bool wanted = strstr(line, " - cgroup") || strstr(line, "/io.containerd.runtime.v2.task/");
        for (size_t i = 0; i < v->kinds.n; i++)
            wanted |= strstr(line, v->kinds.list[i].dir) != NULL;
        if (wanted)
            (void)buf_printf(&ours, "%s\n", line);
    }
    add(d, name, ours.data, ours.len);
}

// The daemons of a kind have a mount namespace of their own.
static void add_mounts(struct dump *d, const struct view *v)
{
    char who[32], name[128];
    const struct kind *last = NULL;
    add_mount_table(d, v, "self", "system/mounts");
    for (size_t i = 0; i < v->n_sources; i++) {
        const struct source *s = &v->sources[i];
        if (!s->answered || s->kind == last)
            continue;
        last = s->kind;
        snprintf(who, sizeof who, "%u", s->daemon->pid);
        snprintf(name, sizeof name, "system/mounts-%s", s->kind->name);
        add_mount_table(d, v, who, name);
    }
}

static void add_versions(struct dump *d, const struct view *v, const struct doctor *doctor)
{
    struct utsname u = {0};
    uname(&u);
    json_object *o = json_object_new_object(), *daemons = json_object_new_array();
    json_add_text(o, "kuasar_ctl", CTL_VERSION);
    json_add_text(o, "kernel", u.release);
    json_add_text(o, "kernel_build", u.version);
    json_add_text(o, "machine", u.machine);
    json_add_text(o, "containerd", doctor->containerd.program);
    json_add_text(o, "containerd_config", doctor->containerd.config);
    for (size_t i = 0; i < v->n_sources; i++)
        json_object_array_add(daemons, json_of_source(&v->sources[i]));
    json_add(o, "daemons", daemons);
    add_json(d, "system/versions.json", o);
    static const char *const programs[][3] = {{"runc", "--version", "runc"},
                                              {"crun", "--version", "crun"}};
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        const char *const argv[] = {programs[i][0], programs[i][1], NULL};
        char name[64];
        snprintf(name, sizeof name, "system/%s.txt", programs[i][2]);
        add_output(d, name, argv);
    }
    if (!*doctor->containerd.program)
        return;
    const char *const argv[] = {doctor->containerd.program, "--version", NULL};
    add_output(d, "system/containerd.txt", argv);
}

// Limits and status of a daemon, and its log if that is a file.
static void add_daemon(struct dump *d, const struct source *s)
{
    static const char *const files[] = {"limits", "status", "cgroup"};
    char path[64], name[TAR_NAME_MAX];
    const char *who = s->role == ROLE_TASK ? "task" : "sandboxer";
    if (!s->daemon)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", s->daemon->pid, files[i]);
        snprintf(name, sizeof name, "system/%s-%s/%s", s->kind->name, who, files[i]);
        add_file(d, name, path, FILE_MAX);
    }
    snprintf(path, sizeof path, "/proc/%d/fd/2", s->daemon->pid);
    snprintf(name, sizeof name, "logs/%s-%s.log", s->kind->name, who);
    struct stat st;
    if (!d->ctl->options->no_logs && stat(path, &st) == 0 && S_ISREG(st.st_mode))
        add_file(d, name, path, LOG_MAX);
}

// The console of a sandbox that is a machine. Its monitor owns the directory, which the daemons
// alone see, and may have put links there.
static void add_console(struct dump *d, const struct item *item)
{
    const struct source *s = item->source;
    char path[PATH_MAX], name[TAR_NAME_MAX];
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, LOG_MAX);
    if (item->entry->type != INTERNAL__ENTRY_TYPE__ENTRY_SANDBOX || !s->daemon ||
        d->ctl->options->no_logs ||
        path_format(path, sizeof path, "/proc/%d/root%s/sandboxes/%s/vm", s->daemon->pid,
                    s->kind->dir, item->entry->id) < 0)
        return;
    _cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir < 0)
        return; // it is none
    _cleanup_close_ int fd = file_open_inside(dir, "console.log", O_RDONLY | O_NONBLOCK);
    int r = fd < 0 ? fd : read_end_of(fd, LOG_MAX, &text);
    snprintf(name, sizeof name, "logs/%s-console-%s.log", s->kind->name, item->entry->id);
    if (r < 0)
        missing(d, name, strerror(-r));
    else
        add(d, name, text.data, text.len);
}

static void add_journal(struct dump *d, const struct kind *kind)
{
    char unit[128], task_unit[128], name[TAR_NAME_MAX];
    if (d->ctl->options->no_logs || access("/run/systemd/journal", F_OK) < 0)
        return;
    snprintf(unit, sizeof unit, "--unit=kuasar-%s", kind->name);
    snprintf(task_unit, sizeof task_unit, "--unit=kuasar-%s-task", kind->name);
    snprintf(name, sizeof name, "logs/%s-journal.log", kind->name);
    const char *const argv[] = {"journalctl", "--no-pager", "--lines=500", unit, task_unit, NULL};
    add_output(d, name, argv);
}

// ---- all ----------------------------------------------------------------------------------------

static void add_view(struct dump *d, struct view *v)
{
    add_json(d, "list.json", json_of_view(v));
    for (size_t i = 0; i < v->n_items && i < DETAILS_MAX; i++)
        add_details(d, v, &v->items[i]);
    for (size_t i = 0; i < v->n_items && i < DETAILS_MAX; i++)
        add_console(d, &v->items[i]);
    for (size_t i = 0; i < v->n_sources; i++) {
        add_events(d, &v->sources[i]);
        add_daemon(d, &v->sources[i]);
    }
    for (size_t i = 0; i < v->kinds.n; i++) {
        const struct kind *k = &v->kinds.list[i];
        add_tree(d, k);
        add_records(d, k->name, k->dir, "sandboxes", 1);
        add_records(d, k->name, k->dir, "tasks", 1);
        add_journal(d, k);
    }
    add_mounts(d, v);
}

static void add_doctor(struct dump *d, const struct doctor *doctor)
{
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    for (size_t i = 0; out && i < doctor->n; i++)
        text_finding(&doctor->list[i], out);
    if (out && fclose(out) == 0)
        add(d, "doctor.txt", text, len);
    else
        missing(d, "doctor.txt", "no memory");
}

static void add_config(struct dump *d, const struct doctor *doctor)
{
    struct error err = {0};
    char option[PATH_MAX + 16];
    snprintf(option, sizeof option, "--config=%s", doctor->containerd.config);
    const char *const arguments[] = {option, "config", "dump"};
    _cleanup_free_ char *text =
        *doctor->containerd.program
            ? doctor_output(doctor, doctor->containerd.program, arguments, &err)
            : NULL;
    if (text)
        add_toml(d, "config/containerd-dump.json", text, strlen(text));
    else
        missing(d, "containerd config dump", err.text);
    // What it imports from elsewhere than our documentation says is in its dump.
    add_toml_file(d, doctor->containerd.config);
    add_toml_files(d, "/etc/containerd/conf.d/*.toml");
    add_toml_files(d, KUASAR_SYSCONFDIR "/*.toml");
}

static int write_archive(struct dump *d, struct view *v, struct error *err)
{
    struct doctor doctor;
    buf_init(&d->errors, FILE_MAX);
    add(d, "README", readme, strlen(readme));
    if (doctor_run(&doctor, d->ctl, "", err) == 0) {
        add_doctor(d, &doctor);
        add_config(d, &doctor);
        add_versions(d, v, &doctor);
    }
    doctor_done(&doctor);
    add_view(d, v);
    add(d, "errors", d->errors.data, d->errors.len);
    buf_free(&d->errors);
    if (!d->failed)
        d->failed = tar_end(d->out);
    return d->failed;
}

// "kuasar-dump-<host>-<time>.tar"
static void default_name(char *to, size_t size, time_t now)
{
    struct utsname u = {0};
    struct tm tm;
    char at[32] = "";
    uname(&u);
    if (gmtime_r(&now, &tm))
        strftime(at, sizeof at, "%Y%m%dT%H%M%SZ", &tm);
    snprintf(to, size, "kuasar-dump-%.64s-%s.tar", u.nodename, at);
}

// Opens the archive: never over a file that is there.
static FILE *open_archive(const char *path, struct error *err)
{
    int fd =
        strcmp(path, "-") == 0 ? dup(1) : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!out)
        error_errno(err, errno, "--output: %s%s", path,
                    errno == EEXIST ? " is there; give another name" : "");
    return out;
}

static int run(struct ctl *ctl, struct error *err)
{
    struct dump d = {.ctl = ctl, .now = time(NULL)};
    struct view view;
    char name[128];
    default_name(name, sizeof name, d.now);
    const char *path = ctl->options->output ? ctl->options->output : name;
    int code = EXIT_ERROR;
    if (strcmp(path, "-") == 0 && isatty(1)) {
        error_set(err, STATUS_INVALID_ARGUMENT, "--output: a tar archive is not for a terminal");
        return EXIT_USAGE;
    }
    if (view_gather(&view, ctl, err) == 0 && (d.out = open_archive(path, err))) {
        if (write_archive(&d, &view, err) < 0)
            error_errno(err, d.failed, "--output: cannot write %s", path);
        else
            code = view_complete(&view) ? EXIT_OK : EXIT_WARNING;
        if (fclose(d.out) != 0 && code != EXIT_ERROR)
            code = error_errno(err, errno, "--output: %s", path) < 0 ? EXIT_ERROR : code;
        text_complaints(&view, stderr);
        if (code != EXIT_ERROR && strcmp(path, "-") != 0)
            fprintf(ctl->out,
                    "%s\nSecrets are taken out (see README in it); look through it "
                    "before you give it away.\n",
                    path);
    }
    view_done(&view);
    return code;
}

const struct command_entry cmd_dump = {
    .name = "dump",
    .arguments = "",
    .summary = "Write all that a bug report needs into a tar archive.",
    .description =
        "Values of environment variables, command lines, annotations and credentials are "
        "taken out;\nREADME in the archive says what is in it. --json has no meaning "
        "here: most of it is JSON.",
    .letters = "oL",
    .run = run,
};

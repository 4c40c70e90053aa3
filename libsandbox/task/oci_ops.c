// Containers by the command line of an OCI runtime.
//
// A command runs, its end is reported, and that is all: no process of the runtime stays. The
// container's init is our child because we are a subreaper. Between its birth and the moment when
// we read its pid from the pid file it may already have ended; the reaper keeps exits for us
// meanwhile (reaper_hold).
//
// What the runtime is not asked for: runc's start (oci_start.c), and whatever the cgroup can answer
// (contained.h).
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/any.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "event/command.h"
#include "linux/mount_space.h"
#include "oci/spec.h"
#include "task/oci_internal.h"

// Most of a runtime's log that is looked at.
#define OCI_LOG_MAX (256u * 1024)

// One command that runs.
struct oci_run {
    struct task *task; // counted
    struct task_process *process;
    const char *verb;
    struct command *command;
    struct oci_argv argv;
    char log[PATH_MAX], pid_file[PATH_MAX], process_file[PATH_MAX];
    bool held;      // reaper_hold
    bool cancelled; // killed by us
    void (*then)(struct oci_run *run, const struct error *err);
    struct task_done done;
};

static struct oci_task *engine_of(const struct task *t)
{
    return t->engine;
}

// ---- commands -------------------------------------------------------------------------------

// The runtime logs beside our records, not into the bundle: containerd removes the bundle of a
// container that it has given up at any moment, and a runtime that cannot log does not delete
// either. (A plus is in no id, so no two names can be the same. A colon would make crun read a kind
// of log in front of it.)
static void set_log_path(struct oci_run *run)
{
    const struct task *t = run->task;
    if (path_format(run->log, sizeof(run->log), "%s/tasks/%s/.%s+%s.log", t->server->dir, t->ns,
                    t->id, run->process->exec_id) < 0)
        run->log[0] = '\0'; // run_start refuses
}

static struct oci_run *run_new(struct task *t, struct task_process *p, const char *verb,
                               struct task_done done)
{
    struct oci_run *run = calloc(1, sizeof(*run));
    struct error err = {0};
    if (!run) {
        error_errno(&err, ENOMEM, "%s container %s", verb, t->id);
        done.fn(done.arg, &err);
        return NULL;
    }
    run->task = task_ref(t);
    run->process = p;
    run->verb = verb;
    run->done = done;
    set_log_path(run);
    (void)unlink(run->log);
    oci_argv_begin(&run->argv, &engine_of(t)->rt, run->log);
    return run;
}

static void run_end(struct oci_run *run, const struct error *err)
{
    struct task *t = run->task;
    struct task_done done = run->done;
    if (run->held)
        reaper_release(t->server->reaper);
    if (run->pid_file[0])
        (void)unlink(run->pid_file);
    if (run->process_file[0])
        (void)unlink(run->process_file);
    (void)unlink(run->log);
    if (run->process != &t->init) {
        run->process->engine = NULL;
    } else if (engine_of(t)->run == run) {
        engine_of(t)->run = NULL;
    }
    free(run);
    done.fn(done.arg, err);
    task_unref(t);
}

static void failed_command(struct oci_run *run, const struct command_result *result,
                           struct error *err)
{
    struct buf log;
    buf_init(&log, OCI_LOG_MAX);
    if (file_read_at(AT_FDCWD, run->log, &log) < 0)
        buf_clear(&log);
    const char *text = buf_cstr(&log);
    const struct oci_runtime *rt = &engine_of(run->task)->rt;
    if (run->cancelled)
        error_set(err, STATUS_CANCELLED, "%s %s was given up", rt->binary, run->verb);
    else if (result->timed_out)
        error_set(err, STATUS_DEADLINE_EXCEEDED, "%s %s took more than %.0f s and was killed",
                  rt->binary, run->verb, OCI_COMMAND_SECONDS);
    else
        oci_runtime_error(err, rt, run->verb, text ? text : "", result->err, result->code);
    buf_free(&log);
}

static void command_over(const struct command_result *result, void *arg)
{
    struct oci_run *run = arg;
    struct error err = {0};
    run->command = NULL;
    if (result->code || result->timed_out || run->cancelled) {
        failed_command(run, result, &err);
        run->then(run, &err);
    } else {
        run->then(run, NULL);
    }
}

static int show_container(const struct task *t)
{
    const struct task_server *s = t->server;
    char pod[PATH_MAX], rootfs[PATH_MAX];
    const char *paths[3] = {NULL};
    size_t n = 0;
    if (t->sandbox_id) {
        if (path_format(pod, sizeof(pod), "%s/%s", s->sandboxes_dir, t->sandbox_id) < 0)
            return -ENAMETOOLONG;
        paths[n++] = pod;
    }
    if (t->mounted) {
        if (task_rootfs_path(t, rootfs, sizeof(rootfs)) < 0)
            return -ENAMETOOLONG;
        paths[n++] = rootfs;
    }
    return mount_space_show(s->mounts, paths);
}

// What a runtime sees of what only we have mounted: what the container is made of where it is
// created, or where hooks of it are run; else nothing. The end of a container must not fail by what
// is gone already.
static int enter_mounts(const void *arg)
{
    const struct oci_run *run = arg;
    const struct task *t = run->task;
    if (strcmp(run->verb, "create") == 0)
        return show_container(t);
    bool runs_hooks = strcmp(run->verb, "start") == 0 || strcmp(run->verb, "delete") == 0;
    if (runs_hooks && engine_of(t)->hooks && show_container(t) == 0)
        return 0;
    return mount_space_show(t->server->mounts, NULL);
}

// crun sets the score of a container's first process alone: one that is executed later has what
// crun has, which would be ours.
static void take_oom_score(json_object *process)
{
    int64_t score = 0;
    char text[24];
    if (!process || !json_object_object_get_ex(process, "oomScoreAdj", NULL) ||
        json_get_int(process, "oomScoreAdj", &score, NULL) < 0)
        return;
    snprintf(text, sizeof(text), "%lld", (long long)score);
    (void)file_write_value_at(AT_FDCWD, "/proc/self/oom_score_adj", text); // less may be forbidden
}

static int enter(const void *arg)
{
    const struct oci_run *run = arg;
    if (strcmp(run->verb, "exec") == 0)
        take_oom_score(run->process->spec);
    return enter_mounts(run);
}

// Starts the command; `then` is called when it is over, or from here with an error.
static void run_start(struct oci_run *run, const int fds[3], const void *input, size_t input_len,
                      void (*then)(struct oci_run *run, const struct error *err))
{
    struct task_server *s = run->task->server;
    const struct command_spec spec = {.argv = run->argv.argv,
                                      .cwd = "/",
                                      .stdin_fd = fds ? fds[0] : -1,
                                      .stdout_fd = fds ? fds[1] : -1,
                                      .stderr_fd = fds ? fds[2] : -1,
                                      .input = input,
                                      .input_len = input_len,
                                      .timeout = OCI_COMMAND_SECONDS,
                                      .files = &s->files,
                                      // A create that goes on without us would make a container
                                      // after our successor has cleaned up.
                                      .mortal = true,
                                      .enter = enter,
                                      .enter_arg = run};
    struct error err = {0};
    run->then = then;
    if (run->argv.overflow || !run->log[0])
        error_set(&err, STATUS_INVALID_ARGUMENT, "bundle %s: path too long", run->task->bundle);
    else
        run->command = command_start(s->loop, s->reaper, &spec, command_over, run, &err);
    if (run->command) {
        if (run->process == &run->task->init)
            engine_of(run->task)->run = run;
        else
            run->process->engine = run;
    } else {
        error_wrap(&err, "container runtime");
        then(run, &err);
    }
}

// <verb> ID
static void run_simple(struct task *t, const char *verb, const char *option, struct task_done done)
{
    struct oci_run *run = run_new(t, &t->init, verb, done);
    if (!run)
        return;
    oci_argv_add(&run->argv, "%s", verb);
    if (option)
        oci_argv_add(&run->argv, "%s", option);
    oci_argv_add(&run->argv, "%s", t->id);
    run_start(run, NULL, NULL, 0, run_end);
}

static void ignore_done(void *arg, const struct error *err)
{
}

static void oci_cancel(struct task_process *p)
{
    bool is_init = p == &p->task->init;
    if (is_init && engine_of(p->task)->starting) {
        oci_start_cancel(engine_of(p->task)->starting);
        return;
    }
    struct oci_run *run = is_init ? engine_of(p->task)->run : p->engine;
    if (!run || !run->command)
        return;
    run->cancelled = true;
    command_kill(run->command);
}

// ---- exits ----------------------------------------------------------------

static void on_exit_seen(const struct exit_info *info, void *arg)
{
    struct task_process *p = arg;
    struct task *t = task_ref(p->task);
    struct oci_task *e = engine_of(t);
    bool is_init = p == &t->init;
    if (is_init)
        e->watched = false;
    contained_look_for_oom(&e->contained);
    task_process_exited(p, info->code, &info->at);
    // A start that is under way holds the exit back; it is over now.
    if (is_init && e->starting)
        oci_start_exited(e->starting);
    task_unref(t);
}

static int read_pid(const char *path, pid_t *ret, struct error *err)
{
    struct buf text;
    buf_init(&text, 64);
    int r = file_read_at(AT_FDCWD, path, &text);
    const char *s = r == 0 ? buf_cstr(&text) : NULL;
    char *end = NULL;
    errno = 0;
    long pid = s ? strtol(s, &end, 10) : 0;
    bool good = s && end != s && errno == 0 && pid > 1 && pid <= INT_MAX;
    buf_free(&text);
    if (r < 0)
        return error_errno(err, r, "the runtime wrote no pid file %s", path);
    if (!good)
        return error_set(err, STATUS_INTERNAL, "pid file %s: no process id in it", path);
    *ret = (pid_t)pid;
    return 0;
}

// Takes over a process that the runtime has made. If it has ended already its number may be another
// process's by now: then it gets no start time, and nothing is ever done to that number.
static int adopt_process(struct oci_run *run, struct error *err)
{
    struct task_process *p = run->process;
    struct reaper *reaper = p->task->server->reaper;
    pid_t pid = 0;
    if (read_pid(run->pid_file, &pid, err) < 0)
        return -1;
    int r = reaper_watch(reaper, pid, on_exit_seen, p);
    if (r < 0)
        return error_errno(err, r, "process %d", (int)pid);
    p->pid = (struct process_id){.pid = pid};
    if (reaper_is_due(reaper, pid) || process_identify(pid, &p->pid) == 0)
        return 0;
    reaper_unwatch(reaper, pid);
    p->pid = (struct process_id){0};
    return error_set(err, STATUS_INTERNAL,
                     "process %d, which the runtime made, is gone without a trace", (int)pid);
}

// ---- create ---------------------------------------------------------------------------------

static void create_over(struct oci_run *run, const struct error *err)
{
    struct task *t = run->task;
    struct error mine = {0};
    if (!err && adopt_process(run, &mine) < 0)
        err = &mine;
    if (!err) {
        engine_of(t)->watched = true;
        oci_cgroup_find(t);
        contained_watch(&engine_of(t)->contained);
    }
    run_end(run, err);
}

static void oci_create(struct task *t, struct task_done done)
{
    struct oci_run *run = run_new(t, &t->init, "create", done);
    int fds[3];
    if (!run)
        return;
    (void)path_format(run->pid_file, sizeof(run->pid_file), "%s/init.pid", t->bundle);
    (void)unlink(run->pid_file);
    oci_argv_create(&run->argv, &engine_of(t)->rt, t->bundle, run->pid_file,
                    task_stdio_console(t->init.io), t->id);
    task_stdio_fds(t->init.io, fds);
    reaper_hold(t->server->reaper);
    run->held = true;
    run_start(run, fds, NULL, 0, create_over);
}

static void oci_start(struct task *t, struct task_done done)
{
    if (!oci_start_direct(t, done))
        run_simple(t, "start", NULL, done);
}

// ---- exec -----------------------------------------------------------------------------------

static void exec_over(struct oci_run *run, const struct error *err)
{
    struct error mine = {0};
    if (!err && adopt_process(run, &mine) < 0)
        err = &mine;
    run_end(run, err);
}

static int write_process(struct oci_run *run, struct error *err)
{
    const struct task_process *p = run->process;
    const char *text = json_text(p->spec);
    int r = text ? 0 : -ENOMEM;
    if (r == 0)
        r = path_format(run->process_file, sizeof(run->process_file), "%s/exec-process-%s",
                        run->task->bundle, p->exec_id);
    if (r == 0)
        r = path_format(run->pid_file, sizeof(run->pid_file), "%s/exec-pid-%s", run->task->bundle,
                        p->exec_id);
    if (r == 0)
        r = file_write_atomic_at(AT_FDCWD, run->process_file, text, strlen(text), 0600);
    return r < 0 ? error_errno(err, r, "process of exec %s", p->exec_id) : 0;
}

static void oci_exec_start(struct task_process *p, struct task_done done)
{
    struct task *t = p->task;
    struct oci_run *run = run_new(t, p, "exec", done);
    struct error err = {0};
    int fds[3];
    if (!run)
        return;
    if (write_process(run, &err) < 0) {
        run_end(run, &err);
        return;
    }
    (void)unlink(run->pid_file);
    oci_argv_exec(&run->argv, run->process_file, run->pid_file, task_stdio_console(p->io), t->id);
    task_stdio_fds(p->io, fds);
    reaper_hold(t->server->reaper);
    run->held = true;
    run_start(run, fds, NULL, 0, exec_over);
}

// ---- the end --------------------------------------------------------------------------------

static void delete_over(struct oci_run *run, const struct error *err)
{
    struct task *t = run->task;
    struct task_done done = run->done;
    if (!err || err->status == STATUS_NOT_FOUND) {
        run_end(run, err);
        return;
    }
    task_ref(t);
    run->done = (struct task_done){.fn = ignore_done};
    run_end(run, err);
    run_simple(t, "delete", "--force", done);
    task_unref(t);
}

// With --force runc sleeps for a tenth of a second whatever it finds, so that is for containers
// whose state is not known.
static void oci_remove(struct task *t, struct task_done done)
{
    if (!t->init.exit_seen) {
        run_simple(t, "delete", "--force", done);
        return;
    }
    struct oci_run *run = run_new(t, &t->init, "delete", done);
    if (!run)
        return;
    contained_keep_stats(&engine_of(t)->contained);
    oci_argv_add(&run->argv, "delete");
    oci_argv_add(&run->argv, "%s", t->id);
    run_start(run, NULL, NULL, 0, delete_over);
}

static void oci_release(struct task_process *p)
{
    struct task *t = p->task;
    struct oci_task *e = t->engine;
    if (p->pid.pid && !p->exit_seen && (p != &t->init || e->watched))
        reaper_unwatch(t->server->reaper, p->pid.pid);
}

// ---- stats ----------------------------------------------------------------------

static void oci_stats(struct task *t, struct task_stats_done done)
{
    contained_stats(&engine_of(t)->contained, done);
}

// ---- update, pause, resume ------------------------------------------------------------------

static void oci_update(struct task *t, const void *resources, size_t len, struct task_done done)
{
    struct error err = {0};
    if (contained_check_memory(t, resources, len, &err) < 0) {
        done.fn(done.arg, &err);
        return;
    }
    struct oci_run *run = run_new(t, &t->init, "update", done);
    if (!run)
        return;
    oci_argv_add(&run->argv, "update");
    oci_argv_add(&run->argv, "--resources");
    oci_argv_add(&run->argv, "-");
    oci_argv_add(&run->argv, "%s", t->id);
    run_start(run, NULL, resources, len, run_end);
}

static void oci_pause(struct task *t, struct task_done done)
{
    run_simple(t, "pause", NULL, done);
}

static void oci_resume(struct task *t, struct task_done done)
{
    run_simple(t, "resume", NULL, done);
}

// ---- life -----------------------------------------------------------------------------------

static struct oci_task *engine_new(struct task *t)
{
    struct oci_task *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    contained_init(&e->contained, t);
    t->engine = e;
    return e;
}

static int oci_open(struct task *t, const Google__Any *options, const struct pod *pod,
                    json_object *spec, struct error *err)
{
    struct oci_task *e = engine_new(t);
    if (!e)
        return error_errno(err, ENOMEM, "container %s", t->id);
    if (oci_options_read(t, options, &e->rt, err) < 0 || oci_cgroup_place(t, pod, spec, err) < 0)
        return -1;
    e->hooks = oci_spec_has_hooks(spec);
    contained_begin(&e->contained);
    return 0;
}

static json_object *oci_describe(const struct task *t)
{
    const struct oci_runtime *rt = &engine_of(t)->rt;
    json_object *o = json_object_new_object();
    if (!o)
        return NULL;
    json_object_object_add(o, "binary", json_object_new_string(rt->binary));
    json_object_object_add(o, "root", json_object_new_string(rt->root));
    json_object_object_add(o, "systemd_cgroup", json_object_new_boolean(rt->systemd_cgroup));
    return o;
}

static int oci_adopt(struct task *t, json_object *described, struct error *err)
{
    struct oci_task *e = engine_new(t);
    const char *binary = NULL, *root = NULL;
    if (!e)
        return error_errno(err, ENOMEM, "container %s", t->id);
    if (json_get_string(described, "binary", &binary, err) < 0 ||
        json_get_string(described, "root", &root, err) < 0 ||
        json_get_bool(described, "systemd_cgroup", &e->rt.systemd_cgroup, err) < 0)
        return error_wrap(err, "engine");
    e->hooks = true;
    e->rt.binary = strdup(binary ? binary : "");
    e->rt.root = strdup(root ? root : "");
    if (!e->rt.binary || !e->rt.root)
        return error_errno(err, ENOMEM, "container %s", t->id);
    // We may have been started elsewhere than our predecessor.
    if (t->cgroup && !oci_cgroup_is_containers(t->server->cgroups, t->cgroup)) {
        log_error("container %s: cgroup %s of its record holds ourselves", t->id, t->cgroup);
        free(take_ptr(t->cgroup));
    }
    return oci_runtime_check(&e->rt, err) < 0 ? error_wrap(err, "engine") : 0;
}

static void oci_close(struct task *t)
{
    struct oci_task *e = t->engine;
    contained_done(&e->contained);
    oci_runtime_done(&e->rt);
    free(e);
    t->engine = NULL;
}

const struct task_ops task_oci_ops = {
    .name = "oci",
    .open = oci_open,
    .describe = oci_describe,
    .adopt = oci_adopt,
    .close = oci_close,
    .create = oci_create,
    .start = oci_start,
    .exec_start = oci_exec_start,
    .cancel = oci_cancel,
    .remove = oci_remove,
    .reap = contained_reap,
    .kill = contained_kill,
    .pids = contained_pids,
    .stats = oci_stats,
    .update = oci_update,
    .pause = oci_pause,
    .resume = oci_resume,
    .release = oci_release,
};

// wasm-worker: one WebAssembly container
//
// SYNOPSIS
//     wasm-worker run ENGINE CACHE CONSOLE PLUGINS BUNDLE
//     wasm-worker exec ENGINE CACHE CONSOLE PLUGINS PID CGROUP DEBUG
//     wasm-worker compile ENGINE VERSION UIDS GIDS
//     wasm-worker engines | --version | --help
//
// The engines that there are, with their versions, are for people. Else started by wasm-task, as
// root, with the container's standard input, output and error and what worker.h names. In this
// order: the bundle's config.json is read; the process becomes the container (enter.h), from where
// on it has nothing that the container should not have, and few system calls (filter.h); the module
// is loaded from the cache or compiled (or was before, by a child, this program again: apart.h),
// and linked; the server is told; the server says go; the module runs.
//
// EXIT CODE  The module's. Before it runs: 125, and why is said to the server.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "apart.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "code.h"
#include "debug.h"
#include "engines.h"
#include "enter.h"
#include "filter.h"
#include "linux/cgroup.h"
#include "message.h"
#include "oci/entry.h"
#include "oci/resources.h"
#include "preload.h"
#include "terminal.h"
#include "worker.h"

#define EXIT_NOT_RUN 125
// Up to PLUGINS, which both verbs have (PLUGINS: "" or what says that they are allowed).
#define COMMON_ARGS 6

// What the engine itself needs of a container's memory, at most half of it: the rest is the
// module's. A module that wants more gets a failed memory.grow, which it may live with, before the
// kernel kills the container.
#define ENGINE_MEMORY (8ull * 1024 * 1024)

// ---- the cgroup ---------------------------------------------------------------------------------

static int read_limits(json_object *spec, struct oci_resources *ret, struct error *err)
{
    json_object *os = NULL, *resources = NULL;
    *ret = (struct oci_resources){0};
    if (json_get_object(spec, "linux", &os, err) < 0 ||
        (os && json_get_object(os, "resources", &resources, err) < 0))
        return -1;
    if (resources && oci_resources_read(resources, ret, err) < 0)
        return error_wrap(err, "linux.resources");
    return 0;
}

static int enter_cgroup(const struct plan *p, const struct cgroup_limits *limits, struct error *err)
{
    bool created = false;
    if (!p->cgroup)
        return 0;
    struct cgroup_host *host = cgroup_host_open();
    if (!host)
        return error_errno(err, errno, "cgroups");
    int r = cgroup_make(host, p->cgroup, &created);
    if (r == 0 && cgroup_limits_set(host, p->cgroup, limits, err) < 0) {
        cgroup_host_free(host);
        return -1;
    }
    if (r == 0)
        r = cgroup_attach(host, p->cgroup, 0);
    cgroup_host_free(host);
    return r < 0 ? error_errno(err, r, "cgroup %s", p->cgroup) : 0;
}

// Bytes for the module's linear memory; 0: no limit.
static uint64_t module_memory(int64_t memory)
{
    if (memory <= 0)
        return 0;
    uint64_t limit = (uint64_t)memory;
    return limit - (limit / 2 < ENGINE_MEMORY ? limit / 2 : ENGINE_MEMORY);
}

static int set_oom_score(const struct plan *p, struct error *err)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", p->has_oom_score_adj ? p->oom_score_adj : 0);
    int r = file_write_value_at(AT_FDCWD, "/proc/self/oom_score_adj", text);
    // Nodes without CAP_SYS_RESOURCE may only raise it.
    return r < 0 && r != -EACCES ? error_errno(err, r, "process.oomScoreAdj") : 0;
}

// ---- the module ---------------------------------------------------------------------------------

struct module {
    int fd; // memfd
    void *bytes;
    size_t len;
};

// Opens it with the rights of the container's user; a descriptor or -1.
static int open_module(const struct plan *p, int root, struct error *err)
{
    if (enter_user(p, err) < 0)
        return -1;
    _cleanup_close_ int fd = oci_entry_open(root, p->args[0], p->cwd, plan_path(p));
    if (enter_user_left(err) < 0)
        return -1;
    if (fd == -EACCES)
        return error_set(err, STATUS_PERMISSION_DENIED,
                         "process.args[0]: \"%.200s\" in the container's root is no file that user "
                         "%u may read: chmod a+r (and a+x on its directories), or run as another "
                         "user",
                         p->args[0], p->uid);
    if (fd < 0)
        return error_errno(err, fd, "process.args[0]: \"%.200s\" in the container's root",
                           p->args[0]);
    return take_fd(&fd);
}

// All of it, or an error.
static int read_all(int fd, void *to, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, (char *)to + done, len - done, (off_t)done);
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

// Takes a copy: others may be able to write the file (a volume, an exec), and what is compiled must
// be what the name of its code was made from.
static int read_module(const struct plan *p, int root, struct module *ret, struct error *err)
{
    struct stat st;
    _cleanup_close_ int fd = open_module(p, root, err);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return error_errno(err, errno, "%.200s", p->args[0]);
    if (st.st_size < 8 || (uint64_t)st.st_size > WORKER_MODULE_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%.200s: %lld bytes are no module (at least 8, at most %u)", p->args[0],
                         (long long)st.st_size, WORKER_MODULE_MAX);
    char magic[4];
    if (read_all(fd, magic, sizeof(magic)) < 0 || memcmp(magic, "\0asm", 4) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%.200s is no WebAssembly (it does not begin with \"\\0asm\")",
                         p->args[0]);
    ret->len = (size_t)st.st_size;
    ret->fd = memfd_create("module", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ret->fd < 0 || ftruncate(ret->fd, st.st_size) < 0)
        return error_errno(err, errno, "%.200s", p->args[0]);
    ret->bytes = mmap(NULL, ret->len, PROT_READ | PROT_WRITE, MAP_SHARED, ret->fd, 0);
    if (ret->bytes == MAP_FAILED)
        return error_errno(err, errno, "%.200s", p->args[0]);
    int r = read_all(fd, ret->bytes, ret->len);
    if (r == 0 && fcntl(ret->fd, F_ADD_SEALS,
                        F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        r = -errno;
    return r < 0 ? error_errno(err, r, "%.200s", p->args[0]) : 0;
}

// ---- all of it ---------------------------------------------------------------------------------

// What is to run: a module, or (execs alone) a native program.
struct work {
    const struct engine_ops *engine;
    const char *cache;
    bool plugins;     // those of the engine are allowed
    struct plan plan; // args and env are used until the end
    struct module module;
    uint64_t memory_max;
    int code;  // code_find; -1: none
    bool made; // WORKER_CODE is code that was compiled apart
    void *loaded;
    bool native;
    const char *debug_rootfs; // of an exec; "": none
    int debug;    // debug_find: the program is not the container's but one of those; -1: none
    bool missing; // it is neither's
    int terminal; // the slave; -1: none
    int users;    // enter_users_open; -1: none
    int attr;     // enter_profile_open; -1: none
};

// A native program that the container does not have may be there.
static int find_debug(struct work *w, int root, struct error *err)
{
    if (!w->debug_rootfs[0] || debug_has(root, &w->plan))
        return 0;
    if (debug_find(w->debug_rootfs, &w->plan, &w->debug, err) < 0)
        return -1;
    w->missing = w->debug < 0;
    return 0;
}

// Finds it in a root, and tells.
static int find_work(struct work *w, int root, bool native_too, struct error *err)
{
    struct worker_module said = {0};
    struct error why = {0};
    if (read_module(&w->plan, root, &w->module, &why) < 0) {
        w->native = native_too;
        if (!native_too) {
            *err = why;
            return -1;
        }
        if (find_debug(w, root, err) < 0)
            return -1;
    } else {
        code_name(w->engine, w->module.bytes, w->module.len, said.name);
        w->code = code_find(w->cache, said.name);
        said.cached = w->code >= 0;
    }
    if (!message_send(WORKER_CONTROL, &said, sizeof(said), -1))
        return error_errno(err, errno, "control socket");
    close(WORKER_CONTROL);
    return 0;
}

// Compiles what is in no cache, if the engine does that in a process of its own.
static int compile_apart(struct work *w, struct error *err)
{
    _cleanup_close_ int module = take_fd(&w->module.fd);
    if (w->native || w->code >= 0 || !w->engine->compile_apart)
        return 0;
    int r = apart_compile(w->engine, &w->plan, w->users, module, WORKER_CODE, err);
    w->made = r > 0;
    return r < 0 ? error_wrap(err, "%.200s", w->plan.args[0]) : 0;
}

// As long as the files are the host's; in the container's cgroup.
static int load_plugins(const struct work *w, struct error *err)
{
    const struct engine_ops *engine = w->engine;
    if (w->plan.nn_preload && !engine->load_plugins)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         PRELOAD_NAME ": there is no WASI-NN with %s: use wasmedge", engine->name);
    if (w->plan.nn_preload && !w->plugins)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         PRELOAD_NAME ": WASI-NN is a plugin of WasmEdge, and plugins are off on "
                                      "this node: set wasmedge_plugins = true there");
    if (w->plugins && engine->load_plugins)
        engine->load_plugins();
    return 0;
}

static int become(struct work *w, struct error *err)
{
    if (w->terminal >= 0 && (fchown(w->terminal, plan_host_uid(&w->plan), (gid_t)-1) < 0 ||
                             terminal_take(w->terminal, err) < 0))
        return -1;
    return enter_identity(&w->plan, take_fd(&w->users), take_fd(&w->attr), err);
}

// wasm-worker run ENGINE CACHE CONSOLE PLUGINS BUNDLE
static int prepare_run(struct work *w, char **argv, struct error *err)
{
    struct plan *plan = &w->plan;
    struct oci_resources resources;
    if (plan_read(plan, argv[0], err) < 0 || read_limits(plan->spec, &resources, err) < 0 ||
        enter_cgroup(plan, &resources.limits, err) < 0 || load_plugins(w, err) < 0 ||
        set_oom_score(plan, err) < 0 || enter_users_open(plan, &w->users, err) < 0 ||
        enter_namespaces(plan, err) < 0 || enter_pids(plan, err) < 0)
        return -1;
    w->memory_max = module_memory(resources.limits.memory);
    _cleanup_close_ int root = enter_mounts(plan, w->users, err);
    if (root < 0 || find_work(w, root, false, err) < 0 || compile_apart(w, err) < 0 ||
        enter_profile_open(plan, &w->attr, err) < 0 || enter_root(plan, root, err) < 0 ||
        enter_directory(plan, err) < 0)
        return -1;
    return become(w, err);
}

// What the container's limit is now.
static uint64_t memory_of(const struct cgroup_host *host, const char *path)
{
    struct cgroup_stats stats = {0};
    if (cgroup_stats_read(host, path, &stats) < 0)
        return 0;
    uint64_t limit = stats.memory_limit;
    cgroup_stats_done(&stats);
    return module_memory(limit < INT64_MAX ? (int64_t)limit : -1);
}

static int join_cgroup(struct work *w, const char *path, struct error *err)
{
    struct cgroup_host *host = path[0] ? cgroup_host_open() : NULL;
    int r = !path[0] ? 0 : host ? cgroup_attach(host, path, 0) : -errno;
    w->memory_max = host && r == 0 ? memory_of(host, path) : 0;
    cgroup_host_free(host);
    return r < 0 ? error_errno(err, r, "cgroup %s", path) : 0;
}

static int join_container(struct work *w, int container, struct error *err)
{
    if (enter_container(container, err) < 0)
        return -1;
    if (w->debug < 0)
        return enter_directory(&w->plan, err);
    _cleanup_close_ int tree = take_fd(&w->debug);
    return debug_enter(tree, w->plan.cwd, err);
}

// wasm-worker exec ENGINE CACHE CONSOLE PLUGINS PID CGROUP DEBUG
static int prepare_exec(struct work *w, char **argv, struct error *err)
{
    const int spec = WORKER_EXTRA, container = WORKER_EXTRA + 1;
    if (plan_read_process(&w->plan, spec, err) < 0 || join_cgroup(w, argv[1], err) < 0 ||
        load_plugins(w, err) < 0 || (w->plan.has_oom_score_adj && set_oom_score(&w->plan, err) < 0))
        return -1;
    close(spec);
    w->debug_rootfs = argv[2];
    _cleanup_close_ int root =
        enter_container_pids(container, atoi(argv[0]), &w->plan, &w->users, err);
    if (root < 0 || find_work(w, root, true, err) < 0 || compile_apart(w, err) < 0 ||
        enter_profile_open(&w->plan, &w->attr, err) < 0 || join_container(w, container, err) < 0)
        return -1;
    close(container);
    return become(w, err);
}

// Without privileges.
static int get_ready(struct work *w, const struct engine_ops *engine, struct worker_ready *ready)
{
    struct error *err = &ready->err;
    if (w->native)
        return 0;
    if (plan_tell_cwd(&w->plan, err) < 0)
        return -1;
    const struct engine_program program = {.args = w->plan.args,
                                           .env = w->plan.env,
                                           .cwd = w->plan.cwd,
                                           .memory_max = w->memory_max,
                                           .nn_preload = w->plan.nn_preload};
    (void)signal(SIGXFSZ, SIG_IGN); // too large a file (RLIMIT_FSIZE) is an error of a write
    if (filter_before_compile(err) < 0)
        return -1;
    w->loaded = w->made ? engine->restore_apart(WORKER_CODE) : code_load(engine, w->code);
    if (w->loaded) {
        ready->code = w->made;
    } else {
        w->loaded = engine->compile(w->module.bytes, w->module.len, err);
        ready->code = w->loaded && code_leave(engine, w->loaded, WORKER_CODE);
    }
    munmap(w->module.bytes, w->module.len);
    if (!w->loaded || engine->link(w->loaded, &program, err) < 0)
        return error_wrap(err, "%.200s", w->plan.args[0]);
    if (chdir("/") < 0)
        return error_errno(err, errno, "/");
    close_fd(&w->code);
    return filter_before_run(err);
}

static int run_native(const struct work *w)
{
    environ = w->plan.env;
    execvp(w->plan.args[0], w->plan.args);
    int e = errno;
    if (w->missing)
        fprintf(stderr, "%s: neither the container nor the debug rootfs %s has it\n",
                w->plan.args[0], w->debug_rootfs);
    else
        fprintf(stderr, "%s: %s\n", w->plan.args[0], strerror(e));
    return e == ENOENT ? 127 : 126;
}

static int print_help(void)
{
    puts("Usage: wasm-worker engines | --version | --help\n"
         "       wasm-worker run|exec|compile ... (wasm-task starts it)\n"
         "The engines are those that are installed, with their versions.");
    return 0;
}

static int print_version(void)
{
    puts("Version: " KUASAR_VERSION "-" KUASAR_COMMIT);
    return 0;
}

static const struct {
    const char *name;
    int (*print)(void);
} questions[] = {
    {"engines", engines_print}, {"--version", print_version}, {"-v", print_version},
    {"--help", print_help},     {"-h", print_help},
};

static const struct {
    const char *name;
    int argc; // behind PLUGINS
    int (*prepare)(struct work *w, char **argv, struct error *err);
} verbs[] = {
    {"run", 1, prepare_run},
    {"exec", 3, prepare_exec},
};

// Up to the end of it; returns the exit code.
static int work_all(struct work *w, size_t verb, char **argv)
{
    struct worker_ready ready = {0};
    char go = 0;
    w->cache = argv[3];
    w->plugins = argv[5][0];
    // Plugins may be made of what the compiler is made of.
    const struct engine_ops *engine =
        engines_load(argv[2], w->plugins ? ENGINE_WHOLE : ENGINE_LEAN, &ready.err);
    w->engine = engine;
    w->terminal = engine && argv[4][0] ? terminal_make(argv[4], &ready.err) : -1;
    bool good = engine && (!argv[4][0] || w->terminal >= 0) &&
                verbs[verb].prepare(w, argv + COMMON_ARGS, &ready.err) == 0 &&
                get_ready(w, engine, &ready) == 0;
    close(WORKER_CODE);
    if (write(WORKER_READY, &ready, sizeof(ready)) != sizeof(ready) || !good)
        return EXIT_NOT_RUN;
    close(WORKER_READY);
    if (read(WORKER_GO, &go, 1) != 1 || go != WORKER_RUN)
        return EXIT_NOT_RUN;
    close(WORKER_GO);
    return w->native ? run_native(w) : engine->run(w->loaded);
}

int main(int argc, char **argv)
{
    static struct work work = {.module.fd = -1, .code = -1, .debug = -1, .users = -1, .attr = -1};
    size_t verb = 0;
    for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(questions); i++) {
        if (strcmp(questions[i].name, argv[1]) == 0)
            return questions[i].print();
    }
    if (argc == 6 && strcmp(argv[1], "compile") == 0)
        return apart_main(argv + 2);
    while (argc > 1 && verb < ARRAY_SIZE(verbs) && strcmp(verbs[verb].name, argv[1]) != 0)
        verb++;
    if (argc < COMMON_ARGS || verb == ARRAY_SIZE(verbs) || argc - COMMON_ARGS != verbs[verb].argc) {
        fputs(
            "Usage: wasm-worker run|exec ENGINE CACHE CONSOLE PLUGINS ... (wasm-task starts it)\n",
            stderr);
        return 2;
    }
    // What others have for the end of a process is not for one whose system calls are counted.
    _exit(work_all(&work, verb, argv));
}

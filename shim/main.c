// containerd-shim-kuasar-runc-v1, -v2: what containerd runs for a handler whose pods are served by
// runc-sandboxer. The sandboxer and its task server do the work; this program exists because
// containerd removes a running container's bundle when it is restarted and cannot find the program
// that the handler's runtime_type names, and because it asks it what the handler can do.
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "shim/delete.h"
#include "shim/features.h"
#include "shim/info.h"
#include "shim/options.h"

#define RUN_DIR     "/run/kuasar-runc"
#define TASK_SOCKET RUN_DIR "/task.sock"
#define CONFIG_FILE KUASAR_SYSCONFDIR "/runc.toml"
#define OUTPUT_MAX  (FEATURES_SIZE_MAX + 4096)
// What containerd is told of a task that nobody can ask any more: killed.
#define EXIT_KILLED 137

static int write_output(const struct buf *out)
{
    for (size_t done = 0; done < out->len;) {
        ssize_t n = write(STDOUT_FILENO, out->data + done, out->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fprintf(stderr, "standard output: %s\n", strerror(errno));
            return EXIT_FAILURE;
        }
        done += (size_t)n;
    }
    return EXIT_SUCCESS;
}

static const char *program_name(const char *argv0)
{
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
    return slash ? slash + 1 : argv0 ? argv0 : "containerd-shim-kuasar-runc-v2";
}

// The default OCI runtime of the configuration. A file that the daemons would refuse must not take
// the handler's features away, so its errors are warnings.
static char *configured_engine(void)
{
    struct config {
        char *runtime, *runtime_root, *events;
        bool ports, icmp;
    } config = {0};
    static const struct config_key keys[] = {
        {.key = "runtime", .type = CONFIG_STRING, .offset = offsetof(struct config, runtime)},
        {.key = "runtime_root",
         .type = CONFIG_STRING,
         .offset = offsetof(struct config, runtime_root)},
        {.key = "containerd_events",
         .type = CONFIG_STRING,
         .offset = offsetof(struct config, events)},
        {.key = "default_unprivileged_ports",
         .type = CONFIG_BOOL,
         .offset = offsetof(struct config, ports)},
        {.key = "default_unprivileged_icmp",
         .type = CONFIG_BOOL,
         .offset = offsetof(struct config, icmp)},
    };
    struct error err = {0};
    if (access(CONFIG_FILE, F_OK) == 0 &&
        config_load(CONFIG_FILE, keys, ARRAY_SIZE(keys), &config, &err) < 0)
        fprintf(stderr, "warning: %s\n", err.text);
    free(config.runtime_root);
    free(config.events);
    return config.runtime;
}

static int run_info(const char *program)
{
    _cleanup_(buf_free) struct buf input, features, out;
    buf_init(&input, INFO_INPUT_MAX);
    buf_init(&features, FEATURES_SIZE_MAX);
    buf_init(&out, OUTPUT_MAX);
    info_read_input(STDIN_FILENO, &input);
    _cleanup_free_ char *engine = info_wanted_engine(&input);
    if (!engine)
        engine = configured_engine();

    struct error err = {0};
    if (features_get(engine ? engine : "runc", RUN_DIR, &features, &err) < 0)
        fprintf(stderr, "warning: %s; telling containerd the least features\n", err.text);

    size_t len = strlen(program);
    bool v1 = len > 3 && strcmp(program + len - 3, "-v1") == 0;
    const struct info info = {
        .name = v1 ? "io.containerd.kuasar-runc.v1" : "io.containerd.kuasar-runc.v2",
        .version = KUASAR_VERSION,
        .revision = KUASAR_COMMIT,
        .features = &features,
    };
    int r = info_encode(&info, &out);
    if (r < 0) {
        fprintf(stderr, "-info: %s\n", strerror(-r));
        return EXIT_FAILURE;
    }
    return write_output(&out);
}

static int run_delete(const struct shim_options *o)
{
    const char *bundle = *o->bundle ? o->bundle : ".";
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    delete_server_path(bundle, TASK_SOCKET, path, sizeof path);
    if (delete_ask_server(path) == TASK_SERVER_GONE)
        fprintf(stderr, "no task server listens on %s; the next one cleans up after %s\n", path,
                *o->id ? o->id : "the container");

    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    _cleanup_(buf_free) struct buf out;
    buf_init(&out, OUTPUT_MAX);
    int r = delete_encode(delete_init_pid(bundle), EXIT_KILLED, &now, &out);
    if (r < 0) {
        fprintf(stderr, "delete: %s\n", strerror(-r));
        return EXIT_FAILURE;
    }
    return write_output(&out);
}

// The text reaches the user through containerd.
static int refuse_start(void)
{
    fprintf(stderr, "pods of this runtime are served by runc-sandboxer, not by a shim: set "
                    "sandboxer = \"runc\" for it in containerd's runtime table and the proxy "
                    "plugin \"runc\" of type \"sandbox\" (containerd 2.1 or newer)\n");
    return EXIT_FAILURE;
}

static void print_help(FILE *to, const char *program)
{
    fprintf(to,
            "usage: %s [-namespace NS] [-id ID] [-bundle DIR] [-address SOCKET]\n"
            "       [-publish-binary FILE] [-debug] delete | start\n"
            "       %s -info | -v | -h\n"
            "Run by containerd; see containerd-shim-kuasar-runc(8).\n",
            program, program);
}

int main(int argc, char **argv)
{
    const char *program = program_name(argc > 0 ? argv[0] : NULL);
    struct shim_options options;
    shim_options_parse(&options, argc, argv);
    switch (options.action) {
    case SHIM_INFO:
        return run_info(program);
    case SHIM_DELETE:
        return run_delete(&options);
    case SHIM_START:
        return refuse_start();
    case SHIM_VERSION:
        printf("%s %s (%s)\n", program, KUASAR_VERSION, KUASAR_COMMIT);
        return EXIT_SUCCESS;
    case SHIM_HELP:
        print_help(stdout, program);
        return EXIT_SUCCESS;
    case SHIM_NONE:
        break;
    }
    if (options.unknown)
        fprintf(stderr, "%s: unknown action\n", options.unknown);
    print_help(stderr, program);
    return 2;
}

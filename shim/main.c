// containerd-shim-kuasar-runc-v2 and its other names (family.c): what containerd runs for a handler
// whose pods are served by a sandboxer of ours. The sandboxer and its task server do the work; this
// program exists because containerd removes a running container's bundle when it is restarted and
// cannot find the program that the handler's runtime_type names, and because it asks it what the
// handler can do.
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "shim/delete.h"
#include "shim/family.h"
#include "shim/features.h"
#include "shim/info.h"
#include "shim/options.h"

#define OUTPUT_MAX (FEATURES_SIZE_MAX + 4096)
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

// What the OCI runtime can do that the options or the configuration name.
static void take_features(const struct family *f, const struct buf *input, struct buf *features)
{
    struct error err = {0};
    _cleanup_free_ char *engine = info_wanted_engine(input);
    if (!engine && access(f->config, F_OK) == 0 &&
        info_configured_engine(f->config, &engine, &err) < 0)
        fprintf(stderr, "warning: %s\n", err.text);
    if (features_get(engine ? engine : "runc", f->dir, features, &err) < 0)
        fprintf(stderr, "warning: %s; telling containerd the least features\n", err.text);
}

static int run_info(const char *program)
{
    const struct family *f = family_of(program);
    _cleanup_(buf_free) struct buf input, features, out;
    buf_init(&input, INFO_INPUT_MAX);
    buf_init(&features, FEATURES_SIZE_MAX);
    buf_init(&out, OUTPUT_MAX);
    info_read_input(STDIN_FILENO, &input);
    take_features(f, &input, &features);

    char name[64];
    size_t len = strlen(program);
    bool v1 = len > 3 && strcmp(program + len - 3, "-v1") == 0;
    (void)path_format(name, sizeof name, "io.containerd.%s.%s", f->runtime, v1 ? "v1" : "v2");
    const struct info info = {
        .name = name,
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

static int run_delete(const char *program, const struct shim_options *o)
{
    const char *bundle = *o->bundle ? o->bundle : ".";
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    delete_server_path(bundle, family_of(program)->task_socket, path, sizeof path);
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
static int refuse_start(const struct family *f)
{
    fprintf(stderr,
            "pods of this runtime are served by %s, not by a shim: set sandboxer = \"%s\" for it "
            "in containerd's runtime table and the proxy plugin \"%s\" of type \"sandbox\" "
            "(containerd 2.1 or newer)\n",
            f->sandboxer, f->plugin, f->plugin);
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
        return run_delete(program, &options);
    case SHIM_START:
        return refuse_start(family_of(program));
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

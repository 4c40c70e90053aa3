#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/ident.h"

#define DEFAULT_DIR "/run/kuasar-runc"

static const char usage[] =
    "Usage: runc-task [options]\n"
    "Serve containerd's Task API for the OCI containers of this node.\n\n"
    "  -d, --dir DIR                 state directory (default " DEFAULT_DIR ")\n"
    "  -l, --listen SOCKET           unix socket to serve on (default DIR/task.sock)\n"
    "  -c, --config FILE             configuration (default " DEFAULT_CONFIG ", if it exists)\n"
    "      --log-level LEVEL         trace, debug, info, warn or error (default info)\n"
    "      --containerd-events SOCK  containerd's ttrpc socket (default: as configured)\n"
    "  -v, --version                 print the version\n"
    "  -h, --help                    print this text\n";

static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"dir", required_argument, NULL, 'd'},
        {"listen", required_argument, NULL, 'l'},
        {"config", required_argument, NULL, 'c'},
        {"log-level", required_argument, NULL, 'L'},
        {"containerd-events", required_argument, NULL, 'e'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "d:l:c:vh", longs, NULL)) >= 0) {
        switch (c) {
        case 'd':
            o->dir = optarg;
            break;
        case 'l':
            o->listen = strncmp(optarg, "unix://", 7) == 0 ? optarg + 7 : optarg;
            break;
        case 'c':
            o->config = optarg;
            break;
        case 'e':
            o->events = optarg;
            break;
        case 'L':
            if (log_level_parse(optarg, &o->level) == 0)
                break;
            fprintf(stderr, "runc-task: --log-level %s: not a level\n", optarg);
            return 2;
        case 'v':
            printf("Version: %s-%s\n", KUASAR_VERSION, KUASAR_COMMIT);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "runc-task: %s: unexpected argument\n", argv[optind]);
        return 2;
    }
    return -1;
}

static int check_paths(const struct options *o, struct error *err)
{
    if (ident_path_check(o->dir, "--dir", err) < 0 ||
        (o->listen && ident_path_check(o->listen, "--listen", err) < 0) ||
        (o->events && ident_path_check(o->events, "--containerd-events", err) < 0))
        return -1;
    return 0;
}

int options_read(int argc, char **argv, struct options *ret)
{
    struct error err = {0};
    *ret = (struct options){.dir = DEFAULT_DIR, .level = LOG_LEVEL_INFO};
    int status = parse_options(argc, argv, ret);
    if (status >= 0)
        return status;
    if (check_paths(ret, &err) == 0)
        return -1;
    fprintf(stderr, "runc-task: %s\n", err.text);
    return 2;
}

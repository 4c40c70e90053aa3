// Options of Create, by the first byte: runc's own, a message that may hold a table, or that table.
// What is accepted names a runtime and a root that may be used; what is refused comes with a
// reason.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/any.h"
#include "api/options.pb-c.h"
#include "base/log.h"
#include "task/oci_internal.h"

#define INPUT_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

enum kind { RUNC, MESSAGE, TABLE, FOREIGN_TABLE };

static void pack(Google__Any *any, enum kind kind, const uint8_t *data, size_t size)
{
    static const char foreign[] = "\n[foreign]\nkey = 1\n";
    static uint8_t text[INPUT_MAX + sizeof foreign];
    Options__RuntimeOptions table = OPTIONS__RUNTIME_OPTIONS__INIT;
    memcpy(text, data, size);
    memcpy(text + size, foreign, strlen(foreign));
    table.config_body.data = text;
    table.config_body.len = kind == TABLE ? size : size + strlen(foreign);
    int r = kind == RUNC      ? any_set(any, ANY_RUNC_OPTIONS, data, size)
            : kind == MESSAGE ? any_set(any, ANY_RUNTIME_OPTIONS, data, size)
                              : any_pack(any, ANY_RUNTIME_OPTIONS, &table.base);
    require(r == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > INPUT_MAX)
        return 0;
    struct task_server server = {
        .runtime = (char *)"runc", .runtime_root = (char *)"/run/roots", .systemd = data[0] & 4};
    struct task task = {.server = &server, .ns = (char *)"ns", .id = (char *)"c1"};
    struct oci_runtime rt = {0}, none = {0};
    struct error err = {0};
    Google__Any any;
    enum kind kind = data[0] % 4;
    log_setup("fuzz", LOG_LEVEL_ERROR);
    pack(&any, kind, data + 1, size - 1);
    if (oci_options_read(&task, &any, &rt, &err) < 0) {
        require(kind != FOREIGN_TABLE && err.status != STATUS_OK && err.text[0]);
        require(memcmp(&rt, &none, sizeof rt) == 0);
    } else {
        require(err.status == STATUS_OK && oci_runtime_check(&rt, &err) == 0);
        require(strlen(rt.root) > 3 && strcmp(rt.root + strlen(rt.root) - 3, "/ns") == 0);
        require(server.systemd || !rt.systemd_cgroup);
        require(kind != FOREIGN_TABLE ||
                (strcmp(rt.binary, server.runtime) == 0 && strcmp(rt.root, "/run/roots/ns") == 0 &&
                 !rt.systemd_cgroup && !rt.no_pivot_root && !rt.no_new_keyring && !task.io_uid &&
                 !task.io_gid));
    }
    oci_runtime_done(&rt);
    any_clear(&any);
    return 0;
}

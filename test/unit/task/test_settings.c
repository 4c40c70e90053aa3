#include "task/settings.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Loads a text. Returns what settings_load returns.
static int load(struct settings *s, const char *text, struct error *err)
{
    char path[] = "/tmp/settings-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    cr_assert_eq(settings_init(s, "/run/kuasar-runc", err), 0);
    int r = settings_load(s, path, true, NULL, err);
    unlink(path);
    return r;
}

Test(settings, metrics_are_off_by_default)
{
    struct settings s;
    struct error err = {0};
    cr_assert_eq(load(&s, "", &err), 0);
    cr_expect_str_eq(s.sandboxer_metrics_address, "");
    cr_expect_str_eq(s.task_metrics_address, "");
    settings_done(&s);
}

Test(settings, metrics_at_loopback_addresses)
{
    struct settings s;
    struct error err = {0};
    cr_assert_eq(load(&s,
                      "sandboxer_metrics_address = \"127.0.0.1:9464\"\n"
                      "task_metrics_address = \"[::1]:9464\"\n",
                      &err),
                 0, "%s", err.text);
    cr_expect_str_eq(s.task_metrics_address, "[::1]:9464");
    settings_done(&s);
}

// The examples say of themselves that they hold the defaults.
Test(settings, examples)
{
    static const char *const kinds[] = {"runc", "wasm"};
    for (size_t i = 0; i < 2; i++) {
        struct settings s, defaults;
        struct error err = {0};
        char path[512], dir[64];
        snprintf(path, sizeof path, TEST_DATA "/../examples/kuasar/%s.toml", kinds[i]);
        snprintf(dir, sizeof dir, "/run/kuasar-%s", kinds[i]);
        cr_assert_eq(settings_init(&s, dir, &err), 0);
        cr_assert_eq(settings_init(&defaults, dir, &err), 0);
        cr_assert_eq(settings_load(&s, path, true, NULL, &err), 0, "%s", err.text);
        cr_expect_str_eq(s.runtime, defaults.runtime);
        cr_expect_str_eq(s.runtime_root, defaults.runtime_root);
        cr_expect_str_eq(s.engine, defaults.engine);
        cr_expect_str_eq(s.debug_rootfs, defaults.debug_rootfs);
        cr_expect_str_eq(s.containerd_events, defaults.containerd_events);
        cr_expect_str_eq(s.sandboxer_metrics_address, "");
        cr_expect_str_eq(s.task_metrics_address, "");
        cr_expect(!s.wasmedge_plugins);
        cr_expect(s.default_unprivileged_ports && s.default_unprivileged_icmp);
        settings_done(&s);
        settings_done(&defaults);
    }
}

static void expect_refused(const char *text, const char *what)
{
    struct settings s;
    struct error err = {0};
    cr_assert_eq(load(&s, text, &err), -1);
    cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_expect(strstr(err.text, what), "%s", err.text);
    settings_done(&s);
}

Test(settings, metrics_anywhere_else_are_refused)
{
    expect_refused("task_metrics_address = \"0.0.0.0:9464\"", "task_metrics_address: \"0.0.0.0:");
    expect_refused("sandboxer_metrics_address = \"10.0.0.1:9464\"", "sandboxer_metrics_address");
    expect_refused("sandboxer_metrics_address = \":9464\"", "write 127.0.0.1:PORT");
    expect_refused("sandboxer_metrics_address = \"127.0.0.1:9464\"\n"
                   "task_metrics_address = \"127.0.0.1:9464\"",
                   "port of its own");
}

#include "shim/delete.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static char dir[64];

static void setup(void)
{
    strcpy(dir, "/tmp/shim-test-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static void teardown(void)
{
    cr_expect_eq(file_remove_tree_at(AT_FDCWD, dir), 0);
}

TestSuite(delete, .init = setup, .fini = teardown);

static void put(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    cr_assert_geq(fputs(text, f), 0);
    cr_assert_eq(fclose(f), 0);
}

static int serve(const char *path, int backlog)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (const struct sockaddr *)(const void *)&addr, sizeof addr), 0);
    if (backlog >= 0)
        cr_assert_eq(listen(fd, backlog), 0);
    return fd;
}

Test(delete, the_address_is_the_one_that_containerd_wrote)
{
    static const struct {
        const char *text; // NULL: no file
        const char *path;
    } cases[] = {
        {NULL, "/default"},
        {"{\"version\":3,\"address\":\"ttrpc+unix:///run/k/t.sock\",\"protocol\":\"ttrpc\"}",
         "/run/k/t.sock"},
        {"{\"version\":3,\"address\":\"unix:///run/k/t.sock\"}", "/run/k/t.sock"},
        {"{\"address\":\"/run/k/t.sock\"}", "/run/k/t.sock"},
        {"{\"address\":\"vsock://3:1024\"}", "/default"},
        {"{\"address\":\"unix://t.sock\"}", "/default"},
        {"{\"address\":\"\"}", "/default"},
        {"{\"address\":7}", "/default"},
        {"{}", "/default"},
        {"[]", "/default"},
        {"no json", "/default"},
        {"", "/default"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (cases[i].text)
            put("bootstrap.json", cases[i].text);
        char path[108];
        delete_server_path(dir, "/default", path, sizeof path);
        cr_expect_str_eq(path, cases[i].path, "%zu", i);
    }
    char path[108];
    delete_server_path("/nonexistent", "/default", path, sizeof path);
    cr_expect_str_eq(path, "/default");
    // An address that is longer than a socket's can be.
    char text[512];
    snprintf(text, sizeof text, "{\"address\":\"/%0200d\"}", 0);
    put("bootstrap.json", text);
    delete_server_path(dir, "/default", path, sizeof path);
    cr_expect_str_eq(path, "/default");
}

Test(delete, asks_whether_somebody_listens)
{
    char path[108];
    snprintf(path, sizeof path, "%s/s", dir);
    cr_expect_eq(delete_ask_server(path), TASK_SERVER_GONE);
    int fd = serve(path, 8);
    cr_expect_eq(delete_ask_server(path), TASK_SERVER_LISTENS);
    close(fd);
    cr_expect_eq(delete_ask_server(path), TASK_SERVER_GONE, "its socket file is still there");
    unlink(path);
    fd = serve(path, -1);
    cr_expect_eq(delete_ask_server(path), TASK_SERVER_GONE);
    close(fd);
    cr_expect_eq(delete_ask_server(dir), TASK_SERVER_GONE, "a directory refuses connections");
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    cr_expect_eq(delete_ask_server(longest), TASK_SERVER_UNKNOWN);
}

// A server that is too busy to accept is alive, and we do not wait for it.
Test(delete, a_full_backlog_is_a_server, .timeout = 5)
{
    char path[108];
    snprintf(path, sizeof path, "%s/s", dir);
    int fd = serve(path, 0), clients[16];
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(clients[i], (const struct sockaddr *)(const void *)&addr, sizeof addr);
    }
    cr_expect_eq(delete_ask_server(path), TASK_SERVER_LISTENS);
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
        close(clients[i]);
    close(fd);
}

Test(delete, init_pid)
{
    static const struct {
        const char *text;
        uint32_t pid;
    } cases[] = {
        {"4711", 4711}, {"4711\n", 4711},   {"", 0},     {"-1", 0}, {"12x", 0}, {" 12", 0},
        {"+1", 0},      {"99999999999", 0}, {"1\n2", 1},
    };
    cr_expect_eq(delete_init_pid(dir), 0u);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put("init.pid", cases[i].text);
        cr_expect_eq(delete_init_pid(dir), cases[i].pid, "%s", cases[i].text);
    }
}

Test(delete, encodes_a_delete_response)
{
    struct buf out;
    buf_init(&out, 256);
    const struct timespec at = {.tv_sec = 1, .tv_nsec = 2};
    cr_assert_eq(delete_encode(3, 137, &at, &out), 0);
    static const char want[] = "\x08\x03\x10\x89\x01\x1a\x04\x08\x01\x10\x02";
    cr_assert_eq(out.len, sizeof want - 1);
    cr_expect_eq(memcmp(out.data, want, out.len), 0);
    buf_free(&out);
}

#include "rpc/http_server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "rpc/listen.h"

TestSuite(http_server, .timeout = 60);

#define REQUEST "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

struct rig {
    struct ev_loop *loop;
    struct http_server *server;
    char dir[64], path[96];
    size_t page_len;
    int page_error;
    unsigned pages;
};

static int make_page(struct buf *out, void *arg)
{
    struct rig *r = arg;
    r->pages++;
    for (size_t i = 0; i < r->page_len; i += 8)
        if (buf_append(out, "metric 1", 8) < 0)
            return -ENOMEM;
    return r->page_error;
}

static void start(struct rig *r)
{
    *r = (struct rig){.page_len = 64};
    snprintf(r->dir, sizeof r->dir, "/tmp/http-XXXXXX");
    cr_assert(mkdtemp(r->dir));
    snprintf(r->path, sizeof r->path, "%s/m.sock", r->dir);
    r->loop = ev_loop_new(EVFLAG_AUTO);
    r->server = http_server_new(r->loop, make_page, r);
    http_server_open(r->server, r->dir, "m.sock", "");
}

static void turn(struct rig *r)
{
    for (int i = 0; i < 4; i++)
        ev_run(r->loop, EVRUN_NOWAIT);
}

static void stop(struct rig *r)
{
    r->server = http_server_free(r->server);
    ev_loop_destroy(r->loop);
    unlink(r->path);
    rmdir(r->dir);
}

static int client(struct rig *r)
{
    struct error err = {0};
    int fd = rpc_connect_unix(r->path, &err);
    cr_assert(fd >= 0, "%s", err.text);
    return fd;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

// Reads until the end, with turns of the loop. Returns the number of bytes; the first are in text.
static size_t read_all(struct rig *r, int fd, char text[256])
{
    char data[65536];
    size_t total = 0;
    text[0] = '\0';
    for (;;) {
        ssize_t n = recv(fd, data, sizeof data, MSG_DONTWAIT);
        if (n == 0)
            return total;
        if (n < 0) {
            cr_assert_eq(errno, EAGAIN, "%s", strerror(errno));
            ev_run(r->loop, EVRUN_ONCE);
            continue;
        }
        size_t room = total < 255 ? 255 - total : 0, part = (size_t)n < room ? (size_t)n : room;
        memcpy(text + total, data, part);
        if (part)
            text[total + part] = '\0';
        total += (size_t)n;
    }
}

static void expect(struct rig *r, const char *request, const char *wanted)
{
    char text[256];
    int fd = client(r);
    say(fd, request);
    read_all(r, fd, text);
    cr_expect_eq(strncmp(text, wanted, strlen(wanted)), 0, "%s: %s", request, text);
    close(fd);
    turn(r);
    cr_expect_eq(http_server_connections(r->server), 0);
}

Test(http_server, answers_and_closes)
{
    struct rig r;
    start(&r);
    expect(&r, REQUEST, "HTTP/1.1 200 OK\r\n");
    expect(&r, "HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n");
    expect(&r, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 ");
    expect(&r, "PUT /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 ");
    expect(&r, "nonsense\r\n\r\n", "HTTP/1.1 400 ");
    cr_expect_eq(r.pages, 2, "only those who ask get a page");
    stop(&r);
}

Test(http_server, a_port_for_everybody_makes_one_page_a_second)
{
    struct rig r;
    struct error err = {0};
    start(&r);
    char checked[sizeof r.path];
    memcpy(checked, r.path, sizeof checked);
    // It stands for a TCP port: its peers are not checked.
    snprintf(r.path, sizeof r.path, "%s/open.sock", r.dir);
    int fd = rpc_listen_unix(r.path, &err);
    cr_assert(fd >= 0, "%s", err.text);
    http_server_listen(r.server, fd, false);
    for (int i = 0; i < 20; i++)
        expect(&r, REQUEST, "HTTP/1.1 200 OK\r\n");
    cr_expect_eq(r.pages, 1, "%u pages", r.pages);
    ev_sleep(HTTP_SERVER_PAGE_SECONDS + 0.1);
    expect(&r, REQUEST, "HTTP/1.1 200 OK\r\n");
    cr_expect_eq(r.pages, 2, "%u pages", r.pages);
    unlink(r.path);
    memcpy(r.path, checked, sizeof checked);
    for (unsigned i = 3; i < 6; i++) {
        expect(&r, REQUEST, "HTTP/1.1 200 OK\r\n");
        cr_expect_eq(r.pages, i, "the unix socket gives what is true now: %u pages", r.pages);
    }
    stop(&r);
}

Test(http_server, a_page_that_cannot_be_made_is_503)
{
    struct rig r;
    start(&r);
    r.page_error = -ENOMEM;
    expect(&r, REQUEST, "HTTP/1.1 503 ");
    stop(&r);
}

Test(http_server, a_request_in_drops_and_then_silence)
{
    struct rig r;
    char text[256];
    start(&r);
    http_server_set_seconds(r.server, 0.3);
    int fd = client(&r);
    for (const char *c = "GET /met"; *c; c++) {
        cr_assert_eq(send(fd, c, 1, 0), 1);
        turn(&r);
    }
    cr_expect_eq(http_server_connections(r.server), 1);
    read_all(&r, fd, text);
    cr_expect_eq(strncmp(text, "HTTP/1.1 408 ", 13), 0, "%s", text);
    cr_expect_eq(http_server_connections(r.server), 0);
    close(fd);
    stop(&r);
}

Test(http_server, a_reader_that_reads_nothing_is_dropped)
{
    struct rig r;
    start(&r);
    http_server_set_seconds(r.server, 0.3);
    r.page_len = METRICS_PAGE_MAX / 2;
    int fd = client(&r);
    say(fd, REQUEST);
    turn(&r);
    cr_expect_gt(http_server_unsent(r.server), 0);
    while (http_server_connections(r.server))
        ev_run(r.loop, EVRUN_ONCE);
    cr_expect_eq(http_server_unsent(r.server), 0);
    close(fd);
    stop(&r);
}

Test(http_server, a_long_page_reaches_a_slow_reader_whole)
{
    struct rig r;
    char text[256];
    start(&r);
    r.page_len = METRICS_PAGE_MAX / 2;
    int fd = client(&r);
    say(fd, REQUEST);
    size_t n = read_all(&r, fd, text);
    cr_expect_gt(n, r.page_len);
    const char *length = strstr(text, "Content-Length: ");
    cr_assert(length);
    cr_expect_eq(strtoul(length + 16, NULL, 10), r.page_len);
    close(fd);
    stop(&r);
}

// Slow readers together hold no more than the limit; the next ones are told so.
Test(http_server, slow_readers_have_bounded_memory)
{
    struct rig r;
    enum { N = 32 };
    int fds[N];
    char text[256];
    start(&r);
    r.page_len = METRICS_PAGE_MAX - 4096;
    for (int i = 0; i < N; i++) {
        fds[i] = client(&r);
        say(fds[i], REQUEST);
        turn(&r);
        cr_expect_leq(http_server_unsent(r.server), HTTP_SERVER_UNSENT_MAX + METRICS_PAGE_MAX);
    }
    read_all(&r, fds[N - 1], text);
    cr_expect_eq(strncmp(text, "HTTP/1.1 503 ", 13), 0, "%s", text);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    turn(&r);
    cr_expect_eq(http_server_unsent(r.server), 0);
    r.page_len = 64;
    expect(&r, REQUEST, "HTTP/1.1 200 ");
    stop(&r);
}

Test(http_server, a_thousand_connections)
{
    struct rig r;
    enum { N = 1000 };
    int fds[N];
    unsigned refused = 0;
    start(&r);
    for (int i = 0; i < N; i++) {
        fds[i] = client(&r);
        turn(&r);
        cr_assert_leq(http_server_connections(r.server), HTTP_SERVER_CONNECTIONS_MAX);
    }
    for (int i = 0; i < N; i++) {
        char text[16] = "";
        ssize_t n = recv(fds[i], text, sizeof text - 1, MSG_DONTWAIT);
        refused += n > 0 && strncmp(text, "HTTP/1.1 503 ", 13) == 0;
    }
    cr_expect_eq(refused, N - HTTP_SERVER_CONNECTIONS_MAX);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    turn(&r);
    cr_expect_eq(http_server_connections(r.server), 0);
    expect(&r, REQUEST, "HTTP/1.1 200 ");
    stop(&r);
}

Test(http_server, what_follows_a_request_is_thrown_away)
{
    struct rig r;
    char text[256];
    start(&r);
    int fd = client(&r);
    say(fd, REQUEST REQUEST REQUEST);
    turn(&r);
    for (int i = 0; i < 100; i++) {
        say(fd, "and more and more and more and more");
        turn(&r);
    }
    read_all(&r, fd, text);
    cr_expect_eq(r.pages, 1);
    close(fd);
    turn(&r);
    cr_expect_eq(http_server_connections(r.server), 0);
    stop(&r);
}

Test(http_server, freed_with_connections_of_all_kinds)
{
    struct rig r;
    start(&r);
    r.page_len = METRICS_PAGE_MAX / 2;
    int silent = client(&r), asking = client(&r), reading = client(&r);
    say(asking, "GET /m");
    say(reading, REQUEST);
    turn(&r);
    stop(&r);
    close(silent);
    close(asking);
    close(reading);
}

// A free port of 127.0.0.1.
static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin_port);
}

Test(http_server, a_loopback_port)
{
    struct rig r;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char address[32], text[256];
    start(&r);
    int port = free_port();
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    struct error err = {0};
    int listener = rpc_listen_loopback(address, &err);
    cr_assert(listener >= 0, "%s", err.text);
    http_server_listen(r.server, listener, false);
    cr_expect_lt(rpc_listen_loopback(address, &err), 0, "one at a time");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_port = htons((uint16_t)port);
    cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    say(fd, REQUEST);
    read_all(&r, fd, text);
    cr_expect_eq(strncmp(text, "HTTP/1.1 200 ", 13), 0, "%s", text);
    close(fd);
    stop(&r);
}

Test(http_server, a_socket_that_cannot_be_opened_is_no_reason_to_stop)
{
    struct rig r;
    start(&r);
    http_server_open(r.server, "/nonexistent", "m.sock", "0.0.0.0:1");
    expect(&r, REQUEST, "HTTP/1.1 200 ");
    stop(&r);
}

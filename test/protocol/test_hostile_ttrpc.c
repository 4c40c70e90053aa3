// A ttrpc server in a process of its own, and peers that mean it harm. After each attack it serves
// a good peer, holds nothing of the attacker any more, and has not grown; at the end it leaves
// cleanly (under the sanitizers: without a leak).
#include <criterion/criterion.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "rpc/listen.h"
#include "rpc/ttrpc.h"
#include "rpc/ttrpc_server.h"

#define FRAME_TIMEOUT 0.5
#define MEMORY_LIMIT  (32u << 20)
// What an attack may leave in the server's resident memory: what was allowed to it while it lasted
// (the C library keeps freed memory for the next time), and a second one of its kind: nearly
// nothing.
#define GROWTH_MAX_KB        (2 * (long)MEMORY_LIMIT / 1024)
#define GROWTH_SECOND_MAX_KB (4 * 1024)

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

// ---- the server --------------------------------------------------------------------------------

static struct ttrpc_server *server;

static void echo(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    rpc_call_reply(call, payload, len);
}

static void big(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    static uint8_t data[1 << 20];
    rpc_call_reply(call, data, sizeof data);
}

static void nothing(struct rpc_call *call, void *arg)
{
}

static void wait_method(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    rpc_call_on_cancel(call, nothing, NULL);
}

static long resident_kb(void)
{
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%ld %ld", &size, &resident) != 2)
        resident = -1;
    if (f)
        fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void report(struct rpc_call *call, const uint8_t *payload, size_t len, void *ctx)
{
    struct ttrpc_server_usage u = ttrpc_server_usage(server);
    char text[128];
    int n = snprintf(text, sizeof text, "%zu %zu %zu %zu %ld", u.connections, u.requests, u.memory,
                     u.request_memory, resident_kb());
    rpc_call_reply(call, (const uint8_t *)text, (size_t)n);
}

static const struct rpc_method methods[] = {
    {"Echo", echo}, {"Big", big}, {"Wait", wait_method}, {"Report", report}, {NULL, NULL}};
static const struct rpc_service service = {.name = "s", .methods = methods};
static const struct rpc_service *const services[] = {&service, NULL};

static void on_term(struct ev_loop *loop, ev_signal *w, int revents)
{
    ev_break(loop, EVBREAK_ALL);
}

static void serve(int fd)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    ev_signal term;
    server = ttrpc_server_new(loop, fd, services);
    ttrpc_server_limits(server)->frame_timeout = FRAME_TIMEOUT;
    ttrpc_server_limits(server)->memory = MEMORY_LIMIT;
    ev_signal_init(&term, on_term, SIGTERM);
    ev_signal_start(loop, &term);
    ev_run(loop, 0);
    ev_signal_stop(loop, &term);
    server = ttrpc_server_free(server);
    ev_loop_destroy(loop);
    exit(0);
}

// ---- set-up ------------------------------------------------------------------------------------

static char dir[64], path[96];
static pid_t child;
static long first_kb;

struct usage {
    size_t connections, requests, memory, request_memory;
    long kb;
};

static struct usage usage(void);

static void up(void)
{
    struct error err;
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < 8192 ? files.rlim_max : 8192;
    setrlimit(RLIMIT_NOFILE, &files);
    strcpy(dir, "/tmp/kuasar-hostile-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    int fd = rpc_listen_unix(path, &err);
    cr_assert_geq(fd, 0, "%s", err.text);
    child = fork();
    if (!child)
        serve(fd);
    close(fd);
    first_kb = usage().kb;
}

static void down(void)
{
    int status = -1;
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    unlink(path);
    rmdir(dir);
    cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "the server ended with %x",
              (unsigned)status);
}

TestSuite(hostile_ttrpc, .init = up, .fini = down, .timeout = 100);

// ---- peers -------------------------------------------------------------------------------------

// A blocking connection that gives up reading after some seconds.
static int peer_open(void)
{
    struct error err;
    int fd;
    // Until there is room in the listen queue.
    for (int i = 0; (fd = rpc_connect_unix(path, &err)) < 0 && i < 1000; i++)
        usleep(10000);
    cr_assert_geq(fd, 0, "%s", err.text);
    fcntl(fd, F_SETFL, 0);
    struct timeval tv = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    return fd;
}

// Sends all, or stops when the server has closed.
static bool peer_send(int fd, const void *data, size_t len)
{
    for (const uint8_t *at = data; len;) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static size_t put_request(uint8_t *out, uint32_t id, const char *method, const char *payload)
{
    uint8_t *p = out + TTRPC_HEADER_LEN;
    const char *const fields[] = {"s", method, payload};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(fields[i]);
        *p++ = (uint8_t)((i + 1) << 3 | 2);
        *p++ = (uint8_t)n;
        memcpy(p, fields[i], n);
        p += n;
    }
    uint32_t len = (uint32_t)(p - out) - TTRPC_HEADER_LEN;
    const uint8_t header[TTRPC_HEADER_LEN] = {0,
                                              0,
                                              0,
                                              (uint8_t)len,
                                              (uint8_t)(id >> 24),
                                              (uint8_t)(id >> 16),
                                              (uint8_t)(id >> 8),
                                              (uint8_t)id,
                                              TTRPC_REQUEST,
                                              0};
    memcpy(out, header, sizeof header);
    return len + TTRPC_HEADER_LEN;
}

// Reads one answer with a payload below 120 bytes, or an error (then "error CODE").
static void peer_answer(int fd, uint32_t id, char *text, size_t size)
{
    uint8_t h[TTRPC_HEADER_LEN], body[2048];
    cr_assert_eq(recv(fd, h, sizeof h, MSG_WAITALL), TTRPC_HEADER_LEN);
    size_t len = (size_t)h[2] << 8 | h[3];
    cr_assert_eq((uint32_t)h[6] << 8 | h[7], id);
    cr_assert_leq(len, sizeof body);
    cr_assert_eq(recv(fd, body, len, MSG_WAITALL), (ssize_t)len);
    if (len && body[0] == 0x0a) // status: key, one or two bytes of length, code
        snprintf(text, size, "error %u", body[2] == 8 ? body[3] : body[4]);
    else
        snprintf(text, size, "%.*s", len > 2 ? (int)len - 2 : 0, body + 2);
}

static void call(int fd, uint32_t id, const char *method, const char *payload, char *text,
                 size_t size)
{
    uint8_t frame[256];
    cr_assert(peer_send(fd, frame, put_request(frame, id, method, payload)));
    peer_answer(fd, id, text, size);
}

static struct usage usage(void)
{
    struct usage u;
    char text[128];
    _cleanup_close_ int fd = peer_open();
    call(fd, 1, "Report", "", text, sizeof text);
    cr_assert_eq(sscanf(text, "%zu %zu %zu %zu %ld", &u.connections, &u.requests, &u.memory,
                        &u.request_memory, &u.kb),
                 5, "%s", text);
    return u;
}

// The server is alive, has forgotten the attackers, and has not grown.
static void expect_calm(void)
{
    struct usage u;
    char text[128];
    _cleanup_close_ int fd = peer_open();
    call(fd, 1, "Echo", "good", text, sizeof text);
    cr_assert_str_eq(text, "good");
    for (int i = 0; i < 500; i++) {
        u = usage();
        if (u.connections <= 2 && u.requests == 1 && u.memory < 65536)
            break;
        usleep(10000);
    }
    cr_assert_leq(u.connections, 2); // the two of this function
    cr_assert_eq(u.requests, 1);     // the report itself
    cr_assert_lt(u.memory, 65536u);
#ifndef SANITIZED
    cr_assert_lt(u.kb - first_kb, GROWTH_MAX_KB);
#endif
}

static void expect_closed(int fd)
{
    char bytes[4096];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        ;
    cr_assert(n == 0 || errno == ECONNRESET, "recv: %s", strerror(errno));
}

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525 + 1013904223;
    return *x >> 8;
}

// ---- attacks -----------------------------------------------------------------------------------

Test(hostile_ttrpc, garbage)
{
    uint32_t x = 1;
    for (int i = 0; i < 300; i++) {
        uint8_t data[4096];
        for (size_t k = 0; k < sizeof data; k++)
            data[k] = (uint8_t)next_random(&x);
        // Half of them with headers that make frames of it.
        for (size_t k = 0; i & 1 && k + 80 < sizeof data; k += 74) {
            uint8_t header[TTRPC_HEADER_LEN] = {
                0, 0, 0, 64, 0, 0, 0, (uint8_t)(k | 1), (uint8_t)(1 + k % 3), (uint8_t)(k % 7)};
            memcpy(data + k, header, sizeof header);
        }
        int fd = peer_open();
        peer_send(fd, data, 1 + next_random(&x) % sizeof data);
        close(fd);
    }
    expect_calm();
}

Test(hostile_ttrpc, truncated)
{
    uint8_t frame[256];
    size_t len = put_request(frame, 1, "Wait", "payload");
    for (size_t n = 0; n <= len; n++) {
        int fd = peer_open();
        cr_assert(peer_send(fd, frame, n));
        shutdown(fd, SHUT_WR);
        expect_closed(fd);
        close(fd);
    }
    expect_calm();
}

Test(hostile_ttrpc, oversized)
{
    static uint8_t zeros[1 << 20];
    char text[128];
    _cleanup_close_ int fd = peer_open();
    for (uint32_t i = 0; i < 4; i++) {
        uint8_t header[TTRPC_HEADER_LEN] = {
            1, 0, 0, 0, 0, 0, 0, (uint8_t)(1 + 4 * i), TTRPC_REQUEST, 0};
        cr_assert(peer_send(fd, header, sizeof header));
        for (int k = 0; k < 16; k++)
            cr_assert(peer_send(fd, zeros, sizeof zeros));
        peer_answer(fd, 1 + 4 * i, text, sizeof text);
        cr_assert_str_eq(text, "error 8");
        call(fd, 3 + 4 * i, "Echo", "next", text, sizeof text);
        cr_assert_str_eq(text, "next");
        cr_assert_lt(usage().memory, 65536u);
    }
    close_fd(&fd);
    expect_calm();
}

Test(hostile_ttrpc, slow_drip)
{
    char text[128];
    _cleanup_close_ int slow = peer_open();
    _cleanup_close_ int good = peer_open();
    bool closed = false;
    for (uint32_t i = 0; !closed; i++) {
        closed = !peer_send(slow, i == 2 ? "\1" : "\0", 1);
        call(good, 1 + 2 * i, "Echo", "x", text, sizeof text);
        usleep(20000);
        cr_assert_lt(i, 200u);
    }
    expect_closed(slow);
    close_fd(&slow);
    close_fd(&good);
    expect_calm();
}

static int many[1000];

static void half_open(void)
{
    static uint8_t part[60000] = {0, 0x3f, 0xff, 0xff, 0, 0, 0, 1, TTRPC_REQUEST, 0};
    char text[128];
    // Sixty megabytes in unfinished frames: more than may be held.
    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        many[i] = peer_open();
        peer_send(many[i], part, sizeof part);
        if (i % 100 == 0)
            cr_assert_lt(usage().memory, 2u * MEMORY_LIMIT);
    }
    _cleanup_close_ int good = peer_open();
    call(good, 1, "Echo", "still served", text, sizeof text);
    cr_assert_str_eq(text, "still served");
    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        expect_closed(many[i]);
        close(many[i]);
    }
}

Test(hostile_ttrpc, a_thousand_half_open_connections)
{
    half_open();
    expect_calm();
    long kb = usage().kb;
    half_open();
    half_open();
    expect_calm();
#ifndef SANITIZED
    cr_assert_lt(usage().kb - kb, GROWTH_SECOND_MAX_KB);
#else
    (void)kb;
#endif
}

Test(hostile_ttrpc, a_thousand_idle_connections_are_no_attack)
{
    char text[128];
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = peer_open();
    usleep((useconds_t)(2 * FRAME_TIMEOUT * 1e6));
    cr_assert_geq(usage().connections, 1000u);
    call(many[7], 1, "Echo", "alive", text, sizeof text);
    cr_assert_str_eq(text, "alive");
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        close(many[i]);
    expect_calm();
}

Test(hostile_ttrpc, peers_that_never_read)
{
    uint8_t frame[256];
    int fds[40];
    for (int i = 0; i < 40; i++) {
        fds[i] = peer_open();
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        for (uint32_t k = 0; k < 200; k++)
            if (!peer_send(fds[i], frame, put_request(frame, 1 + 2 * k, "Big", "")))
                break;
        cr_assert_lt(usage().memory, 2u * MEMORY_LIMIT);
    }
    _cleanup_close_ int good = peer_open();
    char text[128];
    call(good, 1, "Echo", "still served", text, sizeof text);
    cr_assert_str_eq(text, "still served");
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    close_fd(&good);
    expect_calm();
}

Test(hostile_ttrpc, come_and_go)
{
    uint8_t frame[256];
    for (int i = 0; i < 5000; i++) {
        int fd = peer_open();
        for (uint32_t k = 0; k < 8; k++)
            peer_send(fd, frame, put_request(frame, 1 + 2 * k, k & 1 ? "Wait" : "Echo", "x"));
        close(fd);
    }
    expect_calm();
}

Test(hostile_ttrpc, too_many_requests)
{
    static uint8_t frame[256], answer[65536];
    _cleanup_close_ int fd = peer_open();
    for (uint32_t k = 0; k < 3000; k++)
        cr_assert(peer_send(fd, frame, put_request(frame, 1 + 2 * k, "Wait", "")));
    struct usage u = usage();
    cr_assert_leq(u.requests, TTRPC_SERVER_REQUESTS_MAX + 1);
    cr_assert_gt(recv(fd, answer, sizeof answer, 0), 0);
    cr_assert_eq((uint32_t)answer[6] << 8 | answer[7], 1 + 2 * TTRPC_SERVER_REQUESTS_MAX);
    close_fd(&fd);
    expect_calm();
}

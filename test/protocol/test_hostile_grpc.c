// Peers that mean harm, against a gRPC server on a real socket: each must hurt only itself.
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../unit/rpc/test_grpc_wire.h"

#define ENHANCE_YOUR_CALM 11

// Everything that a peer of this file makes the server hold, at most.
#define MEMORY_MAX (24u * 1024 * 1024)

TestSuite(hostile_grpc, .timeout = 60);

typedef void (*make_fn)(struct buf *b, uint32_t n);

// Sends frames until the server closes; an honest client beside it is served all the time. Returns
// the number of frames that were sent before the end, `limit` if it never came.
static uint32_t flood(struct wire *w, make_fn make, uint32_t limit, uint32_t *ret_goaway)
{
    struct buf out, in;
    int honest = wire_client(w), fd = wire_client(w);
    uint32_t stream = 1, n = 0;
    buf_init(&out, 1 << 22);
    buf_init(&in, 1 << 26);
    bool open = true;
    while (open && n < limit) {
        for (int i = 0; i < 200; i++)
            make(&out, n++);
        open = wire_send_all(w, fd, &out, &in);
        buf_clear(&out);
        if (n % 2000 == 0) {
            cr_expect(wire_call(w, honest, stream, "still here"));
            stream += 2;
        }
    }
    const uint8_t *goaway = NULL;
    *ret_goaway = 0;
    if (wire_count(&in, FRAME_GOAWAY, &goaway) > 0)
        *ret_goaway = goaway[16];
    cr_expect(wire_call(w, honest, stream, "after"));
    close(honest);
    close(fd);
    buf_free(&out);
    buf_free(&in);
    return n;
}

static void make_ping(struct buf *b, uint32_t n)
{
    wire_frame(b, FRAME_PING, 0, 0, "12345678", 8);
}

static void make_ping_ack(struct buf *b, uint32_t n)
{
    wire_frame(b, FRAME_PING, ACK, 0, "12345678", 8);
}

static void make_settings(struct buf *b, uint32_t n)
{
    wire_frame(b, FRAME_SETTINGS, 0, 0, "\0\4\0\0\xff\xff", 6);
}

static void make_window(struct buf *b, uint32_t n)
{
    wire_frame(b, FRAME_WINDOW, 0, 0, "\0\0\0\1", 4);
}

static void make_priority(struct buf *b, uint32_t n)
{
    wire_frame(b, FRAME_PRIORITY, 0, 2 * n + 1, "\0\0\0\0\1", 5);
}

static void make_reset(struct buf *b, uint32_t n)
{
    wire_headers(b, 2 * n + 1, "/t.T/Wait");
    wire_frame(b, FRAME_RST, 0, 2 * n + 1, "\0\0\0\10", 4);
}

static void make_reset_running(struct buf *b, uint32_t n)
{
    wire_request(b, 2 * n + 1, "/t.T/Wait", "");
    wire_frame(b, FRAME_RST, 0, 2 * n + 1, "\0\0\0\10", 4);
}

static void make_empty_data(struct buf *b, uint32_t n)
{
    if (n == 0)
        wire_headers(b, 1, "/t.T/Echo");
    wire_frame(b, FRAME_DATA, 0, 1, "", 0);
}

static void make_padded_data(struct buf *b, uint32_t n)
{
    static const uint8_t padding[256] = {255};
    if (n == 0)
        wire_headers(b, 1, "/t.T/Echo");
    wire_frame(b, FRAME_DATA, PADDED, 1, padding, sizeof padding);
}

static void make_continuation(struct buf *b, uint32_t n)
{
    if (n == 0)
        wire_frame(b, FRAME_HEADERS, 0, 1, "\x83", 1);
    else
        wire_frame(b, FRAME_CONTINUATION, 0, 1, "", 0);
}

static const struct {
    const char *what;
    make_fn make;
    uint32_t most;   // frames until the server must have ended it
    uint32_t goaway; // error code; 0: any, or none
} floods[] = {
    {"PING", make_ping, 3000, ENHANCE_YOUR_CALM},
    {"PING acknowledgements", make_ping_ack, 3000, ENHANCE_YOUR_CALM},
    {"SETTINGS", make_settings, 1000, ENHANCE_YOUR_CALM},
    {"WINDOW_UPDATE", make_window, 8000, ENHANCE_YOUR_CALM},
    {"PRIORITY", make_priority, 1000, ENHANCE_YOUR_CALM},
    {"rapid reset", make_reset, 3000, 0},
    {"rapid reset of running calls", make_reset_running, 3000, 0},
    {"empty DATA", make_empty_data, 3000, ENHANCE_YOUR_CALM},
    {"padded DATA", make_padded_data, 3000, ENHANCE_YOUR_CALM},
    {"CONTINUATION", make_continuation, 1000, 0},
};

Test(hostile_grpc, floods_end_their_connection_only)
{
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++) {
        struct wire w;
        uint32_t code;
        wire_start(&w);
        uint32_t n = flood(&w, floods[i].make, floods[i].most, &code);
        cr_expect_lt(n, floods[i].most, "%s: not ended after %u frames", floods[i].what, n);
        if (floods[i].goaway)
            cr_expect_eq(code, floods[i].goaway, "%s: %u", floods[i].what, code);
        wire_stop(&w);
    }
}

Test(hostile_grpc, garbage_is_no_preface)
{
    struct wire w;
    struct buf in;
    wire_start(&w);
    buf_init(&in, 65536);
    int fd = wire_connect(&w);
    cr_assert_geq(wire_send(fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35), 0);
    wire_turn(&w);
    cr_expect_not(wire_receive(fd, &in));
    close(fd);
    cr_expect(wire_serves(&w));
    buf_free(&in);
    wire_stop(&w);
}

// 4 KiB entries of the header table, referred to again and again: the decoded list would be
// hundreds of megabytes.
Test(hostile_grpc, header_bomb_is_refused)
{
    struct wire w;
    struct buf out, in, block;
    static char value[3900];
    size_t before = mallinfo2().uordblks;
    wire_start(&w);
    int fd = wire_client(&w);
    memset(value, 'v', sizeof value);
    buf_init(&out, 1 << 20);
    buf_init(&in, 1 << 20);
    wire_header_block(&block, "/t.T/Echo");
    buf_append(&block, "\x40\x01x\x7f\xbd\x1d",
               6); // indexed literal, 127 + 0x3d + 0x1d * 128 bytes
    buf_append(&block, value, 127 + 0x3d + 0x1d * 128);
    while (block.len < 16000)
        buf_append(&block, "\xbe", 1); // the newest entry of the table
    wire_frame(&out, FRAME_HEADERS, END_HEADERS, 1, block.data, block.len);
    cr_expect(wire_send_all(&w, fd, &out, &in));
    wire_turn(&w);
    wire_receive(fd, &in);
    cr_expect_eq(wire_count(&in, FRAME_HEADERS, NULL), 1); // RESOURCE_EXHAUSTED
    cr_expect_eq(w.runs, 0);
    cr_expect_lt(mallinfo2().uordblks - before, 4u * 1024 * 1024);
    cr_expect(wire_call(&w, fd, 3, "and on"));
    close(fd);
    buf_free(&block);
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

// Requests whose answers nobody reads: the server stops reading, and holds little.
Test(hostile_grpc, peer_that_never_reads_is_stopped)
{
    struct wire w;
    struct buf out;
    wire_start(&w);
    int fd = wire_client(&w), honest = wire_client(&w);
    size_t before = mallinfo2().uordblks, sent = 0;
    uint32_t stream = 1, honest_stream = 1;
    buf_init(&out, 1 << 20);
    bool stopped = false;
    // PINGs would be a flood; requests pay for themselves, and windows are opened wide.
    wire_frame(&out, FRAME_SETTINGS, 0, 0, "\0\4\x7f\xff\xff\xff", 6);
    wire_frame(&out, FRAME_WINDOW, 0, 0, "\x7f\xff\x00\x00", 4);
    for (int round = 0; round < 20000 && !stopped; round++) {
        if (out.len == 0)
            wire_request(&out, stream, "/t.T/Large", "");
        stream += 2;
        ssize_t n = wire_send(fd, out.data, out.len);
        cr_assert_geq(n, 0, "closed after %u requests", stream / 2);
        wire_turn(&w);
        stopped = n == 0;
        buf_consume(&out, (size_t)n);
        sent += (size_t)n;
        if (round % 1000 == 0) {
            cr_expect(wire_call(&w, honest, honest_stream, "served"));
            honest_stream += 2;
        }
    }
    cr_expect(stopped, "%zu bytes taken", sent);
    cr_expect_lt(mallinfo2().uordblks - before, MEMORY_MAX, "%zu", mallinfo2().uordblks - before);
    unsigned runs = w.runs;
    wire_run(&w, 0.05);
    cr_expect_eq(w.runs, runs);
    close(fd);
    wire_turn(&w);
    cr_expect(wire_call(&w, honest, honest_stream, "after"));
    close(honest);
    buf_free(&out);
    wire_stop(&w);
}

// Answers that wait for a window that never opens: bounded over all connections, and reading goes
// on.
Test(hostile_grpc, closed_windows_cost_a_bounded_amount)
{
    struct wire w;
    struct buf out, in;
    wire_start(&w);
    int fd = wire_client(&w);
    size_t before = mallinfo2().uordblks;
    buf_init(&out, 1 << 22);
    buf_init(&in, 1 << 24);
    wire_frame(&out, FRAME_SETTINGS, 0, 0, "\0\4\0\0\0\0", 6);
    cr_assert(wire_send_all(&w, fd, &out, &in));
    for (uint32_t i = 0; i < 3000; i++) {
        buf_clear(&out);
        wire_request(&out, 2 * i + 1, "/t.T/Large", "");
        cr_assert(wire_send_all(&w, fd, &out, &in));
    }
    cr_expect_eq(w.runs, 3000);
    // 64 KiB * 3000 would be 188 MiB.
    cr_expect_lt(mallinfo2().uordblks - before, (size_t)GRPC_USAGE_PENDING_MAX + 8 * 1024 * 1024);
    close(fd);
    wire_turn(&w);
    cr_expect_lt(mallinfo2().uordblks - before, 2u * 1024 * 1024);
    cr_expect(wire_serves(&w));
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

// Messages that begin and never end, on many streams.
Test(hostile_grpc, unfinished_messages_cost_a_bounded_amount)
{
    struct wire w;
    struct buf out, in;
    static uint8_t piece[16384] = {0, 0, 0xff};
    wire_start(&w);
    int fd = wire_client(&w);
    size_t before = mallinfo2().uordblks;
    buf_init(&out, 1 << 22);
    buf_init(&in, 1 << 24);
    for (uint32_t i = 0; i < 8000; i++) {
        buf_clear(&out);
        wire_headers(&out, 2 * i + 1, "/t.T/Echo");
        wire_frame(&out, FRAME_DATA, 0, 2 * i + 1, piece, sizeof piece);
        cr_assert(wire_send_all(&w, fd, &out, &in));
    }
    cr_expect_lt(mallinfo2().uordblks - before, (size_t)GRPC_USAGE_RECEIVED_MAX + 16 * 1024 * 1024);
    close(fd);
    wire_turn(&w);
    cr_expect_lt(mallinfo2().uordblks - before, 2u * 1024 * 1024);
    cr_expect(wire_serves(&w));
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

Test(hostile_grpc, connections_are_limited)
{
    struct wire w;
    struct buf in;
    static int fds[GRPC_SERVER_CONNECTIONS_MAX + 100];
    struct rlimit files = {4096, 4096};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    wire_start(&w);
    buf_init(&in, 1 << 20);
    int open = 0, count = sizeof fds / sizeof *fds;
    for (int i = 0; i < count; i++)
        fds[i] = wire_connect(&w);
    wire_run(&w, 0.05);
    for (int i = 0; i < count; i++) {
        open += wire_receive(fds[i], &in);
        buf_clear(&in);
    }
    cr_expect_eq(open, GRPC_SERVER_CONNECTIONS_MAX);
    close(fds[0]);
    wire_turn(&w);
    cr_expect(wire_serves(&w));
    for (int i = 1; i < count; i++)
        close(fds[i]);
    buf_free(&in);
    wire_stop(&w);
}

Test(hostile_grpc, accept_survives_a_lack_of_descriptors)
{
    struct wire w;
    struct buf out, in;
    wire_start(&w);
    // Connected while there was a descriptor for us, accepted when there is none for the server.
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", w.path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    struct rlimit was, none = {0, 0};
    getrlimit(RLIMIT_NOFILE, &was);
    none.rlim_max = was.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 0; i < 5; i++)
        wire_turn(&w);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
    wire_run(&w, 0.5);
    wire_greeting(&out);
    buf_init(&in, 65536);
    cr_expect(wire_send_all(&w, fd, &out, &in));
    cr_expect(wire_call(&w, fd, 1, "accepted"));
    close(fd);
    buf_free(&out);
    buf_free(&in);
    wire_stop(&w);
}

Test(hostile_grpc, other_users_are_refused)
{
    struct wire w;
    if (geteuid() != 0)
        cr_skip_test("needs root to become somebody else");
    wire_start(&w);
    cr_assert_eq(chmod(w.dir, 0777), 0);
    cr_assert_eq(chmod(w.path, 0777), 0);
    int told[2];
    cr_assert_eq(pipe(told), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        char byte;
        snprintf(addr.sun_path, sizeof addr.sun_path, "%s", w.path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (setresuid(65534, 65534, 65534) < 0 ||
            connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || write(told[1], "c", 1) != 1)
            _exit(2);
        _exit(recv(fd, &byte, 1, 0) == 0 ? 0 : 1); // closed without a SETTINGS
    }
    char byte;
    cr_assert_eq(read(told[0], &byte, 1), 1);
    wire_run(&w, 0.05);
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    cr_expect(wire_serves(&w));
    close(told[0]);
    close(told[1]);
    wire_stop(&w);
}

// FIFOs, log files, refusals. (Terminals: test_runtime_live.c and test_console.c.)
#include "support.h"

#include <errno.h>
#include <pthread.h>

struct place {
    char dir[64], path[3][96];
    struct ev_loop *loop;
    struct stdio_host host;
};

static void place_init(struct place *p)
{
    char console[96];
    static const char *const names[] = {"in", "out", "err"};
    strcpy(p->dir, "/tmp/task-test.XXXXXX");
    cr_assert(mkdtemp(p->dir));
    p->loop = ev_loop_new(EVFLAG_AUTO);
    snprintf(console, sizeof console, "%s/console", p->dir);
    cr_assert(stdio_host_init(&p->host, p->loop, console) == 0);
    for (int i = 0; i < 3; i++) {
        snprintf(p->path[i], sizeof p->path[i], "%s/%s", p->dir, names[i]);
        cr_assert(mkfifo(p->path[i], 0700) == 0);
    }
}

static void place_done(struct place *p)
{
    stdio_host_done(&p->host);
    ev_loop_destroy(p->loop);
    cr_assert(file_remove_tree_at(AT_FDCWD, p->dir) == 0);
}

static struct task_stdio *open_all(struct place *p, int given[3])
{
    struct error err = {0};
    const struct stdio_spec spec = {
        .in = p->path[0], .out = p->path[1], .err = p->path[2], .uid = (uid_t)-1};
    struct task_stdio *io = task_stdio_open(&p->host, &spec, &err);
    cr_assert(io, "%s", err.text);
    task_stdio_fds(io, given);
    for (int i = 0; i < 3; i++) {
        cr_expect((fcntl(given[i], F_GETFL) & O_NONBLOCK) == 0, "the process gets blocking ends");
        given[i] = fcntl(given[i], F_DUPFD_CLOEXEC, 3); // "the process"
    }
    cr_expect(task_stdio_attach(io, &err) == 0);
    return io;
}

static void close_all(int fds[3])
{
    for (int i = 0; i < 3; i++)
        close_fd(&fds[i]);
}

static void note_handed(void *arg)
{
    *(bool *)arg = true;
}

static bool exited(struct task_stdio *io, bool *handed)
{
    return task_stdio_exited(io, note_handed, handed);
}

// At most ten seconds.
static void run_until(struct place *p, const bool *handed)
{
    for (int i = 0; i < 1000 && !*handed; i++) {
        ev_run(p->loop, EVRUN_NOWAIT);
        usleep(10000);
    }
}

// One that has ended, with bytes that nobody has read.
static struct task_stdio *end_unread(struct place *p, bool *handed)
{
    int fds[3];
    struct task_stdio *io = open_all(p, fds);
    cr_expect(write(fds[1], "bytes", 5) == 5);
    close_all(fds);
    cr_expect(!exited(io, handed));
    return io;
}

Test(stdio, an_exit_is_told_at_once_when_everything_has_been_read)
{
    struct place p;
    int fds[3];
    char buf[64];
    place_init(&p);
    struct task_stdio *io = open_all(&p, fds);
    int reader = open(p.path[2], O_RDONLY | O_NONBLOCK);
    cr_expect(write(fds[2], "bytes", 5) == 5 && read(reader, buf, sizeof buf) == 5);
    close_all(fds);
    cr_expect(task_stdio_exited(io, NULL, NULL));
    close(reader);
    task_stdio_free(io);
    place_done(&p);
}

Test(stdio, an_exit_is_told_in_the_end_if_nobody_reads)
{
    struct place p;
    bool handed = false;
    place_init(&p);
    struct task_stdio *io = end_unread(&p, &handed);
    run_until(&p, &handed);
    cr_expect(handed && exited(io, &handed));
    task_stdio_free(io);
    place_done(&p);
}

// Which is told first: one that ended first, and is not read, or one that has been read? On a
// machine that stands still both may be due at the same time, so it is tried again.
Test(stdio, an_exit_that_is_held_back_is_told_when_everything_has_been_read)
{
    bool read_first = false;
    for (int i = 0; i < 5 && !read_first; i++) {
        struct place p[2];
        bool handed[2] = {false, false};
        struct task_stdio *io[2];
        char buf[64];
        place_init(&p[0]);
        place_init(&p[1]);
        io[0] = end_unread(&p[0], &handed[0]);
        io[1] = end_unread(&p[1], &handed[1]);
        int reader = open(p[1].path[1], O_RDONLY | O_NONBLOCK);
        cr_expect(read(reader, buf, sizeof buf) == 5);
        for (int n = 0; n < 1000 && !handed[0] && !handed[1]; n++) {
            ev_run(p[0].loop, EVRUN_NOWAIT);
            ev_run(p[1].loop, EVRUN_NOWAIT);
            usleep(1000);
        }
        read_first = handed[1] && !handed[0];
        close(reader);
        for (int n = 0; n < 2; n++) {
            task_stdio_free(io[n]);
            place_done(&p[n]);
        }
    }
    cr_expect(read_first);
}

Test(stdio, a_reader_that_comes_late_finds_every_byte_and_the_end)
{
    struct place p;
    int fds[3];
    char buf[64];
    bool handed = false;
    place_init(&p);
    struct task_stdio *io = open_all(&p, fds);
    cr_expect(write(fds[1], "before", 6) == 6, "nobody reads, and no EPIPE");
    int reader = open(p.path[1], O_RDONLY | O_NONBLOCK);
    cr_expect(read(reader, buf, 3) == 3);
    close(reader); // containerd goes away
    cr_expect(write(fds[1], "after", 5) == 5);
    close_all(fds);
    cr_expect(!exited(io, &handed), "held back while there are unread bytes");
    reader = open(p.path[1], O_RDONLY | O_NONBLOCK);
    cr_expect(read(reader, buf, sizeof buf) == 8);
    run_until(&p, &handed);
    cr_expect(handed && exited(io, &handed));
    cr_expect(memcmp(buf, "oreafter", 8) == 0);
    cr_expect(read(reader, buf, sizeof buf) == 0, "our handle does not hide the end");
    close(reader);
    task_stdio_free(io);
    place_done(&p);
}

static void *blocking_reader(void *arg)
{
    static char buf[64];
    int fd = open(arg, O_RDONLY); // blocks: nobody writes any more
    ssize_t n = read(fd, buf, sizeof buf - 1);
    buf[n > 0 ? n : 0] = '\0';
    close(fd);
    return buf;
}

Test(stdio, a_reader_that_blocks_in_open_is_let_through)
{
    struct place p;
    pthread_t thread;
    void *got;
    bool handed = false;
    place_init(&p);
    struct task_stdio *io = end_unread(&p, &handed);
    cr_assert(pthread_create(&thread, NULL, blocking_reader, p.path[1]) == 0);
    usleep(200000);
    task_stdio_free(io);
    pthread_join(thread, &got);
    cr_expect(strcmp(got, "bytes") == 0, "got '%s'", (char *)got);
    place_done(&p);
}

// What containerd does in ExecSync: it deletes the process only after it has read everything.
Test(stdio, a_reader_that_opens_after_the_exit_gets_through_before_the_process_is_deleted)
{
    struct place p;
    pthread_t thread;
    void *got = NULL;
    bool handed = false;
    place_init(&p);
    struct task_stdio *io = end_unread(&p, &handed);
    cr_assert(pthread_create(&thread, NULL, blocking_reader, p.path[1]) == 0);
    usleep(50000);
    for (int i = 0; i < 500 && pthread_tryjoin_np(thread, &got) != 0; i++) {
        ev_run(p.loop, EVRUN_NOWAIT);
        usleep(10000);
    }
    cr_expect(got && strcmp(got, "bytes") == 0, "got '%s'", got ? (char *)got : "nothing");
    task_stdio_free(io);
    if (!got)
        pthread_join(thread, &got);
    place_done(&p);
}

static void copy(struct place *p)
{
    for (int i = 0; i < 10; i++)
        ev_run(p->loop, EVRUN_NOWAIT);
}

static int anew(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

Test(stdio, stdin_can_be_opened_anew_when_it_has_ended, .timeout = 20)
{
    struct place p;
    int fds[3];
    char text[8];
    place_init(&p);
    struct task_stdio *io = open_all(&p, fds);
    int writer = open(p.path[0], O_WRONLY | O_NONBLOCK);
    cr_expect(write(writer, "bytes", 5) == 5);
    close(writer);
    task_stdio_close_stdin(io);
    copy(&p);
    int fd = anew(fds[0]);
    cr_expect(read(fd, text, sizeof text) == 5);
    cr_expect(read(fd, text, sizeof text) == 0);
    close(fd);
    close_all(fds);
    task_stdio_free(io);
    place_done(&p);
}

Test(stdio, stdin_is_the_fifo_for_who_does_not_open_it_anew)
{
    struct place p;
    int fds[3];
    char text[8];
    struct stat fifo, given;
    struct error err = {0};
    place_init(&p);
    const struct stdio_spec spec = {.in = p.path[0], .uid = (uid_t)-1};
    struct task_stdio *io = task_stdio_open(&p.host, &spec, &err);
    cr_assert(io, "%s", err.text);
    task_stdio_pass_stdin(io);
    task_stdio_pass_stdin(io);
    task_stdio_fds(io, fds);
    cr_assert(stat(p.path[0], &fifo) == 0 && fstat(fds[0], &given) == 0);
    cr_expect(fifo.st_ino == given.st_ino && fifo.st_dev == given.st_dev);
    cr_expect_eq(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
    int writer = open(p.path[0], O_WRONLY | O_NONBLOCK);
    cr_expect(write(writer, "bytes", 5) == 5);
    copy(&p);
    cr_expect(read(fds[0], text, sizeof text) == 5);
    close(writer);
    task_stdio_free(io);
    place_done(&p);
}

// What a process does not read stops its writer; nothing of it is lost.
Test(stdio, stdin_is_bounded_and_whole)
{
    enum { TOTAL = 1 << 20 };
    struct place p;
    int fds[3];
    static char bytes[4096], got[4096];
    size_t sent = 0, came = 0, most = 0;
    place_init(&p);
    struct task_stdio *io = open_all(&p, fds);
    int writer = open(p.path[0], O_WRONLY | O_NONBLOCK);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    while (came < TOTAL) {
        ssize_t n = 1;
        while (n > 0 && sent < TOTAL) {
            for (size_t k = 0; k < sizeof bytes; k++)
                bytes[k] = (char)((sent + k) % 251);
            n = write(writer, bytes, sizeof bytes);
            sent += n > 0 ? (size_t)n : 0;
            copy(&p);
        }
        most = sent - came > most ? sent - came : most;
        n = read(fds[0], got, sizeof got);
        cr_assert_gt(n, 0);
        for (ssize_t k = 0; k < n; k++)
            cr_assert_eq(got[k], (char)((came + (size_t)k) % 251));
        came += (size_t)n;
        copy(&p);
    }
    cr_expect_leq(most, 256u * 1024);
    close(writer);
    close_all(fds);
    task_stdio_free(io);
    place_done(&p);
}

// Its writer learns of it.
Test(stdio, stdin_that_nobody_reads_is_closed)
{
    struct place p;
    int fds[3];
    signal(SIGPIPE, SIG_IGN);
    place_init(&p);
    struct task_stdio *io = open_all(&p, fds);
    int writer = open(p.path[0], O_WRONLY | O_NONBLOCK);
    close_all(fds);
    cr_expect(write(writer, "x", 1) == 1);
    copy(&p);
    cr_expect(write(writer, "x", 1) < 0 && errno == EPIPE);
    close(writer);
    task_stdio_free(io);
    place_done(&p);
}

Test(stdio, stdin_ends_only_when_we_say_so)
{
    struct place p;
    int fds[3];
    char c;
    place_init(&p);
    struct task_stdio *io = open_all(&p, fds);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    int writer = open(p.path[0], O_WRONLY | O_NONBLOCK);
    cr_expect(write(writer, "x", 1) == 1);
    close(writer);
    copy(&p);
    cr_expect(read(fds[0], &c, 1) == 1);
    copy(&p);
    cr_expect(read(fds[0], &c, 1) < 0 && errno == EAGAIN);
    task_stdio_close_stdin(io);
    copy(&p);
    cr_expect(read(fds[0], &c, 1) == 0);
    task_stdio_close_stdin(io);
    close_all(fds);
    task_stdio_free(io);
    place_done(&p);
}

Test(stdio, only_fifos_are_taken_at_paths)
{
    struct place p;
    char file[96], link[96];
    place_init(&p);
    snprintf(file, sizeof file, "%s/file", p.dir);
    snprintf(link, sizeof link, "%s/link", p.dir);
    write_text("keep", "%s", file);
    cr_assert(symlink(p.path[1], link) == 0);
    const struct {
        const char *path;
        enum status status;
    } rows[] = {{file, STATUS_FAILED_PRECONDITION},
                {link, STATUS_FAILED_PRECONDITION},
                {p.dir, STATUS_FAILED_PRECONDITION},
                {"/tmp/task-test-is-not-there", STATUS_NOT_FOUND}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct error err = {0};
        const struct stdio_spec spec = {.out = rows[i].path, .uid = (uid_t)-1};
        cr_expect(!task_stdio_open(&p.host, &spec, &err), "%s", rows[i].path);
        cr_expect(err.status == rows[i].status, "%s: %s", rows[i].path, err.text);
        cr_expect(strstr(err.text, "stdout"), "%s", err.text);
    }
    place_done(&p);
}

Test(stdio, refused_urls_are_named)
{
    const struct {
        const char *url;
        enum status status;
        const char *says;
    } rows[] = {{"binary:///bin/logger?x=y", STATUS_UNIMPLEMENTED, "binary://"},
                {"unix:///s?streaming_id=c1-stdout", STATUS_UNIMPLEMENTED, "ttrpc+unix://"},
                {"ttrpc+unix:///s?streaming_id=c1-stderr", STATUS_INVALID_ARGUMENT, "c1-stderr"},
                {"ttrpc+unix:///s?streaming_id=c1", STATUS_INVALID_ARGUMENT, "-stdout"},
                {"ttrpc+unix:///s?streaming_id=../c1-stdout", STATUS_INVALID_ARGUMENT, "stdout"},
                {"ttrpc+unix:///s?streaming_id=", STATUS_INVALID_ARGUMENT, "stdout"},
                {"npipe://x", STATUS_UNIMPLEMENTED, "npipe://"},
                {"relative", STATUS_INVALID_ARGUMENT, "relative"},
                {"/a/../b", STATUS_INVALID_ARGUMENT, "stdout"},
                {"file://relative", STATUS_INVALID_ARGUMENT, "stdout"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct error err = {0};
        const struct stdio_spec spec = {.out = rows[i].url};
        cr_expect(task_stdio_check(&spec, &err) < 0, "%s", rows[i].url);
        cr_expect(err.status == rows[i].status, "%s: %s", rows[i].url, err.text);
        cr_expect(strstr(err.text, rows[i].says), "%s", err.text);
    }
    const struct stdio_spec tty = {.terminal = true, .err = "binary:///x"};
    cr_expect(task_stdio_check(&tty, NULL) == 0, "with a terminal stderr is nobody's");
}

Test(stdio, log_files_are_appended_to)
{
    struct place p;
    char url[128], text[64] = "";
    int fds[3];
    place_init(&p);
    snprintf(url, sizeof url, "file://%s/made/here/log", p.dir);
    for (int i = 0; i < 2; i++) {
        struct error err = {0};
        const struct stdio_spec spec = {.out = url, .err = url, .uid = (uid_t)-1};
        struct task_stdio *io = task_stdio_open(&p.host, &spec, &err);
        cr_assert(io, "%s", err.text);
        task_stdio_fds(io, fds);
        cr_expect(write(fds[1], "out", 3) == 3);
        cr_expect(write(fds[2], "err", 3) == 3);
        task_stdio_free(io);
    }
    int fd = open(url + 7, O_RDONLY);
    cr_expect(read(fd, text, sizeof text) == 12);
    cr_expect(strcmp(text, "outerrouterr") == 0, "got '%s'", text);
    close(fd);
    place_done(&p);
}

Test(stdio, the_owner_is_given)
{
    struct place p;
    struct stat st;
    struct error err = {0};
    if (geteuid() != 0)
        cr_skip("needs root\n");
    place_init(&p);
    const struct stdio_spec spec = {.out = p.path[1], .uid = 1234, .gid = 5678};
    struct task_stdio *io = task_stdio_open(&p.host, &spec, &err);
    cr_assert(io, "%s", err.text);
    cr_expect(stat(p.path[1], &st) == 0 && st.st_uid == 1234 && st.st_gid == 5678);
    task_stdio_free(io);
    place_done(&p);
}

// A terminal without a runtime: the test sends the master as a runtime would.
#include "support.h"

#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "task/console.h"

struct place {
    char dir[64], out[96], in[96];
    struct ev_loop *loop;
    struct stdio_host host;
    struct task_stdio *io;
    int slave, reader;
};

static void send_fd(const char *path, int fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (char *)"x", .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    strcpy(addr.sun_path, path);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(connect(s, (struct sockaddr *)&addr, sizeof addr) == 0);
    if (fd >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof control;
        struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &fd, sizeof fd);
    }
    cr_assert(sendmsg(s, &msg, 0) == 1);
    close(s);
}

static void place_init(struct place *p)
{
    char console[96];
    struct error err = {0};
    strcpy(p->dir, "/tmp/task-test.XXXXXX");
    cr_assert(mkdtemp(p->dir));
    snprintf(p->in, sizeof p->in, "%s/in", p->dir);
    snprintf(p->out, sizeof p->out, "%s/out", p->dir);
    cr_assert(mkfifo(p->in, 0700) == 0 && mkfifo(p->out, 0700) == 0);
    p->loop = ev_loop_new(EVFLAG_AUTO);
    snprintf(console, sizeof console, "%s/console", p->dir);
    cr_assert(stdio_host_init(&p->host, p->loop, console) == 0);
    const struct stdio_spec spec = {
        .in = p->in, .out = p->out, .terminal = true, .columns = 91, .rows = 33};
    p->io = task_stdio_open(&p->host, &spec, &err);
    cr_assert(p->io, "%s", err.text);
    p->reader = open(p->out, O_RDONLY | O_NONBLOCK);
    p->slave = -1;
}

static void attach(struct place *p)
{
    struct error err = {0};
    struct termios raw;
    int master;
    cr_assert(openpty(&master, &p->slave, NULL, NULL, NULL) == 0);
    tcgetattr(p->slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(p->slave, TCSANOW, &raw);
    send_fd(task_stdio_console(p->io), master);
    close(master);
    cr_assert(task_stdio_attach(p->io, &err) == 0, "%s", err.text);
}

static void run(struct place *p, double seconds)
{
    for (double t = 0; t < seconds; t += 0.01) {
        ev_run(p->loop, EVRUN_NOWAIT);
        usleep(10000);
    }
}

static void place_done(struct place *p)
{
    close(p->reader);
    if (p->slave >= 0)
        close(p->slave);
    stdio_host_done(&p->host);
    ev_loop_destroy(p->loop);
    cr_assert(file_remove_tree_at(AT_FDCWD, p->dir) == 0);
}

Test(console, bytes_go_both_ways_and_the_size_is_set)
{
    struct place p;
    struct winsize size = {0};
    char buf[64];
    struct error err = {0};
    place_init(&p);
    cr_expect(task_stdio_resize(p.io, 1, 1, &err) < 0, "not before the terminal is there");
    attach(&p);
    cr_expect(ioctl(p.slave, TIOCGWINSZ, &size) == 0 && size.ws_col == 91 && size.ws_row == 33);
    cr_expect(task_stdio_resize(p.io, 100, 50, &err) == 0);
    cr_expect(ioctl(p.slave, TIOCGWINSZ, &size) == 0 && size.ws_col == 100 && size.ws_row == 50);
    cr_expect(write(p.slave, "output", 6) == 6);
    run(&p, 0.05);
    cr_expect(read(p.reader, buf, sizeof buf) == 6);
    int writer = open(p.in, O_WRONLY | O_NONBLOCK);
    cr_expect(write(writer, "input", 5) == 5);
    run(&p, 0.05);
    cr_expect(read(p.slave, buf, sizeof buf) == 5 && memcmp(buf, "input", 5) == 0);
    close(writer);
    cr_expect(task_stdio_exited(p.io, NULL, NULL), "the FIFO has been read");
    task_stdio_free(p.io);
    place_done(&p);
}

Test(console, what_is_left_after_the_exit_is_copied_even_after_delete)
{
    struct place p;
    static char buf[300000];
    size_t sent = 0, got = 0;
    ssize_t r;
    place_init(&p);
    attach(&p);
    fcntl(p.slave, F_SETFL, O_NONBLOCK);
    memset(buf, 'a', sizeof buf);
    for (int i = 0; i < 100; i++) { // until nothing takes any more
        r = write(p.slave, buf, 4096);
        sent += r > 0 ? (size_t)r : 0;
        run(&p, 0.01);
    }
    cr_expect(sent > STDIO_BUFFER_MAX, "%zu", sent);
    cr_expect(sent < 4 * STDIO_BUFFER_MAX, "the buffers are bounded: %zu", sent);
    close_fd(&p.slave);
    cr_expect(!task_stdio_exited(p.io, NULL, NULL), "the FIFO has not been read");
    task_stdio_free(p.io); // Delete
    for (int i = 0; i < 300; i++) {
        run(&p, 0.01);
        r = read(p.reader, buf, sizeof buf);
        if (r == 0)
            break;
        got += r > 0 ? (size_t)r : 0;
    }
    cr_expect(got == sent, "%zu of %zu bytes", got, sent);
    cr_expect(LIST_EMPTY(&p.host.orphans), "it went away by itself");
    place_done(&p);
}

Test(console, a_terminal_that_is_closed_and_opened_again_goes_on)
{
    struct place p;
    char name[64], buf[64];
    place_init(&p);
    attach(&p);
    cr_assert(ttyname_r(p.slave, name, sizeof name) == 0);
    close_fd(&p.slave);
    run(&p, 0.2);
    p.slave = open(name, O_RDWR | O_NOCTTY);
    cr_assert(p.slave >= 0, "%s", name);
    cr_expect(write(p.slave, "again", 5) == 5);
    run(&p, 1.2);
    cr_expect(read(p.reader, buf, sizeof buf) >= 5);
    cr_expect(task_stdio_exited(p.io, NULL, NULL), "the FIFO has been read");
    task_stdio_free(p.io);
    place_done(&p);
}

static void on_tick(struct ev_loop *loop, ev_timer *w, int events)
{
    ev_break(loop, EVBREAK_ALL);
}

Test(console, a_terminal_that_stays_closed_is_looked_at_twice_a_second)
{
    struct place p;
    ev_timer tick;
    place_init(&p);
    attach(&p);
    close_fd(&p.slave); // the process goes on without it
    run(&p, 0.05);
    ev_timer_init(&tick, on_tick, 2.2, 0.);
    ev_timer_start(p.loop, &tick);
    unsigned turns = ev_iteration(p.loop);
    ev_run(p.loop, 0);
    turns = ev_iteration(p.loop) - turns;
    cr_expect_lt(turns, 30, "%u turns of the loop in two seconds", turns);
    cr_expect(task_stdio_exited(p.io, NULL, NULL));
    task_stdio_free(p.io);
    place_done(&p);
}

Test(console, a_runtime_that_sends_no_terminal_is_told)
{
    for (int i = 0; i < 3; i++) {
        struct place p;
        struct error err = {0};
        place_init(&p);
        if (i == 1)
            send_fd(task_stdio_console(p.io), -1);
        if (i == 2)
            send_fd(task_stdio_console(p.io), 2 /* no terminal in a test run */);
        if (i == 2 && isatty(2))
            continue;
        cr_expect(task_stdio_attach(p.io, &err) < 0, "%d", i);
        cr_expect(err.status == STATUS_INTERNAL);
        task_stdio_free(p.io);
        place_done(&p);
    }
}

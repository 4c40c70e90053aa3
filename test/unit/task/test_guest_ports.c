// Connections to the loopback of a pod's namespace end in the guest. The guest is a process here
// with a loopback of its own; what stands for its vsock device is a socket that says what the
// device says.
#include "task/guest_ports.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "rpc/listen.h"
#include "task/port_server.h"

TestSuite(guest_ports, .timeout = 60);

#define BIG     3000000
#define SECONDS 20.0

static struct error err;
static char dir[] = "/tmp/kuasar-ports.XXXXXX", device[64], agent[64], pod_ns[64];
static struct ev_loop *loop;
static struct guest_ports *ports;

// A process in a network namespace of its own, that runs `what` there and ends with the test.
static pid_t in_namespace(void (*what)(void))
{
    int ready[2];
    char byte;
    cr_assert_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWNET) < 0 || system("ip link set lo up") != 0 ||
            write(ready[1], "x", 1) != 1)
            _exit(1);
        what();
        _exit(1);
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

// ---- the guest ----------------------------------------------------------------------------------

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

static int listen_on(int family, uint16_t port)
{
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(family, SOCK_STREAM, 0);
    bool six = family == AF_INET6;
    if (bind(fd, six ? (void *)&v6 : (void *)&v4, six ? sizeof v6 : sizeof v4) < 0 ||
        listen(fd, 100) < 0)
        _exit(1);
    return fd;
}

// A program of the pod: what comes goes back. After the end of it BIG bytes follow, if it was
// "big"; after "now", at once.
static void serve_one(int fd)
{
    static uint8_t data[BIG];
    ssize_t n;
    bool big = false;
    while ((n = read(fd, data, sizeof data)) > 0) {
        big = n == 3 && memcmp(data, "big", 3) == 0;
        if (n == 3 && memcmp(data, "now", 3) == 0) {
            big = true;
            break;
        }
        for (ssize_t done = 0, m; done < n; done += m) {
            m = write(fd, data + done, (size_t)(n - done));
            if (m <= 0)
                _exit(0);
        }
    }
    for (size_t i = 0; i < BIG; i++)
        data[i] = pattern(i);
    for (ssize_t done = 0; big && done < BIG;) {
        ssize_t m = write(fd, data + done, (size_t)(BIG - done));
        if (m <= 0)
            break;
        done += m;
    }
    _exit(0);
}

static void program(int family, uint16_t port)
{
    int fd = listen_on(family, port);
    if (fork())
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int client = accept(fd, NULL, NULL);
        if (client >= 0 && fork() == 0)
            serve_one(client);
        close(client);
    }
}

static void guest(void)
{
    program(AF_INET, 8080);
    program(AF_INET6, 8080);
    program(AF_INET6, 8086);
    struct ev_loop *l = ev_loop_new(EVFLAG_AUTO);
    int fd = rpc_listen_unix(agent, &err);
    if (fd < 0 || !port_server_new(l, fd))
        _exit(1);
    ev_run(l, 0);
}

// ---- the device ---------------------------------------------------------------------------------

static int dial_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    for (int i = 0; i < 2000; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (void *)&at, sizeof at) == 0)
            return fd;
        close(fd);
        usleep(1000);
    }
    return -1;
}

static void pump(int from, int to)
{
    char data[65536];
    ssize_t n;
    while ((n = read(from, data, sizeof data)) > 0) {
        for (ssize_t done = 0, m; done < n; done += m) {
            m = send(to, data + done, (size_t)(n - done), MSG_NOSIGNAL);
            if (m < 0)
                _exit(0);
        }
    }
    shutdown(to, SHUT_WR);
    _exit(0);
}

static void device_stand_in(void)
{
    int fd = rpc_listen_unix(device, &err);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        poll(&p, 1, -1);
        int client = accept4(fd, NULL, NULL, 0);
        char line[32];
        ssize_t n = client < 0 ? -1 : read(client, line, sizeof line);
        if (n != 13 || memcmp(line, "CONNECT 1026\n", 13) != 0 || write(client, "OK 7\n", 5) != 5) {
            close(client);
            continue;
        }
        int to = dial_unix(agent);
        if (fork() == 0)
            pump(client, to);
        if (fork() == 0)
            pump(to, client);
        close(client);
        close(to);
    }
}

// Its kernel keeps little for a client that does not read: the rest waits with us.
static void in_pod(void)
{
    int fd = open("/proc/sys/net/ipv4/tcp_wmem", O_WRONLY);
    if (fd < 0 || write(fd, "4096 16384 16384", 16) != 16)
        _exit(1);
    for (;;)
        pause();
}

// ---- clients ------------------------------------------------------------------------------------

static int connect_in_pod(int family, uint16_t port, int buffer)
{
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool six = family == AF_INET6;
    int ns = open(pod_ns, O_RDONLY);
    if (setns(ns, CLONE_NEWNET) < 0)
        _exit(10);
    int fd = socket(family, SOCK_STREAM, 0);
    if (buffer && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) < 0)
        _exit(12);
    if (connect(fd, six ? (void *)&v6 : (void *)&v4, six ? sizeof v6 : sizeof v4) < 0)
        _exit(11);
    return fd;
}

static void client_echo(int family, uint16_t port)
{
    char got[32] = "";
    int fd = connect_in_pod(family, port, 0);
    if (write(fd, "hello", 5) != 5 || read(fd, got, sizeof got) != 5 || strcmp(got, "hello") != 0)
        _exit(1);
    shutdown(fd, SHUT_WR);
    _exit(read(fd, got, sizeof got) == 0 ? 0 : 2);
}

// Asks for much; `slow` takes it in small portions after a while.
static void client_big(const char *word, bool slow)
{
    uint8_t data[65536];
    int fd = connect_in_pod(AF_INET, 8080, slow ? 4096 : 0);
    if (write(fd, word, 3) != 3)
        _exit(1);
    if (strcmp(word, "big") == 0 && (read(fd, data, 3) != 3 || shutdown(fd, SHUT_WR) < 0))
        _exit(1);
    if (slow)
        usleep(500 * 1000);
    size_t done = 0;
    for (ssize_t n; (n = read(fd, data, slow ? 5000 : sizeof data)) > 0; done += (size_t)n) {
        if (slow && done > BIG - 300000)
            usleep(5000); // so that the guest has long been through with it
        for (ssize_t i = 0; i < n; i++) {
            if (data[i] != pattern(done + (size_t)i))
                _exit(2);
        }
    }
    _exit(done == BIG ? 0 : 3);
}

// Sends much and takes what comes back.
static void client_upload(void)
{
    uint8_t data[30000];
    int fd = connect_in_pod(AF_INET, 8080, 0);
    if (fork() == 0) {
        for (size_t sent = 0; sent < BIG; sent += sizeof data) {
            for (size_t i = 0; i < sizeof data; i++)
                data[i] = pattern(sent + i);
            for (size_t at = 0; at < sizeof data;) {
                ssize_t n = write(fd, data + at, sizeof data - at);
                if (n <= 0)
                    _exit(1);
                at += (size_t)n;
            }
        }
        shutdown(fd, SHUT_WR);
        _exit(0);
    }
    size_t done = 0;
    for (ssize_t n; (n = read(fd, data, sizeof data)) > 0; done += (size_t)n) {
        for (ssize_t i = 0; i < n; i++) {
            if (data[i] != pattern(done + (size_t)i))
                _exit(2);
        }
    }
    _exit(done == BIG ? 0 : 3);
}

static void client_refused(void)
{
    char got;
    int fd = connect_in_pod(AF_INET, 81, 0);
    ssize_t n = read(fd, &got, 1);
    _exit(n == 0 || (n < 0 && errno == ECONNRESET) ? 0 : 1);
}

// ---- the test -----------------------------------------------------------------------------------

static pid_t others[3];

static void start(void)
{
    cr_assert(mkdtemp(dir));
    snprintf(device, sizeof device, "%s/device", dir);
    snprintf(agent, sizeof agent, "%s/agent", dir);
    others[0] = in_namespace(guest);
    others[1] = in_namespace(device_stand_in);
    others[2] = in_namespace(in_pod);
    snprintf(pod_ns, sizeof pod_ns, "/proc/%d/ns/net", (int)others[2]);
    int fd = dial_unix(agent);
    cr_assert_geq(fd, 0);
    close(fd);
    fd = dial_unix(device);
    cr_assert_geq(fd, 0);
    close(fd);
    loop = ev_loop_new(EVFLAG_AUTO);
    ports = guest_ports_new(loop, pod_ns, device, &err);
    if (!ports && err.status == STATUS_UNIMPLEMENTED)
        cr_skip_test("this kernel has no BPF for socket lookups");
    cr_assert(ports, "%s", err.text);
}

static void stop(void)
{
    ports = guest_ports_free(ports);
    ev_loop_destroy(loop);
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        kill(others[i], SIGKILL);
        waitpid(others[i], NULL, 0);
    }
    unlink(device);
    unlink(agent);
    rmdir(dir);
}

static void on_tick(struct ev_loop *l, ev_timer *w, int revents)
{
}

static void expect(pid_t pid, const char *what)
{
    int status = -1;
    ev_timer tick;
    ev_timer_init(&tick, on_tick, 0.01, 0.01);
    ev_timer_start(loop, &tick);
    for (double end = ev_time() + SECONDS; waitpid(pid, &status, WNOHANG) == 0;) {
        if (ev_time() > end) {
            kill(pid, SIGKILL);
            cr_assert_fail("%s: in time", what);
        }
        ev_run(loop, EVRUN_ONCE);
    }
    ev_timer_stop(loop, &tick);
    cr_assert(WIFEXITED(status), "%s", what);
    cr_assert_eq(WEXITSTATUS(status), 0, "%s: %d", what, WEXITSTATUS(status));
}

#define CLIENT(call)                                                                               \
    do {                                                                                           \
        pid_t pid_ = fork();                                                                       \
        if (pid_ == 0)                                                                             \
            call;                                                                                  \
        expect(pid_, #call);                                                                       \
    } while (0)

Test(guest_ports, bytes_and_ends_go_both_ways)
{
    start();
    CLIENT(client_echo(AF_INET, 8080));
    CLIENT(client_echo(AF_INET, 8080));
    CLIENT(client_echo(AF_INET6, 8080));
    CLIENT(client_echo(AF_INET, 8086)); // where only the other address is listened on
    CLIENT(client_refused());
    CLIENT(client_echo(AF_INET, 8080));
    stop();
}

Test(guest_ports, nothing_is_lost_of_much)
{
    start();
    CLIENT(client_big("now", false));
    CLIENT(client_big("now", true));
    CLIENT(client_big("big", false));
    CLIENT(client_big("big", true));
    CLIENT(client_upload());
    stop();
}

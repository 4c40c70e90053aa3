// All loopback connections of a namespace come to one listener.
#include "net/loopback.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

TestSuite(loopback, .timeout = 60);

static struct error err;
static char path[64];

// A namespace that a process holds until the test ends.
static pid_t holder;

static void make_namespace(void)
{
    int ready[2];
    char byte;
    cr_assert_eq(pipe(ready), 0);
    holder = fork();
    if (holder == 0) {
        if (unshare(CLONE_NEWNET) == 0 && system("ip link set lo up") == 0 &&
            write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)holder);
}

// Connects from within the namespace, says what comes back, in a process of its own.
static pid_t client(const char *address, uint16_t port)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    int ns = open(path, O_RDONLY);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool six = strchr(address, ':');
    inet_pton(six ? AF_INET6 : AF_INET, address, six ? (void *)&v6.sin6_addr : &v4.sin_addr);
    char got[8] = "";
    if (setns(ns, CLONE_NEWNET) < 0)
        _exit(2);
    int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    if (connect(fd, six ? (void *)&v6 : (void *)&v4, six ? sizeof v6 : sizeof v4) < 0)
        _exit(errno == ECONNREFUSED ? 3 : 4);
    _exit(read(fd, got, sizeof got) == 5 && memcmp(got, "hello", 5) == 0 ? 0 : 5);
}

static int status_of(pid_t pid)
{
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_taken(int listener, const char *address, uint16_t port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    socklen_t len = sizeof at;
    pid_t pid = client(address, port);
    struct pollfd p = {.fd = listener, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 10000), 1, "%s port %u", address, port);
    int fd = accept(listener, NULL, NULL);
    cr_assert_geq(fd, 0);
    cr_assert_eq(getsockname(fd, &at.any, &len), 0);
    cr_assert_eq(ntohs(at.any.sa_family == AF_INET ? at.v4.sin_port : at.v6.sin6_port), port);
    cr_assert_eq(write(fd, "hello", 5), 5);
    close(fd);
    cr_assert_eq(status_of(pid), 0);
}

Test(loopback, every_port_comes_to_one_listener)
{
    struct net_loopback l;
    struct stat before, after;
    make_namespace();
    cr_assert_eq(stat("/proc/self/ns/net", &before), 0);
    if (net_loopback_take(path, &l, &err) < 0 && err.status == STATUS_UNIMPLEMENTED)
        cr_skip_test("this kernel has no BPF for socket lookups");
    cr_assert_eq(err.status, STATUS_OK, "%s", err.text);
    cr_assert_eq(stat("/proc/self/ns/net", &after), 0);
    cr_assert_eq(before.st_ino, after.st_ino, "we are back");
    expect_taken(l.v4, "127.0.0.1", 80);
    expect_taken(l.v4, "127.0.0.1", 65535);
    expect_taken(l.v4, "127.1.2.3", 8080);
    if (l.v6 >= 0)
        expect_taken(l.v6, "::1", 80);
    // Given back, nobody is there any more.
    net_loopback_done(&l);
    cr_assert_eq(status_of(client("127.0.0.1", 80)), 3);
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
}

Test(loopback, other_addresses_are_left_alone)
{
    struct net_loopback l;
    make_namespace();
    char command[200];
    snprintf(command, sizeof command, "nsenter --net=%s ip addr add 10.1.2.3/32 dev lo", path);
    cr_assert_eq(system(command), 0);
    if (net_loopback_take(path, &l, &err) < 0 && err.status == STATUS_UNIMPLEMENTED)
        cr_skip_test("this kernel has no BPF for socket lookups");
    cr_assert_eq(status_of(client("10.1.2.3", 80)), 3);
    expect_taken(l.v4, "127.0.0.1", 80);
    net_loopback_done(&l);
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
}

Test(loopback, what_is_no_namespace_is_refused)
{
    struct net_loopback l;
    cr_assert_lt(net_loopback_take("/proc/self/ns/nothing", &l, &err), 0);
    cr_assert_eq(err.status, STATUS_NOT_FOUND);
    cr_assert_lt(net_loopback_take("/proc/self/status", &l, &err), 0);
    cr_assert_lt(net_loopback_take("/proc/self/ns/uts", &l, &err), 0);
}

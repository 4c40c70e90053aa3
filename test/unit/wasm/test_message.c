// One message, with a descriptor or without.
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/message.h"

static int ends[2];

static void make_pair(void)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

TestSuite(message, .init = make_pair);

// A message, and the descriptor in it; -1: none.
static int hear(char *text, size_t size, ssize_t *ret_len)
{
    struct iovec part = {text, size};
    char control[CMSG_SPACE(4 * sizeof(int))];
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    *ret_len = recvmsg(ends[1], &m, MSG_DONTWAIT);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (!c)
        return -1;
    int fd;
    cr_assert(c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)));
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

Test(message, alone)
{
    char text[32];
    ssize_t n = 0;
    cr_assert(message_send(ends[0], "hello", 5, -1));
    cr_assert_eq(hear(text, sizeof(text), &n), -1);
    cr_assert(n == 5 && memcmp(text, "hello", 5) == 0);
}

Test(message, with_a_descriptor)
{
    char text[32];
    ssize_t n = 0;
    struct stat a, b;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    cr_assert(message_send(ends[0], "hello", 5, null));
    int fd = hear(text, sizeof(text), &n);
    cr_assert(n == 5 && fd >= 0 && fd != null);
    cr_assert(fstat(null, &a) == 0 && fstat(fd, &b) == 0 && a.st_rdev == b.st_rdev);
}

// A server that has gone away is an error, not a signal.
Test(message, to_nobody)
{
    close(ends[1]);
    cr_assert_not(message_send(ends[0], "hello", 5, -1));
    cr_assert_eq(errno, EPIPE);
    cr_assert_not(message_send(-1, "hello", 5, -1));
}

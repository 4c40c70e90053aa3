#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "event/event.h"

// A socket that listens where $NOTIFY_SOCKET points to.
static int listen_at(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strcpy(addr.sun_path, name);
    if (name[0] == '@')
        addr.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    cr_assert_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void check_received(int fd)
{
    char text[64] = "";
    cr_assert_eq(event_notify("READY=1"), 0);
    cr_assert_eq(recv(fd, text, sizeof text, MSG_DONTWAIT), 7);
    cr_assert_str_eq(text, "READY=1");
    close(fd);
}

Test(notify, reaches_a_socket_in_the_file_system)
{
    char name[64];
    snprintf(name, sizeof name, "/tmp/test_notify.%d", getpid());
    check_received(listen_at(name));
    unlink(name);
    cr_assert_eq(event_notify("READY=1"), -ENOENT);
}

Test(notify, reaches_an_abstract_socket)
{
    char name[64];
    snprintf(name, sizeof name, "@test_notify.%d", getpid());
    check_received(listen_at(name));
    cr_assert_eq(event_notify("READY=1"), -ECONNREFUSED);
}

Test(notify, does_nothing_without_a_socket)
{
    unsetenv("NOTIFY_SOCKET");
    cr_assert_eq(event_notify("READY=1"), 0);
    setenv("NOTIFY_SOCKET", "", 1);
    cr_assert_eq(event_notify("READY=1"), 0);
}

Test(notify, refuses_what_is_no_address)
{
    char name[200];
    setenv("NOTIFY_SOCKET", "relative", 1);
    cr_assert_eq(event_notify("READY=1"), -EINVAL);
    setenv("NOTIFY_SOCKET", "@", 1);
    cr_assert_eq(event_notify("READY=1"), -EINVAL);
    memset(name, 'a', sizeof name - 1);
    name[0] = '/';
    name[sizeof name - 1] = '\0';
    setenv("NOTIFY_SOCKET", name, 1);
    cr_assert_eq(event_notify("READY=1"), -ENAMETOOLONG);
}

Test(notify, never_blocks, .timeout = 10)
{
    char name[64];
    snprintf(name, sizeof name, "@test_notify_full.%d", getpid());
    int fd = listen_at(name), r = 0;
    for (int i = 0; i < 100000 && r == 0; i++)
        r = event_notify("WATCHDOG=1");
    cr_assert_eq(r, -EAGAIN);
    close(fd);
}

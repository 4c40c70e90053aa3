#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "message.h"

static int send_master(const char *console, int master)
{
    static const char name[] = "/dev/console";
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (path_format(to.sun_path, sizeof(to.sun_path), "%s", console) < 0)
        return -ENAMETOOLONG;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        return -errno;
    return message_send(fd, name, sizeof(name) - 1, master) ? 0 : -errno;
}

int terminal_make(const char *console, struct error *err)
{
    _cleanup_close_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || unlockpt(master) < 0)
        return error_errno(err, errno, "terminal");
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    int r = slave < 0 ? -errno : send_master(console, master);
    if (r < 0) {
        close_fd(&slave);
        return error_errno(err, r, "terminal");
    }
    return slave;
}

int terminal_take(int slave, struct error *err)
{
    (void)setsid(); // it may be the leader of a session already
    if (ioctl(slave, TIOCSCTTY, 0) < 0)
        return error_errno(err, errno, "terminal");
    for (int i = 0; i < 3; i++) {
        if (dup2(slave, i) < 0)
            return error_errno(err, errno, "terminal");
    }
    close(slave);
    return 0;
}

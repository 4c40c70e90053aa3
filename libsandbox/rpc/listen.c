// Unix sockets of the daemons.
//
// One owner at a time. Between looking at an existing socket file and listening on a new one a
// second daemon could do the same, and the later one would unlink the earlier one's live socket. So
// the whole sequence runs under flock(2) on the directory; the kernel drops the lock with the
// descriptor, whatever happens to us. The lock is held for microseconds; waiting for it is bounded
// (LOCK_TRIES) and happens only while a daemon starts.
//
// The mode is set with fchmod on the unbound socket: Linux gives the file that bind(2) makes the
// mode of the socket's inode (less umask), so there is no moment in which others may connect.
#include "rpc/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// Needs what the headers above define.
#include <linux/vm_sockets.h>

#include "base/cleanup.h"
#include "base/log.h"

#define LOCK_TRIES   100
#define LOCK_WAIT_NS (10 * 1000 * 1000)

static int address_set(struct sockaddr_un *addr, const char *path, struct error *err)
{
    size_t len = strlen(path);
    if (path[0] != '/')
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "socket path \"%.200s\" must be absolute: start it with /", path);
    if (len >= sizeof addr->sun_path)
        return error_set(
            err, STATUS_INVALID_ARGUMENT,
            "socket path \"%.200s\" has %zu bytes, %zu are possible: use a shorter one", path, len,
            sizeof addr->sun_path - 1);
    memset(addr, 0, sizeof *addr);
    addr->sun_family = AF_UNIX;
    memcpy(addr->sun_path, path, len + 1);
    return 0;
}

// The directory of `path`, locked. -1 with *err set.
static int lock_directory(const char *path, struct error *err)
{
    char dir[sizeof((struct sockaddr_un *)NULL)->sun_path];
    size_t len = (size_t)(strrchr(path, '/') - path);
    memcpy(dir, path, len);
    dir[len] = '\0';

    _cleanup_close_ int fd = open(len ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "cannot open the directory of socket %s", path);
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return error_errno(err, errno, "cannot lock the directory of socket %s", path);
        if (i == LOCK_TRIES)
            return error_set(err, STATUS_UNAVAILABLE,
                             "another process holds the lock on the directory of socket %s: try "
                             "again when it is gone",
                             path);
        nanosleep(&(struct timespec){.tv_nsec = LOCK_WAIT_NS}, NULL);
    }
    return take_fd(&fd);
}

// Removes a socket file that nobody listens on; what else may be there is an error.
static int remove_stale(const struct sockaddr_un *addr, struct error *err)
{
    struct stat st;
    if (lstat(addr->sun_path, &st) < 0) {
        if (errno == ENOENT)
            return 0;
        return error_errno(err, errno, "cannot look at %s", addr->sun_path);
    }
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "%s exists and is no socket: remove it or listen on another path",
                         addr->sun_path);

    _cleanup_close_ int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return error_errno(err, errno, "cannot make a socket");
    // EAGAIN: somebody listens, and the queue is full.
    if (!connect(probe, (const struct sockaddr *)addr, sizeof *addr) || errno == EAGAIN)
        return error_set(err, STATUS_ALREADY_EXISTS,
                         "another process listens on %s: stop it first or use another path",
                         addr->sun_path);
    if (errno != ECONNREFUSED)
        return error_errno(err, errno, "cannot find out whether anybody listens on %s",
                           addr->sun_path);
    if (unlink(addr->sun_path) < 0 && errno != ENOENT)
        return error_errno(err, errno, "cannot remove the stale socket %s", addr->sun_path);
    return 0;
}

int rpc_listen_unix(const char *path, struct error *err)
{
    struct sockaddr_un addr;
    if (address_set(&addr, path, err) < 0)
        return -1;
    _cleanup_close_ int lock = lock_directory(path, err);
    if (lock < 0 || remove_stale(&addr, err) < 0)
        return -1;

    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, errno, "cannot make a socket");
    if (fchmod(fd, 0600) < 0)
        return error_errno(err, errno, "cannot set the mode of socket %s", path);
    if (bind(fd, (const struct sockaddr *)&addr, sizeof addr) < 0)
        return error_errno(err, errno, "cannot make socket %s", path);
    if (listen(fd, SOMAXCONN) < 0) {
        int errnum = errno;
        unlink(path);
        return error_errno(err, errnum, "cannot listen on %s", path);
    }
    return take_fd(&fd);
}

// ---- loopback -----------------------------------------------------------------------------------

union loopback {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

// "127.0.0.1:9464" or "[::1]:9464". The whole of 127.0.0.0/8 is loopback.
static int loopback_parse(const char *address, union loopback *ret)
{
    char host[INET6_ADDRSTRLEN + 2] = "";
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : sizeof host;
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    if (len >= sizeof host || !digits || digits > 5 || colon[1 + digits])
        return -1;
    memcpy(host, address, len);
    unsigned long port = strtoul(colon + 1, NULL, 10);
    if (port < 1 || port > UINT16_MAX)
        return -1;
    *ret = (union loopback){0};
    if (inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons((uint16_t)port);
        return ntohl(ret->v4.sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET ? 0 : -1;
    }
    if (strcmp(host, "[::1]") != 0)
        return -1;
    ret->v6.sin6_family = AF_INET6;
    ret->v6.sin6_port = htons((uint16_t)port);
    ret->v6.sin6_addr = in6addr_loopback;
    return 0;
}

int rpc_loopback_check(const char *address, const char *field, struct error *err)
{
    union loopback unused;
    if (loopback_parse(address, &unused) == 0)
        return 0;
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "%s: \"%.100s\" is no loopback address with a port: write 127.0.0.1:PORT or "
                     "[::1]:PORT",
                     field, address);
}

int rpc_listen_loopback(const char *address, struct error *err)
{
    union loopback at;
    const int on = 1;
    if (loopback_parse(address, &at) < 0)
        return rpc_loopback_check(address, "address", err);
    _cleanup_close_ int fd =
        socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, errno, "cannot make a socket");
    // Connections of a predecessor may linger on the port.
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, &at.any, at.any.sa_family == AF_INET ? sizeof at.v4 : sizeof at.v6) < 0 ||
        listen(fd, SOMAXCONN) < 0)
        return error_errno(err, errno, "cannot listen on %s", address);
    return take_fd(&fd);
}

// ---- vsock --------------------------------------------------------------------------------------

int rpc_listen_vsock(uint32_t port, struct error *err)
{
    const struct sockaddr_vm at = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    _cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, errno, "cannot make a vsock socket");
    if (bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 || listen(fd, SOMAXCONN) < 0)
        return error_errno(err, errno, "cannot listen on vsock port %u", (unsigned)port);
    return take_fd(&fd);
}

// A process of the guest could reach us by the guest's own number.
static bool peer_is_host(int fd, const char *protocol)
{
    struct sockaddr_vm peer = {0};
    socklen_t len = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        return false;
    if (peer.svm_family == AF_VSOCK && peer.svm_cid == VMADDR_CID_HOST)
        return true;
    log_warn("%s: refused vsock peer %u: only the host may connect", protocol,
             (unsigned)peer.svm_cid);
    return false;
}

// ---- clients ------------------------------------------------------------------------------------

int rpc_connect_unix(const char *path, struct error *err)
{
    struct sockaddr_un addr;
    if (address_set(&addr, path, err) < 0)
        return -1;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, errno, "cannot make a socket");
    if (!connect(fd, (const struct sockaddr *)&addr, sizeof addr))
        return take_fd(&fd);
    if (errno == ECONNREFUSED || errno == ENOENT)
        return error_set(err, STATUS_UNAVAILABLE, "nobody listens on %s", path);
    if (errno == EAGAIN)
        return error_set(err, STATUS_UNAVAILABLE, "%s has too many connections waiting", path);
    return error_errno(err, errno, "cannot connect to %s", path);
}

bool rpc_peer_allowed(int fd, uid_t uid, const char *protocol, pid_t *ret_pid)
{
    struct ucred cred;
    int domain = AF_UNSPEC;
    socklen_t len = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_VSOCK)
        return peer_is_host(fd, protocol);
    len = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return false;
    if (ret_pid)
        *ret_pid = cred.pid;
    if (cred.uid == uid)
        return true;
    log_warn("%s: refused process %d of user %u: only user %u may connect", protocol, (int)cred.pid,
             (unsigned)cred.uid, (unsigned)uid);
    return false;
}

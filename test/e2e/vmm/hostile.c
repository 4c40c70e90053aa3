// The first process of a virtual machine whose guest is an enemy. The kernel's parameter
// hostile=HOW says what it does in place of being an agent; what it has found out goes to the
// console.
//
// It speaks as much ttrpc as it needs to be listened to: frames (length, stream, type, flags), of
// requests service and method, of responses the payload.
#define _GNU_SOURCE // memmem
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define AGENT_PORT 1024
#define READY_PORT 1025
#define HEADER     10
#define FRAME_MAX  (4u << 20)
#define RESPONSE   2
#define DATA       3
#define PORTS      4000
#define BATCH      400

static const char *how;

static bool is(const char *what)
{
    return strcmp(how, what) == 0;
}

static int reach(unsigned port)
{
    struct sockaddr_vm host = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&host, sizeof host) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool put(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool get(int fd, void *data, size_t len)
{
    char *p = data;
    while (len) {
        ssize_t n = read(fd, p, len);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static void big_endian(uint8_t *to, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(n >> (24 - 8 * i));
}

static uint32_t number(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool frame(int fd, uint32_t stream, uint8_t type, const void *data, size_t len)
{
    static uint8_t out[HEADER + FRAME_MAX];
    big_endian(out, (uint32_t)len);
    big_endian(out + 4, stream);
    out[8] = type;
    out[9] = 0;
    memcpy(out + HEADER, data, len);
    return put(fd, out, HEADER + len);
}

static uint8_t noise[1u << 16];

// A field of bytes of a protobuf message, of up to 2 MiB.
static size_t field(uint8_t *out, unsigned n, const void *data, size_t len)
{
    size_t at = 0;
    out[at++] = (uint8_t)(n << 3 | 2);
    for (size_t rest = len;; rest >>= 7) {
        out[at++] = (uint8_t)((rest & 127) | (rest > 127 ? 128 : 0));
        if (rest <= 127)
            break;
    }
    memcpy(out + at, data, len);
    return at + len;
}

static bool answer(int fd, uint32_t stream, const void *payload, size_t len)
{
    static uint8_t out[sizeof noise + 16];
    return frame(fd, stream, RESPONSE, out, field(out, 2, payload, len));
}

// INTERNAL, with a text that no terminal and no log should show as it is.
static bool refuse(int fd, uint32_t stream)
{
    static uint8_t status[sizeof noise + 16], out[sizeof status + 16];
    static char text[60000];
    for (size_t i = 0; i + 16 < sizeof text; i += 16)
        memcpy(text + i, "\x1b]0;hostile\a\n\x1b[2J", 16);
    status[0] = 1 << 3;
    status[1] = 13;
    size_t len = 2 + field(status + 2, 2, text, sizeof text);
    return frame(fd, stream, RESPONSE, out, field(out, 1, status, len));
}

static bool flood(int fd, uint32_t stream)
{
    for (uint32_t i = 0;; i++) {
        uint8_t type = i % 2 ? DATA : RESPONSE;
        if (!frame(fd, i % 3 ? stream : i, type, noise, sizeof noise))
            return false;
    }
}

static bool reply(int fd, uint32_t stream)
{
    if (is("junk"))
        return answer(fd, stream, noise, 4096);
    if (is("yes"))
        return answer(fd, stream, "", 0);
    if (is("twice"))
        return answer(fd, stream, "", 0) && answer(fd, stream, "", 0);
    if (is("strangers"))
        return answer(fd, stream + 2, "", 0) && answer(fd, 0, "", 0) && answer(fd, 2, "", 0) &&
               answer(fd, UINT32_MAX, "", 0);
    if (is("refuse"))
        return refuse(fd, stream);
    if (is("flood"))
        return flood(fd, stream);
    return true; // mute
}

static bool huge(int fd)
{
    uint8_t header[HEADER];
    big_endian(header, UINT32_MAX);
    big_endian(header + 4, 1);
    header[8] = RESPONSE;
    header[9] = 0;
    put(fd, header, sizeof header);
    while (put(fd, noise, sizeof noise))
        continue;
    return false;
}

static void talk(int fd)
{
    static uint8_t body[FRAME_MAX];
    uint8_t header[HEADER];
    if (is("garbage")) {
        while (put(fd, noise, sizeof noise))
            continue;
        return;
    }
    if (is("huge")) {
        huge(fd);
        return;
    }
    if (is("closed"))
        return;
    while (get(fd, header, sizeof header)) {
        uint32_t len = number(header), stream = number(header + 4);
        if (len > sizeof body || !get(fd, body, len))
            return;
        // Setup is what the sandboxer waits for: from there on it is a machine like others.
        bool setup = memmem(body, len < 200 ? len : 200, "Setup", 5) != NULL;
        if (header[8] == 1 &&
            !(setup && !is("never") ? answer(fd, stream, "", 0) : reply(fd, stream)))
            return;
    }
}

// Nobody refuses a connection that nobody waits for: many are tried at a time.
static void ports(void)
{
    static struct pollfd fds[BATCH];
    unsigned found = 0;
    for (unsigned first = 0; first < PORTS; first += BATCH) {
        for (unsigned i = 0; i < BATCH; i++) {
            struct sockaddr_vm host = {
                .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = first + i};
            fds[i] = (struct pollfd){socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0), POLLOUT, 0};
            (void)connect(fds[i].fd, (struct sockaddr *)&host, sizeof host);
        }
        usleep(300000);
        poll(fds, BATCH, 0);
        for (unsigned i = 0; i < BATCH; i++) {
            int e = -1;
            socklen_t len = sizeof e;
            if (fds[i].revents & POLLOUT &&
                getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, &e, &len) == 0 && e == 0) {
                printf("hostile: port %u\n", first + i);
                found++;
            }
            close(fds[i].fd);
        }
    }
    printf("hostile: %u ports\n", found);
}

static void tried(const char *what, int r)
{
    printf("hostile: %s: %s\n", what, r < 0 ? strerror(errno) : "done");
}

static void files(void)
{
    mkdir("/mnt", 0755);
    tried("mount", mount("kuasar", "/mnt", "virtiofs", 0, NULL));
    tried("mkdir", mkdir("/mnt/mine", 0755));
    tried("rename", rename("/mnt/etc", "/mnt/moved"));
    tried("rmdir", rmdir("/mnt/etc"));
    tried("unlink", unlink("/mnt/etc/hosts"));
    tried("symlink", symlink("/etc/shadow", "/mnt/etc/link"));
    tried("device", mknod("/mnt/etc/device", S_IFBLK | 0666, makedev(8, 0)));
    int fd = open("/mnt/etc/set", O_CREAT | O_WRONLY, 0777);
    tried("owner", fd < 0 ? -1 : fchown(fd, 0, 0));
    tried("set-uid", fd < 0 ? -1 : fchmod(fd, 06777));
    unsigned made = 0;
    for (; made < 100000; made++) {
        char name[64];
        snprintf(name, sizeof name, "/mnt/etc/%u", made);
        int f = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (f < 0)
            break;
        close(f);
    }
    printf("hostile: %u files\n", made);
    size_t written = 0;
    for (ssize_t n = 0;
         fd >= 0 && written < (64u << 20) && (n = write(fd, noise, sizeof noise)) > 0;)
        written += (size_t)n;
    printf("hostile: %zu KiB\n", written >> 10);
}

int main(void)
{
    how = getenv("hostile");
    how = how ? how : "";
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(i * 2654435761u >> 13);
    printf("hostile: %s\n", how);
    if (is("dead"))
        return 1; // the kernel panics
    if (is("silent"))
        while (true)
            pause();
    if (is("loud"))
        while (true)
            put(1, noise, sizeof noise);
    struct sockaddr_vm any = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = AGENT_PORT};
    int s = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (s < 0 || bind(s, (struct sockaddr *)&any, sizeof any) < 0 || listen(s, 64) < 0)
        printf("hostile: %s\n", strerror(errno));
    if (is("ports"))
        ports();
    if (is("files"))
        files();
    int ready = reach(READY_PORT);
    for (int i = 0; is("eager") && i < 200; i++) {
        if (fork() == 0) {
            reach(READY_PORT);
            pause();
        }
    }
    while (true) {
        int fd = accept(s, NULL, NULL);
        if (fd >= 0 && fork() == 0) {
            close(ready);
            talk(fd);
            _exit(0);
        }
        close(fd);
    }
}

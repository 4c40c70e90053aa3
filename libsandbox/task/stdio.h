// Standard input, output and error of one process, by the URLs that containerd gives.
//
// FIFOs (absolute paths) of output are handed to the process itself; no byte goes through us. (A
// reader that comes late finds everything, which streams cannot promise: hence they are the
// default.) Of input it gets a pipe (fifo_in.h). We keep
//   - a read handle on stdout and stderr until the process is deleted: the process gets no EPIPE
//     while containerd is away, and the bytes in the FIFO stay for a reader that comes late. A read
//     handle does not keep a reader from seeing the end of file. A reader that opens only after the
//     last writer has gone would block in open(2), and containerd's ExecSync, which opens on a
//     thread of its own and deletes the process only after it has read the end, for ever: so from
//     the exit to the deletion the FIFO is opened for writing and closed again now and then, by
//     which such a reader gets through and finds the bytes and the end. Until a container's
//     exit containerd opens on a thread, too, and gives up when it hears of the exit: the output
//     of one that ends at once would be lost on a busy node. So an exit is held back while there
//     are bytes that nobody has read, at most STDIO_READ_SECONDS;
//   - a write handle on stdin until CloseIO or the end of the process: containerd may come and go
//     without the process seeing an end of file.
//
// Streams (ttrpc+unix://<our socket>?streaming_id=<id>) carry the bytes on connections that
// containerd has opened to us: the process gets pipes, and we copy (stream_io.h). containerd throws
// away what it has not read when it hears of the exit, so an exit is held back until it has read
// everything, at most STDIO_HANDOVER_SECONDS.
//
// A terminal is made by the runtime, which sends its master to a socket of ours; bytes are copied
// between master and FIFOs (or the pipes of streams) with bounded buffers and back-pressure in both
// directions. After the end of the process what the master still holds is copied until it is empty
// or nobody took a byte for STDIO_DRAIN_SECONDS; nothing waits for that.
#ifndef TASK_STDIO_H
#define TASK_STDIO_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/error.h"

// Buffer of one direction of a terminal.
#define STDIO_BUFFER_MAX (64u * 1024)
// How long the copying goes on without progress after the end of the process.
#define STDIO_DRAIN_SECONDS 10.0
// How long an exit may be held back until the output has been read from the streams. Less than
// TASK_KILL_SECONDS, or a pod could not be stopped while a reader stalls.
#define STDIO_HANDOVER_SECONDS 5.0
// How long an exit may be held back until the output has been read from FIFOs, where it is not lost
// if it is read later.
#define STDIO_READ_SECONDS 0.25
// After an exit, blocked readers are let through at once, after this time, then after twice the
// time before until that is the maximum or more, and so on until the deletion. At these times it is
// looked at what they have read.
#define STDIO_ADMISSION_SECONDS     0.002
#define STDIO_ADMISSION_SECONDS_MAX 20.0

struct task_stdio;
struct streams;

// Owner of all stdio of a server. Stdio that still drains after its process was deleted is kept
// here.
struct stdio_host {
    struct ev_loop *loop;
    char *console_dir; // 0700; console sockets are made below
    struct streams *streams;
    LIST_HEAD(stdio_orphans, task_stdio) orphans;
};
// `dir` is made. 0 or negative errno.
int stdio_host_init(struct stdio_host *h, struct ev_loop *loop, const char *dir);
void stdio_host_done(struct stdio_host *h);

struct stdio_spec {
    const char *in, *out, *err; // URLs; NULL counts as ""
    bool terminal;              // err is ignored
    bool elsewhere;             // the process, and its terminal, are not here
    uint16_t columns, rows;     // of the terminal; 0: leave
    uid_t uid;                  // owner of what the process gets; (uid_t)-1: leave
    gid_t gid;
};

// Checks URLs only: INVALID_ARGUMENT for a path that is not clean, UNIMPLEMENTED for schemes that
// are not served. Touches nothing. 0 or -1.
int task_stdio_check(const struct stdio_spec *spec, struct error *err);
// Opens everything. NULL on error: NOT_FOUND names a missing FIFO, FAILED_PRECONDITION a file that
// is none or a stream that is not open, ALREADY_EXISTS a stream of another process.
struct task_stdio *task_stdio_open(struct stdio_host *h, const struct stdio_spec *spec,
                                   struct error *err);
// Before task_stdio_fds: the process gets containerd's FIFO itself as its standard input, not a
// pipe that is filled from it. For one that opens no file by /dev/stdin (task/fifo_in.h).
void task_stdio_pass_stdin(struct task_stdio *io);
// What the process gets as 0, 1, 2; all -1 with a terminal that is here, -1 for what a terminal
// elsewhere does not have. Borrowed until task_stdio_attach.
void task_stdio_fds(const struct task_stdio *io, int ret_fds[3]);
// Path for --console-socket; NULL without a terminal.
const char *task_stdio_console(const struct task_stdio *io);
// The process exists: gives up the ends that it got; takes the terminal's master from the socket
// and starts copying. 0 or -1 (the runtime sent no terminal).
int task_stdio_attach(struct task_stdio *io, struct error *err);
// Sets the terminal's size. FAILED_PRECONDITION without a terminal. 0 or -1.
int task_stdio_resize(struct task_stdio *io, uint32_t columns, uint32_t rows, struct error *err);
// The process sees the end of file once containerd has closed too. Idempotent.
void task_stdio_close_stdin(struct task_stdio *io);
// The process has ended. True if its output is in other hands, so that the exit may be told; if
// not, `handed` is called from the loop when it is, or has been waited for long enough, and then
// this returns true. Accepts NULL (true).
bool task_stdio_exited(struct task_stdio *io, void (*handed)(void *arg), void *arg);
// Gives everything up; a terminal that still drains goes on by itself. Accepts NULL. Returns NULL.
struct task_stdio *task_stdio_free(struct task_stdio *io);

#endif

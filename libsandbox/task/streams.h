// containerd's Streaming service: streams by id, for who copies the stdio of a process.
//
// containerd opens a connection and on it one stream for each of stdin, stdout and stderr, names it
// by StreamInit ("<container or exec>-stdout") and gives the same id in the URL of Create or Exec.
// It comes before that, and after containerd's restart it comes again.
//
//   peer:    one stream that containerd has opened. Until a process claims its id it is parked.
//   stream:  an id that a process has claimed; at most one peer at a time is attached to it.
//
// Output goes out within the credit that the peer has given, in messages of at most
// STREAM_DATA_MAX; input comes in within what stream_allow has given. What a peer had been sent and
// had not read when its connection ended is lost: the protocol has no acknowledgement.
#ifndef TASK_STREAMS_H
#define TASK_STREAMS_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/stream.h"
#include "base/error.h"
#include "base/ident.h"
#include "rpc/ttrpc_server.h"

// Longest id: that of a container or exec, and "-stderr".
#define STREAM_ID_MAX (IDENT_MAX + 7)
// Most peers that are not claimed (a container that was created has up to three), and how long each
// may be so: between CreateContainer and StartContainer nothing else bounds it.
#define STREAM_PARKED_MAX     4096
#define STREAM_PARKED_SECONDS 3600.0
// How long a peer may take to say its id.
#define STREAM_INIT_SECONDS 10.0
// Unsent bytes above which no output is taken for a peer that does not read.
#define STREAM_UNSENT_MAX (128u * 1024)

struct streams;
struct stream;

// What happens to a claimed stream. A function may use every function of the stream but must not
// release it.
struct stream_user {
    // Input; at most what was allowed.
    void (*data)(const uint8_t *data, size_t len, void *arg);
    // A peer has come or gone, or takes more now.
    void (*changed)(void *arg);
    // The peer has ended its side, and is gone: it has sent all its input, or has read all the
    // output, or (if stream_end was not called) wants no more of it.
    void (*ended)(void *arg);
};

// NULL without memory.
struct streams *streams_new(struct ev_loop *loop);
// Every stream must have been released, and the server that served `streams_methods` freed. Accepts
// NULL. Returns NULL.
struct streams *streams_free(struct streams *s);
// For ttrpc_server_set_streams; lives as long as `s`.
const struct rpc_stream_method *streams_methods(const struct streams *s);
// From now on a peer whose connection is lost counts as one that has ended its side: none comes
// again (as containerd does after a restart).
void streams_set_once(struct streams *s);
// Ends every peer and refuses new ones: no process is left.
void streams_drain(struct streams *s);
// Number of peers that are not claimed.
size_t streams_parked(const struct streams *s);

// "<identifier>-stdin", "-stdout" or "-stderr". INVALID_ARGUMENT names `field`. 0 or -1.
int stream_id_check(const char *id, const char *field, struct error *err);

// Takes the stream that a peer has opened under `id` (checked). FAILED_PRECONDITION if none has,
// ALREADY_EXISTS if it is claimed. Nothing is called from inside. NULL on error.
struct stream *stream_claim(struct streams *s, const char *id, const struct stream_user *user,
                            void *arg, struct error *err);
// Ends our side and forgets the id. Accepts NULL. Returns NULL.
struct stream *stream_release(struct stream *st);

// Is a peer attached?
bool stream_connected(const struct stream *st);
// How many bytes stream_send takes now, at most STREAM_DATA_MAX. If 0, `changed` is called when
// that changes.
size_t stream_room(struct stream *st);
// Sends output; `len` at most stream_room. STREAM_HEADER_MAX bytes before `data` are overwritten.
void stream_send(struct stream *st, uint8_t *data, size_t len);
// Input: the user has room for `space` bytes in all. The peer is told in steps of half a window.
void stream_allow(struct stream *st, size_t space);
// Ends our side for this peer and all that come later. `ended` follows when the peer has ended too.
void stream_end(struct stream *st);

#endif

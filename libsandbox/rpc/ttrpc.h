// A ttrpc session without IO: bytes in, events out; answers in, bytes out.
//
// Frame: u32 length | u32 stream id | u8 type | u8 flags, big endian, then `length` bytes. Nothing
// else is on the wire: no preface, no ping, no flow control, no goodbye, no cancellation.
//
// What a session enforces, so that nobody above has to:
//  - A frame has at most TTRPC_FRAME_MAX bytes. A longer one is thrown away as it arrives, in
//    constant memory, and ends its stream with RESOURCE_EXHAUSTED; the connection goes on.
//  - A server's requests have odd, strictly increasing ids; others are answered INVALID_ARGUMENT.
//    Data for an id that was never used too; Data for a finished or unary one is dropped (a
//    client's half-close may cross our answer). Unknown frame types are skipped.
//  - At most `max_open` requests are open; one more is answered RESOURCE_EXHAUSTED.
//  - A server takes no frame while more than TTRPC_OUTPUT_PAUSE of its output is unsent; so a peer
//    that sends many requests at once and reads later loses nothing. What it has sent already is
//    held (`held`), and taken by the next ttrpc_session_recv after output was sent.
//  - Unsent output is at most TTRPC_OUTPUT_MAX. More means a peer that does not read while what it
//    had opened is answered: the session breaks and the connection must be closed.
//
// The state is a plain value. // Frames are consumed whole: between two calls a session is the
// bytes of frames not yet taken, the bytes not yet sent, the last id, and the table of open ids. A
// process that gets the socket and these (ttrpc_session_export) can go on where another one
// stopped, answer what was open under its old id, and the peer notices nothing. `owner` in the
// table is the only thing that does not travel.
//
// A session calls back only from ttrpc_session_recv. An event may use every function of the session
// but recv and done.
#ifndef RPC_TTRPC_H
#define RPC_TTRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define TTRPC_HEADER_LEN 10
// Most bytes in a frame, without the header (the protocol's own limit).
#define TTRPC_FRAME_MAX 4194304
// Most bytes that wait to be sent: a few of the longest frames.
#define TTRPC_OUTPUT_MAX (4 * (TTRPC_FRAME_MAX + TTRPC_HEADER_LEN))
// Unsent bytes above which a server takes no more frames.
#define TTRPC_OUTPUT_PAUSE (1024 * 1024)
// Most bytes to give to a session at once while it holds frames back.
#define TTRPC_RECV_MAX 65536
// Longest name of a service or method.
#define TTRPC_NAME_MAX 255
// Most metadata of a request: pairs, and bytes of all keys and values with their NULs (baggage, the
// longest that tracing sends, has at most 8192).
#define TTRPC_METADATA_MAX   64
#define TTRPC_METADATA_BYTES 16384

enum ttrpc_type {
    TTRPC_REQUEST = 1,
    TTRPC_RESPONSE = 2,
    TTRPC_DATA = 3,
};

enum ttrpc_flag {
    TTRPC_REMOTE_CLOSED = 0x01, // the sender sends nothing more on this stream
    TTRPC_REMOTE_OPEN = 0x02,   // request: Data frames follow
    TTRPC_NO_DATA = 0x04,       // the frame carries no message, not even an empty one
};

enum ttrpc_role { TTRPC_SERVER, TTRPC_CLIENT };

struct ttrpc_pair {
    const char *key, *value;
};

// Pointers are borrowed; in an event they are valid until it returns.
struct ttrpc_request {
    uint32_t id;
    uint8_t flags; // 0 for a unary request
    const char *service, *method;
    const uint8_t *payload;
    size_t payload_len;
    int64_t timeout_nano; // 0: none. Counted from now.
    struct ttrpc_pair metadata[TTRPC_METADATA_MAX];
    size_t metadata_len;
};

struct ttrpc_session;

struct ttrpc_events {
    // Server: a request has come and its id is open.
    void (*request)(struct ttrpc_session *s, const struct ttrpc_request *req, void *arg);
    // A message (`data` not NULL) or the peer's end of a stream, or both at once. The id stays open
    // until we end the stream, too; for a client that had done so it is closed.
    void (*data)(struct ttrpc_session *s, uint32_t id, void *owner, const uint8_t *data, size_t len,
                 bool end, void *arg);
    // The id has been closed. Client: by the answer (err NULL or the peer's error). Both: by an
    // oversized frame (a server has answered it already).
    void (*end)(struct ttrpc_session *s, uint32_t id, void *owner, const uint8_t *payload,
                size_t len, const struct error *err, void *arg);
};

// An open id.
struct ttrpc_open {
    void *owner; // for the user
    uint32_t id;
    bool streaming;
    bool remote_closed, local_closed; // only if streaming
};

// Read-only for users. No field is meaningful outside the session but those of the table.
struct ttrpc_session {
    enum ttrpc_role role;
    int broken;       // negative errno; the connection must be closed
    uint32_t last_id; // highest id seen (server) or used (client)
    uint32_t discard; // bytes of an oversized frame still to come
    uint64_t frames;  // frames consumed
    struct buf in;    // bytes not taken yet: less than a frame, unless some are held
    bool held;
    struct buf out;          // frames to send,
    size_t sent;             // without their first `sent` bytes
    struct ttrpc_open *open; // by ascending id
    size_t n_open, cap_open, max_open;
    const struct ttrpc_events *events;
    void *arg;
};

// An empty session. `events` is borrowed; a missing function drops the event.
void ttrpc_session_init(struct ttrpc_session *s, enum ttrpc_role role, size_t max_open,
                        const struct ttrpc_events *events, void *arg);
// Frees the memory; owners are not touched, nothing is called.
void ttrpc_session_done(struct ttrpc_session *s);

// Takes bytes from the peer and calls the events of every frame that is complete now; without bytes
// (len 0), those of the frames that were held. Returns 0, or a negative errno that is kept in
// `broken`: -ENOMEM, -ENOBUFS, -EMSGSIZE (more than TTRPC_RECV_MAX bytes while frames are held).
int ttrpc_session_recv(struct ttrpc_session *s, const uint8_t *data, size_t len);
// Whether the peer is in the middle of a frame.
bool ttrpc_session_partial(const struct ttrpc_session *s);
// The bytes to send next; *ret_len 0 if there are none. Valid until the session is used again.
const uint8_t *ttrpc_session_output(const struct ttrpc_session *s, size_t *ret_len);
// Tells that the first `n` of them are sent.
void ttrpc_session_sent(struct ttrpc_session *s, size_t n);
// Bytes of memory that the session's buffers hold.
size_t ttrpc_session_memory(const struct ttrpc_session *s);

// The entry of an open id, NULL if it is not open. Valid until the session is used again.
struct ttrpc_open *ttrpc_session_find(const struct ttrpc_session *s, uint32_t id);
// Closes an id without telling the peer. What still comes for it is dropped.
void ttrpc_session_forget(struct ttrpc_session *s, uint32_t id);

// Server: answers an open id and closes it. A payload that does not fit a frame is replaced by
// RESOURCE_EXHAUSTED. Return 0, -ENOENT if the id is not open, or the error that broke the session.
int ttrpc_session_reply(struct ttrpc_session *s, uint32_t id, const uint8_t *payload, size_t len);
int ttrpc_session_fail(struct ttrpc_session *s, uint32_t id, const struct error *err);

// Client: opens the next id with a request (req->id is not looked at). Returns 0 with *ret_id;
// nothing has happened and the session lives on with -EMSGSIZE (longer than a frame), -EOVERFLOW
// (no id is left: use a new connection), -EBUSY (max_open), -ENOBUFS (too much unsent), -ENOMEM.
int ttrpc_session_request(struct ttrpc_session *s, const struct ttrpc_request *req, void *owner,
                          uint32_t *ret_id);

// Sends a message on a streaming id that we have not ended. Returns 0; without effect: -ENOENT (no
// such stream), -EPIPE (ended), -EMSGSIZE; or the error that broke the session.
int ttrpc_session_send(struct ttrpc_session *s, uint32_t id, const uint8_t *data, size_t len);
// Ends our side of a stream (Data with flags 0x05). The id stays open; a client's is closed if the
// peer has ended. Errors as above.
int ttrpc_session_send_end(struct ttrpc_session *s, uint32_t id);

// ---- handing over ------------------------------------------------------------------------------

// Appends the state as bytes: everything but owners, counters and limits. Not from an event.
// Returns 0, or the error of buf_append (then a part has been appended).
int ttrpc_session_export(const struct ttrpc_session *s, struct buf *out);
// Fills a session, fresh from ttrpc_session_init, with an exported state; whole frames in it are
// held. Returns 0, or -EINVAL (no state of this role), -ENOMEM; the session is then fresh as
// before.
int ttrpc_session_import(struct ttrpc_session *s, const uint8_t *data, size_t len);

#endif

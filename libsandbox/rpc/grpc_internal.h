// Shared by the files of the gRPC session: grpc.c (frames, calls, time), grpc_request.c (headers
// and message of a request), grpc_response.c (the answer).
#ifndef RPC_GRPC_INTERNAL_H
#define RPC_GRPC_INTERNAL_H

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "rpc/grpc.h"

// nghttp2 1.60 gave the functions with ssize_t successors that end in 2.
#if NGHTTP2_VERSION_NUM >= 0x013c00
typedef nghttp2_ssize grpc_ssize;
typedef nghttp2_data_provider2 grpc_data_provider;
#define grpc_h2_receive       nghttp2_session_mem_recv2
#define grpc_h2_send          nghttp2_session_mem_send2
#define grpc_h2_submit_answer nghttp2_submit_response2
#else
typedef ssize_t grpc_ssize;
typedef nghttp2_data_provider grpc_data_provider;
#define grpc_h2_receive       nghttp2_session_mem_recv
#define grpc_h2_send          nghttp2_session_mem_send
#define grpc_h2_submit_answer nghttp2_submit_response
#endif

// Length of the prefix of a message: compressed flag, big-endian length.
#define GRPC_PREFIX 5

enum grpc_call_state {
    GRPC_CALL_RECEIVING, // headers or message are not complete
    GRPC_CALL_READY,     // complete, queued for its method
    GRPC_CALL_RUNNING,   // a method owes the end
    GRPC_CALL_ENDED,     // no method has it (any more)
};

// What is wrong with a request, found while its headers or its message are read. `text` is static;
// NULL: nothing is wrong.
struct grpc_problem {
    const char *text;
    enum status status;
    int http; // status of HTTP; 0: 200
};

// A call belongs to its stream until that is closed, and to its method from RUNNING to ENDED. It is
// freed when neither holds it.
struct grpc_call {
    struct rpc_call rpc;
    struct grpc_session *session;  // NULL: the session was freed before the method ended the call
    LIST_ENTRY(grpc_call) link;    // session->calls or session->orphans
    LIST_ENTRY(grpc_call) timed;   // session->timed, if is_timed
    TAILQ_ENTRY(grpc_call) queued; // session->work, if is_queued
    enum grpc_call_state state;
    int32_t stream;
    bool stream_open;
    bool answered; // an answer or an error has been submitted
    bool is_timed, is_queued;
    bool is_grpc;     // a content-type of gRPC has been seen
    bool got_method;  // :method is POST
    uint64_t expires; // by the clock; GRPC_NEVER: no time
    uint64_t timeout; // grpc-timeout as a time of the clock; GRPC_NEVER: none

    // The request. Headers are pairs of NUL-terminated strings.
    struct grpc_problem problem;
    struct buf headers;
    unsigned header_count;
    size_t header_bytes;
    size_t path; // offset of the value of :path in headers; 0: not seen
    const struct rpc_service *service;
    const char *method; // points into headers
    uint8_t prefix[GRPC_PREFIX];
    unsigned prefix_len;
    size_t message_len; // as the prefix says
    struct buf message;
    size_t charged; // bytes of this call in usage->received

    // The answer with its prefix.
    uint8_t *answer;
    size_t answer_len, answer_sent;
};

LIST_HEAD(grpc_call_list, grpc_call);
TAILQ_HEAD(grpc_call_queue, grpc_call);

// Kinds of frames that cost a peer little and us something; see grpc.c.
enum grpc_flood {
    GRPC_FLOOD_RESET,
    GRPC_FLOOD_PING,
    GRPC_FLOOD_SETTINGS,
    GRPC_FLOOD_WINDOW,
    GRPC_FLOOD_EMPTY,
    GRPC_FLOOD_OTHER,
    GRPC_FLOOD_KINDS
};

struct grpc_bucket {
    uint32_t tokens;
    uint64_t filled; // when it was refilled last
};

enum grpc_drain { GRPC_DRAIN_NONE, GRPC_DRAIN_NOTICE, GRPC_DRAIN_FINAL };

struct grpc_session {
    struct grpc_session_config config;
    nghttp2_session *h2;           // NULL: closed
    struct grpc_call_list calls;   // with an open stream
    struct grpc_call_list orphans; // without one, their methods still run
    size_t call_count;             // both
    struct grpc_call_list timed;
    struct grpc_call_queue work; // ready to run, or to be told that the stream is gone
    struct grpc_bucket buckets[GRPC_FLOOD_KINDS];
    uint64_t next_expiry; // no timed call expires earlier
    uint64_t handshake_by;
    uint64_t drain_at;
    enum grpc_drain drain;
    bool greeted; // the client's SETTINGS have arrived
    bool broken;  // nghttp2 gave up, or memory is short in a way that cannot be answered
    bool inside;  // one of our entry points is active: no wake needed
    const char *reason;
    const uint8_t *chunk; // from nghttp2, valid until it is asked for the next one
    size_t chunk_len;
};

// Takes one header field. Finds problems, keeps metadata. Returns 0 or -ENOMEM.
int grpc_request_header(struct grpc_call *call, const uint8_t *name, size_t name_len,
                        const uint8_t *value, size_t value_len);
// All headers have arrived: finds the service. Problems are left in call->problem.
void grpc_request_headers_done(struct grpc_call *call);
// Takes bytes of the body. Problems are left in call->problem. Returns 0 or -ENOMEM.
int grpc_request_body(struct grpc_call *call, const uint8_t *data, size_t len);
// The body is complete: is it exactly one message? Problems are left in call->problem.
void grpc_request_done(struct grpc_call *call);
// First value of a metadata key, or NULL.
const char *grpc_request_metadata(const struct grpc_call *call, const char *key);
// Frees headers and message and takes them out of the usage.
void grpc_request_clear(struct grpc_call *call);
// Parses a grpc-timeout ("1 to 8 digits, then one of H M S m u n") to milliseconds, rounded up.
// Returns 0 or -EINVAL.
int grpc_timeout_parse(const char *text, size_t len, uint64_t *ret_ms);

// Submits a successful answer. Returns 0, or -1 when not even a reset could be submitted (the
// session is broken then).
int grpc_response_message(struct grpc_call *call, const uint8_t *data, size_t len);
// Submits an error as the whole answer; `http` 0 means 200. Returns as grpc_response_message.
int grpc_response_error(struct grpc_call *call, int http, enum status status, const char *text);
// Frees what is left of the answer and takes it out of the usage.
void grpc_response_clear(struct grpc_call *call);
// Writes the text in the form of grpc-message: percent-encoded, invalid UTF-8 replaced, cut at a
// character when `size` (at least 1) does not suffice. Returns the length without the NUL.
size_t grpc_message_encode(const char *text, char *out, size_t size);

// Sets when the session acts on the call if it is still in its state (GRPC_NEVER: not at all).
void grpc_call_expire_at(struct grpc_call *call, uint64_t when);

#endif

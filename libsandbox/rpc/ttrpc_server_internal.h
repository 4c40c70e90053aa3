// What the halves of the ttrpc server share: ttrpc_server.c (sockets, limits) and ttrpc_request.c
// (calls and streams).
#ifndef RPC_TTRPC_SERVER_INTERNAL_H
#define RPC_TTRPC_SERVER_INTERNAL_H

#include <sys/queue.h>

#include "rpc/acceptor.h"
#include "rpc/ttrpc.h"
#include "rpc/ttrpc_server.h"

// Unsent bytes of a connection above which nothing is read and streams must wait; and below which
// they go on.
#define OUTPUT_HIGH TTRPC_OUTPUT_PAUSE
#define OUTPUT_LOW  (256 * 1024)

struct conn {
    struct ttrpc_server *server;
    int fd;
    bool dirty;  // on the server's dirty list
    bool failed; // to be closed by the loop
    bool deaf;   // takes nothing any more
    bool closing;
    bool starved; // a stream was refused with -EAGAIN
    bool called;  // has carried a call
    ev_io io;
    ev_timer frame_timer;
    ev_timer linger; // after its last stream
    uint64_t frame;  // that frame_timer runs for
    size_t charged;  // part of the server's `memory`
    struct ttrpc_session session;
    LIST_HEAD(, request) requests;
    LIST_ENTRY(conn) link;
    TAILQ_ENTRY(conn) dirty_link;
};

// What calls and streams have in common; their first member.
struct request {
    struct ttrpc_server *server; // NULL: it is gone
    struct conn *conn;           // NULL: the peer is gone
    uint32_t id;
    bool stream;
    size_t charged;
    ev_timer deadline;
    LIST_ENTRY(request) in_conn;
    LIST_ENTRY(request) in_server;
};

struct rpc_stream {
    struct request req;
    const struct rpc_stream_events *events; // NULL: not taken yet
    void *arg;
    bool ended; // our side
    bool peer_ended;
    bool starved; // waits for `writable`
};

struct ttrpc_server {
    struct ev_loop *loop;
    const struct rpc_service *const *services;
    const struct rpc_stream_method *streams;
    struct ttrpc_server_limits limits;
    size_t send_max; // bytes that one send may give the socket
    struct acceptor acceptor;
    bool full; // the connection limit was hit
    ev_prepare flush;
    ev_timer drain_timer;
    void (*drained)(void *arg);
    void *drained_arg;
    struct ttrpc_server_usage usage;
    LIST_HEAD(, conn) conns;
    TAILQ_HEAD(, conn) dirty;
    LIST_HEAD(, request) requests; // all
};

// ---- ttrpc_server.c

// After bytes came or output was added: counts it, and has it sent (or the connection closed) at
// the end of this turn of the loop. Harmless on a closing connection.
void ttrpc_conn_touch(struct conn *c);
// Bytes that wait to be sent.
size_t ttrpc_conn_unsent(const struct conn *c);
// A stream of this connection has begun or ended.
void ttrpc_conn_linger(struct conn *c);
// A request has ended.
void ttrpc_drain_check(struct ttrpc_server *s);

// ---- ttrpc_request.c

// The events of a connection's session; their arg is the connection.
extern const struct ttrpc_events ttrpc_server_events;
// The peer is gone: cancels a call or closes a stream. The request leaves the connection's list in
// any case; a call that its method will still end stays in the server's.
void ttrpc_request_abandon(struct request *r, const struct error *err);
// Tells the streams that wait for room to write, if there is some.
void ttrpc_feed_streams(struct conn *c);

#endif

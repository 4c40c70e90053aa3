// Sockets for HTTP requests.
//
// A connection reads one request, gets one answer, and is closed when the peer has closed its side:
// closing earlier, with bytes of the peer unread, would make TCP throw the answer away. One timer
// bounds all of it. One read or write per turn of the loop, so no peer holds up another.
#include "rpc/http_server.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "event/event.h"
#include "rpc/acceptor.h"
#include "rpc/http.h"
#include "rpc/listen.h"

#define READ_SIZE 4096

struct http_conn {
    struct http_server *server;
    struct http_listener *listener;
    LIST_ENTRY(http_conn) link;
    ev_io io;
    ev_timer deadline;
    struct http_request request;
    struct buf out; // the rest of the answer begins at `sent`
    size_t sent;
    bool answered; // everything is sent; waits for the peer's end
};

struct http_listener {
    struct http_server *server;
    struct acceptor acceptor;
    bool check_uid;
    unsigned n_conns;
};

struct http_server {
    struct ev_loop *loop;
    http_page_fn page;
    void *arg;
    double seconds;
    struct http_listener listeners[HTTP_SERVER_LISTENERS_MAX];
    size_t n_listeners;
    LIST_HEAD(, http_conn) conns;
    struct buf page_kept; // the last page, made at page_made
    ev_tstamp page_made;  // 0: none
    size_t unsent;
    uint64_t refused;
};

// ---- connections ------------------------------------------------------------------------------

static void conn_close(struct http_conn *c)
{
    struct http_server *s = c->server;
    ev_io_stop(s->loop, &c->io);
    ev_timer_stop(s->loop, &c->deadline);
    close(c->io.fd);
    s->unsent -= c->out.len - c->sent;
    c->listener->n_conns--;
    LIST_REMOVE(c, link);
    buf_free(&c->out);
    free(c);
}

static void conn_watch(struct http_conn *c, int events)
{
    struct ev_loop *loop = c->server->loop;
    if ((c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(loop, &c->io);
}

// Sends what the socket takes. Returns 0, or -1 when the peer is gone.
static int conn_send(struct http_conn *c)
{
    ssize_t n =
        send(c->io.fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    c->sent += (size_t)n;
    c->server->unsent -= (size_t)n;
    if (c->sent < c->out.len)
        return 0;
    c->answered = true;
    c->sent = 0;
    buf_free(&c->out);
    return shutdown(c->io.fd, SHUT_WR);
}

// The page: a new one, or the last one where that may do. Returns NULL if it cannot be made.
static const struct buf *get_page(struct http_server *s, bool fresh)
{
    ev_tstamp now = ev_now(s->loop);
    if (!fresh && s->page_made > 0 && now >= s->page_made &&
        now < s->page_made + HTTP_SERVER_PAGE_SECONDS)
        return &s->page_kept;
    buf_free(&s->page_kept);
    buf_init(&s->page_kept, METRICS_PAGE_MAX);
    s->page_made = s->page(&s->page_kept, s->arg) < 0 ? 0 : now;
    return s->page_made > 0 ? &s->page_kept : NULL;
}

static int make_answer(struct http_conn *c, enum http_status status)
{
    struct http_server *s = c->server;
    const struct buf *page = NULL;
    if (status == HTTP_OK && s->unsent < HTTP_SERVER_UNSENT_MAX)
        page = get_page(s, c->listener->check_uid);
    if (status == HTTP_OK && !page)
        status = HTTP_UNAVAILABLE;
    s->refused += status != HTTP_OK;
    buf_init(&c->out, METRICS_PAGE_MAX + 1024);
    if (http_answer(&c->out, status, page, c->request.head) < 0) {
        buf_free(&c->out);
        return -1;
    }
    s->unsent += c->out.len;
    return 0;
}

static void conn_answer(struct http_conn *c, enum http_status status)
{
    if (make_answer(c, status) < 0 || conn_send(c) < 0)
        conn_close(c);
    else
        conn_watch(c, c->answered ? EV_READ : EV_WRITE);
}

static void on_conn_io(struct ev_loop *loop, ev_io *w, int events)
{
    struct http_conn *c = container_of(w, struct http_conn, io);
    uint8_t data[READ_SIZE];
    if (w->events & EV_WRITE) {
        if (conn_send(c) < 0)
            conn_close(c);
        else if (c->answered)
            conn_watch(c, EV_READ);
        return;
    }
    ssize_t n = recv(w->fd, data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    if (c->answered)
        return; // what follows a request is thrown away
    enum http_status status = http_receive(&c->request, data, (size_t)n);
    if (status != HTTP_MORE)
        conn_answer(c, status);
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int events)
{
    struct http_conn *c = container_of(w, struct http_conn, deadline);
    // One try; nobody waits for a peer that is late already.
    if (!c->answered && !c->out.len && make_answer(c, HTTP_TIMEOUT) == 0)
        (void)conn_send(c);
    conn_close(c);
}

// ---- accepting --------------------------------------------------------------------------------

static void refuse(int fd)
{
    _cleanup_(buf_free) struct buf out;
    buf_init(&out, 1024);
    if (http_answer(&out, HTTP_UNAVAILABLE, NULL, false) == 0)
        (void)!send(fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Takes over the descriptor.
static void conn_new(struct http_listener *l, int fd)
{
    struct http_server *s = l->server;
    struct http_conn *c = l->n_conns < HTTP_SERVER_CONNECTIONS_MAX ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        s->refused++;
        refuse(fd);
        close(fd);
        return;
    }
    c->server = s;
    c->listener = l;
    l->n_conns++;
    LIST_INSERT_HEAD(&s->conns, c, link);
    ev_io_init(&c->io, on_conn_io, fd, EV_READ);
    ev_io_start(s->loop, &c->io);
    ev_timer_init(&c->deadline, on_deadline, 0., 0.);
    event_timer_arm(s->loop, &c->deadline, s->seconds);
}

static void on_accepted(struct acceptor *a, int fd)
{
    struct http_listener *l = container_of(a, struct http_listener, acceptor);
    if (!l->check_uid || rpc_peer_allowed(fd, geteuid(), "metrics", NULL))
        conn_new(l, fd);
    else
        close(fd);
}

// ---- the server -------------------------------------------------------------------------------

struct http_server *http_server_new(struct ev_loop *loop, http_page_fn page, void *arg)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->loop = loop;
    s->page = page;
    s->arg = arg;
    s->seconds = HTTP_SERVER_SECONDS;
    buf_init(&s->page_kept, METRICS_PAGE_MAX);
    LIST_INIT(&s->conns);
    return s;
}

void http_server_listen(struct http_server *s, int fd, bool check_uid)
{
    struct http_listener *l = &s->listeners[s->n_listeners];
    if (s->n_listeners == HTTP_SERVER_LISTENERS_MAX) {
        close(fd);
        return;
    }
    s->n_listeners++;
    l->server = s;
    l->check_uid = check_uid;
    acceptor_start(&l->acceptor, s->loop, fd, "metrics", on_accepted);
}

void http_server_open(struct http_server *s, const char *dir, const char *name, const char *address)
{
    char path[PATH_MAX];
    struct error err = {0};
    int fd = path_format(path, sizeof path, "%s/%s", dir, name) < 0
                 ? error_set(&err, STATUS_INVALID_ARGUMENT, "%s: path too long", name)
                 : rpc_listen_unix(path, &err);
    if (fd < 0)
        log_error("metrics: %s", err.text);
    else
        http_server_listen(s, fd, true);
    if (!address || !*address)
        return;
    if ((fd = rpc_listen_loopback(address, &err)) < 0)
        log_error("metrics: %s", err.text);
    else
        http_server_listen(s, fd, false);
}

struct http_server *http_server_free(struct http_server *s)
{
    if (!s)
        return NULL;
    while (!LIST_EMPTY(&s->conns))
        conn_close(LIST_FIRST(&s->conns));
    for (size_t i = 0; i < s->n_listeners; i++)
        acceptor_close(&s->listeners[i].acceptor);
    buf_free(&s->page_kept);
    free(s);
    return NULL;
}

unsigned http_server_connections(const struct http_server *s)
{
    unsigned n = 0;
    for (size_t i = 0; i < s->n_listeners; i++)
        n += s->listeners[i].n_conns;
    return n;
}

size_t http_server_unsent(const struct http_server *s)
{
    return s->unsent;
}

void http_server_metrics(const struct http_server *s, struct metrics_page *p)
{
    metrics_add(p, METRIC_SCRAPES_REFUSED, METRICS_NO_LABELS, s ? s->refused : 0);
}

void http_server_set_seconds(struct http_server *s, double seconds)
{
    s->seconds = seconds;
}

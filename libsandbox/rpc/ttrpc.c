#include "rpc/ttrpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/ttrpc_message.h"

// A frame that is not whole, and what one step may add to it.
#define INPUT_MAX (TTRPC_HEADER_LEN + TTRPC_FRAME_MAX + TTRPC_RECV_MAX)

struct frame {
    uint32_t len, id;
    uint8_t type, flags;
    uint8_t *data;
};

void ttrpc_session_init(struct ttrpc_session *s, enum ttrpc_role role, size_t max_open,
                        const struct ttrpc_events *events, void *arg)
{
    *s = (struct ttrpc_session){.role = role, .max_open = max_open, .events = events, .arg = arg};
    buf_init(&s->in, INPUT_MAX);
    buf_init(&s->out, TTRPC_OUTPUT_MAX);
}

void ttrpc_session_done(struct ttrpc_session *s)
{
    buf_free(&s->in);
    buf_free(&s->out);
    free(s->open);
    s->open = NULL;
    s->n_open = s->cap_open = 0;
    s->sent = 0;
}

size_t ttrpc_session_memory(const struct ttrpc_session *s)
{
    return s->in.cap + s->out.cap + s->cap_open * sizeof *s->open;
}

// ---- the table of open ids ---------------------------------------------------------------------

// Ids only grow, so a new one goes to the end.
static struct ttrpc_open *open_add(struct ttrpc_session *s, uint32_t id, void *owner)
{
    if (s->n_open == s->cap_open) {
        size_t cap = s->cap_open ? s->cap_open * 2 : 4;
        struct ttrpc_open *open = realloc(s->open, cap * sizeof *open);
        if (!open)
            return NULL;
        s->open = open;
        s->cap_open = cap;
    }
    struct ttrpc_open *o = &s->open[s->n_open++];
    *o = (struct ttrpc_open){.owner = owner, .id = id};
    return o;
}

struct ttrpc_open *ttrpc_session_find(const struct ttrpc_session *s, uint32_t id)
{
    size_t low = 0, high = s->n_open;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->open[mid].id == id)
            return &s->open[mid];
        if (s->open[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static void open_remove(struct ttrpc_session *s, struct ttrpc_open *o)
{
    size_t behind = (size_t)(s->open + s->n_open - (o + 1));
    memmove(o, o + 1, behind * sizeof *o);
    if (!--s->n_open) {
        free(s->open);
        s->open = NULL;
        s->cap_open = 0;
    }
}

void ttrpc_session_forget(struct ttrpc_session *s, uint32_t id)
{
    struct ttrpc_open *o = ttrpc_session_find(s, id);
    if (o)
        open_remove(s, o);
}

// ---- output ------------------------------------------------------------------------------------

static uint8_t *put_be32(uint8_t *out, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *out++ = (uint8_t)(value >> shift);
    return out;
}

// Makes room for a whole frame, writes its header and returns where its `len` bytes go; the frame
// counts as written. NULL: -ENOMEM or -ENOBUFS in *ret_errno.
static uint8_t *frame_begin(struct ttrpc_session *s, uint32_t id, enum ttrpc_type type,
                            uint8_t flags, size_t len, int *ret_errno)
{
    size_t total = TTRPC_HEADER_LEN + len;
    int r = buf_reserve(&s->out, total);
    if (r == -EMSGSIZE && s->sent) {
        buf_consume(&s->out, s->sent);
        s->sent = 0;
        r = buf_reserve(&s->out, total);
    }
    if (r < 0) {
        *ret_errno = r == -EMSGSIZE ? -ENOBUFS : r;
        return NULL;
    }
    uint8_t *out = s->out.data + s->out.len;
    s->out.len += total;
    out = put_be32(out, (uint32_t)len);
    out = put_be32(out, id);
    *out++ = (uint8_t)type;
    *out++ = flags;
    return out;
}

// The same for frames that the peer must get: without room the session is broken.
static uint8_t *frame_begin_or_break(struct ttrpc_session *s, uint32_t id, enum ttrpc_type type,
                                     uint8_t flags, size_t len)
{
    if (s->broken)
        return NULL;
    return frame_begin(s, id, type, flags, len, &s->broken);
}

const uint8_t *ttrpc_session_output(const struct ttrpc_session *s, size_t *ret_len)
{
    *ret_len = s->out.len - s->sent;
    return *ret_len ? s->out.data + s->sent : NULL;
}

// Moves what is left only when as much has been sent, so that every byte is moved once at most.
void ttrpc_session_sent(struct ttrpc_session *s, size_t n)
{
    s->sent += n;
    if (s->sent == s->out.len) {
        buf_free(&s->out);
        s->sent = 0;
    } else if (s->sent >= s->out.len - s->sent) {
        buf_consume(&s->out, s->sent);
        s->sent = 0;
    }
}

// Sends an error on any id, open or not.
static int answer_error(struct ttrpc_session *s, uint32_t id, const struct error *err)
{
    uint8_t *out = frame_begin_or_break(s, id, TTRPC_RESPONSE, 0, ttrpc_error_size(err));
    if (!out)
        return s->broken;
    ttrpc_error_encode(err, out);
    return 0;
}

int ttrpc_session_fail(struct ttrpc_session *s, uint32_t id, const struct error *err)
{
    struct ttrpc_open *o = ttrpc_session_find(s, id);
    if (!o)
        return -ENOENT;
    open_remove(s, o);
    return answer_error(s, id, err);
}

int ttrpc_session_reply(struct ttrpc_session *s, uint32_t id, const uint8_t *payload, size_t len)
{
    struct ttrpc_open *o = ttrpc_session_find(s, id);
    if (!o)
        return -ENOENT;
    size_t size = ttrpc_response_size(len);
    if (size > TTRPC_FRAME_MAX) {
        struct error err;
        error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                  "response of %zu bytes exceeds the maximum message size of %d", size,
                  TTRPC_FRAME_MAX);
        return ttrpc_session_fail(s, id, &err);
    }
    open_remove(s, o);
    uint8_t *out = frame_begin_or_break(s, id, TTRPC_RESPONSE, 0, size);
    if (!out)
        return s->broken;
    ttrpc_response_encode(payload, len, out);
    return 0;
}

int ttrpc_session_request(struct ttrpc_session *s, const struct ttrpc_request *req, void *owner,
                          uint32_t *ret_id)
{
    size_t size = ttrpc_request_size(req);
    if (s->broken)
        return s->broken;
    if (size > TTRPC_FRAME_MAX)
        return -EMSGSIZE;
    if (s->last_id == UINT32_MAX)
        return -EOVERFLOW;
    if (s->n_open >= s->max_open)
        return -EBUSY;

    uint32_t id = s->last_id ? s->last_id + 2 : 1;
    struct ttrpc_open *o = open_add(s, id, owner);
    if (!o)
        return -ENOMEM;
    o->streaming = req->flags & (TTRPC_REMOTE_OPEN | TTRPC_REMOTE_CLOSED);
    o->local_closed = req->flags & TTRPC_REMOTE_CLOSED;
    int r = 0;
    uint8_t *out = frame_begin(s, id, TTRPC_REQUEST, req->flags, size, &r);
    if (!out) {
        open_remove(s, o);
        return r;
    }
    ttrpc_request_encode(req, out);
    s->last_id = id;
    *ret_id = id;
    return 0;
}

// The stream if we may send on it, else NULL with the error.
static struct ttrpc_open *sendable(struct ttrpc_session *s, uint32_t id, int *ret_errno)
{
    struct ttrpc_open *o = ttrpc_session_find(s, id);
    *ret_errno = !o || !o->streaming ? -ENOENT : o->local_closed ? -EPIPE : 0;
    return *ret_errno ? NULL : o;
}

int ttrpc_session_send(struct ttrpc_session *s, uint32_t id, const uint8_t *data, size_t len)
{
    int r;
    if (!sendable(s, id, &r))
        return r;
    if (len > TTRPC_FRAME_MAX)
        return -EMSGSIZE;
    uint8_t *out = frame_begin_or_break(s, id, TTRPC_DATA, 0, len);
    if (!out)
        return s->broken;
    if (len)
        memcpy(out, data, len);
    return 0;
}

int ttrpc_session_send_end(struct ttrpc_session *s, uint32_t id)
{
    int r;
    struct ttrpc_open *o = sendable(s, id, &r);
    if (!o)
        return r;
    o->local_closed = true;
    if (s->role == TTRPC_CLIENT && o->remote_closed)
        open_remove(s, o);
    return frame_begin_or_break(s, id, TTRPC_DATA, TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA, 0)
               ? 0
               : s->broken;
}

// ---- input -------------------------------------------------------------------------------------

static void emit_end(struct ttrpc_session *s, uint32_t id, void *owner, const uint8_t *payload,
                     size_t len, const struct error *err)
{
    if (s->events->end)
        s->events->end(s, id, owner, payload, len, err, s->arg);
}

// Whether a request may have this id. Answers if not.
static bool request_id_check(struct ttrpc_session *s, uint32_t id)
{
    struct error err;
    if (!(id & 1))
        error_set(&err, STATUS_INVALID_ARGUMENT, "stream id %u of a request must be odd", id);
    else if (id <= s->last_id)
        error_set(&err, STATUS_INVALID_ARGUMENT,
                  "stream id %u of a request must be greater than the last one, %u", id,
                  s->last_id);
    else
        return true;
    answer_error(s, id, &err);
    return false;
}

static void take_request(struct ttrpc_session *s, const struct frame *f)
{
    struct ttrpc_request req;
    struct ttrpc_open *o = NULL;
    struct error err;

    if (!request_id_check(s, f->id))
        return;
    s->last_id = f->id;
    req.id = f->id;
    req.flags = f->flags & (TTRPC_REMOTE_CLOSED | TTRPC_REMOTE_OPEN);
    if (ttrpc_request_decode(f->data, f->len, &req, &err) < 0)
        goto refuse;
    if (s->n_open >= s->max_open) {
        error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                  "%zu requests are open on this connection, no more are allowed", s->n_open);
        goto refuse;
    }
    o = open_add(s, f->id, NULL);
    if (!o) {
        error_set(&err, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
        goto refuse;
    }
    o->streaming = req.flags;
    o->remote_closed = req.flags & TTRPC_REMOTE_CLOSED;
    if (s->events->request)
        s->events->request(s, &req, s->arg);
    return;
refuse:
    answer_error(s, f->id, &err);
}

static void take_data(struct ttrpc_session *s, const struct frame *f)
{
    struct ttrpc_open *o = ttrpc_session_find(s, f->id);
    if (!o) {
        bool finished = (f->id & 1) && f->id <= s->last_id;
        if (!finished && s->role == TTRPC_SERVER) {
            struct error err;
            error_set(&err, STATUS_INVALID_ARGUMENT, "no stream has the id %u", f->id);
            answer_error(s, f->id, &err);
        }
        return;
    }
    if (!o->streaming || o->remote_closed)
        return;

    void *owner = o->owner;
    bool end = f->flags & TTRPC_REMOTE_CLOSED;
    bool message = !(f->flags & TTRPC_NO_DATA);
    o->remote_closed = end;
    if (end && s->role == TTRPC_CLIENT && o->local_closed)
        open_remove(s, o);
    if ((message || end) && s->events->data)
        s->events->data(s, f->id, owner, message ? f->data : NULL, message ? f->len : 0, end,
                        s->arg);
}

static void take_response(struct ttrpc_session *s, const struct frame *f)
{
    struct ttrpc_open *o = ttrpc_session_find(s, f->id);
    if (!o)
        return;
    void *owner = o->owner;
    open_remove(s, o);

    struct error err;
    const uint8_t *payload = NULL;
    size_t len = 0;
    if (ttrpc_response_decode(f->data, f->len, &payload, &len, &err) < 0)
        emit_end(s, f->id, owner, NULL, 0, &err);
    else
        emit_end(s, f->id, owner, payload, len, NULL);
}

static void take_frame(struct ttrpc_session *s, const struct frame *f)
{
    if (f->type == TTRPC_REQUEST && s->role == TTRPC_SERVER)
        take_request(s, f);
    else if (f->type == TTRPC_RESPONSE && s->role == TTRPC_CLIENT)
        take_response(s, f);
    else if (f->type == TTRPC_DATA)
        take_data(s, f);
}

// An oversized frame, seen by its header: its stream ends here, its bytes go by.
static void refuse_frame(struct ttrpc_session *s, const struct frame *f)
{
    struct error err;
    error_set(&err, STATUS_RESOURCE_EXHAUSTED,
              "message length %u exceeds the maximum message size of %d", f->len, TTRPC_FRAME_MAX);

    struct ttrpc_open *o = ttrpc_session_find(s, f->id);
    bool new_request = s->role == TTRPC_SERVER && f->type == TTRPC_REQUEST;
    if (o && !new_request) {
        bool final = f->type == TTRPC_RESPONSE && s->role == TTRPC_CLIENT;
        bool message = f->type == TTRPC_DATA && o->streaming && !o->remote_closed;
        if (!final && !message)
            return;
        void *owner = o->owner;
        open_remove(s, o);
        if (s->role == TTRPC_SERVER)
            answer_error(s, f->id, &err);
        emit_end(s, f->id, owner, NULL, 0, &err);
    } else if (new_request && request_id_check(s, f->id)) {
        s->last_id = f->id;
        answer_error(s, f->id, &err);
    }
}

static uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool paused(const struct ttrpc_session *s)
{
    return s->role == TTRPC_SERVER && s->out.len - s->sent > TTRPC_OUTPUT_PAUSE;
}

// Takes the frames that `in` holds from its front.
static void take_frames(struct ttrpc_session *s)
{
    size_t at = 0;
    s->held = false;
    while (!s->broken && s->in.len - at >= TTRPC_HEADER_LEN) {
        if ((s->held = paused(s)))
            break;
        uint8_t *header = s->in.data + at;
        size_t left = s->in.len - at - TTRPC_HEADER_LEN;
        struct frame f = {.len = get_be32(header),
                          .id = get_be32(header + 4),
                          .type = header[8],
                          .flags = header[9],
                          .data = header + TTRPC_HEADER_LEN};
        if (f.len > TTRPC_FRAME_MAX) {
            size_t here = left < f.len ? left : f.len;
            s->discard = f.len - (uint32_t)here;
            s->frames += !s->discard;
            at += TTRPC_HEADER_LEN + here;
            refuse_frame(s, &f);
            continue;
        }
        if (left < f.len)
            break;
        s->frames++;
        at += TTRPC_HEADER_LEN + f.len;
        take_frame(s, &f);
    }
    if (at == s->in.len)
        buf_free(&s->in);
    else if (at)
        buf_consume(&s->in, at);
}

int ttrpc_session_recv(struct ttrpc_session *s, const uint8_t *data, size_t len)
{
    if (s->held && !s->broken)
        take_frames(s);
    while (len && !s->broken) {
        size_t step = len < TTRPC_RECV_MAX ? len : TTRPC_RECV_MAX;
        if (s->discard) {
            step = step < s->discard ? step : s->discard;
            s->discard -= (uint32_t)step;
            s->frames += !s->discard;
        } else {
            int r = buf_append(&s->in, data, step);
            if (r < 0)
                return s->broken = r;
            take_frames(s);
        }
        data += step;
        len -= step;
    }
    return s->broken;
}

bool ttrpc_session_partial(const struct ttrpc_session *s)
{
    return s->in.len || s->discard;
}

// ---- handing over ------------------------------------------------------------------------------
//
// u8 version | u8 role | u32 last id | u32 discard | u32 open ids | u32 input | u32 output, then
// per open id u32 id | u8 streaming 1, remote closed 2, local closed 4, then the input and output
// bytes.

#define STATE_VERSION    1
#define STATE_HEADER_LEN 22
#define STATE_OPEN_LEN   5

enum { STATE_STREAMING = 1, STATE_REMOTE_CLOSED = 2, STATE_LOCAL_CLOSED = 4 };

static int export_open(const struct ttrpc_open *o, struct buf *out)
{
    uint8_t entry[STATE_OPEN_LEN];
    *put_be32(entry, o->id) = (uint8_t)((o->streaming ? STATE_STREAMING : 0) |
                                        (o->remote_closed ? STATE_REMOTE_CLOSED : 0) |
                                        (o->local_closed ? STATE_LOCAL_CLOSED : 0));
    return buf_append(out, entry, sizeof entry);
}

int ttrpc_session_export(const struct ttrpc_session *s, struct buf *out)
{
    uint8_t header[STATE_HEADER_LEN] = {STATE_VERSION, (uint8_t)s->role};
    size_t unsent;
    const uint8_t *output = ttrpc_session_output(s, &unsent);
    uint8_t *at = put_be32(header + 2, s->last_id);
    at = put_be32(at, s->discard);
    at = put_be32(at, (uint32_t)s->n_open);
    at = put_be32(at, (uint32_t)s->in.len);
    put_be32(at, (uint32_t)unsent);

    int r = buf_append(out, header, sizeof header);
    for (size_t i = 0; !r && i < s->n_open; i++)
        r = export_open(&s->open[i], out);
    if (!r)
        r = buf_append(out, s->in.data, s->in.len);
    return r ? r : buf_append(out, output, unsent);
}

static int import_open(struct ttrpc_session *s, const uint8_t *entry)
{
    uint32_t id = get_be32(entry);
    uint8_t flags = entry[4];
    bool ascending = !s->n_open || id > s->open[s->n_open - 1].id;
    if (!(id & 1) || id > s->last_id || !ascending || s->n_open == s->max_open ||
        flags > (STATE_STREAMING | STATE_REMOTE_CLOSED | STATE_LOCAL_CLOSED) ||
        (flags && !(flags & STATE_STREAMING)))
        return -EINVAL;
    struct ttrpc_open *o = open_add(s, id, NULL);
    if (!o)
        return -ENOMEM;
    o->streaming = flags & STATE_STREAMING;
    o->remote_closed = flags & STATE_REMOTE_CLOSED;
    o->local_closed = flags & STATE_LOCAL_CLOSED;
    return 0;
}

int ttrpc_session_import(struct ttrpc_session *s, const uint8_t *data, size_t len)
{
    if (len < STATE_HEADER_LEN || data[0] != STATE_VERSION || data[1] != s->role)
        return -EINVAL;
    size_t n_open = get_be32(data + 10);
    size_t in = get_be32(data + 14), out = get_be32(data + 18);
    const uint8_t *entry = data + STATE_HEADER_LEN;
    if (len - STATE_HEADER_LEN != n_open * STATE_OPEN_LEN + in + out || out > TTRPC_OUTPUT_MAX)
        return -EINVAL;
    const uint8_t *input = entry + n_open * STATE_OPEN_LEN;
    s->last_id = get_be32(data + 2);
    s->discard = get_be32(data + 6);

    int r = 0;
    if ((s->last_id && !(s->last_id & 1)) || (in && s->discard))
        r = -EINVAL;
    for (; !r && n_open; n_open--, entry += STATE_OPEN_LEN)
        r = import_open(s, entry);
    if (!r)
        r = buf_append(&s->in, input, in);
    if (!r)
        r = buf_append(&s->out, input + in, out);
    s->held = !r && in;
    if (r) {
        ttrpc_session_done(s);
        s->last_id = s->discard = 0;
    }
    return r == -EMSGSIZE ? -EINVAL : r;
}

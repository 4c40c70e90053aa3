// A ttrpc session, server or client, fed with anything in any pieces.
//
// Input: one byte of choices, one byte that seeds the sizes of the pieces, then the peer's bytes.
// However they are cut, also with a hand-over to a fresh session at one point, the events and the
// output must be the same; the table stays sorted, the memory bounded.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/ttrpc.h"

#define MAX_OPEN  8
#define INPUT_MAX TTRPC_RECV_MAX

struct run {
    struct ttrpc_session session;
    uint64_t events; // hash of all that happened
    bool answer;
};

static void check(bool good)
{
    if (!good)
        abort();
}

static void note(struct run *run, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++)
        run->events = (run->events ^ p[i]) * 1099511628211u;
    run->events = (run->events ^ len) * 1099511628211u;
}

static void note_text(struct run *run, const char *text)
{
    note(run, text, strlen(text));
}

static void on_request(struct ttrpc_session *s, const struct ttrpc_request *req, void *arg)
{
    struct run *run = arg;
    check(req->metadata_len <= TTRPC_METADATA_MAX && req->service[0] && req->method[0]);
    check(ttrpc_session_find(s, req->id) != NULL);
    note(run, &req->id, sizeof req->id);
    note_text(run, req->service);
    note_text(run, req->method);
    note(run, req->payload, req->payload_len);
    note(run, &req->timeout_nano, sizeof req->timeout_nano);
    for (size_t i = 0; i < req->metadata_len; i++) {
        note_text(run, req->metadata[i].key);
        note_text(run, req->metadata[i].value);
    }
    if (run->answer && !req->flags)
        check(!ttrpc_session_reply(s, req->id, req->payload, req->payload_len) || s->broken);
}

static void on_data(struct ttrpc_session *s, uint32_t id, void *owner, const uint8_t *data,
                    size_t len, bool end, void *arg)
{
    struct run *run = arg;
    check(data || end);
    note(run, &id, sizeof id);
    note(run, data, len);
    if (!data)
        note_text(run, "none");
    if (run->answer && s->role == TTRPC_SERVER) {
        if (data)
            ttrpc_session_send(s, id, data, len);
        if (end) {
            ttrpc_session_send_end(s, id);
            ttrpc_session_forget(s, id);
        }
    }
}

static void on_end(struct ttrpc_session *s, uint32_t id, void *owner, const uint8_t *payload,
                   size_t len, const struct error *err, void *arg)
{
    struct run *run = arg;
    check(!ttrpc_session_find(s, id));
    note(run, &id, sizeof id);
    note(run, payload, len);
    if (err) {
        check(err->status != STATUS_OK && err->status < STATUS_MAX_);
        note_text(run, err->text);
    }
}

static const struct ttrpc_events events = {.request = on_request, .data = on_data, .end = on_end};

static void run_init(struct run *run, enum ttrpc_role role, bool answer)
{
    *run = (struct run){.events = 14695981039346656037u, .answer = answer};
    ttrpc_session_init(&run->session, role, MAX_OPEN, &events, run);
    for (uint32_t i = 0, id; role == TTRPC_CLIENT && i < MAX_OPEN; i++) {
        struct ttrpc_request req = {.service = "s",
                                    .method = "m",
                                    .flags = i & 1 ? TTRPC_REMOTE_OPEN : 0,
                                    .metadata = {{"key", "value"}},
                                    .metadata_len = 1};
        check(!ttrpc_session_request(&run->session, &req, NULL, &id));
    }
}

static void check_session(const struct ttrpc_session *s)
{
    check(s->n_open <= MAX_OPEN && s->n_open <= s->cap_open);
    for (size_t i = 0; i < s->n_open; i++) {
        check((s->open[i].id & 1) && s->open[i].id <= s->last_id);
        check(!i || s->open[i].id > s->open[i - 1].id);
    }
    check(s->in.len < TTRPC_HEADER_LEN + TTRPC_FRAME_MAX && s->out.len <= TTRPC_OUTPUT_MAX);
    check(!s->discard || !s->in.len);
}

// The state travels to a fresh session.
static void hand_over(struct run *run)
{
    struct ttrpc_session next;
    struct buf state;
    buf_init(&state, SIZE_MAX / 2);
    ttrpc_session_init(&next, run->session.role, MAX_OPEN, &events, run);
    check(!ttrpc_session_export(&run->session, &state));
    check(!ttrpc_session_import(&next, state.data, state.len));
    ttrpc_session_done(&run->session);
    buf_free(&state);
    run->session = next;
}

static void finish(struct run *run)
{
    size_t len;
    const uint8_t *out = ttrpc_session_output(&run->session, &len);
    for (size_t at = 0; at < len;) { // whole frames only
        check(len - at >= TTRPC_HEADER_LEN);
        size_t n = (size_t)out[at] << 24 | (size_t)out[at + 1] << 16 | (size_t)out[at + 2] << 8 |
                   out[at + 3];
        check(n <= TTRPC_FRAME_MAX && n <= len - at - TTRPC_HEADER_LEN);
        at += TTRPC_HEADER_LEN + n;
    }
    note(run, out, len);
    note(run, &run->session.n_open, sizeof run->session.n_open);
    ttrpc_session_done(&run->session);
}

static void feed(struct run *run, const uint8_t *data, size_t len)
{
    uint8_t *exact = malloc(len);
    if (!exact)
        return;
    memcpy(exact, data, len);
    check(!ttrpc_session_recv(&run->session, exact, len) || run->session.broken);
    free(exact);
    check_session(&run->session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > INPUT_MAX)
        return 0;
    enum ttrpc_role role = data[0] & 1 ? TTRPC_CLIENT : TTRPC_SERVER;
    bool answer = data[0] & 2;
    uint32_t random = data[1];
    struct run whole, pieces;
    data += 2;
    size -= 2;

    // As a state of a predecessor, too: refused or taken, never harmful.
    run_init(&whole, role, answer);
    ttrpc_session_done(&whole.session);
    ttrpc_session_init(&whole.session, role, MAX_OPEN, &events, &whole);
    if (!ttrpc_session_import(&whole.session, data, size))
        check_session(&whole.session);
    ttrpc_session_done(&whole.session);

    run_init(&whole, role, answer);
    run_init(&pieces, role, answer);
    feed(&whole, data, size);
    bool handed_over = false;
    for (size_t at = 0; at < size;) {
        random = random * 1664525 + 1013904223;
        size_t n = 1 + (random >> 24) % (data[0] & 4 ? 4 : 64);
        n = n < size - at ? n : size - at;
        feed(&pieces, data + at, n);
        at += n;
        if (!handed_over && at > size / 2) {
            handed_over = true;
            hand_over(&pieces);
        }
    }
    bool broken = whole.session.broken || pieces.session.broken;
    finish(&whole);
    finish(&pieces);
    check(broken || whole.events == pieces.events);
    return 0;
}

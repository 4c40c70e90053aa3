// Decoded messages live in an arena.
//
// A peer chooses how many allocations its message causes, and a small message can ask for a
// multiple of its size: two bytes on the wire are an empty sub-message of a hundred bytes. So
// protobuf-c allocates from chunks whose total is limited, and one call releases them all. Its own
// frees (temporary tables, strings that a later duplicate replaces, everything after a failure) do
// nothing; what they would give back counts against the limit until the message is freed.
//
// The root of the message is copied into the record that owns the chunks, so that the pointer which
// callers hold leads back to that record.
#include "api/message.h"

#include <string.h>

#include "api/check.h"
#include "base/cleanup.h"

// First chunk of an arena beside twice the size of the input, and the largest one that is not made
// for a single big allocation.
#define CHUNK_MIN 512
#define CHUNK_MAX (1024u * 1024)

#define ALIGNMENT _Alignof(max_align_t)

struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(max_align_t) uint8_t data[];
};

struct arena {
    struct chunk *chunks; // the newest first; only that one is filled further
    size_t next_size;     // of the next chunk
    size_t left;          // bytes that more chunks may have
    bool over;            // an allocation was refused because of the limit
};

// What api_message_decode returns a pointer into.
struct decoded {
    struct chunk *chunks;
    _Alignas(max_align_t) uint8_t message[];
};

static struct chunk *arena_grow(struct arena *a, size_t need)
{
    size_t size = need > a->next_size ? need : a->next_size;
    if (size > a->left)
        size = a->left;
    if (size < need) {
        a->over = true;
        return NULL;
    }
    struct chunk *c = malloc(sizeof *c + size);
    if (!c)
        return NULL;
    *c = (struct chunk){.next = a->chunks, .size = size};
    a->chunks = c;
    a->left -= size;
    a->next_size = size * 2 > CHUNK_MAX ? CHUNK_MAX : size * 2;
    return c;
}

static void *arena_alloc(void *arena, size_t size)
{
    struct arena *a = arena;
    if (size > API_MESSAGE_MEMORY_MAX) {
        a->over = true;
        return NULL;
    }
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct chunk *c = a->chunks;
    if (!c || c->size - c->used < size)
        c = arena_grow(a, size);
    if (!c)
        return NULL;
    void *p = c->data + c->used;
    c->used += size;
    return p;
}

static void arena_ignore_free(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

static void chunks_free(struct chunk *c)
{
    while (c) {
        struct chunk *next = c->next;
        free(c);
        c = next;
    }
}

static int no_message(const ProtobufCMessageDescriptor *type, const struct arena *a,
                      struct error *err)
{
    if (a->over)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%s: needs more than %u bytes of memory, send a smaller message",
                         type->name, API_MESSAGE_MEMORY_MAX);
    return error_set(err, STATUS_RESOURCE_EXHAUSTED, "%s: out of memory", type->name);
}

ProtobufCMessage *api_message_decode(const ProtobufCMessageDescriptor *type, const uint8_t *data,
                                     size_t len, struct error *err)
{
    if (api_message_check(type, data, len, err) < 0)
        return NULL;
    struct arena arena = {.left = API_MESSAGE_MEMORY_MAX};
    arena.next_size = type->sizeof_message + CHUNK_MIN + (len > CHUNK_MAX ? CHUNK_MAX : len) * 2;
    ProtobufCAllocator allocator = {
        .alloc = arena_alloc, .free = arena_ignore_free, .allocator_data = &arena};

    struct decoded *d = malloc(sizeof *d + type->sizeof_message);
    const ProtobufCMessage *root = NULL;
    if (d)
        root = protobuf_c_message_unpack(type, &allocator, len, data);
    if (!root) {
        chunks_free(arena.chunks);
        free(d);
        no_message(type, &arena, err);
        return NULL;
    }
    memcpy(d->message, root, type->sizeof_message);
    d->chunks = arena.chunks;
    return (ProtobufCMessage *)(void *)d->message;
}

void api_message_free(ProtobufCMessage *msg)
{
    if (!msg)
        return;
    struct decoded *d = container_of(msg, struct decoded, message);
    chunks_free(d->chunks);
    free(d);
}

uint8_t *api_message_encode(const ProtobufCMessage *msg, size_t *ret_len)
{
    size_t len = protobuf_c_message_get_packed_size(msg);
    uint8_t *data = malloc(len ? len : 1);
    if (!data)
        return NULL;
    *ret_len = protobuf_c_message_pack(msg, data);
    return data;
}

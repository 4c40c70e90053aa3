// Redaction: nothing that stands where a secret stands comes through. In TOML that is the value of
// a key in a table of credentials; whatever the document says besides, the marked value is put
// behind it, in a table of its own. In JSON it is a member.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "ctl/redact.h"

#define INPUT_MAX (64u * 1024)
#define SECRET    "s3cr3t-4711"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_toml(const uint8_t *data, size_t size)
{
    static const char head[] = "[x.auth]\nuser = '" SECRET "'\n[y]\n";
    struct error err = {0};
    struct buf in;
    buf_init(&in, INPUT_MAX + sizeof head);
    // Any text may follow; none may bring back what was before it.
    if (buf_append(&in, head, sizeof head - 1) == 0 && buf_append(&in, data, size) == 0) {
        _cleanup_json_ json_object *o = redact_toml((const char *)in.data, in.len, &err);
        require(o ? !err.status : err.status && *err.text);
        require(!o || memmem(data, size, SECRET, strlen(SECRET)) || !strstr(json_text(o), SECRET));
        require(!strstr(err.text, SECRET));
    }
    buf_free(&in);
}

static void check_json(const uint8_t *data, size_t size)
{
    struct error err = {0};
    _cleanup_json_ json_object *o = json_parse(data, size, "input", &err);
    if (!json_object_is_type(o, json_type_object))
        return;
    json_object *list = json_object_new_array();
    json_object_array_add(list, json_object_new_string("A=" SECRET));
    json_object_object_add(o, "env", list);
    json_object_object_add(o, "token", json_object_new_string(SECRET));
    bool there = memmem(data, size, SECRET, strlen(SECRET));
    redact_json(o);
    require(there || !strstr(json_text(o), SECRET));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    check_toml(data, size);
    check_json(data, size);
    return 0;
}

// JSON text: what is accepted survives writing and reading again, what is refused has a reason, and
// the getters stand every shape of document.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void get_all(json_object *obj, const char *key)
{
    const char *string;
    bool boolean;
    int64_t number;
    json_object *value;
    struct error err;
    (void)json_get_string(obj, key, &string, &err);
    (void)json_get_bool(obj, key, &boolean, &err);
    (void)json_get_int(obj, key, &number, &err);
    (void)json_get_array(obj, key, &value, &err);
    (void)json_get_object(obj, key, &value, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    _cleanup_json_ json_object *obj = json_parse(data, size, "fuzz", &err);
    if (!obj) {
        if (err.status != STATUS_INVALID_ARGUMENT || !err.text[0])
            abort();
        return 0;
    }
    get_all(obj, "k");
    const char *text = json_text(obj);
    if (!text)
        abort();
    _cleanup_json_ json_object *again = json_parse(text, strlen(text), "again", &err);
    if (!again || !json_object_equal(obj, again))
        abort();
    return 0;
}

// Which model a container wants to have ready.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "worker/preload.h"

static char *no_env[] = {(char *)"PATH=/bin", NULL};

// A spec with this annotation; NULL: without.
static json_object *spec_with(const char *value)
{
    json_object *spec = json_object_new_object(), *annotations = json_object_new_object();
    if (value)
        json_object_object_add(annotations, PRELOAD_NAME, json_object_new_string(value));
    json_object_object_add(spec, "annotations", annotations);
    return spec;
}

static void expect_taken(const char *annotation, char *const *env, const char *want)
{
    struct error err = {0};
    const char *found = "?";
    json_object *spec = spec_with(annotation);
    cr_expect_eq(preload_find(spec, env, &found, &err), 0, "%s", err.text);
    if (want)
        cr_expect(found && strcmp(found, want) == 0, "%s", found ? found : "none");
    else
        cr_expect_null(found);
    json_object_put(spec);
}

static void expect_refused(const char *value, const char *says)
{
    struct error err = {0};
    const char *found = NULL;
    json_object *spec = spec_with(value);
    cr_expect_eq(preload_find(spec, no_env, &found, &err), -1, "%s", value);
    cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_expect(strstr(err.text, PRELOAD_NAME ": ") == err.text && strstr(err.text, says), "%s",
              err.text);
    json_object_put(spec);
}

Test(preload, an_annotation_or_a_variable)
{
    char *env[] = {(char *)"A=b", (char *)PRELOAD_NAME "=mine:GGML:CPU:/own.gguf", NULL};
    char *like[] = {(char *)PRELOAD_NAME "s=x", NULL};
    expect_taken(NULL, no_env, NULL);
    expect_taken(NULL, like, NULL);
    expect_taken("default:GGML:AUTO:model.gguf", no_env, "default:GGML:AUTO:model.gguf");
    expect_taken("of the pod:openvino:cpu:/m.xml:/m.bin", no_env,
                 "of the pod:openvino:cpu:/m.xml:/m.bin");
    expect_taken(NULL, env, "mine:GGML:CPU:/own.gguf");
    expect_taken("default:GGML:AUTO:model.gguf", env, "mine:GGML:CPU:/own.gguf");
}

Test(preload, what_the_plugin_would_pass_over_is_refused)
{
    expect_refused("", "want alias:backend:target:path");
    expect_refused("model.gguf", "want alias:backend:target:path");
    expect_refused("a:GGML:CPU", "want alias:backend:target:path");
    expect_refused(":GGML:CPU:/m", "alias \"\"");
    expect_refused("a::CPU:/m", "backend \"\"");
    expect_refused("a:GG/ML:CPU:/m", "backend \"GG/ML\"");
    expect_refused("a:GGML:NPU:/m", "target \"NPU\": want CPU, GPU, TPU or AUTO");
    expect_refused("a:GGML::/m", "target \"\"");
    expect_refused("a:GGML:CPU:", "no path");
}

Test(preload, it_has_a_longest)
{
    char text[PRELOAD_MAX + 2];
    memset(text, 'm', sizeof(text));
    memcpy(text, "a:GGML:CPU:/", strlen("a:GGML:CPU:/"));
    text[PRELOAD_MAX + 1] = '\0';
    expect_refused(text, "longer than");
    text[PRELOAD_MAX] = '\0';
    expect_taken(text, no_env, text);
}

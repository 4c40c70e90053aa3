#include "ctl/redact.h"

#include <criterion/criterion.h>
#include <string.h>

static void expect_json(const char *in, const char *out)
{
    struct error err = {0};
    json_object *o = json_parse(in, strlen(in), "in", &err);
    cr_assert(o, "%s", err.text);
    redact_json(o);
    cr_expect_str_eq(json_text(o), out);
    json_object_put(o);
}

Test(redact, json)
{
    expect_json(
        "{\"id\":\"c1\",\"process\":{\"args\":[\"sh\",\"-c\",\"pw=1\"],\"env\":[\"A=b=c\",\"X\"]}}",
        "{\"id\":\"c1\",\"process\":{\"args\":[\"sh\",\"<redacted>\",\"<redacted>\"],"
        "\"env\":[\"A=<redacted>\",\"X=<redacted>\"]}}");
    expect_json("{\"annotations\":{\"io.kubernetes.cri.sandbox-id\":\"s\",\"mine\":\"secret\"},"
                "\"labels\":{\"a\":\"b\"}}",
                "{\"annotations\":{\"io.kubernetes.cri.sandbox-id\":\"s\",\"mine\":\"<redacted>\"},"
                "\"labels\":{\"a\":\"<redacted>\"}}");
    expect_json(
        "[{\"deep\":[{\"env\":{\"A\":\"b\"},\"authToken\":\"x\",\"pid\":1}]}]",
        "[{\"deep\":[{\"env\":{\"A\":\"<redacted>\"},\"authToken\":\"<redacted>\",\"pid\":1}]}]");
    expect_json("{\"args\":[],\"env\":null,\"commandLine\":\"a b\"}",
                "{\"args\":[],\"env\":null,\"commandLine\":\"<redacted>\"}");
}

static void expect_toml(const char *in, const char *out)
{
    struct buf b;
    buf_init(&b, 4096);
    cr_assert_eq(redact_toml(in, strlen(in), &b), 0);
    const char *text = buf_cstr(&b);
    cr_expect_str_eq(text ? text : "", out);
    buf_free(&b);
}

Test(redact, toml)
{
    expect_toml("version = 3\n", "version = 3\n");
    expect_toml("[a.registry.configs.x.auth]\nuser = \"u\"\n[b]\nx = 1\n",
                "[a.registry.configs.x.auth]\nuser = \"<redacted>\"\n[b]\nx = 1\n");
    expect_toml("  identitytoken = 'abc' # mine\ny = 2\n",
                "  identitytoken = \"<redacted>\"\ny = 2\n");
    // What goes on over lines is taken out whole, whatever is in it.
    expect_toml("password = \"\"\"\nline = 1\nx\"\"\"\ny = 2", "password = \"<redacted>\"\ny = 2");
    expect_toml("tokens = [\n 'a',\n ['b]'],\n]\ny = [\n 1,\n]\n",
                "tokens = \"<redacted>\"\ny = [\n 1,\n]\n");
    expect_toml("\"my=password\" = 'x'\n", "\"my=password\" = \"<redacted>\"\n");
    expect_toml("auths = { \"docker\" = { auth = 'x' } }\n", "auths = \"<redacted>\"\n");
    expect_toml("plain = { auth = 'x' }\n", "plain = \"<redacted>\"\n");
    expect_toml("# password = 'old'\n# note\n", "# <redacted>\n# note\n");
    expect_toml("broken \x01 [[\nok = 1\n", "broken \x01 [[\nok = 1\n");
}

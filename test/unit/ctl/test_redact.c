#include "ctl/redact.h"

#include <criterion/criterion.h>
#include <stdio.h>
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
    struct error err = {0};
    json_object *o = redact_toml(in, strlen(in), &err);
    cr_assert(o, "%s: %s", in, err.text);
    cr_expect_str_eq(json_text(o), out);
    json_object_put(o);
}

Test(redact, toml)
{
    expect_toml("", "{}");
    expect_toml("version = 3\n[a]\nb = [1, 2.5, true]\nc = 'x'\nd = 2020-01-01\n",
                "{\"a\":{\"b\":[1,2.5,true],\"c\":\"x\",\"d\":\"date\"},\"version\":3}");
    expect_toml("identitytoken = 'abc' # mine\ny = 2\n",
                "{\"identitytoken\":\"<redacted>\",\"y\":2}");
    expect_toml("pin-secret = 4711\nuse_token = true\n",
                "{\"pin-secret\":\"<redacted>\",\"use_token\":true}");
}

// A table whose name says so has nothing to show, at whatever depth, but its keys.
Test(redact, tables)
{
    expect_toml("[a.registry.configs.x.auth]\nuser = \"u\"\n[b]\nx = 1\n",
                "{\"a\":{\"registry\":{\"configs\":{\"x\":{\"auth\":{\"user\":\"<redacted>\"}}}}},"
                "\"b\":{\"x\":1}}");
    expect_toml("auths = { \"docker\" = { a = 'x' } }\n",
                "{\"auths\":{\"docker\":{\"a\":\"<redacted>\"}}}");
    expect_toml("plain = { auth = 'x' }\n", "{\"plain\":{\"auth\":\"<redacted>\"}}");
    expect_toml("[[headers]]\nx = 'y'\n", "{\"headers\":\"<redacted>\"}");
}

Test(redact, environments_and_command_lines)
{
    expect_toml("env = ['TOKEN=abc', 'B=c=d']\nargs = ['--key', 'abc']\ncommand = 'x --key abc'\n",
                "{\"args\":[\"<redacted>\",\"<redacted>\"],\"command\":\"<redacted>\","
                "\"env\":[\"TOKEN=<redacted>\",\"B=<redacted>\"]}");
    expect_toml("env = [{ name = 'A', value = 'b=c' }]\n", "{\"env\":[\"<redacted>\"]}");
    expect_toml("[a.env]\nA = 'b'\n", "{\"a\":{\"env\":{\"A\":\"<redacted>\"}}}");
}

Test(redact, values_over_several_lines)
{
    expect_toml("password = \"\"\"\nline = 1\nx\"\"\"\ny = 2",
                "{\"password\":\"<redacted>\",\"y\":2}");
    expect_toml("tokens = [\n 'a',\n ['b]'],\n]\ny = [\n 1,\n]\n",
                "{\"tokens\":\"<redacted>\",\"y\":[1]}");
    expect_toml("x = [\n { password = 'p' },\n]\n", "{\"x\":[{\"password\":\"<redacted>\"}]}");
}

Test(redact, escaped_quotes)
{
    expect_toml("password = \"\"\"a \\\"\"\"\nb = 's3cr3t'\n\"\"\"\ny = 2\n",
                "{\"password\":\"<redacted>\",\"y\":2}");
    expect_toml("\"my=password\" = 'x'\n", "{\"my=password\":\"<redacted>\"}");
    expect_toml("\"p\\u0061ssword\" = 'x'\n", "{\"password\":\"<redacted>\"}");
    expect_toml("\"a\\u0000password\" = 'x'\n", "{\"a?password\":\"<redacted>\"}");
}

Test(redact, comments)
{
    expect_toml("[a] # password = 's3cr3t'\nx = 1 # token abc\n# password = 'old'\n",
                "{\"a\":{\"x\":1}}");
}

Test(redact, names)
{
    static const char *const secret[] = {"passphrase", "access_key", "secretAccessKey",   "apikey",
                                         "API_KEY",    "api-key",    "keyring-pass-word", "bearer",
                                         "key",        "sealing_key"};
    static const char *const plain[] = {"key_model", "keys_path", "monitor", "pa", "version"};
    char in[128], out[128];
    for (size_t i = 0; i < sizeof secret / sizeof *secret; i++) {
        snprintf(in, sizeof in, "%s = 'x'\n", secret[i]);
        snprintf(out, sizeof out, "{\"%s\":\"<redacted>\"}", secret[i]);
        expect_toml(in, out);
    }
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        snprintf(in, sizeof in, "%s = 'x'\n", plain[i]);
        snprintf(out, sizeof out, "{\"%s\":\"x\"}", plain[i]);
        expect_toml(in, out);
    }
}

Test(redact, urls)
{
    expect_toml("a = 'https://user:p@ss/w@h:1/x'\nb = ['-', 'x http://u@h y ftp://a:b@c']\n",
                "{\"a\":\"https://<redacted>@h:1/x\","
                "\"b\":[\"-\",\"x http://<redacted>@h y ftp://<redacted>@c\"]}");
    expect_toml("a = 'https://h:1/x'\nb = 'a@b'\nc = 'r.example/a:1@sha256:0'\nd = '//'\n",
                "{\"a\":\"https://h:1/x\",\"b\":\"a@b\",\"c\":\"r.example/a:1@sha256:0\","
                "\"d\":\"//\"}");
    expect_json("{\"proxy\":\"http://u:p@h\"}", "{\"proxy\":\"http://<redacted>@h\"}");
}

// What cannot be read cannot be redacted. Why is not said: that may quote it.
Test(redact, no_toml)
{
    static const char text[] = "a = 1\npassword = 99999999999999999999999\n";
    struct error err = {0};
    cr_assert_null(redact_toml(text, strlen(text), &err));
    cr_expect_eq(err.status, STATUS_INVALID_ARGUMENT);
    cr_expect(strstr(err.text, "line 2") && !strstr(err.text, "999"), "%s", err.text);
}

#include "oci/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#define SPEC_FILE "config.json"
// Annotation by which CRI names the sandbox of a container.
#define SANDBOX_ID_KEY     "io.kubernetes.cri.sandbox-id"
#define CONTAINER_NAME_KEY "io.kubernetes.cri.container-name"

static int missing(struct error *err, const char *key)
{
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s: missing or empty", key);
}

// A string without NUL bytes.
static bool is_plain_string(json_object *o)
{
    return json_object_is_type(o, json_type_string) &&
           strlen(json_object_get_string(o)) == (size_t)json_object_get_string_len(o);
}

// Absent is fine; *ret may be NULL to check the type only.
static int check_string(json_object *obj, const char *key, const char **ret, struct error *err)
{
    const char *value = NULL;
    if (json_get_string(obj, key, &value, err) < 0)
        return -1;
    if (ret)
        *ret = value;
    return 0;
}

static int check_args(json_object *process, struct error *err)
{
    json_object *args = NULL;
    if (json_get_array(process, "args", &args, err) < 0)
        return -1;
    if (!args || json_object_array_length(args) == 0)
        return missing(err, "args");
    for (size_t i = 0; i < json_object_array_length(args); i++) {
        if (!is_plain_string(json_object_array_get_idx(args, i)))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "args[%zu]: must be a string without NUL bytes", i);
    }
    // Later arguments may well be empty.
    if (!*json_object_get_string(json_object_array_get_idx(args, 0)))
        return missing(err, "args[0]");
    return 0;
}

int oci_process_check(json_object *process, struct error *err)
{
    if (!json_object_is_type(process, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "process: must be an object");
    const char *cwd = NULL;
    bool terminal = false;
    if (check_args(process, err) < 0 || check_string(process, "cwd", &cwd, err) < 0 ||
        json_get_bool(process, "terminal", &terminal, err) < 0)
        return error_wrap(err, "process");
    if (!cwd || cwd[0] != '/')
        return error_set(err, STATUS_INVALID_ARGUMENT, "process: cwd: must be an absolute path");
    return 0;
}

static int check_process(json_object *spec, struct error *err)
{
    json_object *process = NULL;
    if (json_get_object(spec, "process", &process, err) < 0)
        return -1;
    return process ? oci_process_check(process, err) : missing(err, "process");
}

static int check_root(json_object *spec, struct error *err)
{
    json_object *root = NULL;
    if (json_get_object(spec, "root", &root, err) < 0)
        return -1;
    if (!root)
        return missing(err, "root");
    const char *path = NULL;
    bool readonly = false;
    if (check_string(root, "path", &path, err) < 0 ||
        json_get_bool(root, "readonly", &readonly, err) < 0)
        return error_wrap(err, "root");
    return path && *path ? 0 : missing(err, "root.path");
}

// Every element is an object in which `key` is a non-empty string and `extra` a string or absent.
static int check_objects(json_object *array, const char *field, const char *key, const char *extra,
                         struct error *err)
{
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        json_object *item = json_object_array_get_idx(array, i);
        if (!json_object_is_type(item, json_type_object))
            return error_set(err, STATUS_INVALID_ARGUMENT, "%s[%zu]: must be an object", field, i);
        const char *value = NULL;
        if (check_string(item, key, &value, err) < 0 || check_string(item, extra, NULL, err) < 0 ||
            (!(value && *value) && missing(err, key) < 0))
            return error_wrap(err, "%s[%zu]", field, i);
    }
    return 0;
}

static int check_mounts(json_object *spec, struct error *err)
{
    json_object *mounts = NULL;
    if (json_get_array(spec, "mounts", &mounts, err) < 0)
        return -1;
    return mounts ? check_objects(mounts, "mounts", "destination", "type", err) : 0;
}

static int check_linux(json_object *spec, struct error *err)
{
    json_object *lin = NULL, *array = NULL;
    if (json_get_object(spec, "linux", &lin, err) < 0)
        return -1;
    if (!lin)
        return missing(err, "linux");
    if (check_string(lin, "cgroupsPath", NULL, err) < 0 ||
        json_get_array(lin, "uidMappings", &array, err) < 0 ||
        json_get_array(lin, "gidMappings", &array, err) < 0)
        return error_wrap(err, "linux");
    array = NULL;
    if (json_get_array(lin, "namespaces", &array, err) < 0)
        return error_wrap(err, "linux");
    // Without namespaces at all the container would be the host.
    if (!array)
        return missing(err, "linux.namespaces");
    return check_objects(array, "linux.namespaces", "type", "path", err);
}

static int check_annotations(json_object *spec, struct error *err)
{
    json_object *annotations = NULL;
    if (json_get_object(spec, "annotations", &annotations, err) < 0)
        return -1;
    if (annotations && check_string(annotations, SANDBOX_ID_KEY, NULL, err) < 0)
        return error_wrap(err, "annotations");
    return 0;
}

static int check_spec(json_object *spec, struct error *err)
{
    if (!json_object_is_type(spec, json_type_object))
        return error_set(err, STATUS_INVALID_ARGUMENT, "must be an object");
    static int (*const checks[])(json_object *, struct error *) = {
        check_process, check_root, check_mounts, check_linux, check_annotations,
    };
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        if (checks[i](spec, err) < 0)
            return -1;
    }
    return 0;
}

json_object *oci_spec_parse(const void *data, size_t len, struct error *err)
{
    if (len > OCI_SPEC_MAX) {
        error_set(err, STATUS_INVALID_ARGUMENT, SPEC_FILE ": over %u bytes", OCI_SPEC_MAX);
        return NULL;
    }
    _cleanup_json_ json_object *spec = json_parse(data, len, SPEC_FILE, err);
    if (!spec)
        return NULL;
    if (check_spec(spec, err) < 0) {
        error_wrap(err, SPEC_FILE);
        return NULL;
    }
    return take_ptr(spec);
}

json_object *oci_spec_load(const char *bundle, struct error *err)
{
    _cleanup_close_ int fd = open(bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        error_errno(err, errno, "%s", bundle);
        return NULL;
    }
    _cleanup_(buf_free) struct buf text;
    buf_init(&text, OCI_SPEC_MAX);
    int r = file_read_at(fd, SPEC_FILE, &text);
    if (r < 0) {
        error_errno(err, r, "%s/" SPEC_FILE, bundle);
        return NULL;
    }
    json_object *spec = oci_spec_parse(text.data, text.len, err);
    if (!spec)
        error_wrap(err, "%s", bundle);
    return spec;
}

int oci_spec_store(json_object *spec, const char *bundle, struct error *err)
{
    size_t len = 0;
    const char *text = json_object_to_json_string_length(
        spec, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    if (!text)
        return error_errno(err, ENOMEM, "%s/" SPEC_FILE, bundle);
    _cleanup_close_ int fd = open(bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, errno, "%s", bundle);
    struct stat st;
    if (fstatat(fd, SPEC_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_errno(err, errno, "%s/" SPEC_FILE, bundle);
    int r = file_write_atomic_at(fd, SPEC_FILE, text, len, st.st_mode & 0777);
    return r < 0 ? error_errno(err, r, "%s/" SPEC_FILE, bundle) : 0;
}

// The value of key in the object `outer` of the spec, if it is a string.
static const char *string_at(json_object *spec, const char *outer, const char *key)
{
    json_object *obj = NULL;
    const char *value = NULL;
    if (json_get_object(spec, outer, &obj, NULL) < 0 || !obj ||
        json_get_string(obj, key, &value, NULL) < 0)
        return NULL;
    return value;
}

const char *oci_spec_annotation(json_object *spec, const char *key)
{
    return string_at(spec, "annotations", key);
}

const char *oci_spec_sandbox_id(json_object *spec)
{
    return oci_spec_annotation(spec, SANDBOX_ID_KEY);
}

const char *oci_spec_container_name(json_object *spec)
{
    return oci_spec_annotation(spec, CONTAINER_NAME_KEY);
}

const char *oci_spec_cgroups_path(json_object *spec)
{
    return string_at(spec, "linux", "cgroupsPath");
}

int oci_spec_set_cgroups_path(json_object *spec, const char *path)
{
    json_object *lin = NULL, *value = json_object_new_string(path);
    if (value && json_get_object(spec, "linux", &lin, NULL) == 0 && lin &&
        json_object_object_add(lin, "cgroupsPath", value) == 0)
        return 0;
    json_object_put(value);
    return -ENOMEM;
}

const char *oci_spec_root_path(json_object *spec)
{
    return string_at(spec, "root", "path");
}

int oci_spec_set_root_path(json_object *spec, const char *path)
{
    json_object *root = NULL;
    json_object *value = json_object_new_string(path);
    if (value && json_get_object(spec, "root", &root, NULL) == 0 && root &&
        json_object_object_add(root, "path", value) == 0)
        return 0;
    json_object_put(value);
    return -ENOMEM;
}

bool oci_spec_root_readonly(json_object *spec)
{
    json_object *root = NULL;
    bool readonly = false;
    if (json_get_object(spec, "root", &root, NULL) < 0 || !root ||
        json_get_bool(root, "readonly", &readonly, NULL) < 0)
        return false;
    return readonly;
}

bool oci_spec_has_hooks(json_object *spec)
{
    json_object *hooks = NULL;
    return json_get_object(spec, "hooks", &hooks, NULL) < 0 ||
           (hooks && json_object_object_length(hooks) > 0);
}

bool oci_spec_private_pid(json_object *spec)
{
    json_object *lin = NULL, *namespaces = NULL;
    if (json_get_object(spec, "linux", &lin, NULL) < 0 || !lin ||
        json_get_array(lin, "namespaces", &namespaces, NULL) < 0 || !namespaces)
        return false;
    for (size_t i = 0; i < json_object_array_length(namespaces); i++) {
        json_object *ns = json_object_array_get_idx(namespaces, i);
        const char *type = NULL, *path = NULL;
        if (json_get_string(ns, "type", &type, NULL) < 0 ||
            json_get_string(ns, "path", &path, NULL) < 0)
            continue;
        if (type && strcmp(type, "pid") == 0)
            return !path || !*path;
    }
    return false;
}

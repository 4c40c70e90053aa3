#include "plugin.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "worker/preload.h"

// More than anybody installs.
#define PLUGINS_MAX 64

static bool loaded;

void plugin_load_all(void)
{
    WasmEdge_LogOff(); // it would be the container's output
    WasmEdge_PluginLoadWithDefaultPaths();
    loaded = true;
}

// ---- what there is ------------------------------------------------------------------------------

int plugin_advise(struct error *err)
{
    WasmEdge_String names[PLUGINS_MAX];
    char text[256] = "";
    size_t used = 0;
    if (!loaded)
        return error_set(err, err->status,
                         "%s; plugins of WasmEdge are off on this node (wasmedge_plugins)",
                         err->text);
    uint32_t n = WasmEdge_PluginListPlugins(names, PLUGINS_MAX);
    for (uint32_t i = 0; i < n && i < PLUGINS_MAX && used < sizeof(text); i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%.*s", i ? ", " : "",
                                 (int)names[i].Length, names[i].Buf);
    return error_set(err, err->status, "%s; plugins of WasmEdge that are installed: %s", err->text,
                     n ? text : "none");
}

static WasmEdge_String string_of(const char *text)
{
    return WasmEdge_StringWrap(text, (uint32_t)strlen(text));
}

// Whether the program imports from a module of this name, or from any other.
static bool imports_from(const WasmEdge_ASTModuleContext *program, WasmEdge_String name, bool it)
{
    uint32_t n = WasmEdge_ASTModuleListImportsLength(program);
    const WasmEdge_ImportTypeContext **list = calloc(n + 1, sizeof(*list));
    bool found = false;
    n = list ? WasmEdge_ASTModuleListImports(program, list, n) : 0;
    for (uint32_t i = 0; i < n && !found; i++)
        found = WasmEdge_StringIsEqual(WasmEdge_ImportTypeGetModuleName(list[i]), name) == it;
    free(list);
    return found;
}

// ---- a model ------------------------------------------------------------------------------------

// All that is behind the third colon is a path, or is several.
static int check_model(const char *preload, struct error *err)
{
    char path[PATH_MAX];
    const char *at = preload;
    for (int i = 0; i < 3; i++)
        at = strchr(at, ':') + 1;
    if (access(at, R_OK) == 0)
        return 0;
    for (size_t n; *at; at += n + (at[n] == ':')) {
        n = strcspn(at, ":");
        int r = path_format(path, sizeof(path), "%.*s", (int)n, at);
        if (r == 0 && access(path, R_OK) < 0)
            r = -errno;
        if (r < 0)
            return error_set(err, STATUS_FAILED_PRECONDITION,
                             PRELOAD_NAME ": %.200s in the container: %s", path, strerror(-r));
    }
    return 0;
}

static int preload(const char *text, struct error *err)
{
    if (!WasmEdge_PluginFind(string_of("wasi_nn")))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         PRELOAD_NAME ": WasmEdge's plugin wasi_nn is not installed on this node "
                                      "(in the directory wasmedge beside libwasmedge)");
    if (check_model(text, err) < 0)
        return -1;
    WasmEdge_PluginInitWASINN(&text, 1);
    return 0;
}

// ---- modules ------------------------------------------------------------------------------------

const WasmEdge_ModuleInstanceContext *plugin_find(const struct plugin_modules *m,
                                                  WasmEdge_String name)
{
    for (size_t i = 0; i < m->n; i++) {
        if (WasmEdge_StringIsEqual(WasmEdge_ModuleInstanceGetModuleName(m->list[i]), name))
            return m->list[i];
    }
    return NULL;
}

// What a module is called where it is imported is known when it is made.
static void make_of(struct plugin_modules *m, const WasmEdge_PluginContext *plugin,
                    const WasmEdge_ASTModuleContext *program, WasmEdge_String but)
{
    WasmEdge_String names[PLUGIN_MODULES_MAX];
    uint32_t n = WasmEdge_PluginListModule(plugin, names, PLUGIN_MODULES_MAX);
    for (uint32_t i = 0; i < n && i < PLUGIN_MODULES_MAX && m->n < PLUGIN_MODULES_MAX; i++) {
        WasmEdge_ModuleInstanceContext *made = WasmEdge_PluginCreateModule(plugin, names[i]);
        if (!made)
            continue;
        WasmEdge_String name = WasmEdge_ModuleInstanceGetModuleName(made);
        if (!WasmEdge_StringIsEqual(name, but) && imports_from(program, name, true) &&
            !plugin_find(m, name))
            m->list[m->n++] = made;
        else
            WasmEdge_ModuleInstanceDelete(made);
    }
}

int plugin_make(struct plugin_modules *m, const WasmEdge_ASTModuleContext *program,
                WasmEdge_String but, const char *nn_preload, struct error *err)
{
    WasmEdge_String names[PLUGINS_MAX];
    if (!loaded || !imports_from(program, but, false))
        return 0;
    if (nn_preload && preload(nn_preload, err) < 0)
        return -1;
    uint32_t n = WasmEdge_PluginListPlugins(names, PLUGINS_MAX);
    for (uint32_t i = 0; i < n && i < PLUGINS_MAX; i++)
        make_of(m, WasmEdge_PluginFind(names[i]), program, but);
    return 0;
}

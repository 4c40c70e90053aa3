// WasmEdge by its C API.
//
// Code is what its compiler makes (LLVM, and a linker that writes files): the module itself with
// one more section, in which the native code is. The other form that there is, a shared library,
// would run its own constructors, before anything is checked. A library without the compiler, and
// a module with instructions that the compiler does not know, are interpreted, and nothing is kept.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <wasmedge/wasmedge.h>

#include "base/cleanup.h"
#include "engine/engine.h"
#include "plugin.h"
#include "sections.h"
#include "stack.h"

#define PAGE 65536u
// More parameters, or results, than any function of WASI has.
#define TYPES_MAX 16
// How an import is called in a text.
#define IMPORT_MAX 200

struct loaded {
    WasmEdge_ConfigureContext *config;
    WasmEdge_ASTModuleContext *module;
    const uint8_t *bytes;
    size_t len;
    bool kept; // bytes are what the compiler has made
    WasmEdge_StoreContext *store;
    WasmEdge_ExecutorContext *executor;
    WasmEdge_ModuleInstanceContext *wasi;
    struct plugin_modules plugins;
};

static const char *version(void)
{
    return WasmEdge_VersionGet();
}

static int failed(WasmEdge_Result r, enum status status, const char *what, struct error *err)
{
    return error_set(err, status, "%s: %s", what, WasmEdge_ResultGetMessage(r));
}

// ---- parsing ------------------------------------------------------------------------------------

// They change together: code that is compiled in another way has another name.
#define OPTIONS      "o2"
#define OPTIMIZATION WasmEdge_CompilerOptimizationLevel_O2

static struct loaded *loaded_new(void)
{
    struct loaded *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    WasmEdge_LogOff(); // it would be the container's output
    l->config = WasmEdge_ConfigureCreate();
#if WASMEDGE_VERSION_MINOR >= 17 // before, compiled code was run wherever it was
    WasmEdge_ConfigureSetRunMode(l->config, WasmEdge_RunMode_AOT);
#endif
    WasmEdge_ConfigureCompilerSetOutputFormat(l->config, WasmEdge_CompilerOutputFormat_Wasm);
    WasmEdge_ConfigureCompilerSetOptimizationLevel(l->config, OPTIMIZATION);
    return l;
}

static int parse(struct loaded *l, struct error *err)
{
    WasmEdge_LoaderContext *loader = WasmEdge_LoaderCreate(l->config);
    WasmEdge_ValidatorContext *validator = WasmEdge_ValidatorCreate(l->config);
    WasmEdge_Result r = WasmEdge_LoaderParseFromBytes(
        loader, &l->module, WasmEdge_BytesWrap(l->bytes, (uint32_t)l->len));
    if (WasmEdge_ResultOK(r))
        r = WasmEdge_ValidatorValidate(validator, l->module);
    WasmEdge_LoaderDelete(loader);
    WasmEdge_ValidatorDelete(validator);
    if (WasmEdge_ResultOK(r))
        return 0;
    return l->kept ? failed(r, STATUS_INTERNAL, "compiled code is damaged: empty the cache", err)
                   : failed(r, STATUS_INVALID_ARGUMENT, "no WebAssembly module", err);
}

// ---- loading ------------------------------------------------------------------------------------

// Maps it.
static void *restore_apart(int fd)
{
    struct stat st;
    struct loaded *l = loaded_new();
    if (!l || fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > UINT32_MAX)
        return NULL;
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return NULL;
    l->bytes = bytes;
    l->len = (size_t)st.st_size;
    l->kept = true;
    return sections_end_with_code(l->bytes, l->len) ? l : NULL;
}

static void *restore(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? NULL : restore_apart(fd);
}

static struct loaded *load(const uint8_t *bytes, size_t len, struct error *err)
{
    // Component model, binary format: a version, and the layer 1.
    static const uint8_t component[] = {0x0d, 0, 1, 0};
    if (memcmp(bytes + 4, component, sizeof(component)) == 0) {
        error_set(err, STATUS_UNIMPLEMENTED,
                  "a component: WasmEdge runs no components here; use wasmtime");
        return NULL;
    }
    struct loaded *l = loaded_new();
    if (!l) {
        error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
        return NULL;
    }
    l->bytes = sections_without_code(bytes, len, &l->len, err);
    return l->bytes ? l : NULL;
}

static void *compile(const void *bytes, size_t len, struct error *err)
{
    return load(bytes, len, err);
}

// ---- compiling ----------------------------------------------------------------------------------

static int copy_file(const char *path, int to, struct error *err)
{
    static char data[65536];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof(data));
    for (; n > 0; n = read(fd, data, sizeof(data))) {
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(to, data + done, (size_t)(n - done));
            if (w < 0)
                return error_errno(err, errno, "compiled code");
            done += w;
        }
    }
    return n < 0 ? error_errno(err, errno, "compiled code") : 0;
}

// Not compiled in, or an instruction that the compiler does not know.
static bool is_beyond_compiler(uint32_t code)
{
#if WASMEDGE_VERSION_MINOR >= 16
    if (code == WasmEdge_ErrCode_AOTNotImpl)
        return true;
#endif
    return code == WasmEdge_ErrCode_AOTDisabled;
}

static int compile_apart(const void *bytes, size_t len, int fd, struct error *err)
{
    static const char path[] = "/code.wasm"; // others are made beside it
    struct loaded *l = load(bytes, len, err);
    if (!l || parse(l, err) < 0)
        return -1;
    WasmEdge_CompilerContext *compiler = WasmEdge_CompilerCreate(l->config);
    if (!compiler)
        return 0;
    WasmEdge_Result r = WasmEdge_CompilerCompileFromBytes(
        compiler, WasmEdge_BytesWrap(l->bytes, (uint32_t)l->len), path);
    if (is_beyond_compiler(WasmEdge_ResultGetCode(r)))
        return 0;
    if (!WasmEdge_ResultOK(r))
        return failed(r, STATUS_INTERNAL, "WasmEdge cannot compile it", err);
    return copy_file(path, fd, err) < 0 ? -1 : 1;
}

static int save(void *module, int fd)
{
    return -ENODATA;
}

// ---- linking ------------------------------------------------------------------------------------

static uint32_t count(char *const *list)
{
    uint32_t n = 0;
    while (list[n])
        n++;
    return n;
}

static int make_wasi(struct loaded *l, const struct engine_program *p, struct error *err)
{
    static const char *const root[] = {"/:/"};
    const int32_t root_fd = 3; // the first after the standard ones
    uint64_t handle = 0;
    l->wasi =
        WasmEdge_ModuleInstanceCreateWASI((const char *const *)p->args, count(p->args),
                                          (const char *const *)p->env, count(p->env), root, 1);
    if (!l->wasi || WasmEdge_ModuleInstanceWASIGetNativeHandler(l->wasi, root_fd, &handle) != 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the container's root cannot be opened: its user may not read it");
    return 0;
}

static bool same_types(const WasmEdge_ValType *a, uint32_t n_a, const WasmEdge_ValType *b,
                       uint32_t n_b)
{
    bool same = n_a == n_b && n_a <= TYPES_MAX;
    for (uint32_t i = 0; same && i < n_a; i++)
        same = WasmEdge_ValTypeIsEqual(a[i], b[i]);
    return same;
}

static bool same_function(const WasmEdge_FunctionTypeContext *a,
                          const WasmEdge_FunctionTypeContext *b)
{
    WasmEdge_ValType types_a[TYPES_MAX], types_b[TYPES_MAX];
    return same_types(types_a, WasmEdge_FunctionTypeGetParameters(a, types_a, TYPES_MAX), types_b,
                      WasmEdge_FunctionTypeGetParameters(b, types_b, TYPES_MAX)) &&
           same_types(types_a, WasmEdge_FunctionTypeGetReturns(a, types_a, TYPES_MAX), types_b,
                      WasmEdge_FunctionTypeGetReturns(b, types_b, TYPES_MAX));
}

static bool is_wasi(const struct loaded *l, WasmEdge_String module)
{
    return WasmEdge_StringIsEqual(module, WasmEdge_ModuleInstanceGetModuleName(l->wasi));
}

// There is nothing but functions, of WASI and of plugins.
static bool is_offered(const struct loaded *l, const WasmEdge_ImportTypeContext *import)
{
    WasmEdge_String module = WasmEdge_ImportTypeGetModuleName(import);
    const WasmEdge_ModuleInstanceContext *from =
        is_wasi(l, module) ? l->wasi : plugin_find(&l->plugins, module);
    if (!from || WasmEdge_ImportTypeGetExternalType(import) != WasmEdge_ExternalType_Function)
        return false;
    const WasmEdge_FunctionInstanceContext *function =
        WasmEdge_ModuleInstanceFindFunction(from, WasmEdge_ImportTypeGetExternalName(import));
    return function && same_function(WasmEdge_ImportTypeGetFunctionType(l->module, import),
                                     WasmEdge_FunctionInstanceGetFunctionType(function));
}

static int refuse_import(const struct loaded *l, const WasmEdge_ImportTypeContext *import,
                         struct error *err)
{
    WasmEdge_String from = WasmEdge_ImportTypeGetModuleName(import),
                    name = WasmEdge_ImportTypeGetExternalName(import);
    error_set(err, STATUS_FAILED_PRECONDITION,
              "imports that nobody offers: %.*s::%.*s, in this form",
              (int)(from.Length < IMPORT_MAX ? from.Length : IMPORT_MAX), from.Buf,
              (int)(name.Length < IMPORT_MAX ? name.Length : IMPORT_MAX), name.Buf);
    return is_wasi(l, from) ? -1 : plugin_advise(err);
}

static int check_imports(const struct loaded *l, struct error *err)
{
    uint32_t n = WasmEdge_ASTModuleListImportsLength(l->module);
    const WasmEdge_ImportTypeContext **list = calloc(n + 1, sizeof(*list));
    int r = list ? 0 : error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
    n = list ? WasmEdge_ASTModuleListImports(l->module, list, n) : 0;
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = is_offered(l, list[i]) ? 0 : refuse_import(l, list[i], err);
    free(list);
    return r;
}

static WasmEdge_String start_name(void)
{
    static const char name[] = "_start";
    return WasmEdge_StringWrap(name, (uint32_t)strlen(name));
}

// What a program must export (WASI's application ABI: a command).
static int check_start(const struct loaded *l, struct error *err)
{
    uint32_t n = WasmEdge_ASTModuleListExportsLength(l->module);
    const WasmEdge_ExportTypeContext **list = calloc(n + 1, sizeof(*list));
    bool found = false;
    n = list ? WasmEdge_ASTModuleListExports(l->module, list, n) : 0;
    for (uint32_t i = 0; i < n && !found; i++)
        found = WasmEdge_ExportTypeGetExternalType(list[i]) == WasmEdge_ExternalType_Function &&
                WasmEdge_StringIsEqual(WasmEdge_ExportTypeGetExternalName(list[i]), start_name());
    free(list);
    if (!found)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "no command: the module exports no function _start; build a program, not "
                         "a library");
    return 0;
}

static int register_all(const struct loaded *l, struct error *err)
{
    WasmEdge_Result r = WasmEdge_ExecutorRegisterImport(l->executor, l->store, l->wasi);
    if (!WasmEdge_ResultOK(r))
        return failed(r, STATUS_INTERNAL, "WASI", err);
    for (size_t i = 0; i < l->plugins.n; i++) {
        r = WasmEdge_ExecutorRegisterImport(l->executor, l->store, l->plugins.list[i]);
        if (!WasmEdge_ResultOK(r))
            return failed(r, STATUS_INTERNAL, "a plugin's module", err);
    }
    return 0;
}

// Plugins open files as the container would.
static int make_plugins(struct loaded *l, const struct engine_program *p, struct error *err)
{
    if (p->nn_preload && chdir(p->cwd) < 0)
        return error_errno(err, errno, "process.cwd %s", p->cwd);
    return plugin_make(&l->plugins, l->module, WasmEdge_ModuleInstanceGetModuleName(l->wasi),
                       p->nn_preload, err);
}

static int link_module(void *module, const struct engine_program *p, struct error *err)
{
    struct loaded *l = module;
    if (parse(l, err) < 0)
        return -1;
    if (p->memory_max && p->memory_max / PAGE < WasmEdge_ConfigureGetMaxMemoryPage(l->config))
        WasmEdge_ConfigureSetMaxMemoryPage(l->config, (uint32_t)(p->memory_max / PAGE));
    l->executor = WasmEdge_ExecutorCreate(l->config, NULL);
    l->store = WasmEdge_StoreCreate();
    if (make_wasi(l, p, err) < 0 || make_plugins(l, p, err) < 0 || check_imports(l, err) < 0 ||
        check_start(l, err) < 0)
        return -1;
    return register_all(l, err);
}

// ---- running ------------------------------------------------------------------------------------

static int signal_of(uint32_t code)
{
    switch (code) {
    case WasmEdge_ErrCode_MemoryOutOfBounds:
    case WasmEdge_ErrCode_TableOutOfBounds:
        return SIGSEGV;
    case WasmEdge_ErrCode_IntegerOverflow:
    case WasmEdge_ErrCode_DivideByZero:
    case WasmEdge_ErrCode_InvalidConvToInt:
        return SIGFPE;
    case WasmEdge_ErrCode_Unreachable:
        return SIGILL;
    default:
        return SIGABRT;
    }
}

static int run(void *module)
{
    struct loaded *l = module;
    WasmEdge_ModuleInstanceContext *instance = NULL;
    stack_watch(l->executor);
    WasmEdge_Result r = WasmEdge_ExecutorInstantiate(l->executor, &instance, l->store, l->module);
    // It may have left from what a module does when it is instantiated.
    if (WasmEdge_ResultOK(r) && WasmEdge_ResultGetCode(r) != WasmEdge_ErrCode_Terminated) {
        stack_watch(l->executor);
        r = WasmEdge_ExecutorInvoke(l->executor,
                                    WasmEdge_ModuleInstanceFindFunction(instance, start_name()),
                                    NULL, 0, NULL, 0);
    }
    if (WasmEdge_ResultOK(r))
        return (int)(WasmEdge_ModuleInstanceWASIGetExitCode(l->wasi) & 0xff);
    fprintf(stderr, "wasm trap: %s\n", WasmEdge_ResultGetMessage(r));
    return 128 + signal_of(WasmEdge_ResultGetCode(r));
}

static const struct engine_ops wasmedge = {
    .built_as = ENGINE_BUILT_AS,
    .name = "wasmedge",
    .version = version,
    .options = OPTIONS,
    .load_plugins = plugin_load_all,
    .restore = restore,
    .compile_apart = compile_apart,
    .restore_apart = restore_apart,
    .compile = compile,
    .save = save,
    .link = link_module,
    .run = run,
};

const struct engine_ops *const kuasar_engine = &wasmedge;

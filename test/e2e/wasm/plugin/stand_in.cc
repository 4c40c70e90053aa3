// A stand-in for a plugin of WasmEdge: a module that tells a number, and what rights its process
// has. With STAND_IN_NN it is called as WASI-NN's plugin is, and is none: it tells what it was to
// preload.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <unistd.h>

#include <wasmedge/wasmedge.h>

#ifdef STAND_IN_NN
#define PLUGIN "wasi_nn"
#define MODULE "wasi_ephemeral_nn"
#else
#define PLUGIN "kuasar_stand_in"
#define MODULE "kuasar_stand_in_module"
#endif

namespace
{

// WasmEdge_PluginInitWASINN puts a vector where the option's value is, whatever type that has; one
// byte is the least that the option's default does to it before.
std::vector<std::string> models;
const int8_t nothing = 0;

WasmEdge_Result answer(void *, const WasmEdge_CallingFrameContext *, const WasmEdge_Value *,
                       WasmEdge_Value *out)
{
    for (const std::string &model : models) {
        const std::string line = model + "\n";
        if (write(STDOUT_FILENO, line.data(), line.size()) < 0)
            return WasmEdge_Result_Fail;
    }
    out[0] = WasmEdge_ValueGenI32(42);
    return WasmEdge_Result_Success;
}

// Bits: 1: it may change its root; 2: it sees the node's files.
WasmEdge_Result rights(void *, const WasmEdge_CallingFrameContext *, const WasmEdge_Value *,
                       WasmEdge_Value *out)
{
    out[0] = WasmEdge_ValueGenI32((chroot("/") == 0 ? 1 : 0) |
                                  (access("/etc/kuasar-node", F_OK) == 0 ? 2 : 0));
    return WasmEdge_Result_Success;
}

WasmEdge_String string_of(const char *text)
{
    return WasmEdge_StringWrap(text, static_cast<uint32_t>(strlen(text)));
}

void add(WasmEdge_ModuleInstanceContext *module, const char *name, WasmEdge_HostFunc_t call)
{
    const WasmEdge_ValType number = WasmEdge_ValTypeGenI32();
    WasmEdge_FunctionTypeContext *type = WasmEdge_FunctionTypeCreate(nullptr, 0, &number, 1);
    WasmEdge_ModuleInstanceAddFunction(module, string_of(name),
                                       WasmEdge_FunctionInstanceCreate(type, call, nullptr, 0));
    WasmEdge_FunctionTypeDelete(type);
}

WasmEdge_ModuleInstanceContext *create(const WasmEdge_ModuleDescriptor *)
{
    WasmEdge_ModuleInstanceContext *module = WasmEdge_ModuleInstanceCreate(string_of(MODULE));
    add(module, "answer", answer);
    add(module, "rights", rights);
    return module;
}

WasmEdge_ModuleDescriptor modules[] = {{PLUGIN, "a stand-in", create}};
WasmEdge_ProgramOption options[] = {
    {"nn-preload", "models", WasmEdge_ProgramOptionType_Int8, &models, &nothing}};
const WasmEdge_PluginDescriptor plugin = {
    PLUGIN, "a stand-in", WasmEdge_Plugin_CurrentAPIVersion, {0, 0, 0, 1}, 1, 1, modules, options};

} // namespace

const WasmEdge_PluginDescriptor *WasmEdge_Plugin_GetDescriptor(void)
{
    return &plugin;
}

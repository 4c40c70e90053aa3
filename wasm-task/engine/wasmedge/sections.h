// Sections of a module, as far as WasmEdge's compiled code is concerned: that is the module itself
// with one more custom section, which has a name of its own and is the last one.
#ifndef WASM_ENGINE_WASMEDGE_SECTIONS_H
#define WASM_ENGINE_WASMEDGE_SECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

// Of a module: magic number and version.
#define SECTIONS_HEADER 8

// A copy of the module, of *ret_len bytes and the caller's to free, without sections of compiled
// code: they would be believed, and be kept as ours. Looks at nothing else, and not at the header
// (len is at least SECTIONS_HEADER). NULL on error: INVALID_ARGUMENT for a section that is longer
// than what is left of the file, RESOURCE_EXHAUSTED.
uint8_t *sections_without_code(const uint8_t *bytes, size_t len, size_t *ret_len,
                               struct error *err);
// What the compiler writes: a module's header, and sections to the end of the file, the last of
// which is code.
bool sections_end_with_code(const uint8_t *bytes, size_t len);

#endif

# Wasmtime's C API: the target Wasmtime::Wasmtime, and WASMTIME_LIBRARY. -DWasmtime_ROOT=<where the C API
# was unpacked> finds it beside the usual places.
find_path(WASMTIME_INCLUDE_DIR wasmtime.h)
find_library(WASMTIME_LIBRARY wasmtime)
mark_as_advanced(WASMTIME_INCLUDE_DIR WASMTIME_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Wasmtime REQUIRED_VARS WASMTIME_LIBRARY WASMTIME_INCLUDE_DIR)

if(Wasmtime_FOUND AND NOT TARGET Wasmtime::Wasmtime)
  add_library(Wasmtime::Wasmtime SHARED IMPORTED)
  # The library has no soname; without the second property its path at build time would be looked for at run time.
  set_target_properties(Wasmtime::Wasmtime PROPERTIES
    IMPORTED_LOCATION "${WASMTIME_LIBRARY}"
    IMPORTED_NO_SONAME TRUE
    INTERFACE_INCLUDE_DIRECTORIES "${WASMTIME_INCLUDE_DIR}")
endif()

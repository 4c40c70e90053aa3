# WasmEdge's C API: the target WasmEdge::WasmEdge, and WASMEDGE_LIBRARY. -DWasmEdge_ROOT=<where it was
# installed> finds it beside the usual places.
find_path(WASMEDGE_INCLUDE_DIR wasmedge/wasmedge.h)
find_library(WASMEDGE_LIBRARY wasmedge)
mark_as_advanced(WASMEDGE_INCLUDE_DIR WASMEDGE_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(WasmEdge REQUIRED_VARS WASMEDGE_LIBRARY WASMEDGE_INCLUDE_DIR)

if(WasmEdge_FOUND AND NOT TARGET WasmEdge::WasmEdge)
  add_library(WasmEdge::WasmEdge SHARED IMPORTED)
  set_target_properties(WasmEdge::WasmEdge PROPERTIES
    IMPORTED_LOCATION "${WASMEDGE_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${WASMEDGE_INCLUDE_DIR}")
endif()

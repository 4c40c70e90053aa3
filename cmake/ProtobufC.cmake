# kuasar_protobuf_c(TARGET LAYER a.proto ...): C code from .proto files, made at build time and included
# as "LAYER/a.pb-c.h". The generated code is not held to our warnings.
find_program(PROTOC_C protoc-c REQUIRED)

function(kuasar_protobuf_c target layer)
  set(root "${CMAKE_BINARY_DIR}/generated/${layer}")
  set(out "${root}/${layer}")
  file(MAKE_DIRECTORY "${out}")
  set(sources)
  foreach(proto IN LISTS ARGN)
    get_filename_component(stem "${proto}" NAME_WE)
    get_filename_component(dir "${CMAKE_CURRENT_SOURCE_DIR}/${proto}" DIRECTORY)
    add_custom_command(
      OUTPUT "${out}/${stem}.pb-c.c" "${out}/${stem}.pb-c.h"
      COMMAND "${PROTOC_C}" --c_out=${out} --proto_path=${dir} "${dir}/${stem}.proto"
      DEPENDS "${proto}" VERBATIM)
    list(APPEND sources "${out}/${stem}.pb-c.c")
  endforeach()
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "-w")
  add_custom_target(${target}_protos DEPENDS ${sources})
  target_sources(${target} PRIVATE ${sources})
  # Generated sources include each other by bare name, everybody else as "layer/name.pb-c.h".
  target_include_directories(${target} SYSTEM PUBLIC "${root}" PRIVATE "${out}")
  set_property(GLOBAL APPEND PROPERTY kuasar_generated ${target}_protos)
endfunction()

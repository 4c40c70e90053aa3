# kuasar_layer(NAME SOURCES a.c b.c USES base event LIBS libev ... PROTOS x.proto)
#
# One folder of libsandbox is one target `sb_NAME`. Headers are included as "NAME/header.h". The
# include path of a layer holds that layer alone (a link in the build tree), and a layer sees the paths
# of the layers that it USES, so an arrow that points upwards does not compile.
function(kuasar_layer name)
  cmake_parse_arguments(arg "" "" "SOURCES;USES;LIBS;PROTOS" ${ARGN})
  set(target sb_${name})
  set(include_root "${CMAKE_BINARY_DIR}/include/${name}")
  file(MAKE_DIRECTORY "${include_root}")
  file(CREATE_LINK "${CMAKE_CURRENT_SOURCE_DIR}" "${include_root}/${name}" SYMBOLIC)

  add_library(${target} STATIC ${arg_SOURCES})
  target_include_directories(${target} PUBLIC "${include_root}")
  foreach(lower IN LISTS arg_USES)
    target_link_libraries(${target} PUBLIC sb_${lower})
  endforeach()
  target_link_libraries(${target} PRIVATE kuasar_options PUBLIC ${arg_LIBS})
  if(arg_PROTOS)
    kuasar_protobuf_c(${target} ${name} ${arg_PROTOS})
  endif()
  set_property(GLOBAL APPEND PROPERTY kuasar_layers ${target})
endfunction()

# kuasar_program(NAME [DESTINATION dir] [COMPONENT name] SOURCES ...): an installed program that links libsandbox. With a
# component it is installed only where that is asked for (cmake --install DIR --component name).
function(kuasar_program name)
  cmake_parse_arguments(arg "" "DESTINATION;COMPONENT" "SOURCES" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE sandbox kuasar_options kuasar_version)
  if(NOT arg_DESTINATION)
    set(arg_DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
  if(arg_COMPONENT)
    install(TARGETS ${name} RUNTIME DESTINATION ${arg_DESTINATION} COMPONENT ${arg_COMPONENT} EXCLUDE_FROM_ALL)
  else()
    install(TARGETS ${name} RUNTIME DESTINATION ${arg_DESTINATION})
  endif()
endfunction()

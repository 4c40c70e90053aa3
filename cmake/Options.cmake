# Flags of every target: language level, warnings, hardening, sanitizers. One INTERFACE library, so
# that a target says `target_link_libraries(x PRIVATE kuasar_options)` and nothing else.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(KUASAR_STATIC)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
endif()

add_library(kuasar_options INTERFACE)
target_compile_definitions(kuasar_options INTERFACE _GNU_SOURCE)

set(kuasar_warnings
  -Wall -Wextra
  -Wformat=2             # format strings that are not literals
  -Wshadow               # a name that hides another
  -Wvla                  # stack use that a peer could steer
  -Wundef
  -Wwrite-strings
  -Wpointer-arith
  -Wcast-align
  -Wno-unused-parameter) # callbacks have the signature that they have
set(kuasar_warnings_c
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla
  -Wimplicit-fallthrough)
target_compile_options(kuasar_options INTERFACE
  ${kuasar_warnings} "$<$<COMPILE_LANGUAGE:C>:${kuasar_warnings_c}>")
if(KUASAR_WERROR)
  target_compile_options(kuasar_options INTERFACE -Werror)
endif()

# Hardening: stack protector, no lazy binding, position independent programs.
target_compile_options(kuasar_options INTERFACE -fstack-protector-strong -fstack-clash-protection)
target_link_options(kuasar_options INTERFACE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed)
include(CheckPIESupported)
check_pie_supported()

if(KUASAR_SANITIZE)
  target_compile_options(kuasar_options INTERFACE
    -fsanitize=${KUASAR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(kuasar_options INTERFACE -fsanitize=${KUASAR_SANITIZE})
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  # _FORTIFY_SOURCE needs optimisation and gets in the sanitizers' way.
  target_compile_options(kuasar_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(KUASAR_COVERAGE)
  target_compile_options(kuasar_options INTERFACE --coverage)
  target_link_options(kuasar_options INTERFACE --coverage)
endif()
if(KUASAR_FUZZ)
  # Every object is instrumented; the fuzzers themselves link the engine.
  target_compile_options(kuasar_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

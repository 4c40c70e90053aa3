# What --version prints: the project's version and the commit: -DKUASAR_COMMIT, or what git says (else "unknown").
set(KUASAR_COMMIT "" CACHE STRING "The commit that this is, where git does not know it")
find_package(Git QUIET)
set(kuasar_git "${KUASAR_COMMIT}")
if(Git_FOUND AND NOT kuasar_git)
  execute_process(COMMAND "${GIT_EXECUTABLE}" describe --always --dirty --abbrev=12
    WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}" OUTPUT_VARIABLE kuasar_git
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT kuasar_git) # an archive, or a checkout that git takes for somebody else's
  set(kuasar_git "unknown")
endif()
set(KUASAR_SYSCONFDIR "/etc/kuasar" CACHE PATH "Where the daemons look for their configuration")
add_library(kuasar_version INTERFACE)
target_compile_definitions(kuasar_version INTERFACE
  KUASAR_VERSION="${PROJECT_VERSION}" KUASAR_COMMIT="${kuasar_git}"
  KUASAR_LIBDIR="${CMAKE_INSTALL_FULL_LIBDIR}/kuasar"
  KUASAR_LIBEXECDIR="${CMAKE_INSTALL_FULL_LIBEXECDIR}/kuasar"
  KUASAR_SYSCONFDIR="${KUASAR_SYSCONFDIR}")

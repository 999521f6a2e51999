# Every switch of the build, in one place.
set(GONIO_SANITIZE "" CACHE STRING "Sanitizers to build with: empty, address (with undefined) or thread")
set_property(CACHE GONIO_SANITIZE PROPERTY STRINGS "" address thread)
option(GONIO_TESTS "Build the tests" ON)
option(GONIO_FUZZERS "Build tests/fuzz with libFuzzer (clang) instead of the replay program" OFF)
option(GONIO_REFERENCE "Compare gonio bench with the product library that is installed" ON)
option(GONIO_WERROR "Treat warnings as errors" ON)

# AUTO builds the CUDA backend where nvcc is found and there is a GPU, or GONIO_CUDA_ARCHS says for
# which; ON insists on nvcc and nothing else.
set(GONIO_CUDA AUTO CACHE STRING "CUDA backend: AUTO, ON or OFF")
set_property(CACHE GONIO_CUDA PROPERTY STRINGS AUTO ON OFF)
set(GONIO_CUDA_ARCHS "" CACHE STRING "CUDA architectures, such as 90 or \"80-real;90\"; empty: see engine/backend/cuda/CMakeLists.txt")

# Build trees whose tests this tree's ctest runs too, under the names asan_* and tsan_* (see the
# Makefile).
set(GONIO_ASAN_TREE "" CACHE PATH "Build tree of the asan preset")
set(GONIO_TSAN_TREE "" CACHE PATH "Build tree of the tsan preset")

# Where the server looks for static/ and api/, in order: the source tree serves a build that is not
# installed.
set(GONIO_SHARE_DIRS "${PROJECT_SOURCE_DIR}:${CMAKE_INSTALL_FULL_DATADIR}/gonio"
    CACHE STRING "Folders that hold static/ and api/, separated by colons, searched in order")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug" FORCE)
endif()

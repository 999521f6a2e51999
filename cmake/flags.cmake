# Compiler flags of the whole project: what gcc 12 and clang 14 both take.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Asserts stay on in every build type; g1 keeps function and line names in backtraces and profiles.
set(CMAKE_C_FLAGS_RELEASE "-O3 -g1")
set(CMAKE_C_FLAGS_DEBUG "-O0 -g3")

add_library(gonio_flags INTERFACE)
target_compile_definitions(gonio_flags INTERFACE _GNU_SOURCE)
target_compile_options(gonio_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wundef -Wvla
  -Wformat=2 -Wwrite-strings -Wimplicit-fallthrough -Wnested-externs -Wredundant-decls -Wdate-time
  $<$<BOOL:${GONIO_WERROR}>:-Werror>
  # Rounding must not depend on what the optimiser fuses; errno and trapping are never looked at by
  # our arithmetic.
  -ffp-contract=off -fno-math-errno -fno-trapping-math
  -fstack-protector-strong
  "$<$<COMPILE_LANGUAGE:C>:SHELL:-include ${PROJECT_SOURCE_DIR}/engine/base/banned.h>")
target_link_options(gonio_flags INTERFACE -Wl,-z,relro,-z,now -Wl,--as-needed)

if(GONIO_SANITIZE STREQUAL "address")
  set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(GONIO_SANITIZE STREQUAL "thread")
  set(sanitize -fsanitize=thread)
elseif(GONIO_SANITIZE)
  message(FATAL_ERROR "GONIO_SANITIZE is '${GONIO_SANITIZE}': give address, thread or nothing")
endif()
if(GONIO_SANITIZE)
  target_compile_options(gonio_flags INTERFACE ${sanitize} -fno-omit-frame-pointer)
  target_link_options(gonio_flags INTERFACE ${sanitize})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  # Ubuntu's gcc defines it already, to another value.
  target_compile_options(gonio_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(GONIO_FUZZERS)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "GONIO_FUZZERS needs clang")
  endif()
  target_compile_options(gonio_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# The libraries of docker/packages.txt as imported targets.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(PkgConfig REQUIRED)

foreach(lib IN ITEMS libjpeg libpng libwebp libarchive zlib liblzma libzstd jansson libcrypto libmicrohttpd sqlite3)
  pkg_check_modules(${lib} REQUIRED IMPORTED_TARGET ${lib})
endforeach()
if(GONIO_TESTS)
  pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET cmocka)
endif()

# Matrix products: oneDNN on x86-64, OpenBLAS elsewhere (engine/backend/cpu/gemm.c).
add_library(gonio_products INTERFACE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  find_library(DNNL_LIBRARY dnnl REQUIRED)
  find_path(DNNL_INCLUDE_DIR dnnl.h REQUIRED)
  target_link_libraries(gonio_products INTERFACE ${DNNL_LIBRARY})
  target_include_directories(gonio_products SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
  target_compile_definitions(gonio_products INTERFACE GN_USE_DNNL=1)
else()
  pkg_check_modules(openblas REQUIRED IMPORTED_TARGET openblas)
  target_link_libraries(gonio_products INTERFACE PkgConfig::openblas)
endif()

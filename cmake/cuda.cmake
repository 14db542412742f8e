# cuda.cmake -- libdatamux_cuda.so with nvcc: one object per .cu, registers and spills of every kernel in
# cuda_resources.txt. cuBLASLt is the toolkit's, or another, as that of the Python package nvidia-cublas.
get_filename_component(toolkit ${NVCC} REALPATH)
get_filename_component(toolkit ${toolkit}/../.. ABSOLUTE)
find_path(CUBLASLT_INCLUDE cublasLt.h HINTS ${toolkit}/include ENV CUBLASLT_ROOT PATH_SUFFIXES include)
find_library(CUBLASLT_LIBRARY NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12
  HINTS ${toolkit}/lib64 ${toolkit} ENV CUBLASLT_ROOT PATH_SUFFIXES lib64 lib)
if(NOT CUBLASLT_INCLUDE OR NOT CUBLASLT_LIBRARY)
  message(WARNING "the CUDA backend is left out: cuBLASLt was not found. Install it, name the folder of its include/ and "
    "lib/ in the environment variable CUBLASLT_ROOT, or give -DDATAMUX_CUDA=OFF")
  return()
endif()
get_filename_component(cublaslt_folder ${CUBLASLT_LIBRARY} DIRECTORY)
set(nvcc_werror "")
if(DATAMUX_WERROR)
  set(nvcc_werror -Werror all-warnings)
endif()
set(gencode "")
foreach(arch IN LISTS DATAMUX_CUDA_ARCHS)
  list(APPEND gencode -gencode arch=compute_${arch},code=sm_${arch})
endforeach()
list(GET DATAMUX_CUDA_ARCHS -1 newest)
list(APPEND gencode -gencode arch=compute_${newest},code=compute_${newest})
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/cuda)
set(cuda_objects "")
set(cuda_logs "")
foreach(source IN LISTS cuda_sources)
  get_filename_component(name ${source} NAME_WE)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/cuda/${name}.o)
  set(log ${CMAKE_CURRENT_BINARY_DIR}/cuda/${name}.ptxas)
  add_custom_command(OUTPUT ${object} ${log}
    COMMAND ${CMAKE_COMMAND} -DNVCC=${NVCC} -DLOG=${log} -P ${CMAKE_CURRENT_SOURCE_DIR}/cmake/nvcc.cmake --
      -std=c++17 -O3 -Xcompiler -fPIC,-fvisibility=hidden,-fno-exceptions,-Wall,-Wextra,-Wno-unused-parameter
      ${nvcc_werror} -I${CUBLASLT_INCLUDE} -Xptxas -v ${gencode} -c ${source} -o ${object}
    DEPENDS ${source} ${cuda_headers} cmake/nvcc.cmake VERBATIM)
  list(APPEND cuda_objects ${object})
  list(APPEND cuda_logs ${log})
endforeach()
set(cuda_library ${CMAKE_CURRENT_BINARY_DIR}/libdatamux_cuda.so)
add_custom_command(OUTPUT ${cuda_library} ${resources}
  COMMAND ${NVCC} -shared -cudart static -Xlinker --exclude-libs=ALL -o ${cuda_library} ${cuda_objects}
    -Xlinker ${CUBLASLT_LIBRARY} -Xlinker -rpath=${cublaslt_folder}
  COMMAND cat ${cuda_logs} > ${resources}
  DEPENDS ${cuda_objects} ${cuda_logs} VERBATIM)
add_custom_target(datamux_cuda ALL DEPENDS ${cuda_library} ${resources})

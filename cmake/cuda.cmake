# cuda.cmake -- libdatamux_cuda.so with nvcc: one object per .cu, registers and spills of every kernel in cuda_resources.txt.
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
      -Werror all-warnings -Xptxas -v ${gencode} -c ${source} -o ${object}
    DEPENDS ${source} ${cuda_headers} cmake/nvcc.cmake VERBATIM)
  list(APPEND cuda_objects ${object})
  list(APPEND cuda_logs ${log})
endforeach()
set(cuda_library ${CMAKE_CURRENT_BINARY_DIR}/libdatamux_cuda.so)
add_custom_command(OUTPUT ${cuda_library} ${resources}
  COMMAND ${NVCC} -shared -cudart static -Xlinker --exclude-libs=ALL -o ${cuda_library} ${cuda_objects} -lcublasLt
  COMMAND cat ${cuda_logs} > ${resources}
  DEPENDS ${cuda_objects} ${cuda_logs} VERBATIM)
add_custom_target(datamux_cuda ALL DEPENDS ${cuda_library} ${resources})

# SPDX-License-Identifier: Apache-2.0
# numeric/ by itself with everything visible, for the NumPy oracles (tests/accuracy) to load with ctypes:
# as shipped, and once more without the AVX2 copies of its loops, whose results must be the same.
function(amct_add_probe name)
  add_library(${name} SHARED ${numeric_sources}
    ${PROJECT_SOURCE_DIR}/src/base/alloc.c ${PROJECT_SOURCE_DIR}/src/base/digest.c
    ${PROJECT_SOURCE_DIR}/src/base/fail.c)
  set_target_properties(${name} PROPERTIES C_VISIBILITY_PRESET default
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_compile_options(${name} PRIVATE -fno-trapping-math)
  target_link_libraries(${name} PRIVATE amct_flags m)
endfunction()

amct_add_probe(amct_probe)
amct_add_probe(amct_probe_plain)
target_compile_definitions(amct_probe_plain PRIVATE AMCT_NO_CLONES)

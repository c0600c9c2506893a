# Compiler flags, as one interface target that every target of ours links.
add_library(amct_flags INTERFACE)
target_compile_options(amct_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
  -Wcast-qual -Wwrite-strings -Wvla -Wdouble-promotion -Wno-missing-field-initializers
  # no fused multiply-adds: they move values across rounding boundaries
  -ffp-contract=off -fno-math-errno)
target_compile_definitions(amct_flags INTERFACE _GNU_SOURCE)
if(AMCT_WERROR)
  target_compile_options(amct_flags INTERFACE -Werror)
endif()
if(AMCT_DEBUG_ARENA)
  target_compile_definitions(amct_flags INTERFACE AMCT_DEBUG_ARENA)
endif()
if(AMCT_SANITIZE)
  target_compile_options(amct_flags INTERFACE -fsanitize=${AMCT_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(amct_flags INTERFACE -fsanitize=${AMCT_SANITIZE})
endif()

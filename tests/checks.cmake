# The tree's own checks (tools/), each a test.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

foreach(check layers sizes docs readme links)
  add_test(NAME check_${check}
    COMMAND ${Python3_EXECUTABLE} -B ${PROJECT_SOURCE_DIR}/tools/check_${check}.py)
endforeach()
add_test(NAME check_checks
  COMMAND ${Python3_EXECUTABLE} -B ${PROJECT_SOURCE_DIR}/tools/check_checks.py)

# What `cmake --install` and the wheel take.
if(SKBUILD)
  install(TARGETS amctcore amct_tf_ops LIBRARY DESTINATION amct_tensorflow/_lib)
  install(TARGETS amct RUNTIME DESTINATION ${SKBUILD_SCRIPTS_DIR})
  return()
endif()

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/amct)

set_target_properties(amctcore PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION 0 EXPORT_NAME amct)
install(TARGETS amctcore EXPORT amct LIBRARY INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS amct_tf_ops LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS amct RUNTIME)
install(DIRECTORY include/amct DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/cli/amct.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)

install(EXPORT amct FILE amctTargets.cmake NAMESPACE amct:: DESTINATION ${package_dir})
configure_package_config_file(cmake/amctConfig.cmake.in amctConfig.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(amctConfigVersion.cmake COMPATIBILITY SameMinorVersion)
# from the folder of amct.pc, so that the prefix may be chosen at installation
file(RELATIVE_PATH prefix_of_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/amct.pc.in amct.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/amctConfig.cmake ${PROJECT_BINARY_DIR}/amctConfigVersion.cmake
  DESTINATION ${package_dir})
install(FILES ${PROJECT_BINARY_DIR}/amct.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

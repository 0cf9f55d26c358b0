# cmake, ctest: configuring a project, building it with make, installing and testing it
mkdir s; echo 'int main(void) { return 0; }' >s/m.c; echo 'cmake_minimum_required(VERSION 3.10)
project(p C)
include(CheckIncludeFile)
check_include_file(stdio.h HAVE_STDIO)
add_executable(m m.c)
install(TARGETS m DESTINATION bin)
enable_testing()
add_test(NAME runs COMMAND m)' >s/CMakeLists.txt
cmake -S s -B b -DCMAKE_INSTALL_PREFIX="$PWD/i" | grep -v -i "done\|compiler" ; cmake --build b | grep -c Built; cmake --install b | tail -n 1; i/bin/m; echo $?; cd b && ctest | grep "tests passed"

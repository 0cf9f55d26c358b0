# gcc, ld, ar, nm, objdump: compiling C; static and dynamic linking; running the programs; a syntax error; no temporary file is left
echo '#include <stdio.h>
int twice(int); int main(int c, char **v) { printf("%d %s\n", twice(21), v[c - 1]); return c; }' >main.c; echo 'int twice(int x) { return 2 * x; }' >twice.c
gcc -O2 -Wall -g -c main.c twice.c && ar rcs libtwice.a twice.o && gcc -o p main.o -L. -ltwice && ./p one; echo $?
gcc -shared -fPIC -o libtwice.so twice.c && gcc -o q main.o -L. -ltwice -Wl,-rpath,'$ORIGIN' && ./q two; ldd q | grep -c libtwice; gcc -static -o s main.o twice.o && ./s three
gcc -O2 -flto -pipe -fprofile-arcs -ftest-coverage -o c main.c twice.c && ./c four; gcov -n c-main.gcda | grep executed
nm twice.o; objdump -d twice.o | tail -n 4; readelf -h p | grep Machine; echo 'int main( { }' | gcc -x c - ; echo $?; ls

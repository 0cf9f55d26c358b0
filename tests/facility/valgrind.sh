<<<<<<< HEAD
# valgrind: memcheck finds an error and a leak in a wrong program, and nothing in a correct one
=======
# valgrind: memcheck reports an error and a leak, and nothing in a correct program
>>>>>>> main
printf '#include <stdlib.h>\n#include <stdio.h>\n#include <dirent.h>\n#include <sys/stat.h>\nint main(int c, char **v) { struct stat s; DIR *d = opendir("."); stat(".", &s); while (readdir(d)); closedir(d); fclose(fopen("p.c", "r")); char *p = malloc(10); if (c > 1) p = malloc(5), free(p); printf("%%d\\n", c > 1 ? p[2] + 0 * system("true") : 1); return 0; }\n' >p.c; gcc -g -w -o p p.c
for a in '' x; do valgrind -q --leak-check=full --error-exitcode=9 ./p $a >out 2>log; echo "status $?"; sed 's/==[0-9]*==//; s/0x[0-9A-Fa-f]*/ADDRESS/g' log; done

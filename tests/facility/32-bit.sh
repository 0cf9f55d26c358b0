# a 32-bit program (gcc -m32) started by a shell; the program starts a 64-bit program
printf '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { FILE *f = fopen("text", "r"); char b[9]; printf("%%d %%s", (int)sizeof(void *), fgets(b, 9, f)); fflush(stdout); return system("echo below") + 3; }\n' >p.c; echo text >text; gcc -m32 -w -o p p.c && ./p; echo $?

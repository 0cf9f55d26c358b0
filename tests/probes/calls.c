/* calls TREE: starts programs of the tree, loads libraries of the tree, lets threads work on the tree, and prints a line for
 * each result. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static char*E; static char P[4096];
static const char*p(const char*t){sprintf(P,"%s/%s",E,t);return P;}
static int ch(void(*f)(void)){fflush(stdout);pid_t c=fork();if(!c){f();printf("errno %d\n",errno);fflush(stdout);_exit(99);}int s;waitpid(c,&s,0);return s;}
static void f1(){execl(p("bin/s"),"zero","a","b","c","d","e","f","g","h",NULL);}
static void f2(){setenv("PATH",p("bin"),1);execlp("s","zero","x",NULL);}
static void f3(){char*e[]={"A=1",NULL};execle("/usr/bin/env","env",NULL,e);}
static void f4(){char*a[]={"n","1",NULL};execvp(p("bin/n"),a);}
static void f5(){char*a[]={"n","1",NULL};execv(p("bin/n"),a);}
static void f6(){char*a[]={"n",NULL};execv(p("nope"),a);}
static void f7(){char*a[]={"n",NULL};execv(p("a"),a);}
static void f8(){setenv("PATH",p("bin"),1);char*a[]={"n","2",NULL};execvp("n",a);}
static volatile int stop; static volatile long sig;
static void*th(void*a){while(!stop){struct stat s;stat(E,&s);int f=open(a,O_RDONLY);if(f>=0)close(f);access(a,R_OK);}return 0;}
static void h(int n){struct stat s;char b[5000];sprintf(b,"%s/a",E);stat(b,&s);int f=open(b,O_RDONLY);if(f>=0)close(f);sig++;}
static int it(struct dl_phdr_info*i,size_t n,void*d){if(strstr(i->dlpi_name,"pyshm-0/")&&!strstr(i->dlpi_name,"libpyshm"))printf("LEAK %s\n",i->dlpi_name);return 0;}
int main(int c,char**v){E=v[1];struct stat s,t;
 int n,q;pid_t pid;char buf[100];
 {pid_t k;int w;char*z[]={"n","rel",NULL};posix_spawn_file_actions_t u;posix_spawn_file_actions_init(&u);fflush(stdout);if(chdir(p("bin")))return 9;printf("relative %d\n",posix_spawn(&k,"./n",&u,0,z,environ));fflush(stdout);wait(&w);posix_spawn_file_actions_addchdir_np(&u,"..");printf("moved %d\n",posix_spawn(&k,"bin/n",&u,0,z,environ));fflush(stdout);wait(&w);if(chdir("/"))return 9;}
 ch(f1);ch(f2);ch(f3);ch(f4);ch(f5);ch(f6);ch(f7);ch(f8);
 char*a[]={"s","sp",NULL};setenv("PATH",p("bin"),1);q=posix_spawnp(&pid,"s",0,0,a,environ);if(!q)waitpid(pid,&n,0);printf("spawnp %d\n",q);
 q=posix_spawn(&pid,p("bin/nope"),0,0,a,environ);printf("spawn %d\n",q);q=posix_spawn(&pid,p("a"),0,0,a,environ);printf("spawn %d\n",q); setenv("PATH","/usr/bin:/bin",1);
 fflush(stdout);printf("system %d\n",system("exit 3"));printf("system0 %d\n",system(NULL)!=0);
 FILE*f=popen("cat; echo done","w");fputs("hi\n",f);printf("pclose %d\n",pclose(f));f=popen("echo out; exit 2","r");fgets(buf,100,f);printf("%s%d\n",buf,pclose(f));
 if(!vfork()){char*x[]={"x",NULL};execv(p("nope"),x);_exit(3);} wait(&n);printf("vfork %d errno %d\n",WEXITSTATUS(n),errno);
 dl_iterate_phdr(it,0);printf("dlopen %d %s\n",dlopen(p("no.so"),RTLD_NOW)!=0,dlerror());
 signal(SIGALRM,h);struct itimerval{struct timeval a,b;};
 pthread_t T[3];static char A[4096];strcpy(A,p("ld/b"));for(int i=0;i<3;i++)pthread_create(T+i,0,th,A);
 signal(SIGUSR1,h);int N=2000;for(int i=0;i<N;i++){pthread_kill(T[i%3],SIGUSR1);pid_t k=fork();if(!k){struct stat z;_exit(stat(A,&z)||access(A,R_OK)?1:0);}int st;waitpid(k,&st,0);if(st)printf("BAD\n");}
 stop=1;for(int i=0;i<3;i++)pthread_join(T[i],0);printf("forks ok %d\n",sig>100);
 fflush(stdout);}

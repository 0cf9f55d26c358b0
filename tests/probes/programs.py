# programs.py TREE: starts programs of the tree, and prints a line for each result.
import os,sys,subprocess,errno
E=sys.argv[1]
def t(name,f):
    try: r=f()
    except OSError as e: r=errno.errorcode.get(e.errno,e.errno)
    print(name,r,flush=True)
def run(*a):
    try: r=subprocess.run(a,capture_output=True,text=True); return r.returncode,r.stdout,r.stderr
    except OSError as e: return errno.errorcode[e.errno]
for s in 'spqn': t('run '+s,lambda:run(E+'/bin/'+s,'1','2')); t('sh run '+s,lambda:run('sh','-c',f'{E}/bin/{s} 1 2; cd {E}/bin; ./{s} 3; PATH={E}/bin:$PATH; {s} 4'))
t('execlp',lambda:run('perl','-e',f'$ENV{{PATH}}="{E}/bin:$ENV{{PATH}}"; exec {{"s"}} "s","a"'))
t('ro dir',lambda:run(E))
t('fexec',lambda:(lambda f:run(sys.executable,'-c',f'import os; f=os.open("{E}/bin/s",os.O_RDONLY); os.set_inheritable(f,True); os.execve(f,["s","1"],{{}})'))(0))

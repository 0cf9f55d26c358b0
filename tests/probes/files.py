# File operations in the tree argv[1], one line of result each; run bare and interposed, the output must be the same.
import os,sys,subprocess,tempfile,errno
E=sys.argv[1]
def t(name,f):
    try: r=f()
    except OSError as e: r=errno.errorcode.get(e.errno,e.errno)
    print(name,r,flush=True)
def rd(p): return open(E+'/'+p).read()
def wr(p,s,m='w'):
    with open(E+'/'+p,m) as f: f.write(s)
ls=lambda p='': sorted(os.listdir(E+'/'+p))
ex=lambda p: (os.path.exists(E+'/'+p), os.path.lexists(E+'/'+p))
other=lambda p: subprocess.run(['cat',E+'/'+p],capture_output=True,text=True).stdout
cls=lambda p='': subprocess.run(['ls',E+'/'+p],capture_output=True,text=True).stdout.split()
t('read',lambda:rd('a')); t('rl',lambda:os.readlink(E+'/labs')); t('labs',lambda:rd('labs')); t('ld',lambda:rd('ld/b')); t('dang',lambda:rd('dang')); t('loop',lambda:rd('loop1')); t('lout',lambda:rd('lout')==open('/etc/hostname').read()); t('letc',lambda:open(E+'/letc/../etc/hostname').read()==open('/etc/hostname').read()); t('letc2',lambda:os.path.exists(E+'/letc/passwd'))
t('ldup',lambda:rd('ld/../a')); t('dd',lambda:rd('d/sub/../../a')); t('notdir',lambda:rd('a/x')); t('slash',lambda:rd('a/')); t('dot',lambda:os.stat(E+'/a/.')); t('dirdot',lambda:os.stat(E+'/d/.').st_ino==os.stat(E+'/d').st_ino); t('nofollow',lambda:os.open(E+'/la',os.O_RDONLY|os.O_NOFOLLOW)); t('dirf',lambda:os.open(E+'/a',os.O_RDONLY|os.O_DIRECTORY)); t('excl',lambda:os.open(E+'/a',os.O_CREAT|os.O_EXCL|os.O_WRONLY)); t('wdir',lambda:os.open(E+'/d',os.O_WRONLY)); t('long',lambda:os.stat(E+'/'+'x'*300)); t('vlong',lambda:os.stat(E+'/d'*3000)); t('empty',lambda:os.stat(''))
t('rd5',lambda:len(os.readlink(E+'/labs')))
t('new',lambda:(wr('new','n'),rd('new'),ex('new'),'new' in ls(),other('new'),'new' in cls())[1:])
t('append',lambda:(wr('a','more','a'),rd('a'),other('la'),os.stat(E+'/a').st_size)[1:])
t('via link',lambda:(wr('labs','changed'),rd('d/b'),rd('ld/b'),other('d/b'))[1:])
t('unlink',lambda:(os.unlink(E+'/full/1'),ex('full/1'),ls('full'),cls('full'))[1:])
t('rename',lambda:(os.rename(E+'/full/2',E+'/full/two'),ex('full/2'),rd('full/two'),ls('full'),other('full/two'))[1:])
t('rename out',lambda:(os.rename(E+'/full/3',E+'.three'),ex('full/3'),ls('full'))[1:])
t('rename in',lambda:(os.rename(E+'.three',E+'/full/back'),rd('full/back'),ls('full'))[1:])
t('dirmove',lambda:(os.rename(E+'/d',E+'/moved'),ex('d/sub/c'),rd('moved/sub/c'),ex('d'),ex('ld'),ls(),rd('moved/b'),other('moved/sub/c'))[1:])
t('ld2',lambda:rd('ld/b'))
t('mkdir',lambda:(os.mkdir(E+'/m'),ls('m'),wr('m/f','1'),ls('m'),rd('m/f'),os.unlink(E+'/m/f'),os.rmdir(E+'/m'),ex('m'),'m' in ls()))
t('chmod',lambda:(os.chmod(E+'/a',0o600),oct(os.stat(E+'/a').st_mode),rd('a')))
t('utime',lambda:(os.utime(E+'/bin/s',(1,2)),os.stat(E+'/bin/s').st_mtime)[1:])
t('symlink',lambda:(os.symlink('ro',E+'/sl'),rd('sl'),os.readlink(E+'/sl'))[1:])
t('link',lambda:(os.link(E+'/ro',E+'/hl'),rd('hl'),os.stat(E+'/ro').st_nlink)[1:])
t('trunc',lambda:(os.truncate(E+'/ro',1),rd('ro'))[1:])
def dirfd():
    d=os.open(E+'/bin',os.O_RDONLY); f=os.open('made',os.O_CREAT|os.O_WRONLY,dir_fd=d); os.write(f,b'x'); os.close(f)
    r=[rd('bin/made'),os.stat('made',dir_fd=d).st_size,sorted(os.listdir(d)),os.fstat(d).st_ino==os.stat(E+'/bin').st_ino]; os.unlink('n',dir_fd=d); r+=[ex('bin/n'),ls('bin')]
    return r
t('dirfd',dirfd)
def fdch():
    f=os.open(E+'/bin/q',os.O_RDONLY); os.fchmod(f,0o711); os.utime(f,(5,6)); r=[oct(os.stat(E+'/bin/q').st_mode),os.fstat(f).st_mtime,os.stat(E+'/bin/q').st_mtime]
    g=os.open(f'/proc/self/fd/{f}',os.O_WRONLY|os.O_APPEND); os.write(g,b'#z\n'); os.close(g); os.close(f); r.append(rd('bin/q')[-3:]); return r
t('fdch',fdch)
def cw():
    os.chdir(E+'/bin'); wr2=open('relw','w'); wr2.write('1'); wr2.close(); r=[rd('bin/relw'),os.path.exists('../bin/relw'),os.getcwd()==E+'/bin',os.path.exists('../ro')]; os.chdir('/'); return r
t('cwd',cw)
def tmp():
    f,p=tempfile.mkstemp(dir=E+'/bin'); os.close(f); d=tempfile.mkdtemp(dir=E); open(d+'/x','w').close(); return os.path.exists(p),os.path.exists(d+'/x'),len(ls()),len(ls('bin'))
t('tmp',tmp)
def otmp():
    f=os.open(E+'/bin',os.O_TMPFILE|os.O_RDWR,0o600); os.write(f,b'abc'); return os.fstat(f).st_size
t('otmp',otmp)
def run(*a):
    try: r=subprocess.run(a,capture_output=True,text=True); return r.returncode,r.stdout,r.stderr
    except OSError as e: return errno.errorcode[e.errno]
for s in 'spqn': t('run '+s,lambda:run(E+'/bin/'+s,'1','2')); t('sh run '+s,lambda:run('sh','-c',f'{E}/bin/{s} 1 2; cd {E}/bin; ./{s} 3; PATH={E}/bin:$PATH; {s} 4'))
t('execlp',lambda:run('perl','-e',f'$ENV{{PATH}}="{E}/bin:$ENV{{PATH}}"; exec {{"s"}} "s","a"'))
t('ro dir',lambda:run(E)); t('fexec',lambda:(lambda f:run(sys.executable,'-c',f'import os; f=os.open("{E}/bin/s",os.O_RDONLY); os.set_inheritable(f,True); os.execve(f,["s","1"],{{}})'))(0))
t('rmtree',lambda:(__import__('shutil').rmtree(E+'/moved'),[n for n in ls() if not n.startswith('tmp')],ex('moved/b'))[1:])

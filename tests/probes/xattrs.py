"""xattrs.py TREE: reads extended attributes by every function, and prints the results."""
import ctypes, os, sys

libc = ctypes.CDLL(None, use_errno=True)
tree = sys.argv[1]
NAMES = ["user.a", "user.empty", "user.long", "user.none", "user.", "", "security.x", "security.none", "trusted.x",
         "trusted.none", "system.posix_acl_access", "system.posix_acl_default", "system.x", "lustre.lov", "plain",
         "user." + "n" * 300]


def call(name, *args):
    """Calls a function of libc, and returns its value or the text of its error."""
    ctypes.set_errno(0)
    n = getattr(libc, name)(*args)
    return n if n >= 0 else os.strerror(ctypes.get_errno())


def read(kind, what):
    for size in (0, 1, 3, 65536):
        buffer = ctypes.create_string_buffer(size + 1)
        n = call(kind + "listxattr", what, buffer, ctypes.c_size_t(size))
        print(kind, what, size, n, buffer.raw[:n] if size and isinstance(n, int) else "")
        for name in NAMES:
            buffer = ctypes.create_string_buffer(size + 1)
            n = call(kind + "getxattr", what, name.encode(), buffer, ctypes.c_size_t(size))
            print(kind, what, name[:40], size, n, buffer.raw[:min(n, 40)] if size and isinstance(n, int) else "")
    print(call(kind + "getxattr", what, None, None, ctypes.c_size_t(0)))
    print(call(kind + "getxattr", what, b"user.a", None, ctypes.c_size_t(9)))


for name in sorted(os.listdir(tree)) + ["nope", "file/x"]:
    path = os.path.join(tree, name).encode()
    read("", path)
    read("l", path)
for name in ("file", "many", "dir", "acl"):
    read("f", os.open(os.path.join(tree, name), os.O_RDONLY))
print(os.listxattr(os.path.join(tree, "file")), os.getxattr(os.path.join(tree, "file"), "user.a"))
# Root may access everything, so other users ask too.
for uid in (0, 65534, 12345):
    if os.fork() == 0:
        os.setresgid(uid, uid, uid)
        os.setgroups([])
        os.setresuid(uid, uid, uid)
        for name in ("file", "acl", "closed"):
            path = os.path.join(tree, name)
            print(uid, name, [os.access(path, m, effective_ids=e) for m in (0, 1, 2, 4, 6, 7) for e in (False, True)])
            print([call("getxattr", path.encode(), n, None, ctypes.c_size_t(0)) for n in (b"user.none", b"security.none")])
        sys.stdout.flush()
        os._exit(0)
    os.wait()

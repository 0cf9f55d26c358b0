"""Tests count_ops.py and its modules on lines that strace 6.1 wrote: python3 -m unittest discover -s tests/tools"""
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import count_ops  # noqa: E402
import stracelog  # noqa: E402
import trace_since  # noqa: E402
import written  # noqa: E402

ENV = "/shared/env"


def count(text, cwd="/", under=(ENV,), **options):
    log = stracelog.Log()
    for line in text.strip("\n").split("\n"):
        log.feed(line)
    log.finish()
    assert not log.unread, log.unread
    return count_ops.Counter(list(under), cwd, **options).run(log.calls)


class Names(unittest.TestCase):
    def test_a_call_counts_whatever_its_result(self):
        counter = count("""
1 openat(AT_FDCWD</tmp>, "/shared/env/lib/libz.so", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
1 newfstatat(AT_FDCWD</tmp>, "/shared/env/x, y)", {st_mode=S_IFREG|0644, st_size=41795, ...}, 0) = 0
1 access("/shared/env2/x", R_OK)          = 0
1 access(0x1, R_OK)                       = -1 EFAULT (Bad address)
1 stat(NULL, 0x7ffe)                      = -1 EFAULT (Bad address)
1 access("/shared/env", F_OK)             = 0
1 access("", F_OK)                        = -1 ENOENT (No such file or directory)
""")
        self.assertEqual(len(counter.hits), 3)
        self.assertEqual(counter.summary()["failed"], 1)

    def test_calls_on_descriptors_count_separately(self):
        counter = count("""
1 newfstatat(3</shared/env/lib/libpython3.11.so.1.0>, "", {st_mode=S_IFREG|0755, ...}, AT_EMPTY_PATH) = 0
1 utimensat(3</shared/env/f>, NULL, NULL, 0) = 0
1 newfstatat(4</shared/env>, "lib/os.py", {st_mode=S_IFREG|0755, ...}, AT_SYMLINK_NOFOLLOW) = 0
1 newfstatat(0<pipe:[205377]>, "", {st_mode=S_IFIFO|0600, ...}, AT_EMPTY_PATH) = 0
1 utimensat(0<pipe:[205377]>, NULL, NULL, 0) = 0
1 newfstatat(5</shared/env/gone>(deleted), "x", 0x7ffe, 0) = -1 ENOENT (No such file or directory)
""")
        self.assertEqual((len(counter.hits), counter.by_descriptor), (2, 2))

    def test_both_names_of_a_call_count(self):
        counter = count("""
1 rename("/shared/env/a", "/shared/env/b") = 0
1 linkat(AT_FDCWD</shared/env>, "a", 3</tmp>, "b", 0) = 0
1 symlinkat("a\\nb>c", AT_FDCWD</shared/env>, "pt/x1") = 0
1 symlink("/shared/env/x", "/dev/shm/y") = 0
1 renameat2(AT_FDCWD</>, "/tmp/x", AT_FDCWD</>, "/shared/env/c", RENAME_NOREPLACE) = 0
""")
        self.assertEqual([hit[2] for hit in counter.hits],
                         [ENV + "/a", ENV + "/b", ENV + "/a", ENV + "/pt/x1", ENV + "/c"])
        self.assertEqual(counter.link_texts, 1)

    def test_odd_spellings_of_a_name_count(self):
        counter = count(r"""
1 access("//shared//env/./bin/x", F_OK) = 0
1 access("/shared/other/../env/bin", F_OK) = 0
1 access("/shared/env/../other", F_OK) = 0
1 access("/shared/\145nv/\303\251\"\\", F_OK) = 0
1 access("/shared/env/aaaaaaaa"..., F_OK) = 0
""")
        self.assertEqual(len(counter.hits), 5)
        self.assertEqual(counter.hits[3][2], '/shared/env/é"\\')
        self.assertEqual(counter.truncated, 1)


class Loader(unittest.TestCase):
    def test_attempts_in_subdirectories_for_the_processor_are_recognised(self):
        counter = count("""
1 openat(AT_FDCWD</tmp>, "/shared/env/lib/glibc-hwcaps/x86-64-v4/libz.so.1", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
1 newfstatat(AT_FDCWD</tmp>, "/shared/env/lib/glibc-hwcaps/x86-64-v4", 0x7ffe, 0) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD</tmp>, "/shared/env/lib/tls/x86_64/x86_64/libz.so.1", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
1 newfstatat(AT_FDCWD</tmp>, "/shared/env/lib/tls/x86_64/x86_64", 0x7ffe, 0) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD</shared/env/lib>, "./x86_64/libz.so.1", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD</shared/env/lib>, "tls/libz.so.1", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
""")
        self.assertEqual((counter.summary()["total"], counter.summary()["for_processor"]), (6, 6))

    def test_calls_that_resemble_attempts_for_the_processor_are_counted(self):
        counter = count("""
1 openat(AT_FDCWD</tmp>, "/shared/env/lib/libz.so.1", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD</tmp>, "/shared/env/lib/tls/libz.so.1", O_RDONLY|O_CLOEXEC) = 3</shared/env/lib/tls/libz.so.1>
1 newfstatat(AT_FDCWD</tmp>, "/shared/env/lib/tls", {st_mode=S_IFDIR|0755, ...}, 0) = 0
1 newfstatat(AT_FDCWD</tmp>, "/shared/env/lib/x86_64", 0x7ffe, 0) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD</tmp>, "/shared/env/lib/tls/data.txt", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD</tmp>, "/shared/env/lib/tls/libz.so.1", O_RDONLY) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD</tmp>, "/shared/env/lib/tls/libz.so.1", O_RDONLY|O_CLOEXEC) = -1 EACCES (Permission denied)
1 openat(AT_FDCWD</tmp>, "/shared/env/lib/haswell-only/libz.so.1", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD</tmp>, "/elsewhere/tls/libz.so.1", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
""")
        self.assertEqual((counter.summary()["total"], counter.summary()["for_processor"]), (8, 0))


class Places(unittest.TestCase):
    def test_children_inherit_the_directory(self):
        counter = count("""
1 chdir("/shared/env")              = 0
1 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>
2 access("lib", F_OK)               = 0
1 <... clone resumed>, child_tidptr=0x7f7c9dfdea10) = 2
2 chdir("/tmp")                     = 0
2 access("lib", F_OK)               = 0
1 readlink("bin/python", "python3", 4096) = 7
1 chdir("nowhere")                  = -1 ENOENT (No such file or directory)
1 vfork( <unfinished ...>
3 execve("bin/python", ["python"], 0x7ffc /* 9 vars */ <unfinished ...>
1 <... vfork resumed>)              = 3
3 <... execve resumed>)             = 0
""", resolve=False)
        self.assertEqual([hit[2] for hit in counter.hits], [ENV + "/lib", ENV + "/bin/python", ENV + "/bin/python"])
        self.assertEqual(counter.chdirs, 2)

    def test_threads_share_the_directory(self):
        counter = count("""
1 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_THREAD, stack_size=0x7fff80} => {parent_tid=[2]}, 88) = 2
2 chdir("/shared/env")              = 0
1 stat("lib", 0x7ffe)               = 0
1 fchdir(4</tmp>)                   = 0
2 stat("lib", 0x7ffe)               = 0
""", resolve=False)
        self.assertEqual([hit[2] for hit in counter.hits], [ENV + "/lib"])

    def test_relative_names_begin_at_cwd_or_at_the_path_of_at_fdcwd(self):
        self.assertEqual(len(count('1 stat("env/x", 0x7ffe) = 0', cwd="/shared").hits), 1)
        counter = count('1 openat(AT_FDCWD</shared>, "env/x", O_RDONLY) = 3</shared/env/x>\n1 access("env/y", F_OK) = 0')
        self.assertEqual(len(counter.hits), 2)

    def test_a_process_number_that_is_used_again_is_a_new_process(self):
        counter = count("""
1 fork()                            = 2
2 chdir("/shared/env")              = 0
2 +++ exited with 0 +++
1 fork()                            = 2
2 stat("lib", 0x7ffe)               = 0
""", resolve=False)
        self.assertEqual(counter.hits, [])

    def test_symbolic_links_that_exist_are_resolved(self):
        with tempfile.TemporaryDirectory() as directory:
            directory = os.path.realpath(directory)
            os.mkdir(directory + "/env")
            os.symlink("env", directory + "/alias")
            os.symlink(directory + "/env/x", directory + "/stage-x")
            open(directory + "/env/x", "w", encoding="utf-8").close()
            text = f"""
1 stat("{directory}/alias/none", 0x7ffe) = -1 ENOENT (No such file or directory)
1 stat("{directory}/stage-x", 0x7ffe) = 0
1 lstat("{directory}/stage-x", 0x7ffe) = 0
1 newfstatat(AT_FDCWD</>, "{directory}/stage-x", 0x7ffe, AT_SYMLINK_NOFOLLOW) = 0
"""
            self.assertEqual(len(count(text, under=[directory + "/env"]).hits), 2)
            self.assertEqual(len(count(text, under=[directory + "/alias"]).hits), 2)
            self.assertEqual(len(count(text, under=[directory + "/env"], resolve=False).hits), 0)


class Scope(unittest.TestCase):
    TEXT = """
1 access("/shared/env/bin/mpiexec", X_OK) = 0
1 fork()                            = 2
1 fork()                            = 3
2 execve("/bin/python", ["python"], 0x7ffc /* 9 vars */) = -1 ENOENT (No such file or directory)
2 execve("/shared/env/bin/python", ["python", "app.py"], 0x7ffc /* 9 vars */) = 0
2 stat("/shared/env/lib", 0x7ffe)   = 0
2 fork()                            = 4
4 execve("/bin/sh", ["sh"], 0x7ffc /* 9 vars */) = 0
4 stat("/shared/env/bin", 0x7ffe)   = 0
3 execve("/shared/env/bin/bcast", ["bcast"], 0x7ffc /* 9 vars */) = 0
3 stat("/shared/env/bundle", 0x7ffe) = 0
"""

    def test_counting_begins_at_from_exec(self):
        counter = count(self.TEXT, from_exec=r"app\.py")
        self.assertEqual((len(counter.hits), counter.starts), (3, 1))

    def test_counting_ends_at_ignore_exec(self):
        self.assertEqual(len(count(self.TEXT).hits), 6)
        self.assertEqual(len(count(self.TEXT, ignore_exec=["bcast"]).hits), 4)


class Logs(unittest.TestCase):
    def test_interrupted_calls_count_once(self):
        log = stracelog.Log()
        log.feed('[pid  7] openat(AT_FDCWD</a b>, "/shared/env/x", O_RDONLY <unfinished ...>')
        log.feed("[pid  8] +++ exited with 0 +++")
        log.feed("[pid  7] <... openat resumed>)             = 3</shared/env/x>")
        log.feed('7 stat("/shared/env/y",  <unfinished ...>)             = ?')
        log.feed("7 +++ killed by SIGKILL +++")
        log.finish()
        self.assertEqual([call.name for call in log.calls], ["openat", "stat"])
        self.assertEqual([call.ok for call in log.calls], [True, False])

    def test_a_call_that_strace_could_not_read_before_the_process_was_killed_is_not_counted(self):
        log = stracelog.Log()
        for line in ("7 ???( <unfinished ...>", "7 <... ??? resumed>) = ?", "7 +++ killed by SIGKILL +++"):
            log.feed(line)
        self.assertEqual(([], []), (log.finish().calls, log.unread))

    def test_lines_that_are_not_understood_are_kept(self):
        log = stracelog.Log()
        log.feed("1 what is this")
        log.feed("1 <... stat resumed>0x7ffe) = 0")
        self.assertEqual(len(log.finish().unread), 2)

    def test_a_directory_with_a_file_for_each_process_is_read(self):
        with tempfile.TemporaryDirectory() as directory:
            with open(directory + "/t.20", "w", encoding="utf-8") as file:
                file.write('chdir("/shared/env") = 0\nclone(child_stack=NULL, flags=SIGCHLD) = 9\nchdir("/") = 0\n')
            with open(directory + "/t.9", "w", encoding="utf-8") as file:
                file.write('stat("lib", 0x7ffe) = 0\n+++ exited with 0 +++\n')
            with open(directory + "/t.100", "w", encoding="utf-8") as file:
                file.write('12:00:00.1 stat("lib", 0x7ffe) = 0\n1700000000.5 stat("/shared/env/z", 0x7ffe) = 0\n')
            calls = stracelog.read(directory).calls
        counter = count_ops.Counter([ENV], "/", resolve=False).run(calls)
        self.assertEqual(sorted(hit[2] for hit in counter.hits), [ENV + "/lib", ENV + "/z"])


class Unwritten(unittest.TestCase):
    def test_operations_on_written_paths_are_left_out(self):
        with tempfile.TemporaryDirectory() as top:
            top = os.path.realpath(top)
            copy = top + "/copy"
            os.makedirs(copy + "/lib/sub")
            for name in ("a", "b", "lib/c", "lib/sub/d", "lib/linked"):
                open(copy + "/" + name, "w", encoding="utf-8").close()
            os.remove(copy + "/lib/linked")
            os.link(copy + "/a", copy + "/lib/linked")
            counter = count(f"""
1 openat(AT_FDCWD</>, "{top}/env/a", O_WRONLY|O_APPEND) = 3<{top}/env/a>
1 openat(AT_FDCWD</>, "{top}/env/a", O_RDONLY) = 3<{top}/env/a>
1 newfstatat(AT_FDCWD</>, "{top}/env/lib/linked", 0x7ffe, 0) = 0
1 newfstatat(AT_FDCWD</>, "{top}/env", 0x7ffe, 0) = 0
1 openat(AT_FDCWD</>, "{top}/env/b", O_RDONLY) = 3<{top}/env/b>
1 newfstatat(AT_FDCWD</>, "{top}/env/missing", 0x7ffe, 0) = -1 ENOENT (No such file or directory)
1 newfstatat(AT_FDCWD</>, "{top}/env/lib/missing", 0x7ffe, 0) = -1 ENOENT (No such file or directory)
1 newfstatat(AT_FDCWD</>, "{top}/env/lib/c", 0x7ffe, 0) = 0
1 rename("{top}/env/lib/sub", "{top}/env/moved") = 0
1 newfstatat(AT_FDCWD</>, "{top}/env/moved/d", 0x7ffe, 0) = 0
1 newfstatat(AT_FDCWD</>, "{top}/env/lib/sub/d", 0x7ffe, 0) = -1 ENOENT (No such file or directory)
""", under=(top + "/env",))
            left = [hit[2] for hit in written.unwritten(counter.hits, top + "/env", copy)]
        # The rename gives the prefix a new name, so what is missing there is allowed. It only removes a name of lib.
        self.assertEqual(left, [top + "/env/" + name for name in ("b", "lib/missing", "lib/c")])


class Since(unittest.TestCase):
    # The tests cut the trace at the text `) = 9` of the third line. The first call of process 2 began before the third
    # line. The call of process 3 began after the third line.
    TEXT = """1 chdir("/a") = 0
2 openat(AT_FDCWD</>, "/a", O_RDONLY <unfinished ...>
1 openat(AT_FDCWD</>, "/run", O_RDONLY) = 9</run>
2 <... openat resumed>)             = 3</a>
3 access("/b", F_OK <unfinished ...>
2 access("/c", F_OK <unfinished ...>
3 <... access resumed>)             = 0
2 <... access resumed>)             = 0
"""

    def since(self, byte):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(self.TEXT)
            file.flush()
            said = subprocess.run([sys.executable, trace_since.__file__, file.name, str(byte)], check=True, capture_output=True)
        return said.stdout.decode().splitlines()

    def test_an_exec_by_another_thread_is_kept(self):
        lines = ['5 execve("/b", ["b"], 0x7ffe <unfinished ...>', "4 +++ superseded by execve in pid 5 +++", "4 <... execve resumed>) = 0"]
        self.assertEqual(list(trace_since.since(lines)), lines)

    def test_calls_that_began_before_the_cut_are_left_out(self):
        lines = self.TEXT.splitlines()
        self.assertEqual(self.since(self.TEXT.index(") = 9")), lines[4:])
        # If the trace is cut at the beginning of a line, that line is kept.
        self.assertEqual(self.since(self.TEXT.index("1 openat")), [lines[2], *lines[4:]])
        self.assertEqual(self.since(0), lines)
        self.assertEqual(self.since(len(self.TEXT)), [])


if __name__ == "__main__":
    unittest.main()

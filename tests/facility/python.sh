# python of the environment: modules, subprocesses, process pools, temporary files, a virtual environment
cat >p.py <<'P'
import concurrent.futures, multiprocessing, os, shutil, sqlite3, subprocess, sys, tempfile, numpy
if __name__ == "__main__":
    print(sys.prefix, sys.executable, os.path.dirname(numpy.__file__), numpy.arange(5).sum(), os.environ.get("LD_PRELOAD_OF_MINE"))
    print(subprocess.run([sys.executable, "-c", "import sys; print(sys.argv); sys.exit(3)", "x"], capture_output=True, text=True))
    with multiprocessing.get_context("fork").Pool(2) as pool: print(pool.map(abs, [-1, -2]))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool: print(list(pool.map(len, ["a", "bb"])))
    with tempfile.TemporaryDirectory() as d: open(d + "/f", "w").write("x"); print(os.listdir(d), shutil.copy(d + "/f", "copied"))
    print(os.popen("echo popen").read(), os.system("exit 3"), os.posix_spawn("/bin/true", ["true"], {}) > 0, os.wait()[1], sqlite3.connect(":memory:").execute("select 1").fetchone())
P
"$venv/bin/python" -B p.py; "$venv/bin/python" -m venv --without-pip v && v/bin/python -c 'import sys; print(sys.prefix != sys.base_prefix)'

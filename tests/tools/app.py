"""app.py OUT: computes with mpi4py, numpy.fft and scipy.interpolate, and starts children of every kind. Tests run this
job on the cluster, bare and with pyshm. Each rank writes OUT/rank-N.json: its results as hex floats, and Python's own
view of its environment. compare.py checks that the files of two runs are equal.

Invariants: the results depend only on the number of ranks. The job writes only the rank files. Only main() imports MPI,
so that spawned workers, which import this file, never start MPI.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import pyview  # noqa: E402


def compute(rank, numpy, fft, interpolate):
    """Returns the results of a transform, a spline and a table of data that depend on the rank."""
    random = numpy.random.default_rng(rank)
    samples = random.standard_normal(1024)
    spectrum = fft.rfft(samples)
    back = fft.irfft(spectrum)
    x = numpy.linspace(0.0, 10.0, 128)
    spline = interpolate.CubicSpline(x, numpy.sin(x * (rank + 1)))
    table = interpolate.RegularGridInterpolator((x, x), numpy.outer(numpy.cos(x), x))
    return {
        "spectrum": float(numpy.abs(spectrum).sum()),
        "error": float(numpy.abs(back - samples).max()),
        "spline": float(spline(numpy.pi)),
        "table": float(table([[1.25, 2.5]])[0]),
    }


def main():
    out = sys.argv[1]
    # The pools below fork after MPI_Init, as jobs do: switch Open MPI's warning off and InfiniBand's fork support on.
    os.environ.setdefault("OMPI_MCA_mpi_warn_on_fork", "0")
    os.environ.setdefault("RDMAV_FORK_SAFE", "1")

    import numpy
    import numpy.fft
    import scipy.interpolate
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    rank, size = world.Get_rank(), world.Get_size()
    numbers = compute(rank, numpy, numpy.fft, scipy.interpolate)

    mine = numpy.array([numbers["spectrum"], numbers["spline"], float(rank)])
    total = numpy.empty_like(mine)
    # The MPI library chooses the order in which a reduction adds, so reduce only numbers whose sum is exact. Add the other
    # numbers here, in the order of the ranks.
    everyone = numpy.empty((size, 3))
    world.Allgather(mine, everyone)
    numbers["sum"] = float(sum(everyone[:, 0]))
    world.Allreduce(numpy.array([0.0, 0.0, float(rank)]), total)
    numbers["ranks"] = float(total[2])
    assert numbers["ranks"] == size * (size - 1) / 2, numbers
    assert numbers["error"] < 1e-12, numbers

    interpreter = pyview.interpreter()
    for words in ("sys.argv", "sys.orig_argv"):     # these contain OUT, which differs between two runs
        interpreter[words] = ["OUT" if word == out else word for word in interpreter[words]]
    record = {
        "rank": rank,
        "size": size,
        "mpi": MPI.Get_library_version().splitlines()[0],
        "numbers": {name: value.hex() for name, value in numbers.items()},
        "interpreter": interpreter,
        "process": pyview.process(),
        "files": {"os": os.__file__, "numpy": numpy.__file__, "scipy": scipy.__file__, "MPI": MPI.__file__},
        "child.python": pyview.run([sys.executable, "-c", "import numpy; print(numpy.__file__)"]),
        "child.bash": pyview.run(["bash", "-c", 'echo "$0 $PWD"; ls "$1" | head -5', "bash", sys.prefix]),
        "pool.fork": pyview.pool("fork"),
        "pool.spawn": pyview.pool("spawn"),
    }
    with open(os.path.join(out, f"rank-{rank}.json"), "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, sort_keys=True)
    world.Barrier()
    if rank == 0:
        print(f"app.py: {size} ranks, sum {numbers['sum']:.6f}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        # Without MPI_Abort the other ranks would wait for ever in their next collective operation.
        if "mpi4py.MPI" in sys.modules:
            sys.modules["mpi4py.MPI"].COMM_WORLD.Abort(1)
        sys.exit(1)

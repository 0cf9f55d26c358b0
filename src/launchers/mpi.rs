//! Names the MPI libraries that have different ABIs.
#![forbid(unsafe_code)]

use std::fmt;

/// An MPI library whose programs a launcher starts and that a `pyshm-bcast` was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mpi {
    /// MPICH and the libraries that share its ABI (Intel MPI, Cray MPICH, MVAPICH).
    Mpich,
    /// Open MPI.
    OpenMpi,
}

impl Mpi {
    /// The file name of the broadcast helper that was built with this MPI.
    #[must_use]
    pub fn helper(self) -> &'static str {
        match self {
            Self::Mpich => "pyshm-bcast-mpich",
            Self::OpenMpi => "pyshm-bcast-openmpi",
        }
    }
}

impl fmt::Display for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mpich => "MPICH",
            Self::OpenMpi => "Open MPI",
        })
    }
}

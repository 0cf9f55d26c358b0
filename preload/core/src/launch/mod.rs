//! A process without a stage: if it is a launcher or a rank, `pyshm-run` is started in its place.

pub mod detect_launcher;
pub mod exec_pyshm_run;

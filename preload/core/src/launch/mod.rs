//! Starts `pyshm-run` in the place of a launcher or a rank without a stage.

pub mod detect_launcher;
pub mod exec_pyshm_run;

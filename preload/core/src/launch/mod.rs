//! room

pub mod detect_launcher;
pub mod exec_pyshm_run;

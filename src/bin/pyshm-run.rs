//! Runs `pyshm-run`, see [`pyshm_tools::run`].
fn main() -> std::process::ExitCode {
    pyshm_tools::run::main()
}

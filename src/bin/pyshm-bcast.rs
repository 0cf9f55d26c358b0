//! Runs `pyshm-bcast`, see [`pyshm_tools::bcast`].
fn main() -> std::process::ExitCode {
    pyshm_tools::bcast::main()
}

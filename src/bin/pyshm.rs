//! Runs `pyshm`, see [`pyshm_tools::cli`].
fn main() -> std::process::ExitCode {
    pyshm_tools::cli::main()
}

//! The `sbx` program.
fn main() -> std::process::ExitCode {
    sbx::main()
}

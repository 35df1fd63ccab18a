//! The `sbx` program.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sbx::main()
}

//! Runs `sbx` as a user would and looks at what comes out.

#[path = "../common/mod.rs"]
mod common;

mod harness;
mod hello;

use common::{User, Verdict, case, output};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut cases = vec![case!(runs_a_command), case!(passes_the_exit_code_on)];
    cases.extend(harness::cases());
    cases.extend(hello::cases());
    common::run(cases)
}

fn runs_a_command(user: &User) -> Verdict {
    output(user.sbx().arg("/usr/bin/true"))?.exits(0)?.stdout_is("")?.stderr_is("")?;
    Ok(())
}

fn passes_the_exit_code_on(user: &User) -> Verdict {
    output(user.sbx().args(["sh", "-c", "exit 7"]))?.exits(7)?;
    Ok(())
}

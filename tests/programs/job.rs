//! A program that does one thing, outside and then in a sandbox, with the same files at the same path.

use crate::common::{Case, Need, Output, User, Verdict, output_within};
use libtest_mimic::Failed;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Compilers take their time under an emulated processor.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// What to run, and on what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    /// The options of sbx.
    pub(crate) options: &'static [&'static str],
    /// The files that it starts from, in the project.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// The program and its arguments.
    pub(crate) command: &'static [&'static str],
    /// What it prints, among other things; all of it is the same inside and outside.
    pub(crate) prints: &'static str,
}

impl Job {
    /// Outside, then inside.
    pub(crate) fn works_inside(&self, user: &User) -> Verdict {
        self.lay_out(user)?;
        let outside = self.run(&mut user.command("env"))?;
        fs::rename(user.project(), user.dir().join("outside"))?;
        self.lay_out(user)?;
        let inside = self.run(user.sbx().args(self.options))?;
        inside.stderr_lacks("sbx:")?;
        inside.check(inside.stdout == outside.stdout, || format!("outside it is {:?}", outside.text()))?;
        Ok(())
    }

    fn lay_out(&self, user: &User) -> Verdict {
        user.mkdir("home/project")?;
        for (name, text) in self.files {
            user.put(Path::new("home/project").join(name), text)?;
        }
        Ok(())
    }

    fn run(&self, command: &mut Command) -> Result<Output, Failed> {
        let output = output_within(LIMIT, command.args(self.command))?;
        output.exits(0)?.stdout_has(self.prints)?;
        Ok(output)
    }
}

/// The case, for machines that have all these programs.
pub(crate) fn with(case: Case, programs: &[&'static str]) -> Case {
    programs.iter().fold(case, |case, name| case.needs(Need::Program(name)))
}

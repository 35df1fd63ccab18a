//! Runs with an edited plan: a defence switched off, or an operation that no profile can ask for. Only a process with one
//! thread can start a sandbox, so the test program runs itself once more and this is what it does then.

use super::account::User;
use sbx::cli::{self, Action};
use sbx::diag::{self, Diagnose, Severity};
use sbx::plan::Plan;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

/// The first argument of such a run.
pub const WORD: &str = "--edited";

/// The exit status of such a run when the test itself is wrong.
const MISTAKE: u8 = 99;

/// What is done to a plan.
pub type Change = fn(&mut Plan);

/// What is done to a plan, by name.
pub type Edit = (&'static str, Change);

/// Finds the edits that a name stands for.
type Find<'a> = &'a dyn Fn(&OsStr) -> Option<Vec<Change>>;

/// To be called first in `main`: where this program was started by [`User::edited`], plans the run, edits the plan, calls
/// `before` and carries the plan out. `None` in the test program itself.
pub fn answer(edits: &[Edit], before: fn()) -> Option<ExitCode> {
    let find = |name: &OsStr| {
        let (_, edit) = edits.iter().find(|(known, _)| name == *known)?;
        Some(vec![*edit])
    };
    answer_by(&find, before)
}

/// Like [`answer`], where a name can stand for several edits.
pub fn answer_by(find: &dyn Fn(&OsStr) -> Option<Vec<Change>>, before: fn()) -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let code = run(find, &name, &arguments, before).unwrap_or_else(|(text, code)| {
        let _ = std::io::stderr().write_all(text.as_bytes());
        code
    });
    Some(ExitCode::from(code))
}

fn run(find: Find<'_>, name: &OsStr, arguments: &[OsString], before: fn()) -> Result<u8, (String, u8)> {
    let mistake = |what: String| (format!("the test is wrong: {what}\n"), MISTAKE);
    let edits = find(name).ok_or_else(|| mistake(format!("no edit {name:?}")))?;
    let (invocation, output) = match cli::parse(arguments) {
        Ok(Action::Run(invocation, output)) => (invocation, output),
        other => return Err(mistake(format!("{other:?}"))),
    };
    let mut plan = sbx::plan(&invocation, output).map_err(|error| refusal(&error))?;
    edits.iter().for_each(|edit| edit(&mut plan));
    before();
    let finished = sbx::exec::run(&plan).map_err(|error| (render(&error), error.exit_code()))?;
    Ok(finished.outcome.exit_code())
}

fn refusal(error: &sbx::Error) -> (String, u8) {
    match error {
        sbx::Error::Usage(error) => (render(error), 125),
        sbx::Error::Host(error) => (render(error), 125),
        sbx::Error::Profile(error) => (render(error), 125),
        sbx::Error::Plan(error) => (render(error), 125),
        sbx::Error::Doctor(error) => (render(error), 125),
        sbx::Error::Exec(error) => (render(error), error.exit_code()),
    }
}

fn render(error: &dyn Diagnose) -> String {
    diag::render(Severity::Error, error, false)
}

impl User {
    /// Like [`User::sbx`], with the plan edited in this way; the arguments are those of `sbx`.
    pub fn edited(&self, name: &str) -> Command {
        let mut command = self.command(self.edited_path());
        command.args([WORD, name]);
        command
    }

    /// The program that [`User::edited`] runs.
    pub fn edited_path(&self) -> &'static Path {
        public_copy(self.sbx_path())
    }
}

/// This program, beside the `sbx` that everybody can run. Another process copies it: a file that this one holds open for
/// writing could be inherited by a child of another thread, and then not be executed.
fn public_copy(sbx: &Path) -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let copy = sbx.with_file_name("edited");
        if let Ok(program) = std::env::current_exe() {
            // Where it fails, the copy can't be started, which says so.
            let _ = Command::new("install").args(["-m", "755"]).arg(program).arg(&copy).status();
        }
        copy
    })
}

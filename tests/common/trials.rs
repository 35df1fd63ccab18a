//! The list of cases, and the trials made of it.

use super::account::{Account, User};
use super::need::Need;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::sync::Arc;

/// How a case ends.
pub type Verdict = Result<(), Failed>;

/// One behaviour to check. It runs as an ordinary user (`as_user::NAME`) and, where the tests were
/// started as root, as root too (`as_root::NAME`).
pub struct Case {
    name: String,
    body: Arc<dyn Fn(&User) -> Verdict + Send + Sync>,
    as_user: bool,
    as_root: bool,
    needs: Vec<Need>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Case {
    /// A case for both the ordinary user and root. See also the macro `case!`.
    pub fn new(name: &str, body: impl Fn(&User) -> Verdict + Send + Sync + 'static) -> Self {
        Self {
            name: name.replace(' ', ""),
            body: Arc::new(body),
            as_user: true,
            as_root: true,
            needs: Vec::new(),
        }
    }

    /// Runs as the ordinary user only.
    pub fn only_as_user(mut self) -> Self {
        self.as_root = false;
        self
    }

    /// Runs as root only.
    pub fn only_as_root(mut self) -> Self {
        self.as_user = false;
        self
    }

    /// Skips the case, visibly, on a machine that hasn't got this.
    pub fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    fn trial(&self, account: &Account, strict: bool) -> (Trial, Option<String>) {
        let name = format!("{}::{}", account.label(), self.name);
        let body = Arc::clone(&self.body);
        let missing: Vec<_> =
            self.needs.iter().filter_map(|need| Some((need, need.missing(account)?))).collect();
        if missing.is_empty() {
            let account = account.clone();
            return (Trial::test(name, move || body(&User::new(account)?)), None);
        }
        let skip = !strict || missing.iter().any(|(need, _)| need.only_a_guest_has_it());
        let reason = missing.into_iter().map(|(_, reason)| reason).collect::<Vec<_>>().join(", ");
        let line = format!("SKIP {name}: {reason}");
        // Run all the same (`--include-ignored`), it fails: a skip never looks like a pass.
        let trial = Trial::test(name, move || Err(Failed::from(format!("cannot run here: {reason}"))));
        (trial.with_ignored_flag(skip), skip.then_some(line))
    }
}

/// Runs the cases with the arguments of the command line, which are those of `cargo test`.
///
/// What this machine cannot run is shown as ignored, with a line `SKIP NAME: REASON` on stderr. With
/// `SBX_TEST_NO_SKIP=1` it fails instead, unless only another kernel or a real login could satisfy it.
pub fn run(cases: Vec<Case>) -> ExitCode {
    run_with(Arguments::from_args(), cases)
}

/// Like [`run`], this many at a time unless the command line says otherwise: for cases that mostly wait.
pub fn run_in_parallel(at_a_time: usize, cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(at_a_time);
    run_with(arguments, cases)
}

fn run_with(arguments: Arguments, cases: Vec<Case>) -> ExitCode {
    hear_signals();
    let strict = std::env::var_os("SBX_TEST_NO_SKIP").is_some_and(|value| value == "1");
    let (binary, accounts) = match Account::all() {
        Ok(found) => found,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cannot prepare the tests: {error:?}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for case in &cases {
        for account in &accounts {
            if if account.is_root() { case.as_root } else { case.as_user } {
                let (trial, skipped) = case.trial(account, strict);
                trials.push(trial);
                if let (Some(line), false) = (skipped, arguments.list) {
                    let _ = writeln!(std::io::stderr(), "{line}");
                }
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(binary);
    conclusion.exit_code()
}

/// Starts this program anew where it ignores signals, as one in a script's background does: what it starts would ignore them
/// too, sbx as it should.
fn hear_signals() {
    let ignored = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTERM]
        .into_iter()
        .filter(|signal| sbx::sys::signal::ignores(*signal as i32))
        .map(|signal| format!("--default-signal={}", signal.as_str().trim_start_matches("SIG")));
    let ignored: Vec<String> = ignored.collect();
    if !ignored.is_empty() && std::env::var_os(HEARS).is_none() {
        let program = std::env::current_exe().unwrap_or_default();
        let arguments = std::env::args_os().skip(1);
        let error = Command::new("env").args(ignored).arg(program).args(arguments).env(HEARS, "1").exec();
        let _ = writeln!(std::io::stderr(), "cannot start anew to hear signals: {error}");
    }
}

/// Set where that was done.
const HEARS: &str = "SBX_TEST_HEARS_SIGNALS";

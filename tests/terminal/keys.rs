//! Keys that are signals, or the end of the input, and keys that come early.

use crate::common::{Case, Need, User, Verdict};
use crate::driver::Terminal;
use crate::shell::{Shell, in_shells};
use libtest_mimic::Failed;
use std::time::Duration;

pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";
pub(crate) const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";

pub(crate) fn cases() -> Vec<Case> {
    let python = |case: Case| case.needs(Need::Program("python3"));
    let all = Shell::ALL;
    [
        in_shells!(all, interrupts_a_repl).into_iter().map(python).collect(),
        in_shells!(all, interrupts_a_program),
        in_shells!(all, interrupts_a_loop),
        in_shells!([Shell::Bash, Shell::Dash], interrupts_at_any_moment),
        in_shells!(all, quits),
        in_shells!(all, ends_the_input),
        in_shells!(all, types_ahead),
        in_shells!([Shell::Bash, Shell::Dash], ends_the_input_ahead),
    ]
    .concat_all()
}

/// Lists of cases into one.
pub(crate) trait ConcatAll {
    fn concat_all(self) -> Vec<Case>;
}

impl<const N: usize> ConcatAll for [Vec<Case>; N] {
    fn concat_all(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

fn interrupts_a_repl(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line("sbx python3")?;
    terminal.expect(">>> ")?;
    // Python looks for signals before a sleep, not at its start: it sleeps shortly, again and again.
    terminal.line("import time; print('sle' + 'eping'); [time.sleep(0.05) for _ in iter(int, 1)]")?;
    terminal.expect("sleeping")?;
    terminal.keys(CTRL_C)?;
    terminal.expect("KeyboardInterrupt")?;
    terminal.expect(">>> ")?;
    terminal.line("print('ali' + 've')")?;
    terminal.expect("alive")?;
    terminal.line("exit(7)")?;
    terminal.await_shell()?;
    terminal.ended_with(7)
}

/// The shell sees a program that died of the signal.
fn interrupts_a_program(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line("sbx sh -c 'sh sleeper; echo n\"\"ot'")?;
    terminal.expect("ready")?;
    terminal.keys(CTRL_C)?;
    terminal.await_shell()?;
    terminal.ended_with(130)?;
    let shown = String::from_utf8_lossy(terminal.shown()).into_owned();
    terminal.check(!shown.contains("not\r"), "nothing should run after the interrupt")
}

/// A loop ends with the program that was interrupted, as it does without sbx.
fn interrupts_a_loop(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    for sandbox in ["", "sbx "] {
        terminal.look_away()?;
        let body = format!("echo rou\"\"nd; {sandbox}sh sleeper");
        terminal.line(&shell.three_times(&body))?;
        terminal.expect("ready")?;
        terminal.keys(CTRL_C)?;
        terminal.await_shell()?;
        terminal.ended_with(130)?;
        let again = terminal.unseen()?.contains("round\r");
        terminal.check(!again, &format!("the loop should be over ({sandbox})"))?;
    }
    Ok(())
}

/// Whatever sbx is doing when the key comes.
fn interrupts_at_any_moment(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    for round in 0..40 {
        terminal.line("sbx sleep 1000")?;
        // Before that it is still the shell that a signal finds, with its handlers.
        terminal.until("sbx is started", is_sbx)?;
        std::thread::sleep(Duration::from_micros(round * 400));
        terminal.keys(CTRL_C)?;
        terminal.await_shell().map_err(|failure| in_round(round, &failure))?;
        terminal.ended_with(130).map_err(|failure| in_round(round, &failure))?;
    }
    Ok(())
}

fn is_sbx(terminal: &Terminal) -> bool {
    let is_named = |pid: &i32| std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"sbx\n");
    terminal.jobs().iter().any(is_named)
}

fn in_round(round: u64, failure: &Failed) -> Failed {
    format!("in round {round}: {}", failure.message().unwrap_or_default()).into()
}

fn quits(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line("sbx sh sleeper")?;
    terminal.expect("ready")?;
    terminal.keys(CTRL_BACKSLASH)?;
    terminal.await_shell()?;
    terminal.ended_with(131)
}

fn ends_the_input(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line("sbx cat")?;
    terminal.await_program()?;
    terminal.line("written-twice")?;
    terminal.expect("written-twice\r\nwritten-twice\r\n")?;
    terminal.keys(CTRL_D)?;
    terminal.await_shell()?;
    terminal.ended_with(0)
}

/// Keys that come before sbx has the terminal are for the program.
fn types_ahead(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    for round in 0..5 {
        let word = format!("early-{round}");
        terminal.line("sbx sh -c 'read word; echo go\"\"t $word.'")?;
        terminal.await_program()?;
        terminal.line(&word)?;
        terminal.expect(&format!("got {word}."))?;
        terminal.await_shell()?;
        terminal.run_for("true", 0)?;
    }
    Ok(())
}

/// So is the end of the input.
fn ends_the_input_ahead(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    for _ in 0..5 {
        terminal.line("sbx sh -c 'cat >copy'")?;
        terminal.await_program()?;
        terminal.keys(format!("early\r{CTRL_D}"))?;
        terminal.await_shell()?;
        terminal.ended_with(0)?;
        let copy = std::fs::read_to_string(user.project().join("copy"))?;
        terminal.check(copy == "early\n", &format!("not what was typed: {copy:?}"))?;
    }
    Ok(())
}

//! Stopping, going on, and what runs in the background.

use crate::common::{Case, User, Verdict};
use crate::driver::{Terminal, state};
use crate::inside::payload;
use crate::keys::{CTRL_C, CTRL_D, CTRL_Z, ConcatAll as _};
use crate::shell::{PROMPT, Shell, in_shells};
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    let all = Shell::ALL;
    [
        in_shells!(all, stops_and_comes_back),
        in_shells!(all, goes_on_in_the_background),
        in_shells!(all, a_reader_comes_back),
        in_shells!(all, a_background_reader_waits),
        in_shells!(all, the_background_prints),
        in_shells!([Shell::Bash, Shell::Dash], stops_again_and_again),
        in_shells!([Shell::Bash, Shell::Dash], is_interrupted_as_soon_as_it_is_back),
    ]
    .concat_all()
}

/// The word for a stopped job in the shells' lists.
fn shows_stopped(terminal: &mut Terminal) -> Verdict {
    terminal.look_away()?;
    terminal.line("jobs; echo list\"\"ed")?;
    let mut text = String::new();
    terminal.until("the list of jobs", |terminal| {
        text = String::from_utf8_lossy(terminal.shown()).into_owned();
        text.contains("listed\r")
    })?;
    let text = terminal.unseen()?;
    terminal.expect("listed\r")?;
    let stopped = ["topped", "suspended"].iter().any(|word| text.contains(word));
    terminal.check(stopped, "the list of jobs should say that it is stopped")
}

fn sleeper(terminal: &mut Terminal) -> Result<i32, libtest_mimic::Failed> {
    terminal.line("sbx sh sleeper")?;
    terminal.expect("ready")?;
    payload(terminal)
}

pub(crate) fn stop(terminal: &mut Terminal, program: i32) -> Verdict {
    terminal.keys(CTRL_Z)?;
    terminal.await_shell()?;
    terminal.until("the program is stopped", |_| state(program) == Some('T'))
}

pub(crate) fn continue_in_the_foreground(terminal: &mut Terminal, program: i32) -> Verdict {
    terminal.line("fg")?;
    terminal.await_program()?;
    terminal.until("the program goes on", |_| state(program) == Some('S'))
}

fn end_by_key(terminal: &mut Terminal, shell: Shell, program: i32) -> Verdict {
    continue_in_the_foreground(terminal, program)?;
    terminal.keys(CTRL_C)?;
    terminal.await_shell()?;
    terminal.ended_with(shell.status_of_resumed(130))
}

fn stops_and_comes_back(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    let program = sleeper(&mut terminal)?;
    stop(&mut terminal, program)?;
    shows_stopped(&mut terminal)?;
    terminal.line("echo ali\"\"ve")?;
    terminal.expect("alive")?;
    end_by_key(&mut terminal, shell, program)
}

fn goes_on_in_the_background(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    let program = sleeper(&mut terminal)?;
    stop(&mut terminal, program)?;
    terminal.run("bg")?;
    terminal.until("the program goes on", |_| state(program) == Some('S'))?;
    // The keys are the shell's.
    terminal.run_for("echo ali\"\"ve", 0)?;
    terminal.expect(PROMPT)?;
    // The line editor is not ready with its prompt, and drops what comes with the key.
    std::thread::sleep(Duration::from_millis(100));
    terminal.keys(CTRL_C)?;
    std::thread::sleep(Duration::from_millis(300));
    terminal.run_for("true", 0)?;
    terminal.check(state(program) == Some('S'), "the key was not for it")?;
    end_by_key(&mut terminal, shell, program)
}

fn a_reader_comes_back(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line("sbx cat")?;
    terminal.await_program()?;
    terminal.line("first-line")?;
    terminal.expect("first-line\r\nfirst-line\r\n")?;
    let program = payload(&terminal)?;
    stop(&mut terminal, program)?;
    shows_stopped(&mut terminal)?;
    terminal.line("fg")?;
    terminal.await_program()?;
    terminal.line("second-line")?;
    terminal.expect("second-line")?;
    terminal.expect("second-line")?;
    terminal.keys(CTRL_D)?;
    terminal.await_shell()?;
    terminal.ended_with(0)
}

/// While a reader is stopped in the background.
pub(crate) fn the_shell_keeps_its_keys(terminal: &mut Terminal) -> Verdict {
    for word in ["one", "two", "three"] {
        terminal.line(&format!("echo she\"\"ll-{word}"))?;
        terminal.expect(&format!("shell-{word}"))?;
    }
    Ok(())
}

/// A `cat` that was stopped for reading.
pub(crate) fn gets_its_own_in_the_foreground(terminal: &mut Terminal) -> Verdict {
    terminal.line("fg")?;
    terminal.await_program()?;
    terminal.line("for-the-cat")?;
    terminal.expect("for-the-cat")?;
    terminal.expect("for-the-cat")?;
    terminal.keys(CTRL_D)?;
    terminal.await_shell()?;
    terminal.ended_with(0)
}

/// It is stopped for wanting keys, takes none from the shell, and gets its own later.
fn a_background_reader_waits(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line("sbx cat &")?;
    let program = payload(&terminal)?;
    terminal.until("sbx is stopped", |terminal| {
        terminal.jobs().first().is_some_and(|sbx| state(*sbx) == Some('T'))
    })?;
    terminal.check(state(program) == Some('T'), "the program should be stopped as well")?;
    the_shell_keeps_its_keys(&mut terminal)?;
    shows_stopped(&mut terminal)?;
    gets_its_own_in_the_foreground(&mut terminal)
}

fn the_background_prints(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line("sbx sh -c 'sleep 1; echo fin\"\"ished' &")?;
    terminal.run_for("echo ali\"\"ve", 0)?;
    terminal.expect("finished\r\n")?;
    terminal.until("nothing runs", |terminal| terminal.jobs().iter().all(|pid| state(*pid) == Some('Z')))?;
    terminal.run_for("echo ali\"\"ve", 0)
}

fn stops_again_and_again(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    let program = sleeper(&mut terminal)?;
    for _ in 0..10 {
        stop(&mut terminal, program)?;
        terminal.line("fg")?;
        terminal.await_program()?;
        terminal.until("the program goes on", |_| state(program) == Some('S'))?;
    }
    terminal.keys(CTRL_C)?;
    terminal.await_shell()?;
    terminal.ended_with(130)
}

/// The key comes while the terminal changes hands.
fn is_interrupted_as_soon_as_it_is_back(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    for round in 0..25 {
        let program = sleeper(&mut terminal)?;
        stop(&mut terminal, program)?;
        terminal.run("bg")?;
        terminal.until("the program goes on", |_| state(program) == Some('S'))?;
        terminal.line("fg")?;
        terminal.await_program()?;
        std::thread::sleep(Duration::from_micros(round * 60));
        terminal.keys(CTRL_C)?;
        terminal.await_shell()?;
        terminal.ended_with(130)?;
    }
    Ok(())
}

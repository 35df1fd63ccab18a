//! The terminal as the program sees it.

use crate::common::{Case, Need, User, Verdict, case, process::Status};
use crate::driver::{Terminal, state};
use crate::keys::{CTRL_C, ConcatAll as _};
use crate::shell::{Shell, in_shells};
use libtest_mimic::Failed;

pub(crate) fn cases() -> Vec<Case> {
    [
        in_shells!(Shell::ALL, what_it_sets_stays_inside),
        // Root can't have one.
        in_shells!([Shell::Bash, Shell::Zsh], a_sandbox_in_a_sandbox)
            .into_iter()
            .map(Case::only_as_user)
            .collect(),
        vec![
            case!(it_has_a_name).needs(Need::Program("python3")),
            case!(it_can_be_opened),
            case!(it_has_the_size),
            case!(it_controls_jobs_inside),
        ],
    ]
    .concat_all()
}

/// The number of a process in its innermost PID namespace, if that is not this one.
fn inner_number(pid: i32) -> Option<u64> {
    let numbers = Status::of(pid).ok()?.numbers("NSpid").ok()?;
    numbers.get(1..)?.last().copied()
}

/// PID 1 of the sandbox below the shell.
pub(crate) fn init(terminal: &Terminal) -> Result<i32, Failed> {
    terminal.find("PID 1", |pid| inner_number(pid) == Some(1))
}

/// The command's process, once its program runs.
pub(crate) fn payload(terminal: &Terminal) -> Result<i32, Failed> {
    terminal.find("the command", |pid| {
        let own = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        inner_number(pid) == Some(2) && !own.starts_with("sbx")
    })
}

fn what_it_sets_stays_inside(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    for change in ["stty -echo", "stty raw -echo", "sh -c 'stty rows 5 cols 7 -icanon -isig intr x'"] {
        terminal.run_for("stty -a >before", 0)?;
        terminal.run_for(&format!("sbx {change}"), 0)?;
        terminal.run_for("stty -a >after", 0)?;
        terminal.run_for("cmp before after", 0)?;
        terminal.look_away()?;
        terminal.keys("echo see\"\"n")?;
        if shell != Shell::Fish {
            terminal.expect("echo see\"\"n")?;
        }
        terminal.line("")?;
        terminal.expect("seen")?;
    }
    Ok(())
}

fn a_sandbox_in_a_sandbox(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    let sbx = user.sbx_path().display();
    terminal.line(&format!("sbx --set namespaces.nested=full --ro {sbx} {sbx} sh -i"))?;
    terminal.await_program()?;
    terminal.line("echo in\"\"side; tty; PS1=in''ner")?;
    terminal.expect("inside\r\n/dev/pts/0\r\n")?;
    terminal.expect("inner")?;
    terminal.line("sh sleeper")?;
    terminal.expect("ready")?;
    terminal.keys(CTRL_C)?;
    terminal.expect("inner")?;
    terminal.line("echo sta\"\"tus $?; exit 9")?;
    terminal.expect("status 130")?;
    terminal.await_shell()?;
    terminal.ended_with(9)
}

fn it_has_a_name(user: &User) -> Verdict {
    let mut terminal = Terminal::start(user, Shell::Dash)?;
    terminal.line("sbx tty")?;
    terminal.expect("\r\n/dev/pts/0\r\n")?;
    terminal.await_shell()?;
    terminal.line("sbx python3 -c 'import os; print([os.ttyname(n) for n in range(3)])'")?;
    terminal.expect("['/dev/pts/0', '/dev/pts/0', '/dev/pts/0']")?;
    terminal.await_shell()?;
    terminal.ended_with(0)
}

fn it_can_be_opened(user: &User) -> Verdict {
    let mut terminal = Terminal::start(user, Shell::Dash)?;
    terminal.run_for("sbx sh -c 'echo by-na\"\"me >/dev/tty && echo t >/dev/pts/0' >/dev/null", 0)?;
    let shown = String::from_utf8_lossy(terminal.shown()).into_owned();
    terminal.check(shown.contains("by-name\r\n"), "what is written to /dev/tty should be shown")?;
    terminal.line("echo pip\"\"ed | sbx sh -c 'read key </dev/tty; echo got $key and $(cat)'")?;
    terminal.await_program()?;
    terminal.line("a-key")?;
    terminal.expect("got a-key and piped")?;
    terminal.await_shell()?;
    terminal.ended_with(0)
}

fn it_has_the_size(user: &User) -> Verdict {
    let mut terminal = Terminal::start(user, Shell::Dash)?;
    for (rows, columns) in [(24, 100), (50, 132), (1, 1)] {
        terminal.resize(rows, columns)?;
        terminal.line("sbx stty size")?;
        terminal.expect(&format!("\r\n{rows} {columns}\r\n"))?;
        terminal.await_shell()?;
    }
    Ok(())
}

/// A shell inside has jobs of its own.
fn it_controls_jobs_inside(user: &User) -> Verdict {
    let mut terminal = Terminal::start(user, Shell::Dash)?;
    terminal.line("sbx bash --norc --noprofile -i")?;
    terminal.await_program()?;
    terminal.line("PS1=in''ner")?;
    terminal.expect("inner")?;
    terminal.line("sh sleeper")?;
    terminal.expect("ready")?;
    terminal.keys(crate::keys::CTRL_Z)?;
    terminal.expect("Stopped")?;
    terminal.expect("inner")?;
    let sleep = terminal.find("the sleeping program", |pid| state(pid) == Some('T'))?;
    terminal.line("fg")?;
    terminal.until("it goes on", |_| state(sleep) == Some('S'))?;
    terminal.keys(CTRL_C)?;
    terminal.expect("inner")?;
    terminal.line("echo sta\"\"tus $?; exit 4")?;
    terminal.expect("status 130")?;
    terminal.await_shell()?;
    terminal.ended_with(4)
}

//! The terminal's modes after sbx, however it ended.

use crate::common::{Case, User, Verdict};
use crate::driver::Terminal;
use crate::inside::{init, payload};
use crate::keys::{CTRL_C, CTRL_Z, ConcatAll as _};
use crate::screen::shows_what_is_typed;
use crate::shell::{Shell, in_shells};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::LocalFlags;
use nix::unistd::Pid;

pub(crate) fn cases() -> Vec<Case> {
    let two = [Shell::Bash, Shell::Dash];
    [
        in_shells!(Shell::ALL, after_an_exit),
        in_shells!(two, after_a_key),
        in_shells!(two, after_a_stop),
        in_shells!(two, after_the_end_of_sbx),
        // Other shells may look at the modes before they are put right, and keep them.
        in_shells!(two, after_the_killing_of_sbx),
        in_shells!(two, after_the_killing_of_the_command),
        in_shells!(two, after_the_killing_of_init),
        in_shells!(two, after_a_refusal),
        in_shells!(two, after_a_program_that_is_not_there),
        in_shells!(two, after_its_time),
        in_shells!([Shell::Dash], of_the_caller_are_those_inside),
    ]
    .concat_all()
}

/// A command runs between two looks at the modes, and afterwards one sees what one types.
fn unchanged(
    user: &User,
    shell: Shell,
    during: impl FnOnce(&mut Terminal) -> Result<i32, Failed>,
) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for("stty -a >before", 0)?;
    terminal.until("the shell reads a line", |terminal| {
        terminal
            .modes()
            .is_ok_and(|modes| modes.local_flags.contains(LocalFlags::ICANON) != shell.edits_lines())
    })?;
    let at_prompt = terminal.modes()?;
    let status = during(&mut terminal)?;
    terminal.await_shell()?;
    // A line editor may still be on its way to its own modes, and so may the janitor.
    terminal.until("the modes of the prompt", |terminal| {
        terminal.modes().is_ok_and(|modes| modes == at_prompt)
    })?;
    terminal.ended_with(status)?;
    shows_what_is_typed(&mut terminal, shell)?;
    terminal.run_for("stty -a >after", 0)?;
    terminal.run_for("diff before after", 0)
}

fn after_an_exit(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        terminal.run_for("sbx true", 0)?;
        terminal.line("sbx sh -c 'exit 3'")?;
        terminal.await_program()?;
        Ok(3)
    })
}

/// The program, once the caller's terminal is its.
fn ready(terminal: &mut Terminal) -> Result<i32, Failed> {
    terminal.line("sbx sh sleeper")?;
    terminal.expect("ready\r\n")?;
    terminal.until("the terminal is raw", |terminal| {
        terminal.modes().is_ok_and(|modes| {
            !modes.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::ECHO)
        })
    })?;
    payload(terminal)
}

fn after_a_key(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        ready(terminal)?;
        terminal.keys(CTRL_C)?;
        Ok(130)
    })
}

fn after_a_stop(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        ready(terminal)?;
        terminal.keys(CTRL_Z)?;
        Ok(128 + Signal::SIGTSTP as i32)
    })
}

fn send(pid: i32, signal: Signal) -> Verdict {
    kill(Pid::from_raw(pid), signal).map_err(|errno| format!("cannot signal {pid}: {errno}").into())
}

fn sbx(terminal: &Terminal) -> Result<i32, Failed> {
    Ok(terminal.jobs().first().copied().ok_or("no sbx")?)
}

fn after_the_end_of_sbx(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        ready(terminal)?;
        send(sbx(terminal)?, Signal::SIGTERM)?;
        Ok(143)
    })
}

fn after_the_killing_of_sbx(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        ready(terminal)?;
        send(sbx(terminal)?, Signal::SIGKILL)?;
        Ok(137)
    })
}

fn after_the_killing_of_the_command(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        send(ready(terminal)?, Signal::SIGKILL)?;
        Ok(137)
    })
}

fn after_the_killing_of_init(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        ready(terminal)?;
        send(init(terminal)?, Signal::SIGKILL)?;
        Ok(137)
    })
}

fn after_a_refusal(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        terminal.line("sbx --ro /nowhere true")?;
        terminal.expect("cannot bind")?;
        Ok(125)
    })
}

/// It is found missing when there is a terminal inside already.
fn after_a_program_that_is_not_there(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        terminal.line("sbx /nowhere/program")?;
        terminal.expect("cannot find")?;
        Ok(127)
    })
}

fn after_its_time(user: &User, shell: Shell) -> Verdict {
    unchanged(user, shell, |terminal| {
        terminal.line("sbx --timeout 1s sleep 1000")?;
        terminal.expect("its time of")?;
        Ok(124)
    })
}

/// Erase and interrupt are the keys that the user has chosen.
fn of_the_caller_are_those_inside(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for("stty intr ^X erase ^H -ixon tostop", 0)?;
    terminal.run_for("stty -a >before", 0)?;
    terminal.run_for("sbx sh -c 'stty -a >inside'", 0)?;
    terminal.run_for("diff before inside", 0)?;
    terminal.line("sbx sh sleeper")?;
    terminal.expect("ready")?;
    terminal.keys("\x18")?;
    terminal.await_shell()?;
    terminal.ended_with(130)
}

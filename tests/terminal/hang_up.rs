//! The terminal goes away.

use crate::common::{Case, User, Verdict, wait_for};
use crate::driver::{Terminal, state};
use crate::inside::payload;
use crate::keys::ConcatAll as _;
use crate::shell::{Shell, in_shells};

pub(crate) fn cases() -> Vec<Case> {
    [
        in_shells!(Shell::ALL, ends_a_program),
        in_shells!(Shell::ALL, ends_a_reader),
        in_shells!([Shell::Bash, Shell::Dash], ends_a_pipeline),
        in_shells!([Shell::Bash, Shell::Zsh], ends_a_stopped_program),
        in_shells!([Shell::Bash, Shell::Dash], ends_a_program_that_prints),
    ]
    .concat_all()
}

fn nothing_is_left_of(
    command: &str,
    user: &User,
    shell: Shell,
    prepare: fn(&mut Terminal) -> Verdict,
) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line(command)?;
    terminal.expect("ready")?;
    payload(&terminal)?;
    prepare(&mut terminal)?;
    let everybody = terminal.jobs();
    terminal.check(everybody.len() >= 3, "there should be sbx, PID 1 and the command")?;
    terminal.hang_up();
    let left = || {
        everybody.iter().copied().filter(|pid| !matches!(state(*pid), None | Some('Z'))).collect::<Vec<_>>()
    };
    wait_for("the end of everybody", || left().is_empty().then_some(()))
        .map_err(|_| terminal.failure(&format!("outlived the terminal: {:?}", left())))
}

fn ends_a_program(user: &User, shell: Shell) -> Verdict {
    nothing_is_left_of("sbx sh sleeper", user, shell, |_| Ok(()))
}

fn ends_a_reader(user: &User, shell: Shell) -> Verdict {
    nothing_is_left_of("sbx sh -c 'echo re\"\"ady; cat; exec sleep 1000'", user, shell, |_| Ok(()))
}

fn ends_a_pipeline(user: &User, shell: Shell) -> Verdict {
    nothing_is_left_of("sbx sh -c 'echo re\"\"ady >&2; exec sleep 1000' | cat", user, shell, |_| Ok(()))
}

fn ends_a_stopped_program(user: &User, shell: Shell) -> Verdict {
    nothing_is_left_of("sbx sh sleeper", user, shell, |terminal| {
        terminal.keys(crate::keys::CTRL_Z)?;
        terminal.await_shell()?;
        terminal.run_for("true", 0)
    })
}

fn ends_a_program_that_prints(user: &User, shell: Shell) -> Verdict {
    nothing_is_left_of("sbx sh -c 'echo re\"\"ady; exec yes'", user, shell, |_| Ok(()))
}

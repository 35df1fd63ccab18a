//! The caller's own terminal, shared (`terminal.mode`).

use crate::common::{Case, User, Verdict};
use crate::driver::{Terminal, state};
use crate::inside::payload;
use crate::jobs::{
    continue_in_the_foreground, gets_its_own_in_the_foreground, stop, the_shell_keeps_its_keys,
};
use crate::keys::{CTRL_C, ConcatAll as _};
use crate::shell::{Shell, in_shells};

const INHERIT: &str = "sbx --set terminal.mode=inherit";
const NONE: &str = "sbx --set terminal.mode=none";

pub(crate) fn cases() -> Vec<Case> {
    let all = Shell::ALL;
    let two = [Shell::Bash, Shell::Dash];
    [
        in_shells!(all, inherited_and_interrupted),
        in_shells!(all, inherited_and_stopped),
        in_shells!(all, inherited_and_read_in_the_background),
        in_shells!(two, inherited_and_changed),
        in_shells!(all, none_and_interrupted),
        in_shells!(all, none_and_stopped),
        in_shells!(two, none_has_no_name),
    ]
    .concat_all()
}

fn interrupted(user: &User, shell: Shell, sbx: &str) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for("stty -a >before", 0)?;
    terminal.line(&format!("{sbx} sh -c 'sh sleeper; echo n\"\"ot'"))?;
    terminal.expect("ready")?;
    terminal.keys(CTRL_C)?;
    terminal.await_shell()?;
    terminal.ended_with(130)?;
    terminal.run_for("stty -a >after; cmp before after", 0)
}

fn stopped(user: &User, shell: Shell, sbx: &str) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line(&format!("{sbx} sh sleeper"))?;
    terminal.expect("ready")?;
    let program = payload(&terminal)?;
    for _ in 0..3 {
        stop(&mut terminal, program)?;
        terminal.run_for("echo ali\"\"ve", 0)?;
        continue_in_the_foreground(&mut terminal, program)?;
    }
    terminal.keys(CTRL_C)?;
    terminal.await_shell()?;
    terminal.ended_with(shell.status_of_resumed(130))
}

fn inherited_and_interrupted(user: &User, shell: Shell) -> Verdict {
    interrupted(user, shell, INHERIT)
}

fn inherited_and_stopped(user: &User, shell: Shell) -> Verdict {
    stopped(user, shell, INHERIT)
}

fn inherited_and_read_in_the_background(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line(&format!("{INHERIT} cat &"))?;
    let program = payload(&terminal)?;
    terminal.until("the program is stopped", |_| state(program) == Some('T'))?;
    the_shell_keeps_its_keys(&mut terminal)?;
    gets_its_own_in_the_foreground(&mut terminal)
}

/// What the program leaves the terminal in is put right.
fn inherited_and_changed(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for("stty -a >before", 0)?;
    terminal.run_for(&format!("{INHERIT} stty raw -echo"), 0)?;
    terminal.run_for("stty -a >after; cmp before after", 0)
}

fn none_and_interrupted(user: &User, shell: Shell) -> Verdict {
    interrupted(user, shell, NONE)
}

fn none_and_stopped(user: &User, shell: Shell) -> Verdict {
    stopped(user, shell, NONE)
}

fn none_has_no_name(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for(&format!("{NONE} sh -c 'test -t 1 && ! (: >/dev/tty) 2>&-'"), 0)?;
    terminal.run_for(&format!("{NONE} sh -c 'stty size >size'"), 0)?;
    let size = std::fs::read_to_string(user.project().join("size"))?;
    terminal.check(size == "24 100\n", &format!("the size is {size:?}"))
}

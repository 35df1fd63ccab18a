//! Programs that fill the screen.

use crate::common::{Case, Need, User, Verdict};
use crate::driver::{Terminal, state};
use crate::inside::payload;
use crate::keys::{CTRL_C, CTRL_Z, ConcatAll as _};
use crate::shell::{Shell, in_shells};

/// To the other screen and back (xterm).
const TO_SCREEN: &str = "\x1b[?1049h";
const FROM_SCREEN: &str = "\x1b[?1049l";

pub(crate) fn cases() -> Vec<Case> {
    let less = |case: Case| case.needs(Need::Program("less"));
    let vim = |case: Case| case.needs(Need::Program("vim.tiny"));
    [
        in_shells!(Shell::ALL, a_program_hears_of_a_resize),
        in_shells!(Shell::ALL, less_fills_the_screen).into_iter().map(less).collect(),
        in_shells!(Shell::ALL, vim_fills_the_screen).into_iter().map(vim).collect(),
        in_shells!([Shell::Bash, Shell::Zsh], vim_stops_and_comes_back).into_iter().map(vim).collect(),
    ]
    .concat_all()
}

fn a_program_hears_of_a_resize(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.line("sbx sh -c 'trap \"stty size\" WINCH; echo re\"\"ady; while :; do sleep 0.1; done'")?;
    terminal.expect("ready")?;
    for (rows, columns) in [(33, 99), (12, 34), (200, 300)] {
        terminal.resize(rows, columns)?;
        terminal.expect(&format!("{rows} {columns}\r\n"))?;
    }
    terminal.keys(CTRL_C)?;
    terminal.await_shell()?;
    terminal.ended_with(130)
}

/// fish draws what is typed piece by piece.
pub(crate) fn shows_what_is_typed(terminal: &mut Terminal, shell: Shell) -> Verdict {
    terminal.look_away()?;
    terminal.keys("echo vis\"\"ible")?;
    if shell != Shell::Fish {
        terminal.expect("echo vis\"\"ible")?;
    }
    terminal.line("")?;
    terminal.expect("visible")
}

fn usable(terminal: &mut Terminal, shell: Shell) -> Verdict {
    shows_what_is_typed(terminal, shell)?;
    terminal.run_for("stty -a >after; cmp before after", 0)
}

fn less_fills_the_screen(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for("stty -a >before; seq 1000 1500 >numbers", 0)?;
    terminal.line("sbx less -M numbers")?;
    terminal.expect(TO_SCREEN)?;
    terminal.expect("lines 1-23/501")?;
    // A signal between its look and its read waits for the next one (less).
    let mut columns = 60;
    terminal.again_until("a smaller page", "lines 1-10/501", |terminal| {
        columns += 1;
        terminal.resize(11, columns)
    })?;
    // While it draws anew less may drop a key.
    terminal.keys_until("G", "1500")?;
    terminal.keys("q")?;
    terminal.expect(FROM_SCREEN)?;
    terminal.await_shell()?;
    terminal.resize(24, 100)?;
    usable(&mut terminal, shell)
}

fn vim_fills_the_screen(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for("stty -a >before", 0)?;
    terminal.line("sbx vim.tiny -u NONE -N -n text")?;
    terminal.expect(TO_SCREEN)?;
    terminal.keys("iwritten inside\x1b")?;
    terminal.line(":set lines?")?;
    terminal.expect("lines=24")?;
    terminal.resize(15, 70)?;
    // It draws anew in its own time.
    terminal.keys_until(":set lines?\r", "lines=15")?;
    terminal.line(":wq")?;
    terminal.expect(FROM_SCREEN)?;
    terminal.await_shell()?;
    terminal.ended_with(0)?;
    terminal.resize(24, 100)?;
    let text = std::fs::read_to_string(user.project().join("text"))?;
    terminal.check(text == "written inside\n", &format!("vim wrote {text:?}"))?;
    usable(&mut terminal, shell)
}

fn vim_stops_and_comes_back(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for("stty -a >before", 0)?;
    terminal.line("sbx vim.tiny -u NONE -N -n text")?;
    terminal.expect(TO_SCREEN)?;
    let vim = payload(&terminal)?;
    terminal.keys(CTRL_Z)?;
    terminal.expect(FROM_SCREEN)?;
    terminal.await_shell()?;
    terminal.until("vim is stopped", |_| state(vim) == Some('T'))?;
    usable(&mut terminal, shell)?;
    // Changed meanwhile: it is told when it comes back.
    terminal.resize(17, 90)?;
    terminal.line("fg")?;
    terminal.expect(TO_SCREEN)?;
    terminal.line(":set lines?")?;
    terminal.expect("lines=17")?;
    terminal.line(":q!")?;
    terminal.expect(FROM_SCREEN)?;
    terminal.await_shell()?;
    terminal.resize(24, 100)?;
    usable(&mut terminal, shell)
}

//! Many bytes, each as it was.

use crate::common::{Case, User, Verdict};
use crate::driver::Terminal;
use crate::keys::{CTRL_D, ConcatAll as _};
use crate::shell::{Shell, in_shells};
use std::path::Path;

/// How many.
const COUNT: usize = 200_000;

pub(crate) fn cases() -> Vec<Case> {
    let two = [Shell::Bash, Shell::Dash];
    [
        in_shells!(two, many_keys_arrive),
        in_shells!(two, much_output_arrives),
        in_shells!(two, both_at_once),
        in_shells!(two, pasted_lines_arrive),
        in_shells!(Shell::ALL, output_at_the_very_end_arrives),
    ]
    .concat_all()
}

/// All 256 values, in no order.
fn noise() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..COUNT)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

fn same(terminal: &Terminal, file: &Path, wanted: &[u8]) -> Verdict {
    let got = std::fs::read(file)?;
    let differs = got.iter().zip(wanted).position(|(one, other)| one != other);
    let why = format!("{} bytes of {}, different from {differs:?} on", got.len(), wanted.len());
    terminal.check(got == wanted, &why)
}

fn many_keys_arrive(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    let noise = noise();
    terminal.line(&format!("sbx sh -c 'stty raw -echo; echo re\"\"ady; head -c {COUNT} >copy'"))?;
    terminal.expect("ready\n")?;
    terminal.keys(&noise)?;
    terminal.await_shell()?;
    same(&terminal, &user.project().join("copy"), &noise)
}

fn much_output_arrives(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    let noise = noise();
    user.put(user.project().join("big"), &noise)?;
    terminal.line("sbx sh -c 'stty raw -echo; echo re\"\"ady; cat big'")?;
    terminal.expect("ready\n")?;
    let from = terminal.seen();
    terminal.await_shell()?;
    let shown = terminal.shown().get(from..from + COUNT).unwrap_or_default();
    let differs = shown.iter().zip(&noise).position(|(one, other)| one != other);
    terminal.check(shown == noise, &format!("{} bytes, different from {differs:?} on", shown.len()))
}

fn both_at_once(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    let noise = noise();
    terminal.line(&format!("sbx sh -c 'stty raw -echo; echo re\"\"ady; head -c {COUNT}'"))?;
    terminal.expect("ready\n")?;
    let from = terminal.seen();
    terminal.keys(&noise)?;
    terminal.await_shell()?;
    let shown = terminal.shown().get(from..from + COUNT).unwrap_or_default();
    let differs = shown.iter().zip(&noise).position(|(one, other)| one != other);
    terminal.check(shown == noise, &format!("{} bytes, different from {differs:?} on", shown.len()))
}

/// Line by line, echoed, as into an editor's simplest mode.
fn pasted_lines_arrive(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    let text: String = (0..COUNT / 50).map(|line| format!("{line:049}\n")).collect();
    terminal.line("sbx sh -c 'echo re\"\"ady; cat >copy'")?;
    terminal.expect("ready")?;
    terminal.keys(text.replace('\n', "\r"))?;
    terminal.keys(CTRL_D)?;
    terminal.await_shell()?;
    same(&terminal, &user.project().join("copy"), text.as_bytes())
}

/// Nothing is lost between the last write and the end.
fn output_at_the_very_end_arrives(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    for round in 0..10 {
        terminal.line("sbx seq -f li\"\"ne-%05g 1 4000")?;
        terminal.expect("line-04000\r\n")?;
        terminal.await_shell()?;
        let shown = String::from_utf8_lossy(terminal.shown()).into_owned();
        let lines = shown.matches("line-0").count();
        terminal.check(lines == (round + 1) * 4000, &format!("round {round}: {lines} lines"))?;
    }
    Ok(())
}

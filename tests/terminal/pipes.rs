//! sbx in pipelines: only what is a terminal is relayed.

use crate::common::{Case, Need, User, Verdict};
use crate::driver::Terminal;
use crate::keys::{CTRL_C, ConcatAll as _};
use crate::shell::{Shell, in_shells};

pub(crate) fn cases() -> Vec<Case> {
    let less = |case: Case| case.needs(Need::Program("less"));
    [
        in_shells!(Shell::ALL, into_and_out_of),
        in_shells!(Shell::ALL, a_writer_without_end),
        in_shells!(Shell::ALL, a_pager_at_the_end).into_iter().map(less).collect(),
        in_shells!([Shell::Bash, Shell::Dash], a_pager_behind).into_iter().map(less).collect(),
        in_shells!([Shell::Bash, Shell::Dash], interrupted),
    ]
    .concat_all()
}

fn into_and_out_of(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for("stty -a >before", 0)?;
    terminal.line("echo wo\"\"rd | sbx cat")?;
    terminal.expect("word\r\n")?;
    terminal.await_shell()?;
    terminal.line("sbx echo out\"\"ward | cat")?;
    terminal.expect("outward\r\n")?;
    terminal.await_shell()?;
    terminal.run_for("sbx seq 3 | sbx sort -r | sbx cat >sorted", 0)?;
    let sorted = std::fs::read(user.project().join("sorted"))?;
    terminal.check(sorted == b"3\n2\n1\n", "three sandboxes in a row should pass it on")?;
    terminal.run_for("echo wo\"\"rd | sbx cat", 0)?;
    terminal.run_for("stty -a >after; cmp before after", 0)
}

fn a_writer_without_end(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    for pipeline in
        ["yes wo\"\"rd | sbx head -1", "sbx yes wo\"\"rd | head -1", "sbx yes wo\"\"rd | sbx head -1"]
    {
        terminal.look_away()?;
        terminal.run_for(pipeline, 0)?;
    }
    let shown = String::from_utf8_lossy(terminal.shown()).into_owned();
    let words = shown.matches("word\r\n").count();
    terminal.check(words == 3, &format!("one word from each, not {words}"))
}

/// The keys are the pager's, which shares the terminal with sbx, and it finds the terminal in order.
fn a_pager_behind(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    for command in [
        "sbx seq 1000 1500 | less",
        "sbx seq 1000 9999999 | less",
        "sbx sh -c 'seq 1000 1500; exec sleep 1000' | less",
    ] {
        terminal.look_away()?;
        terminal.line(command)?;
        terminal.expect("1000\r\n1001\r\n")?;
        for line in ["1023", "1024", "1025", "1026", "1027", "1028"] {
            terminal.keys("j")?;
            terminal.expect(line)?;
        }
        terminal.keys("q")?;
        terminal.expect("\x1b[?1049l")?;
        if command.contains("sleep") {
            terminal.keys(CTRL_C)?;
        }
        terminal.await_shell()?;
        terminal.run_for("true", 0)?;
    }
    Ok(())
}

/// It takes its text from the pipe and its keys from the terminal.
fn a_pager_at_the_end(user: &User, shell: Shell) -> Verdict {
    let mut terminal = Terminal::start(user, shell)?;
    terminal.run_for("stty -a >before", 0)?;
    terminal.line("seq 1000 1500 | sbx less")?;
    terminal.expect("1022\r\n")?;
    terminal.keys("G")?;
    terminal.expect("1500")?;
    terminal.keys("g")?;
    terminal.expect("1000")?;
    terminal.keys("q")?;
    terminal.await_shell()?;
    terminal.ended_with(0)?;
    terminal.run_for("stty -a >after; cmp before after", 0)
}

fn interrupted(user: &User, shell: Shell) -> Verdict {
    for pipeline in [
        "sbx sh -c 'echo re\"\"ady >&2; exec sleep 1000' | cat",
        "sleep 1000 | sbx sh -c 'echo re\"\"ady; cat'",
    ] {
        let mut terminal = Terminal::start(user, shell)?;
        terminal.line(pipeline)?;
        terminal.expect("ready")?;
        terminal.keys(CTRL_C)?;
        terminal.await_shell()?;
        terminal.run_for("true", 0)?;
        terminal.until("nothing is left", |terminal| terminal.jobs().is_empty())?;
    }
    Ok(())
}

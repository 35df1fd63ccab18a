//! How a refusal is looked at: its code, its text, its hint, and that nothing ran.

use crate::common::{Output, User, Verdict, output};
use libtest_mimic::Failed;
use std::ffi::OsStr;
use std::process::Command;

/// What a refused command would have left behind, in the project directory.
const MARK: &str = "it-ran";

/// A command that leaves a mark when it runs.
pub(crate) const TOUCH: [&str; 2] = ["/usr/bin/touch", MARK];

/// A refusal: the arguments before the command, what stands in the error, what stands in its hint.
pub(crate) type Row<'a> = (&'a [&'a str], &'a str, Option<&'a str>);

/// Each of these is refused with 125 before anything runs.
pub(crate) fn refuses(user: &User, rows: &[Row<'_>]) -> Verdict {
    for (options, error, hint) in rows {
        refused(user, user.sbx().args(*options).args(TOUCH), 125, error, *hint)?;
    }
    Ok(())
}

/// An option with a value that it can't take is refused: the message names both.
pub(crate) fn bad_value(user: &User, option: &str, value: &str, why: &str) -> Result<Output, Failed> {
    let hint = Some("see sbx --help");
    let output = refused(user, user.sbx().args([option, value]).args(TOUCH), 125, "cannot use `", hint)?;
    output.stderr_has(&format!("`{option}`"))?.stderr_has(&format!("`{value}`"))?.stderr_has(why)?;
    Ok(output)
}

/// This command is refused with this code, error and hint, and leaves no mark.
pub(crate) fn refused(
    user: &User,
    command: &mut Command,
    code: i32,
    error: &str,
    hint: Option<&str>,
) -> Result<Output, Failed> {
    let output = output(command)?;
    output.exits(code)?.stdout_is("")?;
    says(&output, error, hint)?;
    let ran = user.project().join(MARK).exists();
    output.check(!ran, || "the command should not have run".to_owned())?;
    Ok(output)
}

/// Stderr is one error that holds `error`, with a hint that holds `hint`, or without one.
pub(crate) fn says(output: &Output, error: &str, hint: Option<&str>) -> Verdict {
    clean(output)?;
    let text = output.errors();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let told = first.strip_prefix("sbx: error: ").is_some_and(|rest| rest.contains(error));
    output.check(told, || format!("the first line should be an error with {error:?}"))?;
    let others: Vec<&str> = lines.filter(|line| !line.starts_with("  | ")).collect();
    match (hint, &others[..]) {
        (None, []) => Ok(()),
        (Some(hint), [line]) if line.starts_with("  hint: ") && line.contains(hint) => Ok(()),
        (None, _) => Err(output.failure("there should be one line and no hint")),
        (Some(hint), _) => Err(output.failure(&format!("there should be one hint, with {hint:?}"))),
    }
}

/// Nothing on stderr can steer a terminal or hide text.
pub(crate) fn clean(output: &Output) -> Verdict {
    match unclean(&output.stderr) {
        None => Ok(()),
        Some(what) => Err(output.failure(&format!("stderr holds {what}"))),
    }
}

/// The first thing in a message that could steer a terminal, reorder its text or is not text at all.
pub(crate) fn unclean(text: &[u8]) -> Option<String> {
    let Ok(text) = std::str::from_utf8(text) else { return Some("bytes that are not UTF-8".to_owned()) };
    let bidirectional = |letter| matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let bad = |letter: &char| letter.is_control() && *letter != '\n' || bidirectional(*letter);
    text.chars().find(bad).map(|letter| format!("U+{:04X}", u32::from(letter)))
}

/// A shell of this user in the project directory; `$SBX` is the program under test, the words are `$1`, `$2`, …
pub(crate) fn shell(user: &User, script: &str, words: &[impl AsRef<OsStr>]) -> Command {
    let mut command = user.command("/bin/sh");
    command.args(["-c", script, "sh"]).args(words).env("SBX", user.sbx_path());
    command
}

/// Writes a profile of this name where the user's own ones lie.
pub(crate) fn profile(user: &User, name: &str, text: impl AsRef<[u8]>) -> Result<String, Failed> {
    let path = user.put(user.home().join(format!(".config/sbx/profiles/{name}.toml")), text)?;
    Ok(path.display().to_string())
}

/// Runs a script as its user and expects it to work.
pub(crate) fn prepare(user: &User, script: &str) -> Verdict {
    output(&mut shell(user, script, &[] as &[&str]))?.exits(0)?;
    Ok(())
}

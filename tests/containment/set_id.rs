//! B21: files that the host shares and that give privileges to whoever runs them: set-id bits, by each way to give a file a
//! mode, and capabilities.

use crate::common::{Need, output};
use crate::probe;
use crate::row::{Attempt, Reach, Row};
use crate::walls;
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn rows() -> Vec<Row> {
    let row = |name, attempt| Row::new(name, [walls::FILTER], attempt);
    vec![
        row("B21 set-id bits on files", |attempt| set_id(attempt, &CHANGES)),
        // Linux 6.6 is the first that has the call.
        row("B21a set-id bits by fchmodat2", |attempt| set_id(attempt, &["fchmodat2"]))
            .needs(Need::Kernel(6, 6)),
        row("B21b set-id bits on new nodes", |attempt| set_id(attempt, &NODES)),
        row("B21c set-id bits on new files", |attempt| set_id(attempt, &FILES)),
        row("B21d set-id bits by openat2", |attempt| set_id(attempt, &["openat2"])),
        Row::new("B21e capabilities of files", [walls::CAPABILITIES], capabilities),
    ]
}

/// Ways of the probe. Processors after x86-64 have the ones with a directory only.
#[cfg(target_arch = "x86_64")]
const CHANGES: [&str; 3] = ["chmod", "fchmod", "fchmodat"];
#[cfg(not(target_arch = "x86_64"))]
const CHANGES: [&str; 2] = ["fchmod", "fchmodat"];
#[cfg(target_arch = "x86_64")]
const NODES: [&str; 2] = ["mknod", "mknodat"];
#[cfg(not(target_arch = "x86_64"))]
const NODES: [&str; 1] = ["mknodat"];
#[cfg(target_arch = "x86_64")]
const FILES: [&str; 6] = ["open", "creat", "openat", "open-nameless", "openat-nameless", "openat-exclusive"];
#[cfg(not(target_arch = "x86_64"))]
const FILES: [&str; 3] = ["openat", "openat-nameless", "openat-exclusive"];

/// Each bit alone and both; the verdict is the mode that the host sees.
fn set_id(attempt: &Attempt<'_>, ways: &[&str]) -> Result<Reach, Failed> {
    let mut found = Vec::new();
    for way in ways {
        for mode in ["4755", "2755", "6755"] {
            let name = format!("{way}-{mode}");
            output(attempt.probe(&[], &["set-id"]).args([way, mode, &name]))?.stdout_has("\n")?;
            let mode =
                fs::metadata(attempt.user.project().join(&name)).map_or(0, |file| file.permissions().mode());
            found.push((name, mode & 0o6000 != 0));
        }
    }
    Reach::of_all(found.iter().map(|(name, through)| (name.as_str(), *through)))
}

/// The kernel notes the namespace's root with them; where root started the sandbox that is the machine's.
fn capabilities(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let options = ["--set", "privileges.uid=root"];
    output(&mut attempt.probe(&options, &["set-capabilities", "file"]))?.stdout_has("\n")?;
    let mut outside = attempt.user.command(attempt.user.edited_path());
    let out = output(outside.args([probe::WORD, "has-capabilities", "file"]))?;
    match out.text().trim().parse() {
        Ok(1..) => Ok(Reach::Through),
        Ok(number) if number == -i64::from(libc::ENODATA) => Ok(Reach::Held),
        _ => Err(out.failure("should say how long the attribute is")),
    }
}

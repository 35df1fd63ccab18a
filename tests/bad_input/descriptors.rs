//! Descriptors that are closed, lead out, or can't be handed over.

use crate::common::{Case, User, Verdict, case, output};
use crate::support::{TOUCH, refused, refuses, shell};
use nix::fcntl::OFlag;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(closed_ones_lead_nowhere),
        case!(a_refusal_nobody_hears),
        case!(a_directory_as_a_descriptor),
        case!(an_o_path_descriptor),
        case!(kept_that_cannot_be),
        case!(kept_that_are_not_open),
        case!(kept_that_lead_out),
        case!(kept_twice),
        case!(not_kept),
    ]
}

/// Says into the file `seen` where descriptors 0, 1 and 2 lead, and into `others` what a child of the shell has.
/// Nothing but a command substitution leaves the shell's own descriptors alone meanwhile.
const LOOK: &str = "for fd in 0 1 2; do all=\"$all $(readlink /proc/$$/fd/$fd 2>&1 || echo closed)\"; done; \
                    echo $all >seen; ls /proc/self/fd >others";

fn closed_ones_lead_nowhere(user: &User) -> Verdict {
    for mask in 0..8 {
        let closed: Vec<usize> = (0..3).filter(|fd| mask & (1 << fd) != 0).collect();
        let redirections: String = closed.iter().map(|fd| format!(" {fd}>&-")).collect();
        let script = format!("exec $SBX sh -c \"$1\" {redirections}");
        output(&mut shell(user, &script, &[LOOK]))?.exits(0)?.stdout_is("")?.stderr_is("")?;
        let seen = fs::read_to_string(user.project().join("seen"))?;
        let led: Vec<_> = seen.split_whitespace().collect();
        let nowhere = |fd: &usize| matches!(led.get(*fd), Some(&("/dev/null" | "closed")));
        if led.len() != 3 || !closed.iter().all(nowhere) {
            return Err(format!("with {redirections}: {seen}").into());
        }
        let others = fs::read_to_string(user.project().join("others"))?;
        if others.lines().any(|fd| !["0", "1", "2", "3"].contains(&fd)) {
            return Err(format!("with {redirections}: open descriptors {others}").into());
        }
    }
    Ok(())
}

/// Without a place for the message the code still says that nothing ran.
fn a_refusal_nobody_hears(user: &User) -> Verdict {
    for arguments in ["--memry touch it-ran", "--ro /gone touch it-ran", "-p gone touch it-ran", ""] {
        for closed in ["2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"] {
            let script = format!("exec $SBX {arguments} {closed}");
            output(&mut shell(user, &script, &[] as &[&str]))?.exits(125)?.stdout_is("")?.stderr_is("")?;
        }
    }
    let script = "$SBX --version >/dev/full";
    output(&mut shell(user, script, &[] as &[&str]))?
        .exits(125)?
        .stderr_has("sbx: error: cannot write the answer")?;
    if user.project().join(TOUCH[1]).exists() { Err("it ran".into()) } else { Ok(()) }
}

fn a_directory_as_a_descriptor(user: &User) -> Verdict {
    let hint = Some("redirect it to a file, or to /dev/null");
    for fd in 0..3 {
        let script = format!("exec $SBX touch it-ran {fd}</");
        let output = output(&mut shell(user, &script, &[] as &[&str]))?;
        output
            .exits(125)?
            .check(!user.project().join(TOUCH[1]).exists(), || "it should not have run".to_owned())?;
        if fd != 2 {
            output.stderr_has(&format!("cannot hand over descriptor {fd}: it is a directory"))?;
        }
    }
    let mut command = user.sbx();
    command.args(TOUCH).stdin(File::open("/")?);
    refused(user, &mut command, 125, "cannot hand over descriptor 0: it is a directory", hint)?;
    Ok(())
}

/// Such a descriptor has not asked for the right to read, and opening it again would.
fn an_o_path_descriptor(user: &User) -> Verdict {
    let hint = Some("redirect it to a file, or to /dev/null");
    for path in ["/etc/passwd", "/dev/null", "/", "/proc/self/exe"] {
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open(path)?;
        let mut command = user.sbx();
        command.args(TOUCH).stdin(file);
        let why = if Path::new(path).is_dir() { "it is a directory" } else { "it is an O_PATH descriptor" };
        refused(user, &mut command, 125, &format!("cannot hand over descriptor 0: {why}"), hint)?;
    }
    Ok(())
}

fn kept_that_cannot_be(user: &User) -> Verdict {
    for fd in ["0", "1", "2"] {
        let error = format!("cannot keep descriptor {fd}: 0, 1 and 2 are always kept");
        refuses(user, &[(&["--keep-fd", fd], &error, None)])?;
    }
    for value in ["x", "3.0", "99999999999", "-3"] {
        let output = crate::support::bad_value(user, "--keep-fd", value, "")?;
        output.stderr_lacks("invalid digit")?.stderr_lacks("2147483647")?;
    }
    Ok(())
}

/// None of sbx's own descriptors is taken for the caller's, whatever else the tests were started with.
fn kept_that_are_not_open(user: &User) -> Verdict {
    for fd in (3..10).chain([1023, 2_147_483_647]) {
        let script = "exec $SBX --keep-fd $1 touch it-ran 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-";
        let error = format!("cannot hand over descriptor {fd}: it is not open");
        refused(user, &mut shell(user, script, &[fd.to_string()]), 125, &error, Some("open it"))?;
    }
    Ok(())
}

fn kept_that_lead_out(user: &User) -> Verdict {
    let script = "exec $SBX --keep-fd 5 touch it-ran 5</usr";
    let error = "cannot hand over descriptor 5: it is a directory, through which everything beside it could be opened";
    refused(user, &mut shell(user, script, &[] as &[&str]), 125, error, None)?;
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open("/etc/passwd")?;
    let mut command = shell(user, "exec $SBX --keep-fd 5 touch it-ran 5<&0 </dev/null", &[] as &[&str]);
    refused(
        user,
        command.stdin(file),
        125,
        "cannot hand over descriptor 5: it is an O_PATH descriptor",
        None,
    )?;
    Ok(())
}

fn kept_twice(user: &User) -> Verdict {
    user.put(user.home().join("word"), "kept\n")?;
    for options in ["--keep-fd 5", "--keep-fd 5 --keep-fd 5", "--keep-fd 6 --keep-fd 5"] {
        let script = format!("exec $SBX {options} sh -c 'cat <&5' 5<$HOME/word 6</dev/null");
        output(&mut shell(user, &script, &[] as &[&str]))?.exits(0)?.stdout_is("kept\n")?;
    }
    Ok(())
}

fn not_kept(user: &User) -> Verdict {
    let script = "exec $SBX ls /proc/self/fd 5</ 7</etc/passwd 9>>it-ran-not";
    // 3 is ls's own, for the directory it reads.
    output(&mut shell(user, script, &[] as &[&str]))?.exits(0)?.stdout_is("0\n1\n2\n3\n")?;
    Ok(())
}

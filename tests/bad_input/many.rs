//! More than anybody asks for: ten thousand binds, and names as long as they can be.

use crate::common::{Case, User, Verdict, case, output};
use crate::support::{profile, refused, refuses};
use std::fmt::Write as _;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(ten_thousand_binds_in_a_profile),
        case!(ten_thousand_binds_on_the_command_line),
        case!(ten_thousand_arguments),
        case!(names_that_are_too_long),
        case!(a_deep_destination),
    ]
}

const COUNT: [&str; 3] =
    ["sh", "-c", "grep -c ' /many/' /proc/self/mountinfo; ls /many | wc -l; ls /many/9999"];

/// A profile with ten thousand binds of one directory.
fn binds(user: &User) -> Result<String, libtest_mimic::Failed> {
    let source = user.put("source/a-file", "")?;
    let source = source.parent().unwrap_or(user.dir()).display().to_string();
    let mut text = "schema = 1\nfilesystem.read = [\n".to_owned();
    for number in 0..10_000 {
        writeln!(text, "{{path='{source}',dest='/many/{number}'}},").map_err(|error| error.to_string())?;
    }
    Ok(text + "]\n")
}

fn ten_thousand_binds_in_a_profile(user: &User) -> Verdict {
    profile(user, "many", binds(user)?)?;
    output(user.sbx().args(["-p", "many"]).args(COUNT))?
        .exits(0)?
        .stdout_is("10000\n10000\na-file\n")?
        .stderr_is("")?;
    Ok(())
}

fn ten_thousand_binds_on_the_command_line(user: &User) -> Verdict {
    user.put("source/a-file", "")?;
    let options = (0..10_000).map(|number| format!("--ro=../../source:/many/{number}"));
    output(user.sbx().args(options).args(COUNT))?
        .exits(0)?
        .stdout_is("10000\n10000\na-file\n")?
        .stderr_is("")?;
    Ok(())
}

fn ten_thousand_arguments(user: &User) -> Verdict {
    let words: Vec<_> = (0..10_000).map(|number| format!("word{number}")).collect();
    output(user.sbx().arg("/usr/bin/echo").args(&words))?.exits(0)?.stdout_is(&(words.join(" ") + "\n"))?;
    Ok(())
}

fn names_that_are_too_long(user: &User) -> Verdict {
    let long = "n".repeat(256);
    refuses(
        user,
        &[
            (&["--ro", &format!("/{long}")], "file name too long", None),
            (&["--ro", &format!("/usr:/{long}")], "file name too long", None),
            (&["--ro", &format!("/usr:/{}", "d/".repeat(2048))], "longer than 4,095 bytes", None),
            (&["--chdir", &format!("/{long}")], "file name too long", None),
            (&["--hostname", &"h".repeat(65)], "is not a host name", Some("--help")),
            (&["-p", &format!("./{long}")], "file name too long", None),
        ],
    )?;
    refused(user, user.sbx().arg(format!("/{long}")), 126, "file name too long", None)?;
    Ok(())
}

/// 1,000 directories deep, each made on the way.
fn a_deep_destination(user: &User) -> Verdict {
    let deep = "/d".repeat(1000);
    let option = format!("--ro=/usr/share:{deep}");
    output(user.sbx().args([&option, "ls", "-d", &deep]))?.exits(0)?.stdout_is(&format!("{deep}\n"))?;
    Ok(())
}

//! Mistakes on the command line.

use crate::common::{Case, User, Verdict, case, output};
use crate::support::{TOUCH, bad_value, refused, refuses, says};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(nothing_at_all_prints_the_usage),
        case!(options_without_a_command),
        case!(unknown_options),
        case!(unknown_options_of_verbs),
        case!(options_without_their_value),
        case!(options_after_the_command_are_its_own),
        case!(verbs_that_are_not_built),
        case!(a_verb_is_a_command_elsewhere),
        case!(words_behind_a_verb),
        case!(sizes),
        case!(durations),
        case!(counts),
        case!(negative_values_are_values),
        case!(modes),
        case!(variables),
        case!(paths),
        case!(options_that_are_not_built),
    ]
}

fn nothing_at_all_prints_the_usage(user: &User) -> Verdict {
    let output = output(&mut user.sbx())?;
    output.exits(125)?.stdout_is("")?.stderr_has("Usage: sbx [OPTIONS] [--] COMMAND [ARG]...")?;
    output.stderr_lacks("error")?;
    Ok(())
}

fn options_without_a_command(user: &User) -> Verdict {
    for options in [&["-v"][..], &["--net", "host"], &["--"], &["run"], &["run", "--"], &["--cwd=none", "--"]]
    {
        let output = output(user.sbx().args(options))?;
        output.exits(125)?.stdout_is("")?;
        says(&output, "no command", Some("name a program after the options"))?;
    }
    Ok(())
}

fn unknown_options(user: &User) -> Verdict {
    refuses(
        user,
        &[
            (&["--memry", "1G"], "cannot use `--memry`: no such option", Some("did you mean `--memory`?")),
            (&["--hid=x"], "cannot use `--hid=x`: no such option", Some("did you mean `--hide`?")),
            (&["--qqqqqqqq"], "cannot use `--qqqqqqqq`: no such option", Some("sbx --help")),
            (&["-Z"], "cannot use `-Z`: no such option", Some("sbx --help")),
            (&["-vZ"], "cannot use `-Z`: no such option", Some("sbx --help")),
            (&["run", "--memry"], "cannot use `--memry`: no such option", Some("`--memory`")),
            (&["--unshare-net"], "cannot use `--unshare-net`: no such option", Some("sbx --help")),
        ],
    )
}

fn unknown_options_of_verbs(user: &User) -> Verdict {
    for (verb, option) in [("explain", "--foo"), ("check", "--fix"), ("profiles", "--long")] {
        let error = format!("cannot use `{option}`: no such option");
        refused(user, user.sbx().args([verb, option]), 125, &error, Some("sbx --help"))?;
    }
    let format = &mut user.sbx();
    refused(
        user,
        format.args(["explain", "--format", "yaml"]),
        125,
        "is not one of text, json",
        Some("sbx --help"),
    )?;
    Ok(())
}

fn options_without_their_value(user: &User) -> Verdict {
    for option in
        ["--ro", "--memory", "--timeout", "--profile", "--set", "--keep-fd", "--env", "--cwd", "--color"]
    {
        let error = format!("cannot use `{option}`: it needs a value");
        refused(user, user.sbx().arg(option), 125, &error, Some("sbx --help"))?;
    }
    Ok(())
}

fn options_after_the_command_are_its_own(user: &User) -> Verdict {
    let echo = "/usr/bin/echo";
    output(user.sbx().args([echo, "--memry", "--net", "x", "--"]))?
        .exits(0)?
        .stdout_is("--memry --net x --\n")?;
    output(user.sbx().args(["--", echo, "-v", "--", "--help"]))?.exits(0)?.stdout_is("-v -- --help\n")?;
    Ok(())
}

fn verbs_that_are_not_built(user: &User) -> Verdict {
    let verbs = "wait gc logs image pod oci desktop learn why";
    for verb in verbs.split_whitespace() {
        let hint = format!("sbx -- {verb}");
        let command = &mut user.sbx();
        refused(user, command.arg(verb).args(TOUCH), 125, verb, Some(&hint))?.stderr_has("not built yet")?;
    }
    Ok(())
}

fn words_behind_a_verb(user: &User) -> Verdict {
    for (words, error) in [
        (&["completions", "tcsh"][..], "is not one of bash, zsh, fish"),
        (&["completions"], "SHELL"),
        (&["completions", "bash", "zsh"], "zsh"),
        (&["profiles", "--format", "name"], "is not one of text, json, names"),
        (&["profiles", "--schema", "--format", "json"], "--format"),
        (&["profiles", "default"], "default"),
    ] {
        refused(user, user.sbx().args(words), 125, error, Some("sbx --help"))?;
    }
    Ok(())
}

fn a_verb_is_a_command_elsewhere(user: &User) -> Verdict {
    let path = format!("{}:/usr/bin:/bin", user.project().display());
    for verb in ["ps", "exec", "explain", "run", "help", "version"] {
        user.put_program(user.project().join(verb), "#!/bin/sh\necho it is $0\n")?;
        let expected = format!("it is {}/{verb}\n", user.project().display());
        for before in [&["--"][..], &["run"], &["-q"], &["run", "--"]] {
            output(user.sbx().env("PATH", &path).args(before).arg(verb))?.exits(0)?.stdout_is(&expected)?;
        }
    }
    Ok(())
}

fn sizes(user: &User) -> Verdict {
    for size in ["12X", "G", "1..5G", "1e9", "1.5", "0x10", "1G ", "½G", "1 2"] {
        for option in ["--memory", "--swap"] {
            bad_value(user, option, size, "is not a")?;
        }
    }
    for size in ["9999999999T", "18446744073709551616"] {
        bad_value(user, "--memory", size, "is larger than any size here can be")?;
    }
    bad_value(user, "--memory", "12X", "`12X` is not a size; write it like 512M or 1.5G")?;
    refuses(user, &[(&["--memory", ""], "cannot use `--memory`", Some("sbx --help"))])
}

fn durations(user: &User) -> Verdict {
    for time in ["5x", "1h30", "1.5h", "s", "1 s", "1h-5m", "５s"] {
        bad_value(user, "--timeout", time, "is not a duration; write it like 30s or 1h30m")?;
    }
    for time in ["99999999999999999999", "18446744073709551615d"] {
        bad_value(user, "--timeout", time, "is longer than any duration here can be")?;
    }
    for time in ["0", "0s", "0ms", "0h0m"] {
        bad_value(user, "--timeout", time, "a command needs more time than none")?;
    }
    Ok(())
}

fn counts(user: &User) -> Verdict {
    for count in ["0", "x", "1.5", "18446744073709551616"] {
        let output = bad_value(user, "--pids", count, "")?;
        output.stderr_lacks("invalid digit")?.stderr_lacks("18446744073709551615")?;
    }
    bad_value(user, "--cpus", "x", "is not a number")?;
    for number in ["0", "nan", "inf"] {
        bad_value(user, "--cpus", number, "is not a number of processors above 0")?;
    }
    Ok(())
}

fn negative_values_are_values(user: &User) -> Verdict {
    for (option, value) in
        [("--pids", "-1"), ("--keep-fd", "-1"), ("--cpus", "-1"), ("--hostname", "-x"), ("--memory", "-1")]
    {
        bad_value(user, option, value, "")?;
        let joined = output(user.sbx().arg(format!("{option}={value}")).args(TOUCH))?;
        joined.exits(125)?.stderr_has(option)?.stderr_has(value)?.stderr_lacks("no such option")?;
    }
    Ok(())
}

fn modes(user: &User) -> Verdict {
    for (option, value, why) in [
        ("--cwd", "rx", "is not one of rw, ro, overlay, none"),
        ("--net", "NONE", "is not one of none, host, private, proxy"),
        ("--color", "blue", "is not one of auto, always, never"),
        ("--hostname", "a_b", "`a_b` is not a host name"),
    ] {
        bad_value(user, option, value, why)?;
    }
    refuses(
        user,
        &[
            (&["--hostname", ""], "cannot use `--hostname`", Some("--help")),
            (&["-v", "-q"], "cannot be used with", Some("--help")),
            (&["--net=none", "--net=host"], "cannot be used multiple times", Some("--help")),
        ],
    )
}

fn variables(user: &User) -> Verdict {
    refuses(
        user,
        &[
            (&["--env", "=x"], "cannot use `=x` for `--env`: a variable has no name", Some("--help")),
            (&["--env", ""], "cannot use `--env`: a variable has no name", Some("--help")),
            (
                &["--env", "NOPE"],
                "cannot pass on the variable `NOPE`: it is not set",
                Some("--env NOPE=VALUE"),
            ),
        ],
    )?;
    let print = ["sh", "-c", "echo \"[$NOPE]\""];
    output(user.sbx().args(["--env", "NOPE="]).args(print))?.exits(0)?.stdout_is("[]\n")?;
    output(user.sbx().args(["--env", "NOPE=a=b"]).args(print))?.exits(0)?.stdout_is("[a=b]\n")?;
    Ok(())
}

fn paths(user: &User) -> Verdict {
    for option in ["--ro", "--rw"] {
        for value in ["a:b:c", "/usr:/a:", ":::"] {
            let error = format!("cannot use `{value}` for `{option}`: there is more than one `:`");
            refuses(user, &[(&[option, value], &error, Some("sbx --help"))])?;
        }
        for value in [":/x", "/usr:", ":"] {
            let error = format!("cannot use `{value}` for `{option}`: a path is empty");
            refuses(user, &[(&[option, value], &error, Some("sbx --help"))])?;
        }
    }
    for option in ["--ro", "--rw", "--hide", "--tmpfs"] {
        let error = format!("cannot use `{option}`: a path is empty");
        refuses(user, &[(&[option, ""], &error, Some("sbx --help"))])?;
    }
    let long = format!("/{}", "a/".repeat(2048));
    refuses(user, &[(&["--ro", &long], "longer than 4,095 bytes", None)])?;
    for dest in ["rel", "./rel", "../rel", "~/rel"] {
        let option = format!("/usr:{dest}");
        let output = refused(user, user.sbx().args(["--ro", &option]).args(TOUCH), 125, "absolute", None)?;
        output.stderr_has("--ro")?.stderr_has(dest)?;
    }
    for option in ["/usr:/", "/usr:/.."] {
        refuses(user, &[(&["--ro", option], "the root itself can't be a destination", None)])?;
    }
    Ok(())
}

fn options_that_are_not_built(user: &User) -> Verdict {
    let leave = Some("leave the option out");
    for (options, shown) in [
        (&["--root", "image:x"][..], "--root image:x"),
        (&["--net", "private"], "--net private"),
        (&["--net", "proxy"], "--net proxy"),
        (&["--allow-host", "example.org"], "--allow-host"),
        (&["--publish", "80"], "--publish"),
        (&["--set", "network.mode=proxy"], "--set network.mode=proxy"),
    ] {
        refuses(user, &[(options, &format!("cannot use `{shown}`: not built yet"), leave)])?;
    }
    Ok(())
}

//! Mistakes in the text of a profile and in `--set`: the place, the line and a caret.

use crate::common::{Case, User, Verdict, case, output};
use crate::mistakes::MISTAKES;
use crate::support::{TOUCH, profile, refused, refuses};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(mistakes_in_a_file),
        case!(the_schema),
        case!(not_toml),
        case!(circles),
        case!(nothing_below),
        case!(a_long_chain),
        case!(mistakes_in_set),
        case!(set_without_a_key),
        case!(keys_that_are_not_built),
        case!(keys_that_are_not_built_at_their_default),
        case!(check_finds_the_same),
    ]
}

fn mistakes_in_a_file(user: &User) -> Verdict {
    for (text, place, message, hint) in MISTAKES {
        let path = profile(user, "x", format!("schema = 1\n{text}\n"))?;
        let error = format!("{path}:{place}: ");
        let output = refused(user, user.sbx().args(["-p", "x"]).args(TOUCH), 125, &error, *hint)?;
        output.stderr_has(message)?;
        shows_the_line(&output, text, place)?;
    }
    Ok(())
}

/// The line of the mistake, and under it a caret in the column that the place names.
fn shows_the_line(output: &crate::common::Output, text: &str, place: &str) -> Verdict {
    let numbers: Vec<usize> = place.split(':').filter_map(|number| number.parse().ok()).collect();
    let line = text.lines().nth(numbers[0] - 2).unwrap_or_default();
    let shown = format!("  | {line}\n  | {}^", " ".repeat(numbers[1] - 1));
    output.stderr_has(&shown)?;
    Ok(())
}

fn the_schema(user: &User) -> Verdict {
    for (text, place, message, hint) in [
        ("description = 'x'\n", "1:1", "there is no `schema` in this profile", Some("write `schema = 1`")),
        ("", "1:1", "there is no `schema` in this profile", Some("write `schema = 1`")),
        ("schema = 2\nnew-key = 1\n", "1:10", "cannot read schema 2: this sbx knows schema 1", None),
        ("schema = '1'\n", "1:10", "this must be the number of a schema, not string \"1\"", None),
        ("# first\nschema = 99999999999999999999\n", "2:10", "cannot read schema 99999999999999999999", None),
    ] {
        let path = profile(user, "x", text)?;
        refuses(user, &[(&["-p", "x"], &format!("{path}:{place}: {message}"), hint)])?;
    }
    Ok(())
}

fn not_toml(user: &User) -> Verdict {
    for text in
        ["x =", "a = [", "[a", "= 1", "schema = 2\nschema = 1", "a = 'x", "a = 1__0", "\u{feff}\u{feff}a = 1"]
    {
        let path = profile(user, "x", format!("schema = 1\n{text}\n"))?;
        let output =
            refused(user, user.sbx().args(["-p", "x"]).args(TOUCH), 125, "cannot read this as TOML: ", None)?;
        output.stderr_has(&format!("{path}:"))?.stderr_has("^")?;
    }
    Ok(())
}

fn circles(user: &User) -> Verdict {
    profile(user, "a", "schema = 1\nextends = ['b']\n")?;
    profile(user, "b", "schema = 1\nextends = ['base-cli', 'c']\n")?;
    let last = profile(user, "c", "schema = 1\n\nextends = ['a']\n")?;
    let error = format!("{last}:3:12: profiles extend each other: `a` extends `b` extends `c` extends `a`");
    refuses(user, &[(&["-p", "a"], &error, None)])?;
    // Below an own name the circle is the same.
    profile(user, "build", "schema = 1\nextends = ['d']\n")?;
    profile(user, "d", "schema = 1\nextends = ['build']\n")?;
    refuses(user, &[(&["-p", "d"], "`d` extends `build` extends `d`", None)])
}

fn nothing_below(user: &User) -> Verdict {
    let path = profile(user, "own", "schema = 1\nextends = ['own']\n")?;
    let error = format!("{path}:2:12: `own` extends its own name, but there is none below");
    refuses(user, &[(&["-p", "own"], &error, None)])?;
    profile(user, "shell", "schema = 1\nextends = ['shell']\n")?;
    output(user.sbx().args(["-p", "shell", "true"]))?.exits(0)?;
    Ok(())
}

fn a_long_chain(user: &User) -> Verdict {
    for number in 0..80 {
        profile(user, &format!("p{number}"), format!("schema = 1\nextends = ['p{}']\n", number + 1))?;
    }
    profile(user, "p80", "schema = 1\n")?;
    refuses(user, &[(&["-p", "p0"], "cannot merge more than 64 profiles", None)])?;
    output(user.sbx().args(["-p", "p40", "true"]))?.exits(0)?;
    Ok(())
}

fn mistakes_in_set(user: &User) -> Verdict {
    for (typed, column, message, hint) in [
        ("limits.pids=x", 13, "this must be a number, not string \"x\"", None),
        ("limits.pids=0", 13, "0 is too small; 1 is the least", None),
        ("limit.pids=3", 1, "unknown key `limit`", Some("did you mean `limits`?")),
        ("limits.pid=3", 8, "unknown key `pid`", Some("did you mean `pids`?")),
        ("filesystem.cwd=rx", 16, "`rx` is not one of rw, ro, overlay, none", None),
        ("limits.memory=1X", 15, "`1X` is not a size; write it like 512M or 1.5G", None),
        ("filesystem.read=[\"x\"]", 18, "`x` is not an absolute path", None),
        ("filesystem.read=[", 18, "cannot read this as TOML: unclosed array", None),
        ("limits=3", 8, "this must be a table, not integer `3`", None),
        ("namespaces.hostname=a b", 21, "`a b` is not a host name", None),
        ("environment.keep=[\"*\"]", 19, "`*` is not a variable name", None),
    ] {
        let error = format!("--set:1:{column}: {message}");
        let output = refused(user, user.sbx().args(["--set", typed]).args(TOUCH), 125, &error, hint)?;
        output.stderr_has(&format!("  | {typed}\n  | {}^", " ".repeat(column - 1)))?;
    }
    Ok(())
}

fn set_without_a_key(user: &User) -> Verdict {
    let (form, keys) = (Some("write --set KEY=VALUE"), Some("sbx-profile(5)"));
    refuses(
        user,
        &[
            (&["--set", "foo"], "cannot use --set `foo`: there is no `=`", form),
            (&["--set", ""], "cannot use --set ``: there is no `=`", form),
            (&["--set", "=3"], "cannot use --set `=3`: its key is not words with dots between them", keys),
            (&["--set", "a b=c"], "cannot use --set `a b=c`: its key is not words", keys),
            (&["--set", "a..b=c"], "cannot use --set `a..b=c`: its key is not words", keys),
            (&["--set", "[limits]\npids=3"], "its key is not words", keys),
        ],
    )?;
    for typed in ["schema=2", "extends=[\"shell\"]", "match=[\"/usr/bin/touch\"]"] {
        refuses(
            user,
            &[(
                &["--set", typed],
                &format!("cannot use --set `{typed}`: this key belongs in a file"),
                Some("file"),
            )],
        )?;
    }
    // A line break in a value begins no other key.
    let typed = "namespaces.hostname=a\nnetwork.mode=\"host\"";
    refuses(user, &[(&["--set", typed], "is not a host name", None)])
}

/// Keys of parts that do not exist yet, each with a value that asks for more than the default.
const UNBUILT: &[(&str, &str, &str)] = &[
    ("filesystem.root", "filesystem", "root = 'image:x'"),
    ("network.mode", "network", "mode = 'private'"),
    ("network.mode", "network", "mode = 'proxy'"),
    ("network.allow", "network", "allow = ['example.org']"),
    ("network.deny", "network", "deny = ['example.org']"),
    ("network.allow-private", "network", "allow-private = ['10.0.0.1']"),
    ("network.publish", "network", "publish = ['80']"),
    ("network.block-lan", "network", "block-lan = true"),
    ("network.bandwidth", "network", "bandwidth = { up = '1M' }"),
    ("seccomp.multiarch", "seccomp", "multiarch = true"),
    ("display.x11", "display", "x11 = 'private'"),
    ("dbus.session", "dbus", "session = ['org.example.Bus']"),
];

fn keys_that_are_not_built(user: &User) -> Verdict {
    for (key, table, line) in UNBUILT {
        let head = if table.is_empty() { "#".to_owned() } else { format!("[{table}]") };
        let path = profile(user, "x", format!("schema = 1\n{head}\n{line}\n"))?;
        let (error, hint) =
            (format!("cannot use `{key}`: not built yet"), format!("remove `{key}` from the profile"));
        let output = refused(user, user.sbx().args(["-p", "x"]).args(TOUCH), 125, &error, Some(&hint))?;
        output
            .stderr_has(&format!("{path}:3:"))?
            .stderr_has(&format!("  | {line}\n  | "))?
            .stderr_has("^")?;
    }
    Ok(())
}

/// A key that says what is so anyway asks for nothing.
fn keys_that_are_not_built_at_their_default(user: &User) -> Verdict {
    let text = "schema = 1\nseccomp.multiarch = false\ndisplay = { wayland = false, x11 = 'off' }\ndevices.gpu = false\n\
                filesystem = { writable = 'tmpfs', arguments = 'none' }\nlandlock.level = 'available'\n";
    profile(user, "x", text)?;
    output(user.sbx().args(["-p", "x", "true"]))?.exits(0)?.stderr_is("")?;
    Ok(())
}

fn check_finds_the_same(user: &User) -> Verdict {
    for (text, place, message, hint) in MISTAKES {
        let path = profile(user, "x", format!("schema = 1\n{text}\n"))?;
        let output =
            refused(user, user.sbx().args(["check", &path]), 1, &format!("{path}:{place}: "), *hint)?;
        output.stderr_has(message)?;
    }
    refused(
        user,
        user.sbx().args(["check", "gone.toml"]),
        1,
        "cannot read profile `gone.toml`: no such file",
        None,
    )?;
    refused(user, user.sbx().arg("check"), 125, "FILE", Some("sbx --help"))?;
    Ok(())
}

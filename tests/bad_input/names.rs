//! Names made of whatever bytes a name can have: shown escaped, passed on as they are.

use crate::common::{Case, Output, User, Verdict, case, output};
use crate::support::{clean, profile, unclean};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::Command;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(commands_and_paths_are_escaped),
        case!(option_values_are_escaped),
        case!(profile_texts_are_escaped),
        case!(profile_files_are_escaped),
        case!(answers_are_escaped),
        case!(arguments_pass_through),
        case!(variables_pass_through),
        case!(paths_pass_through),
        case!(the_working_directory_passes_through),
    ]
}

/// Control characters of both kinds, a line break, and every way to turn text around: all of it UTF-8.
const EVIL: &str = "x\u{1b}[31m\u{7}\u{8}y\u{7f}\u{85}\u{9b}2J\nsbx z\r\t\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}w";

/// The same and bytes that are not UTF-8.
fn evil() -> OsString {
    OsString::from_vec([EVIL.as_bytes(), b"\xff\x9b\xc0\xaf\xed\xa0\x80"].concat())
}

fn with_evil(before: &str) -> OsString {
    let mut text = OsString::from(before);
    text.push(evil());
    text
}

/// The command ends with this code and an error whose every line sbx wrote.
fn tells(command: &mut Command, code: i32) -> Result<Output, libtest_mimic::Failed> {
    let output = output(command)?;
    output.exits(code)?.stderr_has("sbx: error: ")?;
    own_lines(&output)?;
    Ok(output)
}

fn own_lines(output: &Output) -> Verdict {
    clean(output)?;
    let own = |line: &str| {
        ["sbx: error: ", "sbx: warning: ", "  hint: ", "  | "].iter().any(|own| line.starts_with(own))
    };
    output.check(output.errors().lines().all(own), || "a name broke out of its line".to_owned())?;
    Ok(())
}

fn commands_and_paths_are_escaped(user: &User) -> Verdict {
    for before in ["", "./", "/", "/usr/bin/"] {
        let output = tells(user.sbx().arg(with_evil(before)), 127)?;
        output
            .stderr_has("x\\x1b[31m\\x07\\x08y\\x7f\\u{85}\\u{9b}2J\\nsbx z\\r\\t\\u{61c}")?
            .stderr_has("\\xff\\x9b\\xc0\\xaf")?;
    }
    user.put(user.project().join(evil()), "")?;
    tells(user.sbx().arg(with_evil("./")), 126)?.stderr_has("permission denied")?;
    user.put_program(user.project().join(evil()), "")?;
    tells(user.sbx().arg(with_evil("./")), 126)?.stderr_has("neither a program")?;
    user.put_program(user.project().join("script"), [b"#!/", evil().as_bytes(), b"\n"].concat())?;
    tells(user.sbx().arg("./script"), 126)?.stderr_has("its interpreter")?;
    let outside = user.put_program(user.dir().join("tools").join(evil()).join("tool"), "#!/bin/sh\n")?;
    tells(user.sbx().arg(outside), 127)?.stderr_has("add --ro ")?;
    Ok(())
}

fn option_values_are_escaped(user: &User) -> Verdict {
    let names = "ro rw tmpfs overlay cwd chdir net allow-host publish memory swap cpus pids timeout env hostname name keep-fd \
                 set color status-fd profile root layer";
    let (bytes, text) = (evil(), OsString::from(EVIL));
    for name in names.split_whitespace() {
        for value in [&bytes, &text] {
            let mut option = OsString::from(format!("--{name}="));
            option.push(value);
            tells(user.sbx().arg(&option).arg("true"), 125)?;
        }
    }
    for before in
        ["--", "-", "--ro=/usr:", "--profile=./", "--set=limits.pids=", "--set=a", "--ro=a:b:", "--env=="]
    {
        tells(user.sbx().arg(with_evil(before)).arg("true"), 125)?;
    }
    tells(user.sbx().arg(format!("--set=limits.pids={EVIL}")).arg("true"), 125)?;
    tells(user.sbx().arg(format!("--set={EVIL}=1")).arg("true"), 125)?;
    for verb in ["check", "explain", "profiles"] {
        let code = if verb == "check" { 1 } else { 125 };
        let word = if verb == "check" { evil() } else { with_evil("--format=") };
        tells(user.sbx().arg(verb).arg(word), code)?;
    }
    Ok(())
}

/// As it stands where TOML lets it, and in the escapes of a string.
fn profile_texts_are_escaped(user: &User) -> Verdict {
    let escapes: String = EVIL.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
    let seen: String = EVIL.chars().filter(|letter| !letter.is_ascii_control()).collect();
    for name in [&escapes, &seen] {
        for text in [
            format!("\"{name}\" = 1"),
            format!("[\"{name}\"]"),
            format!("limits.\"{name}\" = 1"),
            format!("extends = [\"{name}\"]"),
            format!("extends = [\"/{name}\"]"),
            format!("match = [\"{name}\"]"),
            format!("app-id = \"{name}\""),
            format!("filesystem.read = [\"{name}\"]"),
            format!("filesystem.read = [\"/{name}\"]"),
            format!("filesystem.read = [\"/a/../{name}\"]"),
            format!("filesystem.read = [\"/${{{name}}}\"]"),
            format!("filesystem.read = [\"/{name}\", \"/{name}\"]\nfilesystem.write = [\"/{name}\"]"),
            format!("filesystem.root = \"{name}\""),
            format!("filesystem.protect = [\"/{name}\"]"),
            format!("network.mode = \"{name}\""),
            format!("network.allow = [\"{name}\"]"),
            format!("limits.memory = \"{name}\""),
            format!("limits.timeout = \"{name}\""),
            format!("limits.pids = 0 # {seen}"),
            format!("privileges.capabilities = [\"{name}\"]"),
            format!("namespaces.hostname = \"{name}\""),
            format!("environment.set = {{ \"{name}=\" = \"x\" }}"),
            format!("environment.keep = [\"{name}=\"]"),
        ] {
            profile(user, "x", format!("schema = 1\n{text}\n"))?;
            tells(user.sbx().args(["-p", "x", "true"]), 125)?;
        }
        profile(user, "x", format!("schema = 1\nenvironment.keep = [\"-{name}\"]\n"))?;
        let output = output(user.sbx().args(["-p", "x", "true"]))?;
        output.exits(0)?.stderr_has("sbx: warning: ")?;
        own_lines(&output)?;
    }
    profile(user, "x", format!("schema = 1\n{EVIL}\n"))?;
    tells(user.sbx().args(["-p", "x", "true"]), 125)?.stderr_has("cannot read this as TOML")?;
    Ok(())
}

fn profile_files_are_escaped(user: &User) -> Verdict {
    let directory = user.project().join(evil());
    for (text, error) in [
        ("broken", "cannot read this as TOML"),
        ("schema = 1\nx = 1", "unknown key `x`"),
        ("schema = 1\nnetwork.block-lan = true", "not built yet"),
    ] {
        let path = user.put(directory.join("p.toml"), text)?;
        tells(user.sbx().arg("-p").arg(&path).arg("true"), 125)?.stderr_has(error)?;
        tells(user.sbx().arg("check").arg(&path), 1)?.stderr_has(error)?;
    }
    let path = directory.join("p.toml");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    tells(user.sbx().arg("-p").arg(&path).arg("true"), 125)?.stderr_has("chmod go-w")?;
    Ok(())
}

/// What `explain` and `profiles` print is as safe as a message.
fn answers_are_escaped(user: &User) -> Verdict {
    let escapes: String = EVIL.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
    profile(
        user,
        "x",
        format!(
            "schema = 1\nfilesystem.tmpfs = [\"/{escapes}\"]\nenvironment.set = {{ A = \"{escapes}\" }}\n"
        ),
    )?;
    user.put(user.home().join(".config/sbx/profiles").join(with_evil("n.toml")), "schema = 1\n")?;
    let file = [evil().as_bytes(), b".toml"].concat();
    user.put(user.home().join(".config/sbx/profiles").join(OsStr::from_bytes(&file)), "schema = 1\n")?;
    profile(user, "turned", "schema = 1\ndescription = \"\\u061c\\u202e\"\n")?;
    for format in ["text", "json"] {
        let mut explain = user.sbx();
        explain
            .args(["explain", "--format", format, "-p", "x", "--ro"])
            .arg(with_evil("/usr:/"))
            .arg("--env");
        explain.arg(with_evil("B=")).arg("true").arg(evil());
        for command in [&mut explain, user.sbx().args(["profiles", "--format", format])] {
            let output = output(command)?;
            output.exits(0)?.stderr_is("")?;
            // JSON escapes the control characters; the rest is the reader's to show.
            let found = if format == "json" { None } else { unclean(&output.stdout) };
            output.check(found.is_none(), || format!("the answer holds {found:?}"))?;
        }
    }
    Ok(())
}

fn arguments_pass_through(user: &User) -> Verdict {
    let every: Vec<u8> = (1..=255).collect();
    let word = OsStr::from_bytes(&every);
    let output = output(user.sbx().args(["/usr/bin/printf", "%s"]).arg(word).arg(evil()))?;
    let wanted = [&every[..], evil().as_bytes()].concat();
    output.exits(0)?.check(output.stdout == wanted, || "the bytes should be the same".to_owned())?;
    Ok(())
}

fn variables_pass_through(user: &User) -> Verdict {
    let every: Vec<u8> = (1..=255).collect();
    let mut option = OsString::from("GIVEN=");
    option.push(OsStr::from_bytes(&every));
    let odd = OsStr::from_bytes(b"\xff\xfe\x1b");
    let mut command = user.sbx();
    command.env("LC_ODD", OsStr::from_bytes(&every)).env("PASSED", evil()).env(odd, "odd");
    command.arg("--env").arg(option).args(["--env", "PASSED", "--env"]).arg(odd).args(["/usr/bin/env", "-0"]);
    let output = output(&mut command)?;
    output.exits(0)?;
    let found: Vec<_> = output.stdout.split(|byte| *byte == 0).collect();
    for wanted in [
        [b"GIVEN=", &every[..]].concat(),
        [b"LC_ODD=", &every[..]].concat(),
        [b"PASSED=", evil().as_bytes()].concat(),
        [odd.as_bytes(), b"=odd"].concat(),
    ] {
        output.check(found.contains(&&wanted[..]), || {
            format!("there should be {:?}", OsStr::from_bytes(&wanted))
        })?;
    }
    Ok(())
}

/// As a source, as a destination with a colon in it, and as a word that `PATH` leads to.
fn paths_pass_through(user: &User) -> Verdict {
    let directory = user.home().join(evil());
    user.put(directory.join("file"), "found\n")?;
    user.put_program(directory.join("tool"), "#!/bin/sh\necho run\n")?;
    let cat = |command: &mut Command, path: &OsStr| {
        output(command.arg("/usr/bin/cat").arg(path))?.exits(0)?.stdout_is("found\n").map(drop)
    };
    let file = directory.join("file");
    cat(user.sbx().arg("--ro").arg(&directory), file.as_os_str())?;
    cat(user.sbx().arg("--ro").arg(with_evil("../")), file.as_os_str())?;
    let (mut pair, mut inside) = (directory.clone().into_os_string(), with_evil("/at/a:b/"));
    pair.push(":/at/a\\:b/");
    pair.push(evil());
    inside.push("/file");
    cat(user.sbx().arg("--ro").arg(&pair), &inside)?;
    let mut tool = user.sbx();
    output(tool.env("PATH", &directory).arg("--ro").arg(&directory).arg("tool"))?
        .exits(0)?
        .stdout_is("run\n")?;
    Ok(())
}

fn the_working_directory_passes_through(user: &User) -> Verdict {
    let directory = user.mkdir(user.project().join(evil()))?;
    let output = output(user.sbx().current_dir(&directory).args([
        "/bin/sh",
        "-c",
        "/bin/pwd; printf '%s\\n' \"$PWD\"; echo >made",
    ]))?;
    let path = directory.as_os_str().as_bytes();
    let wanted = [path, b"\n", path, b"\n"].concat();
    output
        .exits(0)?
        .check(output.stdout == wanted, || "it should be the working directory, twice".to_owned())?;
    output
        .check(directory.join("made").exists(), || "the file should be in the real directory".to_owned())?;
    Ok(())
}

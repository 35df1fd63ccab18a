//! Commands that can't be run: 127 for what isn't there, 126 for what is no program.

use crate::common::{Case, User, Verdict, case, output};
use crate::support::{prepare, refused};
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(not_found),
        case!(found_outside_only),
        case!(hidden),
        case!(not_executable),
        case!(a_directory),
        case!(for_another_machine),
        case!(without_its_interpreter),
        case!(with_an_interpreter_that_cannot_run),
        case!(neither_program_nor_script),
        case!(a_relative_directory_in_path),
    ]
}

fn not_found(user: &User) -> Verdict {
    for command in ["nosuch", "./nosuch", "/nosuch", "/usr/bin/nosuch", "/etc/passwd/x", "", "-nosuch"] {
        let error = format!("cannot find `{command}`: no such command");
        refused(user, user.sbx().args(["--", command, "x"]), 127, &error, None)?;
    }
    refused(
        user,
        user.sbx().args(["--env=PATH=", "true"]),
        127,
        "cannot find `true`: no such command",
        None,
    )?;
    prepare(user, "ln -s gone dangling; ln -s loop loop")?;
    refused(user, user.sbx().arg("./dangling"), 127, "cannot find `./dangling`: no such command", None)?;
    refused(user, user.sbx().arg("./loop"), 126, "project/loop`: too many symbolic links", None)?;
    Ok(())
}

/// The hint, followed to the letter, works.
fn found_outside_only(user: &User) -> Verdict {
    let program = user.put_program("tools/hello-there", "#!/bin/sh\necho hello\n")?;
    let (path, directory) = (program.display().to_string(), user.dir().join("tools").display().to_string());
    let hint = format!("add --ro {directory}");
    let error = format!("`{path}` is not visible there");
    refused(user, user.sbx().arg(&path), 127, &error, Some(&hint))?;
    refused(user, user.sbx().arg("../../tools/hello-there"), 127, "is not visible there", Some("add --ro "))?;
    let search = format!("/usr/bin:{directory}");
    refused(user, user.sbx().env("PATH", &search).arg("hello-there"), 127, &error, Some(&hint))?;
    output(user.sbx().args(["--ro", &directory, &path]))?.exits(0)?.stdout_is("hello\n")?;
    output(user.sbx().env("PATH", &search).args(["--ro", &directory, "hello-there"]))?
        .exits(0)?
        .stdout_is("hello\n")?;
    Ok(())
}

/// A hidden program isn't run, nor another in its place; and it lacks no execute bit.
fn hidden(user: &User) -> Verdict {
    let hidden = user.put_program(user.project().join("hidden"), "#!/bin/sh\ntouch it-ran\n")?;
    let output = output(user.sbx().arg("--hide").arg(&hidden).arg(&hidden))?;
    output.exits(126)?.stderr_has(&format!("cannot run `{}`: ", hidden.display()))?.stderr_lacks("chmod")?;
    output.check(!user.project().join("it-ran").exists(), || "it should not have run".to_owned())?;
    Ok(())
}

fn not_executable(user: &User) -> Verdict {
    let path = user.put(user.project().join("script"), "#!/bin/sh\ntouch it-ran\n")?;
    for command in ["./script", &path.display().to_string()] {
        let output =
            refused(user, user.sbx().arg(command), 126, "script`: permission denied", Some("chmod +x "))?;
        output.stderr_has("cannot run `")?;
    }
    refused(
        user,
        user.sbx().arg("/etc/passwd"),
        126,
        "cannot run `/etc/passwd`: permission denied",
        Some("chmod +x"),
    )?;
    Ok(())
}

fn a_directory(user: &User) -> Verdict {
    user.mkdir(user.project().join("a-directory"))?;
    for command in ["/usr", "./", "../", "./a-directory", "/proc"] {
        refused(user, user.sbx().arg(command), 126, "it is a directory", None)?.stderr_has("cannot run `")?;
    }
    // A word without a slash is looked for in PATH, where these are directories too.
    for command in [".", "..", "share"] {
        let mut sbx = user.sbx();
        refused(user, sbx.env("PATH", "/usr/bin:/usr").arg(command), 127, "no such command", None)?;
    }
    Ok(())
}

/// The header of a 64-bit little-endian ELF program and nothing else (elf(5)).
fn elf(machine: u8, class: u8) -> [u8; 64] {
    let mut header = [0; 64];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
    (header[16], header[18], header[20], header[52]) = (2, machine, 1, 64);
    header
}

fn for_another_machine(user: &User) -> Verdict {
    let foreign = if cfg!(target_arch = "aarch64") { (62, "x86-64") } else { (183, "AArch64") };
    for (machine, name) in [foreign, (243, "RISC-V"), (22, "S/390"), (199, "machine number 199")] {
        user.put_program(user.project().join("foreign"), elf(machine, 2))?;
        let error = format!("project/foreign`: it is a program for {name}");
        refused(user, user.sbx().arg("./foreign"), 126, &error, None)?;
    }
    for text in [&elf(foreign.0, 2)[..20], &b"\x7fELF"[..], b"\x7fELF\x02\x01"] {
        user.put_program(user.project().join("stump"), text)?;
        refused(user, user.sbx().arg("./stump"), 126, "project/stump`: it is ", None)?;
    }
    Ok(())
}

/// A script that is there and whose interpreter is not can't be run: 126, as a shell has it.
fn without_its_interpreter(user: &User) -> Verdict {
    let script = user.put_program(user.project().join("script"), "#!/opt/none/such -x\n")?;
    let error = "its interpreter `/opt/none/such` ";
    refused(user, user.sbx().arg("./script"), 126, error, None)?;
    refused(user, user.sbx().arg(&script), 126, error, None)?;
    let own = user.dir().join("tools/interpreter");
    fs::create_dir(user.dir().join("tools"))?;
    fs::copy("/usr/bin/cat", &own)?;
    user.put_program(user.project().join("script"), format!("#!{}\nhello\n", own.display()))?;
    let tools = user.dir().join("tools").display().to_string();
    refused(
        user,
        user.sbx().arg("./script"),
        126,
        "is not visible inside",
        Some(&format!("add --ro {tools}")),
    )?;
    output(user.sbx().args(["--ro", &tools, "./script"]))?.exits(0)?.stdout_has("hello\n")?;
    Ok(())
}

/// The execute bit that is missing is the interpreter's.
fn with_an_interpreter_that_cannot_run(user: &User) -> Verdict {
    for interpreter in ["/etc/passwd", "/", "/usr"] {
        let script = user.put_program(user.project().join("script"), format!("#!{interpreter}\n"))?;
        let output = output(user.sbx().arg("./script"))?;
        output.exits(126)?.stderr_has(&format!("script`: its interpreter `{interpreter}` "))?;
        output.stderr_lacks(&format!("chmod +x {}", script.display()))?;
    }
    Ok(())
}

fn neither_program_nor_script(user: &User) -> Verdict {
    for text in ["touch it-ran\n", "", "#", "#!\n", "# !/bin/sh\n", "\0\0\0\0"] {
        user.put_program(user.project().join("text"), text)?;
        let error = "project/text`: it is neither a program nor a script with a `#!` line";
        refused(user, user.sbx().arg("./text"), 126, error, None)?;
    }
    Ok(())
}

/// What lies in the working directory is never run by its bare name.
fn a_relative_directory_in_path(user: &User) -> Verdict {
    user.put_program(user.project().join("planted"), "#!/bin/sh\ntouch it-ran\n")?;
    for path in [".", "/usr/bin:.", ":/usr/bin", "./../project"] {
        refused(
            user,
            user.sbx().env("PATH", path).arg("planted"),
            127,
            "cannot find `planted`: no such command",
            None,
        )?;
    }
    Ok(())
}

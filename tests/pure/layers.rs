//! Imports point one way, and each layer keeps to what it is for.

use crate::source::{Source, all, paths, top};
use std::fs;

/// The parts of the crate, and what each may know of.
const MAY_KNOW: [(&str, &[&str]); 28] = [
    ("sys", &[]),
    ("bytes", &[]),
    ("deadline", &["sys"]),
    ("say", &["cli", "diag"]),
    (
        "answers",
        &["changes", "cli", "compare", "diag", "exec", "host", "images", "plan", "say", "sys", "verbs"],
    ),
    ("status", &["exec", "plan", "profile", "sys"]),
    ("report", &["exec", "plan", "profile", "diag"]),
    ("verbs", &["cli", "diag", "exec", "host", "invocation", "layers", "manage", "profile", "registry"]),
    ("diag", &[]),
    ("removal", &[]),
    ("images", &["changes", "cli", "diag", "exec", "host", "image", "profile"]),
    ("image", &["bytes", "removal", "sys", "diag"]),
    ("cgroup", &[]),
    ("profile", &["diag"]),
    ("host", &["cgroup", "image", "sys", "diag"]),
    ("cause", &["diag"]),
    ("doctor", &["cause", "host", "sys", "diag"]),
    ("invocation", &["profile"]),
    ("seccomp", &["diag"]),
    ("plan", &["bytes", "profile", "host", "invocation", "seccomp", "diag"]),
    ("registry", &["cgroup", "profile", "sys", "diag"]),
    ("manage", &["cgroup", "layers", "registry", "plan", "profile", "host", "sys", "diag"]),
    ("layers", &["bytes", "sys", "diag"]),
    ("compare", &["changes", "cli", "host", "layers", "diag"]),
    ("changes", &["bytes", "host", "layers", "removal", "profile", "sys", "diag"]),
    (
        "exec",
        &[
            "cause", "cgroup", "layers", "registry", "removal", "plan", "profile", "host", "seccomp", "sys",
            "diag",
        ],
    ),
    ("explain", &["plan", "profile", "diag"]),
    ("cli", &["invocation", "profile", "diag"]),
];

/// Files of `exec` that run between `clone3` and `execve`, and those that run outside.
const INSIDE: [&str; 16] = [
    "credentials",
    "execute",
    "files",
    "init",
    "joined",
    "landlock",
    "layered",
    "mounts",
    "operations",
    "overlay",
    "own_terminal",
    "readback",
    "resources",
    "served",
    "walk",
    "watch",
];
const OUTSIDE: [&str; 33] = [
    "attach",
    "bus",
    "cause",
    "changed",
    "changes",
    "control",
    "descriptors",
    "error",
    "foreground",
    "home",
    "host_mounts",
    "items",
    "janitor",
    "keeper",
    "kept",
    "launch",
    "leaf",
    "mixed",
    "mod",
    "orders",
    "outer",
    "place",
    "prepare",
    "protect",
    "relay",
    "scope",
    "servers",
    "signals",
    "sources",
    "step",
    "subordinate",
    "supervise",
    "unrunnable",
];

/// What allocates, formats or prints.
const ALLOCATES: [&str; 16] = [
    "format!",
    "String",
    "OsString",
    "PathBuf",
    "CString",
    "Vec::",
    "vec!",
    "Box::",
    "Rc::",
    "Arc::",
    "to_string",
    "to_owned",
    "to_vec",
    "collect",
    "println!",
    "eprintln!",
];

/// What reads the machine, among the methods of a path.
const LOOKS: [&str; 10] = [
    "exists",
    "try_exists",
    "metadata",
    "symlink_metadata",
    "canonicalize",
    "read_link",
    "read_dir",
    "is_dir",
    "is_file",
    "is_symlink",
];

fn imports(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| !["lib", "main"].contains(&source.part())) {
        let Some((part, may_know)) = MAY_KNOW.iter().find(|(part, _)| *part == source.part()) else {
            wrong.push(format!("{}: a part of the crate that the table does not have", source.path));
            continue;
        };
        for path in paths(&source.code()) {
            let mut names = path.split("::");
            let other = names.nth(1).unwrap_or_default();
            if path.starts_with("crate::") && other != *part && !may_know.contains(&other) {
                wrong.push(format!("{}: {part} must not know of {path}", source.path));
            }
            let up = path.split("::").take_while(|name| *name == "super").count();
            if up > 0 && up >= source.module().len() {
                wrong.push(format!("{}: {path} leaves {part}: write crate::", source.path));
            }
        }
    }
    wrong
}

fn unsafe_code(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| source.part() != "sys") {
        let code = source.code();
        if has_word(&code, "unsafe") {
            wrong.push(format!("{}: unsafe code outside src/sys", source.path));
        }
        // lib.rs cannot forbid what sys needs: Cargo.toml denies it for every file that does not say otherwise.
        if code.contains("(unsafe_code)") && !code.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{}: allows unsafe code", source.path));
        }
        if !["lib", "main"].contains(&source.part()) && !code.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{}: does not forbid unsafe code", source.path));
        }
    }
    wrong
}

fn pure_plan(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| source.part() == "plan") {
        let code = source.code();
        for path in paths(&code) {
            if touches_the_machine(&path) {
                wrong.push(format!("{}: plan does no I/O, this is {path}", source.path));
            }
        }
        for method in LOOKS {
            if code.contains(&format!(".{method}(")) {
                wrong.push(format!("{}: plan does no I/O, this is .{method}()", source.path));
            }
        }
    }
    wrong
}

fn touches_the_machine(path: &str) -> bool {
    let names: Vec<_> = path.split("::").collect();
    let starts_small = |name: &&str| name.starts_with(char::is_lowercase);
    match names[..] {
        // Splits a text, reads nothing.
        ["std", "env", "split_paths"] => false,
        ["std", "fs" | "env" | "process" | "io" | "net" | "thread", ..] => true,
        ["std", "os", _, "net" | "process" | "fs", ..] => true,
        [.., "Instant" | "SystemTime", "now"] => true,
        // Constants, no calls.
        ["libc", ref rest @ ..] => rest.iter().any(starts_small),
        // An error's description.
        ["nix", "errno", "Errno", ref rest @ ..] => rest.contains(&"last"),
        ["nix", ..] => true,
        // Types and their methods, not the functions that look.
        ["crate", "host", ref rest @ ..] => rest.first().is_none_or(starts_small),
        _ => false,
    }
}

fn allocation(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| source.part() == "exec") {
        let name = source.path.trim_start_matches("src/exec/").trim_end_matches(".rs");
        if !INSIDE.contains(&name) {
            if !OUTSIDE.contains(&name) {
                wrong.push(format!("{}: on which side of clone3 does it run?", source.path));
            }
            continue;
        }
        let code = source.code();
        for (number, line) in code.lines().enumerate() {
            for what in ALLOCATES.into_iter().filter(|what| has_word(line, what)) {
                wrong.push(format!("{}:{}: {what} between clone3 and execve", source.path, number + 1));
            }
        }
    }
    wrong
}

/// Whether the word stands there alone, not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let joins = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(at, _)| {
        let after = text[at + word.len()..].chars().next().filter(|_| word.ends_with(joins));
        !text[..at].ends_with(joins) && !after.is_some_and(joins)
    })
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The rule finds this one thing wrong with the file.
fn finds(rule: fn(&[Source]) -> Vec<String>, path: &str, text: &str, part: &str) {
    let wrong = rule(&Source::planted(path, text));
    assert!(
        matches!(&wrong[..], [one] if one.contains(part)),
        "{path}: {text:?} gives {wrong:?}, not {part}"
    );
}

#[test]
fn imports_point_one_way() {
    none(&imports(&all("src")));
}

#[test]
fn a_wrong_import_is_found() {
    finds(imports, "src/sys/caps.rs", "use crate::diag::quote;", "crate::diag");
    finds(imports, "src/diag.rs", "fn f() { crate::sys::caps::clear() }", "crate::sys");
    finds(imports, "src/profile/mod.rs", "use crate::{diag::Source, plan::Plan};", "crate::plan::Plan");
    finds(imports, "src/plan/base.rs", "use crate::exec::Step;", "crate::exec");
    finds(imports, "src/plan/base.rs", "use super::super::exec::Step;", "leaves plan");
    finds(imports, "src/diag.rs", "use super::plan::Plan;", "leaves diag");
    finds(imports, "src/explain/mod.rs", "use crate::host::Host;", "crate::host");
    finds(imports, "src/cli/run.rs", "use crate::plan;", "crate::plan");
    finds(imports, "src/exec/init.rs", "use crate::cli::Output;", "crate::cli");
    finds(imports, "src/new.rs", "", "does not have");
    none(&imports(&Source::planted(
        "src/exec/init.rs",
        "use crate::plan::Plan; // crate::cli\nuse super::step::At;",
    )));
    none(&imports(&Source::planted("src/profile/schema/place.rs", "use super::super::value::X;")));
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    none(&unsafe_code(&all("src")));
    let manifest = fs::read_to_string(top().join("Cargo.toml")).expect("Cargo.toml");
    for line in ["unsafe_code = \"deny\"", "undocumented_unsafe_blocks = \"deny\""] {
        assert!(manifest.contains(line), "Cargo.toml lacks {line}");
    }
}

#[test]
fn unsafe_code_elsewhere_is_found() {
    finds(
        unsafe_code,
        "src/diag.rs",
        "#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }",
        "outside src/sys",
    );
    finds(unsafe_code, "src/diag.rs", "// #![forbid(unsafe_code)]\nfn f() {}", "does not forbid");
    finds(unsafe_code, "src/lib.rs", "#[allow(unsafe_code)]\nmod x;", "allows");
    none(&unsafe_code(&Source::planted("src/sys/caps.rs", "fn f() { unsafe { g() } }")));
}

#[test]
fn plan_does_no_io() {
    none(&pure_plan(&all("src")));
}

#[test]
fn io_in_plan_is_found() {
    for (text, part) in [
        ("use std::fs;", "std::fs"),
        ("use std::{ffi::OsStr, io::Read};", "std::io"),
        ("let home = std::env::var_os(\"HOME\");", "std::env"),
        ("std::process::exit(1)", "std::process"),
        ("use std::net::IpAddr;", "std::net"),
        ("let pid = nix::unistd::getpid();", "nix::unistd"),
        ("let errno = nix::errno::Errno::last();", "Errno::last"),
        ("let uid = libc::getuid();", "libc::getuid"),
        ("let found = path.exists();", ".exists()"),
        ("let real = path\n.canonicalize();", ".canonicalize()"),
        ("let now = std::time::Instant::now();", "Instant"),
        ("let host = crate::host::probe();", "host::probe"),
        ("use crate::host::is_executable;", "host::is_executable"),
    ] {
        finds(pure_plan, "src/plan/base.rs", text, part);
    }
    let fine = "use crate::host::{Entry, Host}; let a = std::env::split_paths(p); libc::PATH_MAX; nix::errno::Errno::from_raw(1)";
    none(&pure_plan(&Source::planted("src/plan/base.rs", fine)));
}

#[test]
fn nothing_allocates_inside() {
    let sources = all("src");
    none(&allocation(&sources));
    for name in INSIDE {
        assert!(
            sources.iter().any(|source| source.path == format!("src/exec/{name}.rs")),
            "no {name}.rs any more"
        );
    }
}

#[test]
fn allocation_inside_is_found() {
    for (text, part) in [
        ("let a = format!(\"x\");", "format!"),
        ("let a = String::new();", "String"),
        ("let a = Vec::new();", "Vec::"),
        ("let a = b.to_string();", "to_string"),
        ("let a = Box::new(b);", "Box::"),
        ("println!()", "println!"),
        ("let a: PathBuf = b;", "PathBuf"),
    ] {
        finds(allocation, "src/exec/walk.rs", text, part);
    }
    finds(allocation, "src/exec/new.rs", "", "which side");
    let fine = "fn f(buffer: PathBuffer, all: &mut Vec<u8>) {} // format!\n#[cfg(test)]\nmod tests { fn f() { vec![1] } }";
    none(&allocation(&Source::planted("src/exec/walk.rs", fine)));
    none(&allocation(&Source::planted("src/exec/prepare.rs", "let a = format!(\"x\");")));
}

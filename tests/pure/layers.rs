//! Imports point one way, and each layer keeps to what it is for.

use crate::source::{Source, all, paths, top};
use std::fs;

/// The parts of the crate, and what each may know of.
const MAY_KNOW: [(&str, &[&str]); 22] = [
    ("sys", &[]),
    ("deadline", &["sys"]),
    ("status", &["exec", "plan", "profile", "sys"]),
    ("report", &["exec", "plan", "profile", "diag"]),
    ("verbs", &["cli", "diag", "exec", "host", "invocation", "manage", "registry"]),
    ("diag", &[]),
    ("removal", &[]),
    ("images", &["cli", "diag", "host", "image", "profile"]),
    ("image", &["removal", "sys", "diag"]),
    ("cgroup", &[]),
    ("profile", &["diag"]),
    ("host", &["cgroup", "image", "sys", "diag"]),
    ("cause", &["diag"]),
    ("doctor", &["cause", "host", "sys", "diag"]),
    ("invocation", &["profile"]),
    ("seccomp", &["diag"]),
    ("plan", &["profile", "host", "invocation", "seccomp", "diag"]),
    ("registry", &["cgroup", "profile", "sys", "diag"]),
    ("manage", &["cgroup", "registry", "plan", "profile", "host", "sys", "diag"]),
    (
        "exec",
        &["cause", "cgroup", "registry", "removal", "plan", "profile", "host", "seccomp", "sys", "diag"],
    ),
    ("explain", &["plan", "profile", "diag"]),
    ("cli", &["invocation", "profile", "diag"]),
];

/// Files of `exec` that run between `clone3` and `execve`, and those that run outside.
const INSIDE: [&str; 14] = [
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
    "walk",
    "watch",
];
const OUTSIDE: [&str; 27] = [
    "attach",
    "bus",
    "cause",
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
    "mod",
    "outer",
    "place",
    "prepare",
    "protect",
    "relay",
    "scope",
    "signals",
    "sources",
    "step",
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

/// Libraries that bring a runtime of their own.
const RUNTIMES: [&str; 8] =
    ["tokio", "async-std", "smol", "async-executor", "futures-executor", "mio", "glommio", "actix-rt"];

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

/// The names of the packages in `cargo tree`'s answer.
fn package_rules(tree: &str) -> Vec<String> {
    let mut names: Vec<_> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let mut wrong = Vec::new();
    if names.len() > 80 {
        wrong.push(format!("{} packages, at most 80", names.len()));
    }
    wrong.extend(
        names.iter().filter(|name| RUNTIMES.contains(name)).map(|name| format!("{name} is an async runtime")),
    );
    let binds =
        |name: &&&str| name.ends_with("-sys") && **name != "linux-raw-sys" && !name.starts_with("windows");
    wrong.extend(names.iter().filter(binds).map(|name| format!("{name} binds a C library")));
    wrong
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

#[test]
fn few_packages_and_no_runtime() {
    let lock = read_toml("Cargo.lock");
    let manifest = read_toml("Cargo.toml");
    let packages = lock["package"].as_array().expect("packages");
    let mut found: Vec<String> =
        manifest["dependencies"].as_table().expect("a table").keys().cloned().collect();
    let mut next = 0;
    while next < found.len() {
        let package = packages.iter().find(|package| package["name"].as_str() == Some(&found[next]));
        let below = package.and_then(|package| package.get("dependencies")?.as_array());
        for name in below.into_iter().flatten().filter_map(|name| name.as_str()?.split(' ').next()) {
            if !found.iter().any(|known| known == name) {
                found.push(name.to_owned());
            }
        }
        next += 1;
    }
    assert!(found.iter().any(|name| name == "syn"), "nothing below the direct ones in {found:?}");
    let tree: String = found.iter().map(|name| format!("{name} v1\n")).collect();
    none(&package_rules(&tree));
}

/// Not by cargo, which who runs the tests may not have: what the lock file holds below the manifest's dependencies, for every
/// platform.
fn read_toml(name: &str) -> toml::Table {
    std::fs::read_to_string(top().join(name)).expect("it can be read").parse().expect("it is TOML")
}

#[test]
fn many_packages_or_a_runtime_are_found() {
    let many: String = (0..81).map(|number| format!("package{number} v1.0.0\n")).collect();
    assert_eq!(package_rules(&many), ["81 packages, at most 80"]);
    assert_eq!(package_rules("tokio v1.0.0\nlibc v0.2.1 (*)\nlibc v0.2.1"), ["tokio is an async runtime"]);
    assert_eq!(package_rules("openssl-sys v1.0.0"), ["openssl-sys binds a C library"]);
    none(&package_rules("libc v0.2.1\nlinux-raw-sys v0.4.1"));
}

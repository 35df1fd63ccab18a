//! What the crate is built from: few packages, no C library, no async runtime.

use crate::source::top;

/// Libraries that bring a runtime of their own.
const RUNTIMES: [&str; 8] =
    ["tokio", "async-std", "smol", "async-executor", "futures-executor", "mio", "glommio", "actix-rt"];

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

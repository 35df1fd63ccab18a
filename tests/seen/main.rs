//! What `sbx explain` says is what is: the plan in JSON against what `/proc` shows of the running sandbox, from outside.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod compare;
mod explained;
mod observe;
mod tree;

use common::{Case, Need, User, Verdict};

fn main() -> std::process::ExitCode {
    let mut cases = runs();
    cases.extend(changes::cases());
    common::run(cases.into_iter().map(|case| case.needs(Need::Program("nsenter"))).collect())
}

/// A run as it is explained is the run as it is seen.
fn check(user: &User, options: &[&str]) -> Verdict {
    let (plan, seen) = observe::observe(user, options)?;
    let found = compare::differences(&plan, &seen);
    if found.is_empty() { Ok(()) } else { Err(found.join("\n").into()) }
}

fn runs() -> Vec<Case> {
    vec![
        Case::new("no_profile_named", |user| check(user, &[])),
        Case::new("profile_default", |user| check(user, &["--profile", "default"])),
        Case::new("profile_base_cli", |user| check(user, &["--profile", "base-cli"])),
        Case::new("profile_build", |user| check(user, &["--profile", "build"])),
        Case::new("profile_offline", |user| check(user, &["--profile", "offline"])),
        Case::new("profile_shell", |user| check(user, &["--profile", "shell"])),
        Case::new("host_network", |user| check(user, &["--net", "host"])),
        Case::new("shifted_clocks", |user| {
            let time = "namespaces.time={ boottime = \"1h\", monotonic = \"-250ms\" }";
            check(user, &["--set", time])
        }),
        Case::new("uid_root", |user| check(user, &["--set", "privileges.uid=root"])),
        Case::new("processes", |user| check(user, &["--pids", "321"])).only_as_user(),
        Case::new("limits", |user| check(user, &["--timeout", "50s", "--set", "limits.open-files=99"])),
        Case::new("nested_browser", |user| check(user, &["--set", "namespaces.nested=browser"])),
        Case::new("nested_full", |user| check(user, &["--set", "namespaces.nested=full"])).only_as_user(),
        Case::new("own_root", own_root),
        Case::new("environment", environment),
        Case::new("paths", paths),
        Case::new("a_tree_of_mounts", |user| check(user, &["--ro", "/dev:/srv/dev"])),
        Case::new("private_home", private_home),
        Case::new("home_below_a_bind", home_below_a_bind),
        // It is strict, and Landlock has scopes since then.
        Case::new("the_rest", the_rest).needs(Need::Kernel(6, 12)),
    ]
}

/// A root with nothing of the host's but what its programs need.
fn own_root(user: &User) -> Verdict {
    let read =
        ["/usr", "/bin", "/lib", "/lib64"].map(|path| format!("{{ path = \"{path}\", optional = true }}"));
    let read = format!("filesystem.read=[{}]", read.join(", "));
    check(user, &["--profile", "offline", "--set", "filesystem.root=empty", "--set", &read])
}

fn environment(user: &User) -> Verdict {
    let set = "environment.set={ EMPTY = \"\", LINES_OF = \"a\\nb\", HOME = \"/srv\" }";
    check(user, &["--set", set, "--env", "LANG", "--env", "ODD NAME=x=y", "--env", "PATH=/usr/bin:/bin"])
}

fn paths(user: &User) -> Verdict {
    user.mkdir("data/deep/er")?;
    user.put("data/secret", "x")?;
    user.put("data/file", "x")?;
    let data = user.dir().join("data");
    let at = |below: &str| data.join(below).to_string_lossy().into_owned();
    let rw = format!("{}:/srv/at", at("deep"));
    check(
        user,
        &[
            "--ro",
            &at(""),
            "--rw",
            &at("deep"),
            "--hide",
            &at("secret"),
            "--hide",
            &at("none"),
            "--tmpfs",
            &at("deep/er"),
            "--rw",
            &rw,
            "--ro",
            &at("file"),
            "--set",
            "filesystem.tmpfs=[{ path = \"/srv/t\", size = \"5M\" }]",
        ],
    )
}

fn private_home(user: &User) -> Verdict {
    check(user, &["--profile", "shell", "--set", "home.mode=private"])
}

/// The home stays the sandbox's own, also where the directory above it is the host's.
fn home_below_a_bind(user: &User) -> Verdict {
    user.put("home/.ssh/id_ed25519", "secret")?;
    check(user, &["--ro", &user.dir().to_string_lossy()])
}

fn the_rest(user: &User) -> Verdict {
    check(
        user,
        &["--hostname", "other.example", "--chdir", "/usr/bin", "--cwd", "ro", "--keep-fd", "7", "--strict"],
    )
}

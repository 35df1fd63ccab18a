//! Variables that say where a toolchain is: honoured outside the home, and no way to have more of it.

use super::secrets::Secrets;
use super::{node, python, rust, trees};
use crate::common::{Case, Output, User, Verdict, case, output, output_within};
use crate::job::LIMIT;
use libtest_mimic::Failed;
use std::process::Command;

pub(super) fn cases() -> Vec<Case> {
    vec![
        rust::needs(case!(rustup_lies_elsewhere)),
        python::needs(case!(pyenv_lies_elsewhere)),
        node::needs(case!(nvm_lies_elsewhere)),
        case!(a_variable_that_names_the_home_shows_nothing_of_it),
        case!(a_variable_that_names_something_else_shows_nothing_of_it),
    ]
}

fn build(user: &User, profile: &str, script: &str, set: impl Fn(&mut Command)) -> Result<Output, Failed> {
    let mut sbx = user.sbx();
    set(&mut sbx);
    output_within(LIMIT, sbx.args(["--profile", profile, "sh", "-c", script]))
}

fn rustup_lies_elsewhere(user: &User) -> Verdict {
    rust::lay_out(user, "tools/rustup", "tools/cargo")?;
    rust::put_crate(user)?;
    let secrets = Secrets::put(user, &["tools/cargo/credentials.toml", "tools/secret"])?;
    let tools = user.dir().join("tools");
    let built = build(user, "rust", rust::BUILD, |sbx| {
        sbx.env("RUSTUP_HOME", tools.join("rustup")).env("CARGO_HOME", tools.join("cargo"));
        sbx.env("PATH", format!("{}/cargo/bin:{}", tools.display(), trees::SEARCH));
    })?;
    built.exits(0)?.stdout_has(&format!("{}/cargo/bin/cargo\nbuilt by a script\n", tools.display()))?;
    secrets.kept(user, &built, 1)
}

fn pyenv_lies_elsewhere(user: &User) -> Verdict {
    python::lay_out(user, "tools/pyenv")?;
    python::put_package(user)?;
    let secrets = Secrets::put(user, &["tools/pyenv/versions/3.0.1/pip.conf", "tools/secret"])?;
    let root = user.dir().join("tools/pyenv");
    let built = build(user, "python", python::BUILD, |sbx| {
        sbx.env("PYENV_ROOT", &root).env("PATH", format!("{}/shims:{}", root.display(), trees::SEARCH));
    })?;
    built.exits(0)?.stdout_has(&format!("{0}/shims/python3\n{0}/versions/3.0.1\n", root.display()))?;
    secrets.kept(user, &built, 2)
}

fn nvm_lies_elsewhere(user: &User) -> Verdict {
    node::lay_out(user, "tools/nvm")?;
    node::put_packages(user)?;
    let secrets = Secrets::put(user, &["tools/nvm/versions/node/v0.1.0/etc/npmrc", "tools/secret"])?;
    let root = user.dir().join("tools/nvm");
    let built = build(user, "node", node::BUILD, |sbx| {
        sbx.env("NVM_DIR", &root);
    })?;
    built.exits(0)?.stdout_has(&format!("{}/versions/node/v0.1.0/bin/node\n", root.display()))?;
    secrets.kept(user, &built, 1)
}

const VARIABLES: [&str; 8] = [
    "RUSTUP_HOME",
    "CARGO_HOME",
    "NVM_DIR",
    "PYENV_ROOT",
    "UV_PYTHON_INSTALL_DIR",
    "UV_TOOL_DIR",
    "GOROOT",
    "GOPATH",
];

/// With each variable set to each of the values, a thief in the sandbox gets nothing.
fn nothing_is_shown(user: &User, secrets: &[&str], values: &[String]) -> Verdict {
    let secrets = Secrets::put(user, secrets)?;
    for (round, value) in values.iter().enumerate() {
        let mut sbx = user.sbx();
        for name in VARIABLES {
            sbx.env(name, value);
        }
        let tried = output(sbx.args(["--profile", "agent", "sh", "steal/steal.sh"]))?;
        tried.exits(0)?;
        secrets.kept(user, &tried, round + 1)?;
    }
    Ok(())
}

fn a_variable_that_names_the_home_shows_nothing_of_it(user: &User) -> Verdict {
    let home = user.home().display().to_string();
    let values =
        ["/".to_owned(), home.clone(), format!("{home}/"), format!("{home}/."), format!("{home}/project/..")];
    let more =
        [format!("{home}/../home"), user.dir().display().to_string(), "relative".to_owned(), String::new()];
    let secrets = ["home/.ssh/id_ed25519", "home/versions/secret", "home/secret"];
    nothing_is_shown(user, &secrets, &[&values[..], &more].concat())
}

/// It takes more than a variable: the directory has to look like a toolchain's.
fn a_variable_that_names_something_else_shows_nothing_of_it(user: &User) -> Verdict {
    let secrets = ["home/.ssh/id_ed25519", "home/Documents/letter", "data/letter"];
    let values =
        ["home/.ssh", "home/Documents", "data"].map(|name| user.dir().join(name).display().to_string());
    nothing_is_shown(user, &secrets, &values)
}

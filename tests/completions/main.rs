//! The completion scripts in the shells that they are for: what a line offers, and what Tab makes of it.

#[path = "../common/mod.rs"]
mod common;
#[path = "../terminal/driver.rs"]
#[allow(dead_code, reason = "the suite of the terminal uses the rest")]
mod driver;
#[path = "../terminal/shell.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "the suite of the terminal uses the rest")]
mod shell;

mod session;

use common::{Account, Case, Need, User, Verdict};
use session::{Script, Session};
use shell::Shell;
use std::process::ExitCode;

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

type Body = fn(&mut Session) -> Verdict;

fn main() -> ExitCode {
    let bodies: [(&str, Body); 13] = [
        ("verbs", verbs),
        ("options", options),
        ("profiles", profiles),
        ("profile_files", profile_files),
        ("closed_sets", closed_sets),
        ("keys_and_variables", keys_and_variables),
        ("files", files),
        ("sandboxes", sandboxes),
        ("layers", layers),
        ("a_command_in_a_sandbox", a_command_in_a_sandbox),
        ("the_command", the_command),
        ("a_command_called_like_a_verb", a_command_called_like_a_verb),
        ("what_is_only_typed_is_not_run", what_is_only_typed_is_not_run),
    ];
    let mut cases = Vec::new();
    for (name, body) in bodies {
        for shell in SHELLS {
            let run = move |user: &User| body(&mut Session::start(user, shell, Script::Printed)?);
            cases.push(case_in(shell, name, run));
        }
    }
    for shell in SHELLS {
        cases.push(case_in(shell, "printed_as_it_is_shipped", move |user| printed(user, shell)));
    }
    let autoloaded = |user: &User| verbs(&mut Session::start(user, Shell::Zsh, Script::Installed)?);
    cases.push(case_in(Shell::Zsh, "found_by_its_name", autoloaded));
    cases.push(case_in(Shell::Bash, "settings_of_the_user", |user| {
        settings_of_the_user(&mut Session::start(user, Shell::Bash, Script::Printed)?)
    }));
    let beside = |user: &User| the_command(&mut Session::start(user, Shell::Bash, Script::Installed)?);
    cases.push(case_in(Shell::Bash, "with_bash_completion", beside).needs(Need::Other(no_bash_completion)));
    common::run(cases)
}

fn case_in(shell: Shell, name: &str, body: impl Fn(&User) -> Verdict + Send + Sync + 'static) -> Case {
    let program = match shell {
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
        _ => "bash",
    };
    Case::new(&format!("{name}::{shell}"), body).needs(Need::Program(program)).needs(Need::Program("setsid"))
}

fn no_bash_completion(_: &Account) -> Option<String> {
    let there = std::path::Path::new(session::BASH_COMPLETION).exists();
    (!there).then(|| "no bash-completion".to_owned())
}

fn printed(user: &User, shell: Shell) -> Verdict {
    let name = shell.to_string();
    let script = std::fs::read_to_string(session::script(shell))?;
    common::output(user.sbx().args(["completions", name.as_str()]))?.exits(0)?.stdout_is(&script)?;
    Ok(())
}

fn verbs(session: &mut Session) -> Verdict {
    session.offers("sbx expl", &["explain"])?;
    session.offers("sbx complet", &["completions"])?;
    session.offers("sbx disc", &["discard"])?;
    session.offers("sbx layers --form", &["--format"])?;
    session.offers("sbx completions ", &["bash", "zsh", "fish"])?;
    // Not anywhere else, and none that is not built.
    session.offers_not("sbx -q complet", &["completions"])?;
    session.offers_not("sbx run complet", &["completions"])?;
    session.offers_not("sbx deskto", &["desktop"])?;
    session.becomes("sbx expla", "sbx explain ")
}

fn options(session: &mut Session) -> Verdict {
    session.offers("sbx --die", &["--die-with-parent"])?;
    session.offers("sbx explain --st", &["--strict", "--status-fd"])?;
    session.offers("sbx explain --form", &["--format"])?;
    session.offers("sbx -q --ro /usr --vers", &["--version"])?;
    session.offers("sbx check --deny", &["--deny-warnings"])?;
    session.offers("sbx profiles --sch", &["--schema"])?;
    session.offers("sbx stats --wa", &["--watch"])?;
    session.offers("sbx exec --en", &["--env"])?;
    session.offers_not("sbx --form", &["--format"])?;
    session.offers_not("sbx check --r", &["--ro"])?;
    // What the program would refuse.
    session.offers_not("sbx --allow", &["--allow-host"])?;
    session.becomes("sbx --die", "sbx --die-with-parent ")
}

fn profiles(session: &mut Session) -> Verdict {
    session.offers("sbx -p ", &["mine", "default", "build", "offline"])?;
    session.offers("sbx --profile mi", &["mine"])?;
    session.offers("sbx --profile=mi", &["mine"])?;
    session.offers("sbx explain -vp off", &["offline"])?;
    session.becomes("sbx --profile=mi", "sbx --profile=mine ")
}

fn profile_files(session: &mut Session) -> Verdict {
    session.becomes("sbx -p ./ow", "sbx -p ./own.toml ")?;
    session.becomes("sbx check ow", "sbx check own.toml ")?;
    session.becomes("sbx check -q ./lay", "sbx check -q ./layers/")?;
    session.becomes("sbx check layers/to", "sbx check layers/top.toml ")?;
    session.becomes("sbx check my\\ files/", "sbx check my\\ files/b\\ own.toml ")?;
    if session.offers_only_what_fits() {
        session.becomes("sbx check not", "sbx check not")?;
    }
    Ok(())
}

fn closed_sets(session: &mut Session) -> Verdict {
    session.offers("sbx --net ", &["none", "host"])?;
    session.offers_not("sbx --net ", &["private", "proxy"])?;
    session.offers("sbx --net=h", &["host"])?;
    session.offers("sbx --cwd ", &["rw", "ro", "none"])?;
    session.offers("sbx --color ", &["auto", "always", "never"])?;
    session.offers("sbx explain --format ", &["text", "json"])?;
    session.offers("sbx profiles --format ", &["text", "json", "names"])?;
    session.offers("sbx ps --format ", &["text", "json", "names"])?;
    session.offers("sbx stats --format=j", &["json"])?;
    session.becomes("sbx --net=h", "sbx --net=host ")
}

fn keys_and_variables(session: &mut Session) -> Verdict {
    session.offers("sbx --set limits.", &["limits.pids=", "limits.timeout="])?;
    session.becomes("sbx --set network.m", "sbx --set network.mode=")?;
    session.offers("sbx --env SBX_TEST_PA", &["SBX_TEST_PASSED"])?;
    // A number and a time are the user's to say.
    session.becomes("sbx --pids ", "sbx --pids ")
}

fn files(session: &mut Session) -> Verdict {
    session.becomes("sbx --ro my", "sbx --ro my\\ files/")?;
    session.becomes("sbx --rw my\\ files/a", "sbx --rw my\\ files/a\\ note.txt ")?;
    session.becomes("sbx --hide not", "sbx --hide notes.txt ")?;
    session.becomes("sbx --ro=not", "sbx --ro=notes.txt ")?;
    session.becomes("sbx --ro not", "sbx --ro notes.txt ")?;
    session.becomes("sbx check \"my files/b", "sbx check \"my files/b own.toml\" ")?;
    session.becomes("sbx --chdir lay", "sbx --chdir layers/")?;
    if session.offers_only_what_fits() {
        session.becomes("sbx --chdir not", "sbx --chdir not")?;
    }
    Ok(())
}

/// What the registry of [`Session::start`] has, whether it runs or not.
fn sandboxes(session: &mut Session) -> Verdict {
    for line in
        ["sbx stats ", "sbx pause ", "sbx resume web ", "sbx stop --grace 5s ", "sbx limit ", "sbx exec "]
    {
        session.offers(line, &["tests", "web", "web-4711"])?;
    }
    session.offers_not("sbx stats ", &["default"])?;
    session.offers_not("sbx ps ", &["tests"])?;
    session.becomes("sbx stop te", "sbx stop tests ")?;
    session.offers("sbx limit tests ", &["memory=", "cpus=", "pids="])?;
    session.offers_not("sbx limit tests ", &["tests", "timeout="])?;
    session.becomes("sbx limit -q tests sw", "sbx limit -q tests swap=")
}

/// Those that are kept.
fn layers(session: &mut Session) -> Verdict {
    for line in ["sbx diff ", "sbx apply ", "sbx diff --patch "] {
        session.offers(line, &["project-1", "project-2"])?;
    }
    session.offers_not("sbx stop ", &["project-1"])?;
    session.becomes("sbx apply -q project-2", "sbx apply -q project-2 ")?;
    session.offers("sbx diff --pa", &["--patch"])?;
    session.offers_not("sbx apply --pa", &["--patch"])
}

/// It is completed like that of a run, behind the sandbox's name.
fn a_command_in_a_sandbox(session: &mut Session) -> Verdict {
    for line in ["sbx exec tests demo ", "sbx exec --env A=1 -q tests demo ", "sbx exec tests -- demo "] {
        session.offers(line, &["alpha", "beta"])?;
        session.offers_not(line, &["tests"])?;
    }
    session.offers("sbx exec tests sor", &["sort"])?;
    session.offers("sbx exec tests demo --ga", &["--gamma"])?;
    session.offers_not("sbx exec tests demo --en", &["--env"])?;
    session.offers_not("sbx exec tests complet", &["completions"])?;
    session.becomes("sbx exec tests ./run-m", "sbx exec tests ./run-me ")
}

/// The shells were told how `demo` and `check` are completed.
fn the_command(session: &mut Session) -> Verdict {
    for line in [
        "sbx demo ",
        "sbx --net host -vp build --strict demo ",
        "sbx --net=host --set=network.mode=host --ro /usr demo ",
        "sbx run --ro /usr:/opt demo ",
        "sbx explain demo ",
        "sbx -- demo ",
        "sbx run --strict -- demo ",
    ] {
        session.offers(line, &["alpha", "beta"])?;
    }
    session.offers("sbx demo --ga", &["--gamma"])?;
    session.offers("sbx demo x al", &["alpha"])?;
    session.offers_not("sbx demo --ne", &["--net"])?;
    session.offers_not("sbx demo --net ", &["host"])?;
    session.offers("sbx -q sor", &["sort"])?;
    session.offers("sbx -- sor", &["sort"])?;
    session.becomes("sbx -q ./run-m", "sbx -q ./run-me ")?;
    session.becomes("sbx -q ./my\\ files/ru", "sbx -q ./my\\ files/run-this ")?;
    session.becomes("sbx cat my\\ files/a", "sbx cat my\\ files/a\\ note.txt ")
}

fn a_command_called_like_a_verb(session: &mut Session) -> Verdict {
    session.offers("sbx run check ", &["alpha", "beta"])?;
    session.offers("sbx -- check ", &["alpha", "beta"])?;
    session.offers_not("sbx run check --deny", &["--deny-warnings"])?;
    session.offers_not("sbx check al", &["alpha"])
}

/// bash lets its user change what parts words and what is an error.
fn settings_of_the_user(session: &mut Session) -> Verdict {
    session.tell("COMP_WORDBREAKS=${COMP_WORDBREAKS//[=:]/}; set -u; IFS=:; shopt -s nullglob failglob")?;
    profiles(session)?;
    closed_sets(session)?;
    options(session)?;
    session.offers("sbx run --ro /usr:/opt --net=host demo ", &["alpha", "beta"])
}

/// A program of this name in the working directory may be anybody's.
fn what_is_only_typed_is_not_run(session: &mut Session) -> Verdict {
    let mark = session.user().project().join("it-ran");
    session.user().put_program("home/project/sbx", "#!/bin/sh\necho x >it-ran\n")?;
    session.offers("./sbx -p ", &["mine", "build"])?;
    if mark.exists() { Err("./sbx was run".into()) } else { Ok(()) }
}

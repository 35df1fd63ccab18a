//! Toolchains of a made-up home.

use crate::plan::given::{below, host, plan_on, profile, typed};
use sbx::host::{Host, Toolchain, Wanted};
use sbx::invocation::Invocation;
use sbx::profile::Profile;
use std::fs;
use std::path::PathBuf;

fn wanted(profile: &Profile, invocation: &Invocation) -> Wanted {
    sbx::plan::wanted(profile, invocation, &host()).expect("every path has a value")
}

fn with_rustup() -> Host {
    Host {
        toolchains: vec![Toolchain {
            word: "rustup".to_owned(),
            read: vec!["/home/ann/.rustup".into(), "/srv/cargo/bin".into()],
            hide: vec!["/home/ann/.rustup/secret".into()],
            written: vec!["/srv/cargo".into()],
        }],
        ..host()
    }
}

#[test]
fn what_was_found_is_shown_and_what_is_secret_hidden() {
    let plan = plan_on(&with_rustup(), &["toolchains = ['rustup']"], &[]).expect("a plan");
    assert_eq!(
        below(&plan, "/home/ann"),
        ["/home/ann private", "/home/ann/.rustup ro?", "/home/ann/.rustup/secret hide"]
    );
    assert_eq!(below(&plan, "/srv"), ["/srv/cargo private", "/srv/cargo/bin ro?"]);
    let origins = plan.mounts.iter().filter(|mount| mount.dest.starts_with("/srv"));
    assert!(
        origins.clone().count() == 2
            && origins.into_iter().all(|mount| mount.origin.to_string().contains(".toml:"))
    );
}

#[test]
fn a_profile_shares_what_is_private() {
    let text = "toolchains = ['rustup']\n[filesystem]\nwrite = ['/srv/cargo']\nhide = ['${HOME}/.rustup']";
    let plan = plan_on(&with_rustup(), &[text], &[]).expect("a plan");
    assert_eq!(below(&plan, "/srv"), ["/srv/cargo rw"]);
    assert_eq!(below(&plan, "/home/ann"), ["/home/ann private", "/home/ann/.rustup hide"]);
}

#[test]
fn only_what_a_profile_asks_for_is_looked_at() {
    let of = |texts: &[&str]| wanted(&profile(texts, &[]), &typed(&[]));
    assert_eq!(of(&[]), sbx::host::Wanted::default());
    let all = of(&[
        "toolchains = ['uv', 'go']",
        "toolchains = ['rustup', '-uv']\n[display]\nwayland = 'optional'\n[filesystem]\narguments = 'ro'",
    ]);
    let words: Vec<&str> = all.toolchains.iter().map(|kind| kind.word).collect();
    assert_eq!(words, ["go", "rustup"]);
    assert!(all.desktop.wayland && !all.desktop.x11 && !all.desktop.gpu && !all.desktop.sound);
    assert_eq!(all.command, ["tool"]);
}

#[test]
fn each_word_finds_something() {
    let home = PathBuf::from(format!("/var/tmp/sbx-toolchains-{}", std::process::id()));
    for part in [
        ".rustup/toolchains/stable/bin",
        ".nvm/versions/node/v1/etc",
        ".pyenv/versions/3/bin",
        ".local/share/uv/python/3/bin/python3",
        "sdk/go1/bin/go",
    ] {
        fs::create_dir_all(home.join(part)).expect("a directory");
    }
    fs::write(home.join(".nvm/versions/node/v1/etc/npmrc"), "token").expect("a file");
    let words = sbx::profile::Toolchain::WORDS.to_vec();
    let mut machine = Host { home: Some(home.clone()), real_homes: vec![home.clone()], ..host() };
    let looked = machine.look_at(&wanted(&profile(&[&format!("toolchains = {words:?}")], &[]), &typed(&[])));
    fs::remove_dir_all(&home).expect("to remove it");
    looked.expect("a look");
    for (word, found) in words.iter().zip(&machine.toolchains) {
        assert!(
            found.word == *word && found.read.len() == 1 && found.written.is_empty(),
            "{word}: {found:?}"
        );
    }
    let nvm = machine.toolchains.iter().find(|found| found.word == "nvm").map(|found| found.hide.clone());
    assert_eq!(nvm, Some(vec![home.join(".nvm/versions/node/v1/etc/npmrc")]));
}

/// A variable that names the home, or what is around it, would show all of it.
#[test]
fn the_home_is_no_toolchain() {
    for place in ["/home/ann", "/home/ann/", "/home", "/", "/home/ann/x/..", "relative"] {
        let mut machine = host();
        machine
            .environment
            .extend(crate::plan::given::variables(&[("NVM_DIR", place), ("CARGO_HOME", place)]));
        let wanted = wanted(&profile(&["toolchains = ['nvm', 'rustup']"], &[]), &typed(&[]));
        machine.look_at(&wanted).expect("a look");
        for found in &machine.toolchains {
            assert!(found.read.is_empty() && found.written.is_empty(), "{place}: {found:?}");
        }
    }
}

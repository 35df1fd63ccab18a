//! Toolchains of a made-up home.

use crate::plan::given::{below, host, plan_on, profile, typed};
use sbx::host::{Host, Toolchain};
use sbx::plan::wanted;

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
    assert_eq!(all.toolchains, ["go", "rustup"]);
    assert!(all.desktop.wayland && !all.desktop.x11 && !all.desktop.gpu && !all.desktop.sound);
    assert_eq!(all.command, ["tool"]);
}

//! `~/.rustup` and `~/.cargo`: cargo by rustup's proxies.

use super::secrets::Secrets;
use super::trees;
use crate::common::{Case, User, Verdict, case, output_within};
use crate::job::{LIMIT, with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What lies beside the programs of cargo.
pub(super) const SECRETS: [&str; 3] =
    ["home/.cargo/credentials.toml", "home/.cargo/config.toml", "home/.cargo/credentials"];

/// For machines that have no rustup that everybody may read: what its proxies do.
const PROXY: &str = "#!/bin/sh\nhome=${RUSTUP_HOME:-$HOME/.rustup}\n\
                     toolchain=$(sed -n 's/^default_toolchain = \"\\(.*\\)\"/\\1/p' \"$home/settings.toml\")\n\
                     exec \"$home/toolchains/$toolchain/bin/${0##*/}\" \"$@\"\n";

pub(super) fn cases() -> Vec<Case> {
    vec![needs(case!(cargo_of_the_home_builds))]
}

/// A toolchain to make the home's of.
pub(super) fn needs(case: Case) -> Case {
    with(case, &["cargo", "rustc", "gcc"])
}

/// The toolchain that builds these tests where it can be read, else that of the system.
fn sysroot() -> Option<PathBuf> {
    let printed = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let path = PathBuf::from(String::from_utf8(printed.stdout).ok()?.trim_end());
    path.join("bin/cargo").exists().then_some(path)
}

/// A toolchain in `rustup`, and `cargo`'s directory of programs, both below the user's directory.
pub(super) fn lay_out(user: &User, rustup: &str, cargo: &str) -> Verdict {
    let toolchain = user.dir().join(rustup).join("toolchains/local");
    match sysroot().filter(|path| path != Path::new("/usr")) {
        Some(sysroot) => {
            for name in ["lib", "bin"] {
                trees::link(
                    user,
                    &sysroot.join(name),
                    &toolchain.join(name),
                    &["etc", "src", "rustlib.old"],
                )?;
            }
        }
        // As by `rustup toolchain link local /usr`.
        None => trees::point(user, &toolchain, "/usr")?,
    }
    let settings = "version = \"12\"\ndefault_toolchain = \"local\"\nprofile = \"minimal\"\n\n[overrides]\n";
    user.put(Path::new(rustup).join("settings.toml"), settings)?;
    let bin = user.mkdir(Path::new(cargo).join("bin"))?;
    match real_rustup() {
        Some(real) => trees::link_file(&real, &bin.join("rustup"))?,
        None => drop(user.put_program(bin.join("rustup"), PROXY)?),
    }
    for name in ["cargo", "rustc"] {
        symlink("rustup", bin.join(name))?;
    }
    Ok(())
}

fn real_rustup() -> Option<PathBuf> {
    let homes = ["CARGO_HOME", "HOME"].map(|name| std::env::var_os(name).map(PathBuf::from));
    let [cargo, home] = homes;
    let below = [cargo.map(|path| path.join("bin")), home.map(|path| path.join(".cargo/bin"))];
    let candidates =
        below.into_iter().flatten().chain([PathBuf::from("/usr/bin")]).map(|dir| dir.join("rustup"));
    candidates.filter_map(|path| fs::canonicalize(path).ok()).find(|path| fs::File::open(path).is_ok())
}

/// A crate of which the build script runs the thief.
pub(super) fn put_crate(user: &User) -> Verdict {
    user.put("home/project/crate/Cargo.toml", include_str!("../fixtures/crate/Cargo.toml"))?;
    user.put("home/project/crate/src/main.rs", include_str!("../fixtures/crate/src/main.rs"))?;
    let script = include_str!("../fixtures/crate/build.rs");
    let steal = "    assert!(std::process::Command::new(\"sh\").arg(\"../steal/steal.sh\").status().unwrap().success());\n}\n";
    let script = script.trim_end().trim_end_matches('}').to_owned() + steal;
    user.put("home/project/crate/build.rs", script)?;
    Ok(())
}

/// Builds it; prints where cargo is and what the crate says.
pub(super) const BUILD: &str = "command -v cargo && cd crate && cargo build --quiet --offline && target/debug/fixture && cargo --version --verbose";

fn cargo_of_the_home_builds(user: &User) -> Verdict {
    lay_out(user, "home/.rustup", "home/.cargo")?;
    put_crate(user)?;
    let secrets = Secrets::put(user, &SECRETS)?;
    let bin = user.home().join(".cargo/bin");
    let path = format!("{}:{}", bin.display(), trees::SEARCH);
    let mut sbx = user.sbx();
    sbx.env("PATH", path).args(["--profile", "rust", "sh", "-c", BUILD]);
    let built = output_within(LIMIT, &mut sbx)?;
    built.exits(0)?.stdout_has(&format!("{}\nbuilt by a script\n", bin.join("cargo").display()))?;
    secrets.kept(user, &built, 1)?;
    // Neither the toolchain nor the proxies can be changed, and what cargo keeps for itself goes.
    let script = "touch ~/.cargo/mine && for name in .cargo/bin .rustup .rustup/toolchains .rustup/toolchains/local/bin; do \
                  ! touch ~/$name/mine || exit; done; ls -A ~ ~/.cargo";
    let inside = output_within(LIMIT, user.sbx().args(["--profile", "rust", "sh", "-c", script]))?;
    inside.exits(0)?.stdout_has(".cargo\n.rustup\nproject\n")?.stdout_has("bin\nmine\n")?;
    inside.check(!user.home().join(".cargo/mine").exists(), || "nothing should be left".to_owned())?;
    Ok(())
}

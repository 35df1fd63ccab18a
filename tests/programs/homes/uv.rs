//! `~/.local/bin/uv` and the Pythons that it keeps.

use super::secrets::Secrets;
use super::{python, trees};
use crate::common::{Case, Need, User, Verdict, case, output_within, source_dir};
use crate::job::LIMIT;
use libtest_mimic::Failed;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its own tokens, and another program beside it.
pub(super) const SECRETS: [&str; 3] =
    ["home/.local/share/uv/credentials/credentials.toml", "home/.config/uv/uv.toml", "home/.local/bin/mine"];

/// Installs the package into a new environment; prints where uv is, whose Python it takes and what the package says.
pub(super) const BUILD: &str = "command -v uv && uv venv --quiet --offline --managed-python --system-site-packages venv && \
     uv pip install --quiet --offline --no-build-isolation --python venv ./sdist && \
     venv/bin/python -c 'import fixture, sys; print(sys.base_prefix); print(fixture.GREETING)'";

pub(super) fn cases() -> Vec<Case> {
    vec![needs(case!(uv_of_the_home_installs))]
}

pub(super) fn needs(case: Case) -> Case {
    python::needs(case).needs(Need::Other(|_| real_uv().is_none().then(|| "no uv: run .ci/uv".to_owned())))
}

fn real_uv() -> Option<PathBuf> {
    let usual = ["/usr/bin/uv", "/usr/local/bin/uv"].map(PathBuf::from);
    [source_dir().join("target/uv/uv")].into_iter().chain(usual).find(|path| path.exists())
}

/// The directory that uv gives to a Python.
fn python_name() -> Result<String, Failed> {
    let script = "import platform; print(platform.python_version())";
    let printed = Command::new(trees::program("python3")?).args(["-c", script]).output()?;
    let version = String::from_utf8(printed.stdout)?;
    Ok(format!("cpython-{}-linux-{}-gnu", version.trim_end(), std::env::consts::ARCH))
}

/// uv, and a Python that it would have installed.
pub(super) fn lay_out(user: &User, pythons: &str) -> Verdict {
    python::install(user, &user.dir().join(pythons).join(python_name()?))?;
    let bin = user.mkdir("home/.local/bin")?;
    trees::link_file(&real_uv().ok_or("no uv")?, &bin.join("uv"))
}

fn uv_of_the_home_installs(user: &User) -> Verdict {
    const PYTHONS: &str = "home/.local/share/uv/python";
    lay_out(user, PYTHONS)?;
    python::put_package(user)?;
    let secrets = Secrets::put(user, &SECRETS)?;
    let bin = user.home().join(".local/bin");
    let mut sbx = user.sbx();
    sbx.env("PATH", format!("{}:{}", bin.display(), trees::SEARCH));
    let built = output_within(LIMIT, sbx.args(["--profile", "python", "sh", "-c", BUILD]))?;
    let prefix = user.dir().join(Path::new(PYTHONS)).join(python_name()?);
    built.exits(0)?.stdout_is(&format!("{}\n{}\nbuilt\n", bin.join("uv").display(), prefix.display()))?;
    secrets.kept(user, &built, 2)
}

//! `~/.pyenv`: a Python by its shims.

use super::secrets::Secrets;
use super::trees;
use crate::common::{Case, Need, User, Verdict, case, output, output_within};
use crate::job::{LIMIT, with};
use libtest_mimic::Failed;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What pip, twine and curl would send, and settings of pip for one Python and for an environment of it.
pub(super) const SECRETS: [&str; 6] = [
    "home/.pypirc",
    "home/.netrc",
    "home/.config/pip/pip.conf",
    "home/.pip/pip.conf",
    "home/.pyenv/versions/3.0.1/pip.conf",
    "home/.pyenv/versions/3.0.1/envs/office/pip.conf",
];

/// For machines that have no pyenv that everybody may read: what its shims do.
const SHIM: &str = "#!/bin/sh\nroot=${PYENV_ROOT:-$HOME/.pyenv}\n\
                    exec \"$root/versions/${PYENV_VERSION:-$(cat \"$root/version\")}/bin/${0##*/}\" \"$@\"\n";

/// What it prints: where the program is, and where it says that it is installed.
pub(super) const BUILD: &str = "command -v python3 && python3 -c 'import sys; print(sys.prefix)' && \
     python3 -m pip --disable-pip-version-check wheel --quiet --no-index --no-build-isolation --no-deps -w wheels ./sdist && \
     ls wheels";

pub(super) fn cases() -> Vec<Case> {
    vec![needs(case!(python_of_pyenv_builds_a_wheel))]
}

pub(super) fn needs(case: Case) -> Case {
    with(case, &["python3", "pip3"]).needs(Need::Other(|_| no_wheel()))
}

fn no_wheel() -> Option<String> {
    let status = Command::new("/usr/bin/python3").args(["-c", "import setuptools, wheel"]).status();
    (!status.is_ok_and(|status| status.success())).then(|| "no setuptools and wheel for Python".to_owned())
}

/// A Python of its own, made of the system's, in `prefix`: what one is built from is not to be moved.
pub(super) fn install(user: &User, prefix: &Path) -> Result<(), Failed> {
    let real = trees::program("python3")?;
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bin = user.mkdir(prefix.join("bin"))?;
    trees::link_file(&real, &bin.join(&name))?;
    for link in ["python3", "python"] {
        trees::point(user, bin.join(link), &name)?;
    }
    trees::point(user, prefix.join("lib").join(&name), Path::new("/usr/lib").join(&name))?;
    // Debian keeps packages for all its versions here.
    trees::point(user, prefix.join("lib/python3"), "/usr/lib/python3")
}

/// pyenv with one version and an environment of it, in `root` below the user's directory.
pub(super) fn lay_out(user: &User, root: &str) -> Verdict {
    let root = user.dir().join(root);
    install(user, &root.join("versions/3.0.1"))?;
    user.mkdir(root.join("versions/3.0.1/envs/office/bin"))?;
    trees::point(user, root.join("versions/office"), root.join("versions/3.0.1/envs/office"))?;
    user.put(root.join("version"), "3.0.1\n")?;
    let Some(real) = real_pyenv() else {
        user.put_program(root.join("shims/python3"), SHIM)?;
        return Ok(());
    };
    for name in ["bin", "libexec", "pyenv.d"] {
        trees::link(user, &real.join(name), &root.join(name), &[])?;
    }
    let mut rehash = user.command(root.join("bin/pyenv"));
    output(rehash.arg("rehash").env("PYENV_ROOT", &root))?.exits(0)?;
    Ok(())
}

fn real_pyenv() -> Option<PathBuf> {
    let named = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv"));
    named.into_iter().chain(home).find(|root| root.join("libexec/pyenv").exists())
}

/// A package of which the script runs the thief.
pub(super) fn put_package(user: &User) -> Verdict {
    let setup = "import subprocess\n\nfrom setuptools import setup\n\n\
                 subprocess.run([\"sh\", \"@HERE@/steal/steal.sh\"], check=True)\n\
                 setup(name=\"fixture\", version=\"1.0.0\", py_modules=[\"fixture\"])\n";
    user.put("home/project/sdist/setup.py", setup.replace("@HERE@", &user.project().to_string_lossy()))?;
    user.put("home/project/sdist/fixture.py", "GREETING = \"built\"\n")?;
    Ok(())
}

fn python_of_pyenv_builds_a_wheel(user: &User) -> Verdict {
    lay_out(user, "home/.pyenv")?;
    put_package(user)?;
    let secrets = Secrets::put(user, &SECRETS)?;
    let root = user.home().join(".pyenv");
    let shims = root.join("shims");
    let mut sbx = user.sbx();
    sbx.env("PATH", format!("{}:{}", shims.display(), trees::SEARCH));
    let built = output_within(LIMIT, sbx.args(["--profile", "python", "sh", "-c", BUILD]))?;
    let prefix = root.join("versions/3.0.1");
    let said = format!("{}\n{}\n", shims.join("python3").display(), prefix.display());
    built.exits(0)?.stdout_has(&said)?.stdout_has("fixture-1.0.0-py3-none-any.whl\n")?;
    // For the metadata, and for the wheel.
    secrets.kept(user, &built, 2)
}

//! `~/.local/go`, and what was installed with it in `~/go`.

use super::trees;
use crate::common::{Case, User, Verdict};
use crate::job::with;
use std::fs;

/// What it was downloaded with, and its settings.
pub(super) const SECRETS: [&str; 2] = ["home/go/pkg/sumdb/secret", "home/.config/go/env"];

/// Builds the module; prints where go is and what the program says.
pub(super) const BUILD: &str = "command -v go && go env GOROOT && cd module && \
     GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0 go build -o work . && ./work && installed-by-go";

pub(super) fn needs(case: Case) -> Case {
    with(case, &["go"])
}

/// The system's Go at another place, and a program in `~/go/bin`.
pub(super) fn lay_out(user: &User, goroot: &str, gopath: &str) -> Verdict {
    let root = user.mkdir(goroot)?;
    let real = trees::program("go")?;
    let real = real.ancestors().nth(2).ok_or("go in no directory")?;
    for name in ["pkg", "src", "api", "misc", "lib"] {
        if let Ok(target) = fs::canonicalize(real.join(name)) {
            trees::point(user, root.join(name), target)?;
        }
    }
    for name in ["VERSION", "go.env"] {
        if let Ok(file) = fs::canonicalize(real.join(name)) {
            trees::link_file(&file, &root.join(name))?;
        }
    }
    trees::link(user, &real.join("bin"), &root.join("bin"), &[])?;
    user.put_program(user.dir().join(gopath).join("bin/installed-by-go"), "#!/bin/sh\necho installed\n")?;
    Ok(())
}

pub(super) fn put_module(user: &User) -> Verdict {
    user.put("home/project/module/go.mod", "module example.org/work\n\ngo 1.18\n")?;
    user.put("home/project/module/main.go", include_str!("../fixtures/main.go"))?;
    Ok(())
}

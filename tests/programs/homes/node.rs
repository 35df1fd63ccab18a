//! `~/.nvm`: Node.js and npm.

use super::secrets::Secrets;
use super::trees;
use crate::common::{Case, User, Verdict, case, output_within};
use crate::job::{LIMIT, with};
use std::path::Path;

/// Where npm keeps tokens.
pub(super) const SECRETS: [&str; 3] =
    ["home/.npmrc", "home/.nvm/versions/node/v0.1.0/etc/npmrc", "home/.nvm/.cache/secret"];

/// As much of nvm as a build needs.
const NVM: &str = "# Puts the default version first.\nNVM_BIN=\"${NVM_DIR:-$HOME/.nvm}/versions/node/$(cat \"${NVM_DIR:-$HOME/.nvm}/alias/default\")/bin\"\n\
                   export NVM_BIN PATH=\"$NVM_BIN:$PATH\"\n";

/// Packs a package and installs it; prints where node is and what the package says.
pub(super) const BUILD: &str = ". \"${NVM_DIR:-$HOME/.nvm}/nvm.sh\" && command -v node && command -v npm && npm config get prefix && \
     (cd dependency && npm pack --silent --pack-destination ../site) && cd site && \
     npm install --silent --offline --no-audit --no-fund --no-update-notifier && node -e 'console.log(require(\"fixture\"))'";

pub(super) fn cases() -> Vec<Case> {
    vec![needs(case!(npm_of_nvm_installs))]
}

pub(super) fn needs(case: Case) -> Case {
    with(case, &["node", "npm"])
}

/// nvm with one version, in `root` below the user's directory.
pub(super) fn lay_out(user: &User, root: &str) -> Verdict {
    let root = user.dir().join(root);
    let version = root.join("versions/node/v0.1.0");
    let bin = user.mkdir(version.join("bin"))?;
    trees::link_file(&trees::program("node")?, &bin.join("node"))?;
    let npm = trees::program("npm")?;
    let npm = npm.ancestors().nth(2).unwrap_or(Path::new("/"));
    let modules = version.join("lib/node_modules");
    if npm.join("node_modules/semver").exists() {
        trees::link(user, npm, &modules.join("npm"), &["docs", "man"])?;
    } else {
        // Debian's has its modules beside it.
        trees::point(user, modules.join("npm"), npm)?;
    }
    trees::point(user, bin.join("npm"), "../lib/node_modules/npm/bin/npm-cli.js")?;
    user.put(root.join("alias/default"), "v0.1.0\n")?;
    user.put(root.join("nvm.sh"), NVM)?;
    Ok(())
}

/// A package of which a script runs the thief, and one that depends on it.
pub(super) fn put_packages(user: &User) -> Verdict {
    let thief = user.project().join("steal/steal.sh");
    let package = serde_json::json!({
        "name": "fixture", "version": "1.0.0", "main": "index.js",
        "scripts": { "install": format!("sh '{}'", thief.display()) },
    });
    user.put("home/project/dependency/package.json", package.to_string())?;
    user.put("home/project/dependency/index.js", "module.exports = 'built';\n")?;
    let site = serde_json::json!({
        "name": "site", "version": "1.0.0", "private": true,
        "dependencies": { "fixture": "file:fixture-1.0.0.tgz" },
        "allowScripts": { "fixture": true },
    });
    user.put("home/project/site/package.json", site.to_string())?;
    Ok(())
}

fn npm_of_nvm_installs(user: &User) -> Verdict {
    lay_out(user, "home/.nvm")?;
    put_packages(user)?;
    let secrets = Secrets::put(user, &SECRETS)?;
    let built = output_within(LIMIT, user.sbx().args(["--profile", "node", "sh", "-c", BUILD]))?;
    let version = user.home().join(".nvm/versions/node/v0.1.0");
    let version = version.display();
    built
        .exits(0)?
        .stdout_has(&format!("{version}/bin/node\n{version}/bin/npm\n{version}\n"))?
        .stdout_has("\nbuilt\n")?;
    secrets.kept(user, &built, 1)
}

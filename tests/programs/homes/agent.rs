//! The profile `agent`: all the toolchains of the home at once, no secret of it, a home of its own that is kept.

use super::secrets::Secrets;
use super::{go, node, python, rust, trees, uv};
use crate::common::{Case, User, Verdict, case, output, output_within};
use crate::job::{LIMIT, with};

/// What agents are known to look for, besides what belongs to one toolchain.
const SECRETS: [&str; 10] = [
    "home/.ssh/id_ed25519",
    "home/.aws/credentials",
    "home/.gitconfig",
    "home/.git-credentials",
    "home/.docker/config.json",
    "home/.config/gh/hosts.yml",
    "home/.config/gcloud/credentials.db",
    "home/.kube/config",
    "home/.gnupg/private-keys-v1.d/key",
    "home/.bash_history",
];

pub(super) fn cases() -> Vec<Case> {
    let all = go::needs(uv::needs(node::needs(rust::needs(case!(an_agent_has_every_toolchain)))));
    vec![all, with(case!(an_agent_works_in_a_repository), &["git"]), case!(an_agent_keeps_its_home)]
}

fn an_agent_has_every_toolchain(user: &User) -> Verdict {
    rust::lay_out(user, "home/.rustup", "home/.cargo")?;
    python::lay_out(user, "home/.pyenv")?;
    node::lay_out(user, "home/.nvm")?;
    uv::lay_out(user, "home/.local/share/uv/python")?;
    go::lay_out(user, "home/.local/go", "home/go")?;
    rust::put_crate(user)?;
    python::put_package(user)?;
    node::put_packages(user)?;
    go::put_module(user)?;
    let mut names = SECRETS.to_vec();
    for more in [&rust::SECRETS[..], &python::SECRETS, &node::SECRETS, &uv::SECRETS, &go::SECRETS] {
        names.extend(more);
    }
    let secrets = Secrets::put(user, &names)?;
    let home = user.home();
    let places = [".cargo/bin", ".pyenv/shims", ".local/bin", ".local/go/bin", "go/bin"];
    let mut path: Vec<String> = places.iter().map(|place| home.join(place).display().to_string()).collect();
    path.push(trees::SEARCH.to_owned());
    let builds = [rust::BUILD, python::BUILD, node::BUILD, uv::BUILD, go::BUILD];
    let script = builds.map(|build| format!("({build}) || exit\n")).concat();
    // Again in the same home, which holds what these leave.
    for round in 1..=2 {
        let mut sbx = user.sbx();
        sbx.env("PATH", path.join(":")).args(["--profile", "agent", "sh", "-c"]);
        let built =
            output_within(LIMIT, sbx.arg(format!("{script}\nrm -r crate/target venv site/node_modules")))?;
        built.exits(0)?.stdout_has("built by a script\n")?.stdout_has("fixture-1.0.0-py3-none-any.whl\n")?;
        built.stdout_has("4950\ninstalled\n")?;
        // The crate, twice for the wheel, the package of Node.js, and uv, which may take what it built before.
        secrets.kept(user, &built, if round == 1 { 6 } else { 9 })?;
    }
    Ok(())
}

fn an_agent_works_in_a_repository(user: &User) -> Verdict {
    output(user.command("git").args(["init", "--quiet", "--initial-branch=main"]))?.exits(0)?;
    let script = "echo new >new && git add new && git commit --quiet -m new && git log --format='%an: %s'; \
                  echo 'touch /tmp/hooked' >.git/hooks/pre-commit || echo no hook; \
                  mkdir .claude && echo no >.claude/settings.json || echo no settings";
    let mut sbx = user.sbx();
    for name in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"] {
        sbx.env(name, "ann@example.org");
    }
    let done = output(sbx.args(["--profile", "agent", "sh", "-c", script]))?;
    done.exits(0)?.stdout_is("ann@example.org: new\nno hook\nno settings\n")?;
    let outside = output(user.command("git").args(["log", "--format=%s"]))?;
    outside.exits(0)?.stdout_is("new\n")?;
    for name in [".git/hooks/pre-commit", ".claude/settings.json"] {
        done.check(!user.project().join(name).exists(), || format!("{name} should not be"))?;
    }
    Ok(())
}

/// From one run to the next, and apart from the real one.
fn an_agent_keeps_its_home(user: &User) -> Verdict {
    let agent = |script: &str| output(user.sbx().args(["--profile", "agent", "sh", "-c", script]));
    user.put("home/.profile", "real\n")?;
    agent("mkdir -p ~/.config/agent && echo remembered >~/.config/agent/state && ls -A ~")?
        .exits(0)?
        .stdout_is(".config\nproject\n")?;
    agent("cat ~/.config/agent/state && ls -A ~")?.exits(0)?.stdout_is("remembered\n.config\nproject\n")?;
    let kept = user.home().join(".local/share/sbx/home/agent/.config/agent/state");
    let kept = std::fs::read_to_string(&kept).map_err(|error| format!("{}: {error}", kept.display()))?;
    if kept != "remembered\n" || user.home().join(".config/agent").exists() {
        return Err("the home should be kept apart".into());
    }
    Ok(())
}

//! J: what is the user's own: secrets in the environment, and the files of the home directory.

use crate::common::{Output, output};
use crate::row::{Attempt, Reach, Row, canary};
use crate::walls::{self, Wall};
use libtest_mimic::Failed;
use sbx::plan::{Access, BindSource, MountOp, Plan, Variable};
use sbx::profile::Origin;
use std::fs;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("J1 secrets in the environment", [CHOSEN_VARIABLES], environment),
        Row::new("J1a secrets in the environment of PID 1", [walls::HIDDEN_INIT], environment_of_init),
        Row::new("J2 changes what shells run", [OWN_HOME], |attempt| change(attempt, SHELLS)),
        Row::new("J3 changes what the session starts", [OWN_HOME], |attempt| change(attempt, SESSION)),
        Row::new("J6 changes what ssh and gpg obey", [OWN_HOME], |attempt| change(attempt, KEYS)),
        Row::new("J7 reads the secrets of the home directory", [OWN_HOME], read_secrets),
    ]
}

/// Variables pass by name only. A careless program hands on all that it has.
const CHOSEN_VARIABLES: Wall = Wall {
    name: "chosen variables",
    down: |plan| {
        let known: Vec<_> = plan.environment.iter().map(|variable| variable.name.clone()).collect();
        let others = std::env::vars_os().filter(|(name, _)| !known.contains(name));
        plan.environment.extend(others.map(|(name, value)| Variable {
            name,
            value,
            origin: Origin::Default,
        }));
    },
};

/// A home directory of the sandbox's own. A careless program gives the user's.
const OWN_HOME: Wall = Wall { name: "own home", down: give_home };

fn give_home(plan: &mut Plan) {
    // The home also holds sbx's own profiles, for which no plan would be carried out.
    plan.guarded.clear();
    let home = std::env::var_os("HOME").unwrap_or_default();
    for mount in plan.mounts.iter_mut().filter(|mount| mount.dest.as_os_str() == home) {
        let source = BindSource::Path(mount.dest.clone());
        let access = Access::Writable;
        mount.op = MountOp::Bind { source, access, devices: false, optional: false, create: None };
    }
}

/// Variables with what programs keep in them: keys, and where their agents listen.
const VARIABLES: [&str; 16] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "ANTHROPIC_API_KEY",
    "AZURE_CLIENT_SECRET",
    "CI_JOB_TOKEN",
    "DATABASE_URL",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GPG_AGENT_INFO",
    "MAKEFLAGS",
    "NPM_TOKEN",
    "SSH_AUTH_SOCK",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
];

/// The script's output, where the caller has a canary in each variable; and the canary, to which the variable's name is
/// appended.
fn with_variables(attempt: &Attempt<'_>, script: &str) -> Result<(Output, String), Failed> {
    let canary = canary()?;
    let mut sbx = attempt.sbx(&[]);
    sbx.envs(VARIABLES.map(|name| (name, format!("{canary}-{name}."))));
    let out = output(sbx.args(["sh", "-c", &format!("{script}; echo ran")]))?;
    out.stdout_has("ran\n")?;
    Ok((out, canary))
}

fn seen((out, canary): (Output, String), names: &[&'static str]) -> Result<Reach, Failed> {
    let text = out.text();
    Reach::of_all(names.iter().map(|name| (*name, text.contains(&format!("{canary}-{name}.")))))
}

fn environment(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    seen(with_variables(attempt, "env; cat /proc/self/environ /proc/$$/environ")?, &VARIABLES)
}

fn environment_of_init(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    seen(with_variables(attempt, "cat /proc/1/environ /proc/1/task/*/environ")?, &VARIABLES)
}

/// What a shell runs, or reads before it runs.
const SHELLS: &[&str] = &[
    ".bash_aliases",
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".bashrc",
    ".config/environment.d/50-new.conf",
    ".config/fish/conf.d/new.fish",
    ".config/fish/config.fish",
    ".inputrc",
    ".pam_environment",
    ".profile",
    ".tmux.conf",
    ".vimrc",
    ".xprofile",
    ".zprofile",
    ".zshenv",
    ".zshrc",
];

/// What the session starts, or finds before what the system has.
const SESSION: &[&str] = &[
    ".config/autostart/new.desktop",
    ".config/systemd/user/default.target.wants/new.service",
    ".config/systemd/user/new.service",
    ".local/bin/ls",
    ".local/share/applications/firefox.desktop",
    ".local/share/dbus-1/services/new.service",
    ".local/share/kio/servicemenus/new.desktop",
    ".local/share/mime/packages/new.xml",
    ".local/share/nautilus/scripts/new",
    ".local/share/systemd/user/new.service",
    ".xinitrc",
    "bin/ls",
];

/// What can run a command, or let somebody in.
const KEYS: &[&str] = &[
    ".config/git/config",
    ".gitconfig",
    ".gnupg/dirmngr.conf",
    ".gnupg/gpg-agent.conf",
    ".gnupg/gpg.conf",
    ".ssh/authorized_keys",
    ".ssh/config",
    ".ssh/known_hosts",
    ".ssh/rc",
];

/// Appends to every second of these files of the home, which exist, and makes the others.
fn change(attempt: &Attempt<'_>, names: &[&'static str]) -> Result<Reach, Failed> {
    let home = attempt.user.home();
    for name in names.iter().step_by(2) {
        attempt.user.put(home.join(name), "the user's\n")?;
    }
    let script = "cd && for f; do mkdir -p \"$(dirname \"$f\")\"; echo attacker >>\"$f\"; done
        cd ~- && cd .. && for f; do echo attacker >>\"$f\"; done; echo ran";
    output(attempt.sbx(&[]).args(["sh", "-c", script, "sh"]).args(names))?.stdout_has("ran\n")?;
    let changed =
        |name: &str| fs::read_to_string(home.join(name)).is_ok_and(|text| text.contains("attacker"));
    Reach::of_all(names.iter().map(|name| (*name, changed(name))))
}

/// Keys, tokens, profiles and wallets, where programs keep them.
const SECRETS: [&str; 32] = [
    ".aws/credentials",
    ".azure/msal_token_cache.json",
    ".bash_history",
    ".bitcoin/wallet.dat",
    ".cargo/credentials.toml",
    ".claude/.credentials.json",
    ".config/BraveSoftware/Brave-Browser/Default/Login Data",
    ".config/chromium/Default/Cookies",
    ".config/gcloud/credentials.db",
    ".config/gh/hosts.yml",
    ".config/google-chrome/Default/Login Data",
    ".config/rclone/rclone.conf",
    ".config/solana/id.json",
    ".docker/config.json",
    ".electrum/wallets/default_wallet",
    ".git-credentials",
    ".gnupg/private-keys-v1.d/key.key",
    ".kube/config",
    ".local/share/keyrings/login.keyring",
    ".mozilla/firefox/x.default/logins.json",
    ".netrc",
    ".npmrc",
    ".password-store/mail.gpg",
    ".pgpass",
    ".pypirc",
    ".python_history",
    ".ssh/config",
    ".ssh/id_ed25519",
    ".ssh/id_rsa",
    ".terraform.d/credentials.tfrc.json",
    ".thunderbird/x.default/logins.json",
    "Documents/taxes.txt",
];

/// Each has a canary of its own. By the home's path, and up from the working directory.
fn read_secrets(attempt: &Attempt<'_>) -> Result<Reach, Failed> {
    let canary = canary()?;
    for name in SECRETS {
        attempt.user.put(attempt.user.home().join(name), format!("{canary}-{name}.\n"))?;
    }
    let script = "for f; do cat \"$HOME/$f\" \"../$f\" \"/proc/self/cwd/../$f\"; done; echo ran";
    let out = output(attempt.sbx(&[]).args(["sh", "-c", script, "sh"]).args(SECRETS))?;
    out.stdout_has("ran\n")?;
    seen((out, canary), &SECRETS)
}

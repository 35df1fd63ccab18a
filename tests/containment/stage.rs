//! A machine for one attempt: `/run`, `/tmp`, the machine's id and its name are the test's own, at the places where a
//! real machine has them.

use crate::common::User;
use crate::row::{Attempt, canary};
use libtest_mimic::Failed;
use std::path::PathBuf;
use std::process::Command;

/// What the places hold.
pub(crate) struct Stage<'a> {
    user: &'a User,
    dir: PathBuf,
    /// The machine's id and its name.
    pub(crate) name: String,
}

/// In a user namespace the capabilities that mounting takes must last over an exec, and are given up before `sbx` starts.
const SCRIPT: &str = r#"mount --bind "$STAGE/run" /run && mount --bind "$STAGE/tmp" /tmp && hostname "$NAME" &&
    if [ -e /etc/machine-id ]; then mount --bind "$STAGE/id" /etc/machine-id; fi &&
    mount -t tmpfs "$NAME" "$STAGE/mounted" &&
    exec setpriv --inh-caps -all --ambient-caps -all "$@""#;

impl<'a> Stage<'a> {
    pub(crate) fn new(attempt: &Attempt<'a>) -> Result<Self, Failed> {
        let user = attempt.user;
        // Names of machines are at most 64 letters long.
        let name = canary()?;
        user.put("stage/id", &name)?;
        user.mkdir("stage/mounted")?;
        user.mkdir("stage/tmp")?;
        user.mkdir(format!("stage{}", user.runtime_dir().display()))?;
        Ok(Self { user, dir: user.dir().join("stage"), name })
    }

    /// Where a path of that machine is here.
    pub(crate) fn place(&self, path: &str) -> Result<PathBuf, Failed> {
        let place = self.dir.join(path.trim_start_matches('/'));
        if let Some(parent) = place.parent() {
            self.user.mkdir(parent)?;
        }
        Ok(place)
    }

    /// The command on that machine.
    pub(crate) fn on(&self, command: &Command) -> Command {
        let mut outer = self.user.command("unshare");
        outer.args(["-m", "-u"]);
        if !self.user.is_root() {
            let (uid, gid) = (self.user.uid(), self.user.gid());
            outer.args(["-U", "--keep-caps", &format!("--map-user={uid}"), &format!("--map-group={gid}")]);
        }
        outer.args(["sh", "-c", SCRIPT, "sh"]).env("STAGE", &self.dir).env("NAME", &self.name);
        outer.env("XDG_RUNTIME_DIR", self.user.runtime_dir());
        outer.arg(command.get_program()).args(command.get_args());
        outer
    }
}

//! A signal to every process that there is.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::trap::Trap;

pub(crate) fn cases() -> Vec<Case> {
    let needs = ["git", "python3"].map(Need::Program);
    vec![needs.into_iter().fold(case!(kills_nobody_outside), Case::needs)]
}

/// The script sends nothing where it is among the host's processes: then the command isn't killed, and this fails.
fn kills_nobody_outside(user: &User) -> Verdict {
    let trap = Trap::set(user)?;
    let script = format!("python3 '{}' --everybody; echo spared", trap.script().display());
    let killed = output(trap.inside(user).args(["sh", "-c", &script]))?;
    killed.exits(137)?.stdout_is("")?;
    trap.found(user, &killed)?.nothing()
}

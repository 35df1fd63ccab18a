//! Copies of what is installed on the machine, without copying much.

use crate::common::{User, Verdict};
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Where the user's commands are looked for.
pub(crate) const SEARCH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The same tree at another place: links where that is possible, as the files are large and only read; what is named `skip` is
/// left out. The directories are the user's.
pub(crate) fn link(user: &User, from: &Path, to: &Path, skip: &[&str]) -> Verdict {
    user.mkdir(to)?;
    let entries = fs::read_dir(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if skip.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let (old, new) = (entry.path(), to.join(&name));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            link(user, &old, &new, skip)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&old)?, &new)?;
        } else {
            link_file(&old, &new)?;
        }
    }
    Ok(())
}

/// The same file at another place.
pub(crate) fn link_file(from: &Path, to: &Path) -> Verdict {
    if fs::hard_link(from, to).is_err() {
        let failed = |error| format!("cannot copy {}: {error}", from.display());
        fs::copy(from, to).map_err(failed)?;
    }
    Ok(())
}

/// A symbolic link below the user's directory, with the directories above it.
pub(crate) fn point(user: &User, at: impl AsRef<Path>, target: impl AsRef<Path>) -> Verdict {
    let at = user.dir().join(at);
    user.mkdir(at.parent().unwrap_or(Path::new("/")))?;
    symlink(target, at)?;
    Ok(())
}

/// The program that a name stands for on this machine, behind all links.
pub(crate) fn program(name: &str) -> Result<PathBuf, Failed> {
    let found = SEARCH.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    Ok(fs::canonicalize(found.ok_or_else(|| format!("no program {name}"))?)?)
}

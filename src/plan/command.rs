//! Where a program is looked for inside.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What `PATH` is when nobody says.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The paths to try for `command`, in order: itself when it holds a `/`, else one for each absolute directory of
/// `search`.
pub fn candidates(command: &OsStr, search: &OsStr, directory: &Path) -> Vec<PathBuf> {
    if command.is_empty() {
        return Vec::new();
    }
    if command.as_bytes().contains(&b'/') {
        // Without `.` components, which are left over from a typed `./`.
        return vec![directory.join(command).components().collect()];
    }
    std::env::split_paths(search)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(command))
        .collect()
}

/// Where the command is looked for.
pub(super) fn of_environment(
    command: &[OsString],
    environment: &[super::Variable],
    directory: &Path,
) -> Vec<PathBuf> {
    let search =
        environment.iter().find(|variable| variable.name == "PATH").map(|path| path.value.as_os_str());
    let of = |program: &OsString| candidates(program, search.unwrap_or(OsStr::new("")), directory);
    command.first().map_or_else(Vec::new, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_absolute_directories_only() {
        let found = |command: &str| candidates(OsStr::new(command), OsStr::new("/a::.:/b"), Path::new("/w"));
        assert_eq!(found("x"), [PathBuf::from("/a/x"), PathBuf::from("/b/x")]);
        assert_eq!(found("./x"), [PathBuf::from("/w/x")]);
        assert_eq!(found("/y/x"), [PathBuf::from("/y/x")]);
    }
}

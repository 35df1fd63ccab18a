//! The user database, read as a file: a static binary must not load name-service modules.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{HostError, look};

/// A line of `/etc/passwd`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) home: PathBuf,
}

pub(super) fn lookup(uid: u32) -> Result<Option<Account>, HostError> {
    let path = Path::new("/etc/passwd");
    let passwd = look::unless_absent(path, fs::read(path))?;
    Ok(passwd.and_then(|passwd| parse(&passwd, uid)))
}

fn parse(passwd: &[u8], uid: u32) -> Option<Account> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, _, id, _, _, home, ..] = fields[..] else { return None };
        let name = std::str::from_utf8(name).ok()?;
        let usable = !name.is_empty() && !name.contains(char::is_control);
        let home = PathBuf::from(std::ffi::OsStr::from_bytes(home));
        (usable && home.is_absolute() && id == uid.to_string().as_bytes())
            .then(|| Account { name: name.to_owned(), home })
    })
}

/// Where a login keeps sockets, for who has lost the variable that says so, as after su(1).
pub(super) fn runtime_dir(uid: u32) -> Option<PathBuf> {
    let own = PathBuf::from(format!("/run/user/{uid}"));
    // Services of the machine have no login.
    let places = [Some(own), (uid == 0).then(|| "/run".into())].into_iter().flatten();
    let is_own =
        |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == uid);
    places.into_iter().find(is_own)
}

/// The downloads directory of `user-dirs.dirs`, else `Downloads` in the home directory.
pub(super) fn downloads(
    home: Option<&Path>,
    config_home: Option<&Path>,
) -> Result<Option<PathBuf>, HostError> {
    let Some(home) = home else { return Ok(None) };
    let configured = match config_home {
        Some(config) => look::small_file(config.join("user-dirs.dirs"))?,
        None => Vec::new(),
    };
    let named = parse_downloads(&String::from_utf8_lossy(&configured), home);
    Ok(Some(named.unwrap_or_else(|| home.join("Downloads"))))
}

fn parse_downloads(text: &str, home: &Path) -> Option<PathBuf> {
    let value =
        text.lines().find_map(|line| line.trim().strip_prefix("XDG_DOWNLOAD_DIR="))?.trim_matches('"');
    match value.strip_prefix("$HOME") {
        // A bare $HOME means that the directory is disabled (xdg-user-dirs).
        Some("" | "/") => None,
        Some(rest) => Some(home.join(rest.trim_start_matches('/'))),
        None => Some(PathBuf::from(value)).filter(|path| path.is_absolute() && path != home),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_of_the_user_database() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000:Ann,,,:/home/ann:/bin/bash\n";
        assert_eq!(parse(passwd, 1000), Some(Account { name: "ann".into(), home: "/home/ann".into() }));
        assert_eq!(parse(passwd, 7), None);
    }

    #[test]
    fn finds_the_downloads_directory() {
        let home = Path::new("/home/ann");
        let of = |line: &str| parse_downloads(line, home);
        assert_eq!(of("XDG_DOWNLOAD_DIR=\"$HOME/Loads\""), Some("/home/ann/Loads".into()));
        assert_eq!(of("XDG_DOWNLOAD_DIR=\"/data/loads\""), Some("/data/loads".into()));
        assert_eq!(of("XDG_DOWNLOAD_DIR=\"$HOME/\""), None);
        assert_eq!(of("XDG_DESKTOP_DIR=\"$HOME/Desktop\""), None);
    }
}

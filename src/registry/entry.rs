//! A sandbox's own directory in the registry, from its sbx's side.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::socket::{Backlog, bind, listen};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, getpid, unlinkat};

use super::{DIRECTORY, INFO, Info, NEW, NEW_INFO, Registry, RegistryError, address, clear, new_socket};

/// How many may wait to be heard.
const BACKLOG: i32 = 64;

/// A sandbox's directory. Dropped, it is removed.
#[derive(Debug)]
pub struct Entry {
    registry: Registry,
    dir: OwnedFd,
    name: String,
    listener: OwnedFd,
    /// The process that made it: a copy of it in a child removes nothing.
    owner: i32,
}

impl Registry {
    /// Makes a directory for a sandbox called `name`, or for one without a name, after `word`. It is there with its socket,
    /// or not at all.
    ///
    /// # Errors
    /// [`RegistryError::Taken`]: a sandbox that runs has the name.
    pub fn register(self, name: Option<&str>, word: &str) -> Result<Entry, RegistryError> {
        let pid = getpid().as_raw();
        let new = format!("{NEW}{pid}");
        let path = self.path.clone();
        let failed = |what| {
            let path = path.clone();
            move |errno| RegistryError::System { what, path, errno }
        };
        let _ = remove(&self, &new);
        mkdirat(&self.dir, new.as_str(), Mode::S_IRWXU).map_err(failed("make a directory in"))?;
        let made = || -> nix::Result<(OwnedFd, OwnedFd)> {
            let dir = openat(&self.dir, new.as_str(), DIRECTORY, Mode::empty())?;
            let listener = new_socket()?;
            bind(listener.as_raw_fd(), &address(&dir)?)?;
            listen(&listener, Backlog::new(BACKLOG)?)?;
            Ok((dir, listener))
        };
        let made = made().map_err(failed("listen in"));
        if made.is_err() {
            let _ = remove(&self, &new);
        }
        let (dir, listener) = made?;
        let candidates = match name {
            Some(name) => vec![name.to_owned()],
            // Only in two PID namespaces can two have one number.
            None => (0..100).map(|number| generated(word, pid, number)).collect(),
        };
        for name in &candidates {
            // What an sbx that was killed has left must not keep its name for ever.
            for _ in 0..2 {
                match renameat2(
                    &self.dir,
                    new.as_str(),
                    &self.dir,
                    name.as_str(),
                    RenameFlags::RENAME_NOREPLACE,
                ) {
                    Ok(()) => {
                        let name = name.clone();
                        return Ok(Entry { registry: self, dir, name, listener, owner: pid });
                    }
                    Err(Errno::EEXIST) => self.sweep(),
                    Err(errno) => {
                        let _ = remove(&self, &new);
                        return Err(failed("name a directory in")(errno));
                    }
                }
            }
        }
        let _ = remove(&self, &new);
        Err(RegistryError::Taken { name: candidates.into_iter().next().unwrap_or_default() })
    }
}

fn generated(word: &str, pid: i32, number: u32) -> String {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || "_-".contains(*letter);
    let word: String = word.chars().filter(plain).take(40).collect();
    let word = match word.trim_start_matches('-') {
        "" => "sandbox",
        word => word,
    };
    if number == 0 { format!("{word}-{pid}") } else { format!("{word}-{pid}.{number}") }
}

fn remove(registry: &Registry, name: &str) -> nix::Result<()> {
    let dir = openat(&registry.dir, name, DIRECTORY, Mode::empty())?;
    clear(&dir);
    unlinkat(&registry.dir, name, UnlinkatFlags::RemoveDir)
}

impl Entry {
    /// The sandbox's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The socket that requests come through.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Says what there is to know, all at once.
    ///
    /// # Errors
    /// What writing a file gives.
    pub fn tell(&self, info: &Info) -> std::io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.dir, NEW_INFO, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        file.write_all(serde_json::to_string(info).unwrap_or_default().as_bytes())?;
        Ok(renameat(&self.dir, NEW_INFO, &self.dir, INFO)?)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if getpid().as_raw() == self.owner {
            clear(&self.dir);
            let _ = unlinkat(&self.registry.dir, self.name.as_str(), UnlinkatFlags::RemoveDir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_names() {
        for word in ["make", "x y", "a/../b", "--", "", "\u{202e}", "g++.exe"] {
            for number in [0, 7] {
                let name = generated(word, 12, number);
                assert_eq!(crate::profile::value::parse_sandbox_name(&name), Ok(name.clone()), "{word:?}");
            }
        }
        assert_eq!(generated("make", 12, 0), "make-12");
    }
}

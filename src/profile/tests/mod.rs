//! Tests of the module as a whole, with real files in a directory of their own.
#![forbid(unsafe_code)]

mod files;
mod loading;
mod merging;
mod mistakes;
mod set;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Profile;
use super::load::{self, ProfileError, Warning};
use super::search::SearchPath;
use crate::diag::{Severity, render};

/// Two layers of profiles above the compiled-in ones; gone at the end.
struct Scratch {
    root: PathBuf,
    search: SearchPath,
}

fn uid() -> u32 {
    nix::unistd::getuid().as_raw()
}

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("sbx-profile-{}-{number}", std::process::id()));
        for layer in ["upper", "lower"] {
            fs::create_dir_all(root.join(layer)).unwrap();
        }
        let search = SearchPath::from_directories(vec![root.join("upper"), root.join("lower")]);
        Self { root, search }
    }

    /// With these files, each a path below the root and what follows its `schema = 1`.
    fn with(files: &[(&str, &str)]) -> Self {
        let scratch = Self::new();
        for (path, text) in files {
            scratch.write(path, format!("schema = 1\n{text}"));
        }
        scratch
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(path), text).unwrap();
        self.path(path)
    }

    fn load(&self, names: &[&str], set: &[&str]) -> Result<(Profile, Vec<Warning>), ProfileError> {
        let names: Vec<OsString> = names.iter().map(OsString::from).collect();
        let set: Vec<String> = set.iter().map(|&typed| typed.to_owned()).collect();
        load::load_with_warnings(&names, &set, &self.search, uid())
    }

    fn profile(&self, names: &[&str]) -> Profile {
        match self.load(names, &[]) {
            Ok((profile, _)) => profile,
            Err(error) => panic!("{}", render(Severity::Error, &error, false)),
        }
    }

    /// The message of a load that fails, with the scratch directory as `@`.
    fn error(&self, names: &[&str]) -> String {
        match self.load(names, &[]) {
            Ok(_) => panic!("{names:?} loads"),
            Err(error) => self.render(&error),
        }
    }

    fn render(&self, error: &ProfileError) -> String {
        render(Severity::Error, error, false).replace(self.root.to_str().unwrap(), "@")
    }

    fn check(&self, path: &Path) -> Result<(Profile, Vec<Warning>), ProfileError> {
        load::check(path, &self.search, uid())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

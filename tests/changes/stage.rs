//! What the cases share: a directory with a layer over it, changes made through the kernel's overlay, and trees to compare.

use crate::common::{Need, Output, User, output};
use libtest_mimic::Failed;
use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sbx::layers::{Kind, Record};
use sbx::sys::xattr;

/// A layer over a directory.
pub(crate) struct Ground<'u> {
    pub(crate) user: &'u User,
    /// The directory.
    pub(crate) dir: PathBuf,
    /// The layer.
    pub(crate) layer: PathBuf,
}

/// The name of the layer.
pub(crate) const NAME: &str = "project-1";

/// What the kernel lets an ordinary user mount.
pub(crate) const OVERLAY: Need = Need::Other(|_| {
    let tried = std::process::Command::new("unshare").args(["-Urm", "true"]).status();
    (!tried.is_ok_and(|status| status.success())).then(|| "no unshare -Urm".to_owned())
});

impl<'u> Ground<'u> {
    /// The working directory with what `fill` makes in it, and an empty layer over it.
    pub(crate) fn new(user: &'u User, fill: &str) -> Result<Self, Failed> {
        let ground =
            Self { user, dir: user.project(), layer: user.home().join(".local/state/sbx/layers").join(NAME) };
        output(user.command("sh").args(["-c", &format!("umask 022; {fill}")]))?.exits(0)?;
        ground.lay(NAME)?;
        Ok(ground)
    }

    /// Makes another empty layer over it.
    pub(crate) fn lay(&self, name: &str) -> Result<PathBuf, Failed> {
        let layer = self.layer.with_file_name(name);
        self.user.mkdir(layer.join("upper"))?;
        self.user.mkdir(layer.join("work"))?;
        fs::set_permissions(layer.join("upper"), fs::metadata(&self.dir)?.permissions())?;
        self.record(&layer)?;
        Ok(layer)
    }

    /// Writes down that a layer was made now.
    pub(crate) fn record(&self, layer: &Path) -> Result<(), Failed> {
        // What the kernel stamps with lags behind by a tick.
        std::thread::sleep(Duration::from_millis(12));
        let found = fs::metadata(&self.dir)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let record = Record {
            kind: Kind::Overlay,
            directory: self.dir.clone(),
            device: found.dev(),
            inode: found.ino(),
            created: i128::try_from(now)?,
            profile: "default".to_owned(),
            command: vec!["sh".into()],
        };
        let _ = fs::remove_file(layer.join("layer.json"));
        record.write(layer)?;
        std::thread::sleep(Duration::from_millis(12));
        Ok(())
    }

    /// Runs a script in the overlay. What it then shows is copied to the returned place.
    pub(crate) fn change(&self, script: &str) -> Result<PathBuf, Failed> {
        let mut command = self.user.command("unshare");
        command.args(["-Urm", "sh"]);
        self.change_by(command, &format!("( {script}\n); cp -a . \"$4\""))
    }

    /// The same for a shell that may mount, and what it does there: `$4` is where what the overlay shows goes.
    pub(crate) fn change_by(&self, mut shell: Command, script: &str) -> Result<PathBuf, Failed> {
        let place = self.user.mkdir("overlay")?;
        let merged = self.user.dir().join("merged");
        if merged.exists() {
            fs::remove_dir_all(&merged)?;
        }
        let mount =
            "mount -t overlay -o \"userxattr,lowerdir=$1,upperdir=$2/upper,workdir=$2/work\" none \"$3\" &&
            cd \"$3\" && umask 022 && ";
        shell.args(["-c", &format!("{mount}{script}"), "sh"]);
        output(shell.arg(&self.dir).arg(&self.layer).arg(&place).arg(&merged))?.exits(0)?;
        Ok(merged)
    }

    /// `sbx` with these arguments, in the directory.
    pub(crate) fn sbx(&self, arguments: &[&str]) -> Result<Output, Failed> {
        output(self.user.sbx().args(arguments))
    }

    /// The lines of `sbx diff`.
    pub(crate) fn diff(&self) -> Result<String, Failed> {
        let output = self.sbx(&["diff"])?;
        output.exits(0)?.stderr_is("")?;
        Ok(output.text())
    }

    /// Whether `sbx diff` prints these lines.
    pub(crate) fn differs(&self, lines: &[&str]) -> Result<(), Failed> {
        let shown = self.diff()?;
        let wanted: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if shown == wanted { Ok(()) } else { Err(format!("sbx diff says\n{shown}and not\n{wanted}").into()) }
    }

    /// What only an `sbx apply` makes, and that is left.
    pub(crate) fn left_over(&self) -> Vec<OsString> {
        let names =
            |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let layers = self.layer.parent().map(Path::to_owned).unwrap_or_default();
        let stages = names(&self.dir).filter(|name| name.as_bytes().starts_with(b".sbx-apply"));
        let passing = names(&layers).filter(|name| name.as_bytes().starts_with(b"."));
        let journal = names(&self.layer).filter(|name| name.as_bytes().starts_with(b"journal"));
        stages.chain(passing).chain(journal).collect()
    }
}

/// Every entry of a tree: kind, mode, content, target, attributes, time of files, and the first of the names of its file.
pub(crate) fn tree(dir: &Path) -> Result<BTreeMap<PathBuf, String>, Failed> {
    let (mut found, mut firsts) = (BTreeMap::new(), BTreeMap::new());
    describe(dir, Path::new(""), &mut found, &mut firsts)?;
    Ok(found)
}

fn describe(
    dir: &Path,
    below: &Path,
    found: &mut BTreeMap<PathBuf, String>,
    firsts: &mut BTreeMap<u64, PathBuf>,
) -> Result<(), Failed> {
    let mut names = fs::read_dir(dir.join(below))?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    names.sort();
    for name in names {
        let relative = below.join(name);
        let path = dir.join(&relative);
        let meta = fs::symlink_metadata(&path)?;
        let kind = meta.file_type();
        let own = if kind.is_file() {
            let first = firsts.entry(meta.ino()).or_insert_with(|| relative.clone());
            let time = (meta.mtime(), meta.mtime_nsec());
            format!("file {:?} {time:?} {first:?} {}", fs::read(&path)?, user_attributes(&path)?)
        } else if kind.is_dir() {
            format!("directory {}", user_attributes(&path)?)
        } else if kind.is_symlink() {
            format!("link {:?}", fs::read_link(&path)?)
        } else {
            format!("pipe {}", kind.is_fifo())
        };
        let mode = if kind.is_symlink() { 0 } else { meta.permissions().mode() };
        found.insert(relative.clone(), format!("{mode:o} {own}"));
        if kind.is_dir() {
            describe(dir, &relative, found, firsts)?;
        }
    }
    Ok(())
}

fn user_attributes(path: &Path) -> Result<String, Failed> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let list = xattr::names_at(&path)?;
    let mut own = BTreeMap::new();
    for name in list.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        if !name.starts_with(b"user.overlay.") {
            own.insert(name.to_vec(), xattr::get_at(&path, &CString::new(name)?)?);
        }
    }
    Ok(format!("{own:?}"))
}

/// Sets an attribute.
pub(crate) fn set_attribute(path: &Path, name: &str, value: &[u8]) -> Result<(), Failed> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Ok(xattr::set_at(&path, &CString::new(name)?, value)?)
}

/// The two trees are equal.
pub(crate) fn same(found: &Path, wanted: &Path) -> Result<(), Failed> {
    let (found, wanted) = (tree(found)?, tree(wanted)?);
    equal(&found, &wanted)
}

/// The two trees are equal.
pub(crate) fn equal(
    found: &BTreeMap<PathBuf, String>,
    wanted: &BTreeMap<PathBuf, String>,
) -> Result<(), Failed> {
    let mut lines = String::new();
    for path in found.keys().chain(wanted.keys()) {
        if found.get(path) != wanted.get(path) && lines.len() < 2000 {
            lines.push_str(&format!("{path:?}: {:?}, not {:?}\n", found.get(path), wanted.get(path)));
        }
    }
    if lines.is_empty() { Ok(()) } else { Err(lines.into()) }
}

/// An entry without the time of its file.
pub(crate) fn untimed(text: &str) -> String {
    match (text.find(" ("), text.find(") ")) {
        (Some(start), Some(end)) if start < end => format!("{}{}", &text[..start], &text[end + 1..]),
        _ => text.to_owned(),
    }
}

/// A tree without the times of its files.
pub(crate) fn timeless(dir: &Path) -> Result<BTreeMap<PathBuf, String>, Failed> {
    Ok(tree(dir)?.into_iter().map(|(path, text)| (path, untimed(&text))).collect())
}

/// Removes a directory with whatever modes there are in it: the kernel's work dir lets nobody in.
pub(crate) fn clear(user: &User, directory: &Path) -> Result<(), Failed> {
    let script = "chmod -R u+rwX -- \"$0\"; rm -rf -- \"$0\"";
    output(user.command("sh").current_dir(user.dir()).args(["-c", script]).arg(directory))?.exits(0)?;
    Ok(())
}

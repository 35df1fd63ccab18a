//! Mount points in sbx's own directories that the sandbox can write, such as a private home: what else is mounted there
//! needs a place, and the last run may have put anything there.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, mkdirat};

use super::ExecError;
use super::items::{Item, Op};
use super::walk;
use crate::plan::{Mount, MountOp, Plan};

/// Makes them, for every mount of which the nearest one around it is such a directory.
pub(super) fn make_mount_points(plan: &Plan, items: &[Item]) -> Result<(), ExecError> {
    let own = |mount: &Mount| matches!(mount.op, MountOp::Bind { create: Some(_), .. });
    if !plan.mounts.iter().any(own) {
        return Ok(());
    }
    let mount = |item: &Item| plan.mounts.get(item.index as usize);
    for item in items {
        let (Some(here), Some(is_dir)) = (mount(item), item.op.mounts_over()) else { continue };
        let around = items.iter().filter_map(|other| Some((other, mount(other)?)));
        let around =
            around.filter(|(_, other)| here.dest != other.dest && here.dest.starts_with(&other.dest));
        let Some((home, around)) = around.max_by_key(|(_, other)| other.dest.components().count()) else {
            continue;
        };
        let (true, Op::Bind { source, .. }) = (own(around), &home.op) else { continue };
        let below = here.dest.strip_prefix(&around.dest).unwrap_or(&here.dest);
        let made = walk::open_directory(&source.path).and_then(|home| make(home, below, is_dir));
        made.map_err(|errno| ExecError::MountPoint {
            dest: here.dest.clone(),
            path: path_of(source.path.to_bytes()).join(below),
            errno,
        })?;
    }
    Ok(())
}

fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Makes what is missing of `path` below a directory, without following a link. What is there stays, if it will do.
fn make(mut directory: OwnedFd, path: &Path, is_dir: bool) -> nix::Result<()> {
    let mut names = path.components().peekable();
    while let Some(Component::Normal(name)) = names.next() {
        if names.peek().is_some() || is_dir {
            match mkdirat(&directory, name, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
            let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_BENEATH;
            let how =
                OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(resolve);
            directory = openat2(&directory, name, how)?;
            continue;
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(_) => {}
            Err(Errno::EEXIST) => is_mount_point_for_file(directory.as_fd(), name)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn is_mount_point_for_file(directory: impl AsFd, name: &std::ffi::OsStr) -> nix::Result<()> {
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    let status = nix::sys::stat::fstatat(directory.as_fd(), name, flags)?;
    match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFLNK => Err(Errno::ELOOP),
        SFlag::S_IFDIR => Err(Errno::EISDIR),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_what_is_missing_and_follows_no_link() {
        let root = std::env::temp_dir().join(format!("sbx-home-{}", std::process::id()));
        std::fs::create_dir(&root).expect("a directory");
        let text = std::ffi::CString::new(root.to_str().expect("text")).expect("no NUL");
        let open = || walk::open_directory(&text).expect("open");
        let result = (|| {
            for _ in 0..2 {
                assert_eq!(make(open(), Path::new("a/b/c"), true), Ok(()));
                assert_eq!(make(open(), Path::new("a/file"), false), Ok(()));
            }
            assert!(root.join("a/b/c").is_dir() && root.join("a/file").is_file());
            assert_eq!(make(open(), Path::new("a/file"), true), Err(Errno::ENOTDIR));
            assert_eq!(make(open(), Path::new("a/b"), false), Err(Errno::EISDIR));
            std::os::unix::fs::symlink("/tmp", root.join("link"))?;
            for (path, is_dir) in [("link/x", true), ("link", true), ("link", false)] {
                let refused = make(open(), Path::new(path), is_dir);
                assert!(matches!(refused, Err(Errno::ELOOP | Errno::ENOTDIR)), "{path} {refused:?}");
            }
            std::io::Result::Ok(())
        })();
        std::fs::remove_dir_all(&root).expect("removed");
        result.expect("no error");
    }
}

//! Which files are read, and which are refused.
#![forbid(unsafe_code)]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{Scratch, uid};
use crate::profile::{ProfileError, Writer};

#[test]
fn what_is_not_a_file() {
    let scratch = Scratch::new();
    mkfifo(&scratch.path("upper/fifo.toml"), Mode::from_bits_truncate(0o600)).unwrap();
    fs::create_dir(scratch.path("upper/dir.toml")).unwrap();
    let _socket = UnixListener::bind(scratch.path("upper/socket.toml")).unwrap();
    symlink("/dev/null", scratch.path("upper/null.toml")).unwrap();
    symlink("loop.toml", scratch.path("upper/loop.toml")).unwrap();
    symlink("nowhere", scratch.path("upper/dangling.toml")).unwrap();
    for (name, cause) in [
        ("fifo", "it is a named pipe, not a regular file"),
        ("dir", "it is a directory, not a regular file"),
        ("socket", "it is a socket or a device, not a regular file"),
        ("null", "it is a device, not a regular file"),
        ("loop", "its symbolic links form a loop"),
        ("dangling", "it is a symbolic link to nothing"),
    ] {
        let expected = format!("sbx: error: cannot read profile `@/upper/{name}.toml`: {cause}\n");
        assert_eq!(scratch.error(&[name]), expected);
        let path = format!("{}/upper/{name}.toml", scratch.root.display());
        assert_eq!(scratch.error(&[&path]), expected);
    }
}

#[test]
fn bytes() {
    let scratch = Scratch::with(&[("upper/good.toml", "")]);
    File::create(scratch.path("upper/large.toml")).unwrap().set_len(100_000_000).unwrap();
    scratch.write("upper/latin.toml", b"schema = 1\n# \xe9\n");
    symlink("good.toml", scratch.path("upper/link.toml")).unwrap();
    assert_eq!(
        scratch.error(&["large"]),
        "sbx: error: cannot read profile `@/upper/large.toml`: it has 100000000 bytes, \
         and a profile may have 1048576\n"
    );
    assert_eq!(
        scratch.error(&["latin"]),
        "sbx: error: cannot read profile `@/upper/latin.toml`: byte 13, in line 2, is not UTF-8\n"
    );
    scratch.profile(&["link"]);
}

#[test]
fn the_most_bytes_that_still_load() {
    let scratch = Scratch::new();
    let full = |size: usize| format!("schema = 1\n#{}", "x".repeat(size - 12));
    scratch.write("upper/full.toml", full(1 << 20));
    scratch.profile(&["full"]);
    scratch.write("upper/over.toml", full((1 << 20) + 1));
    assert!(scratch.error(&["over"]).contains("it has 1048577 bytes"));
}

#[test]
fn who_could_have_written_it() {
    let scratch = Scratch::with(&[("upper/x.toml", "")]);
    let path = scratch.path("upper/x.toml");
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let writer = |object: &Path| match scratch.load(&["x"], &[]) {
        Err(ProfileError::Untrusted { path: file, object: found, writer }) => {
            assert_eq!((file.as_path(), found.as_path()), (path.as_path(), object));
            Some(writer)
        }
        Ok(_) => None,
        Err(other) => panic!("{other}"),
    };
    mode(&path, 0o602);
    assert_eq!(writer(&path), Some(Writer::Everyone));
    assert_eq!(
        scratch.error(&["x"]),
        "sbx: error: cannot trust profile `@/upper/x.toml`: it is writable by everyone\n  \
         hint: run `chmod go-w @/upper/x.toml`\n"
    );
    mode(&path, 0o600);
    for directory in [scratch.path("upper"), scratch.root.clone()] {
        mode(&directory, 0o777);
        assert_eq!(writer(&directory), Some(Writer::Everyone));
        mode(&directory, 0o1777);
        assert_eq!(writer(&directory), None);
        mode(&directory, 0o755);
    }
    // A link elsewhere is as good as the directory that it leads to.
    fs::create_dir(scratch.path("open")).unwrap();
    mode(&scratch.path("open"), 0o777);
    fs::rename(&path, scratch.path("open/x.toml")).unwrap();
    symlink("../open/x.toml", &path).unwrap();
    assert_eq!(writer(&scratch.path("open")), Some(Writer::Everyone));
}

#[test]
fn who_owns_it() {
    if uid() != 0 {
        return;
    }
    let scratch = Scratch::with(&[("upper/x.toml", "")]);
    let path = scratch.path("upper/x.toml");
    // Owner, group, mode, and who is told of.
    for (owner, group, mode, writer) in [
        (1000, 1000, 0o600, Some(Writer::Owner(1000))),
        (0, 50, 0o660, Some(Writer::Group(50))),
        (0, 50, 0o640, None),
        (0, 0, 0o660, None),
    ] {
        chown(&path, Some(owner), Some(group)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let found = match scratch.load(&["x"], &[]) {
            Err(ProfileError::Untrusted { writer, .. }) => Some(writer),
            other => other.map(|_| None).unwrap(),
        };
        assert_eq!(found, writer, "{owner}:{group} {mode:o}");
    }
    chown(&path, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
    let names = ["x".into()];
    crate::profile::load::load(&names, &[], &scratch.search, 1000).expect("the caller's private group");
}

#[test]
fn a_file_that_can_not_be_read_does_not_yield_to_the_layer_below() {
    if uid() == 0 {
        return;
    }
    let scratch = Scratch::with(&[("upper/x.toml", ""), ("lower/x.toml", "")]);
    fs::set_permissions(scratch.path("upper/x.toml"), Permissions::from_mode(0o000)).unwrap();
    assert!(matches!(scratch.load(&["x"], &[]), Err(ProfileError::Read { .. })));
}

#[test]
fn what_is_missing() {
    let scratch = Scratch::with(&[("lower/x.toml", "")]);
    fs::remove_dir_all(scratch.path("upper")).unwrap();
    scratch.profile(&["x"]);
    scratch.profile(&[]);
    assert_eq!(
        scratch.error(&["./no/such.toml"]),
        "sbx: error: cannot read profile `./no/such.toml`: no such file or directory\n"
    );
}
